//! The kernel's own access to user memory (`copy_from_user`, `copy_to_user`, `strncpy_from_user`), through the direct map.
//!
//! A kernel that runs on the mm in question can copy with plain instructions and let them fault.
//! This way serves the others: fork that stores a thread id in a child which never ran, exec that
//! builds a stack, a debugger, a host without an MMU of its own. Pages are faulted in as the
//! program's own access would do it, and its rights are respected.

use super::copy::{from_page, to_page};
use super::pages::Pages;
use super::{Access, FaultError, UserSpace};
use crate::frames::{Frame, Frames, PAGE_SIZE};
use crate::kernel::Kernel;
use crate::mm::Mm;

impl<K: Kernel> UserSpace<K> {
    /// Fills `buf` with the bytes from `addr` on (`copy_from_user`).
    ///
    /// # Errors
    ///
    /// [`FaultError`] for the first byte that cannot be read; what lies before it has been copied.
    ///
    /// # Panics
    ///
    /// When this is not the user half of `mm`.
    pub fn read_bytes(
        &mut self,
        mm: &Mm<K>,
        addr: u64,
        mut buf: &mut [u8],
    ) -> Result<(), FaultError> {
        let mut at = addr;
        while !buf.is_empty() {
            let (frame, offset, len) = self.touch(mm, at, buf.len(), Access::Read)?;
            let (head, tail) = buf.split_at_mut(len);
            from_page(mm.init_mm().frames().table64(frame), offset, head);
            (at, buf) = (at.wrapping_add(len as u64), tail);
        }
        Ok(())
    }

    /// Stores `bytes` from `addr` on (`copy_to_user`).
    ///
    /// # Errors
    ///
    /// [`FaultError`] for the first byte that cannot be stored; what lies before it has been.
    ///
    /// # Panics
    ///
    /// When this is not the user half of `mm`.
    pub fn write_bytes(
        &mut self,
        mm: &Mm<K>,
        addr: u64,
        mut bytes: &[u8],
    ) -> Result<(), FaultError> {
        let mut at = addr;
        while !bytes.is_empty() {
            let (frame, offset, len) = self.touch(mm, at, bytes.len(), Access::Write)?;
            let (head, tail) = bytes.split_at(len);
            to_page(mm.init_mm().frames().table64(frame), offset, head);
            (at, bytes) = (at.wrapping_add(len as u64), tail);
        }
        Ok(())
    }

    /// Copies the string at `addr` to `buf`, its zero byte included, and returns its length without that (`strncpy_from_user`).
    ///
    /// `None` when `buf` is full and no zero byte has come.
    ///
    /// # Errors
    ///
    /// [`FaultError`] for the first byte of the string that cannot be read.
    ///
    /// # Panics
    ///
    /// When this is not the user half of `mm`.
    pub fn read_string(
        &mut self,
        mm: &Mm<K>,
        addr: u64,
        buf: &mut [u8],
    ) -> Result<Option<usize>, FaultError> {
        let mut done = 0;
        while done < buf.len() {
            let at = addr.wrapping_add(done as u64);
            let (frame, offset, len) = self.touch(mm, at, buf.len() - done, Access::Read)?;
            let part = &mut buf[done..done + len];
            from_page(mm.init_mm().frames().table64(frame), offset, part);
            if let Some(end) = part.iter().position(|&byte| byte == 0) {
                return Ok(Some(done + end));
            }
            done += len;
        }
        Ok(None)
    }

    /// Makes the page around `addr` allow `access`; returns its frame, where in it `addr` is, and how many
    /// of `len` bytes lie in it.
    ///
    /// An address that has wrapped around is one in the zero page, where nothing is mapped.
    fn touch(
        &mut self,
        mm: &Mm<K>,
        addr: u64,
        len: usize,
        access: Access,
    ) -> Result<(Frame, usize, usize), FaultError> {
        self.fault(mm, addr, access)?;
        let offset = (addr % PAGE_SIZE) as usize;
        let leaf = Pages::new(self, mm)
            .lookup(addr - offset as u64)
            .ok_or(FaultError::NotMapped { addr })?;
        Ok((leaf.frame, offset, len.min(PAGE_SIZE as usize - offset)))
    }
}
