//! What this kernel keeps for each address space, and the files that are mapped into one.
//!
//! mm-generic's `Mm` has no place for it, so tasks hold a reference beside that to their mm: shared where the mm
//! is shared, copied where it is copied, replaced where it is replaced.

use crate::sched::WaitQueue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::Inode;
use kernel_sync::Mutex;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::object::{Object, ReadError};

/// A file that can be mapped.
#[derive(Clone, Debug)]
pub struct FileObject {
    /// The file.
    pub inode: Arc<Inode>,
    /// What it was called when it was mapped, for `/proc/<pid>/maps`.
    pub path: Arc<[u8]>,
    /// A mapping of it may allow stores: to the file if it is shared, else to copies of its pages.
    pub may_write: bool,
}

impl PartialEq for FileObject {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inode, &other.inode) && self.may_write == other.may_write
    }
}

impl Object for FileObject {
    fn read(
        &self,
        offset: u64,
        len: usize,
        page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError> {
        let mut done = 0;
        while done < len {
            let read = self.inode.read_at(offset + done as u64, &mut page[done..len]);
            match read {
                // Nothing at all beyond the file's last page; zeros up to the end of that.
                Ok(0) if done == 0 => return Err(ReadError { offset }),
                Ok(0) => break,
                Ok(read) => done += read,
                Err(_) => return Err(ReadError { offset }),
            }
        }
        Ok(())
    }
}

/// The heap of a program, in bytes: `brk` moves the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Where it begins.
    pub start: u64,
    /// Where the program thinks it ends; not rounded.
    pub end: u64,
}

/// Data of an address space.
#[derive(Debug, Default)]
pub struct MemoryData {
    /// The heap.
    pub heap: Mutex<Heap>,
    /// Path of the executable, absolute.
    pub executable: Arc<[u8]>,
    /// The arguments, each ended by a NUL, as `/proc/<pid>/cmdline` shows them. They can be long, and copies share them.
    pub arguments: Arc<Vec<u8>>,
}

impl MemoryData {
    /// Returns a copy for a copy of the address space.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            heap: Mutex::new(*self.heap.lock()),
            executable: self.executable.clone(),
            arguments: self.arguments.clone(),
        }
    }
}

/// A table of descriptors of this kernel.
pub type FdTable = files::FdTable<WaitQueue>;
/// An open file description of this kernel.
pub type OpenFile = files::OpenFile<WaitQueue>;
