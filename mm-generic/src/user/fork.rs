//! Fork's copy of the user half: every page shared, stores to private ones denied in both (`dup_mmap`).

use kernel_sync::OutOfHeap;
use thiserror::Error;

use super::UserSpace;
use super::fault::{FaultError, page_in};
use super::gather::Gather;
use super::pages::Pages;
use crate::frames::PAGE_SIZE;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::page_tables::MapError;
use crate::prot::Prot;
use crate::publish::NewMm;
use crate::vma::VmaFlags;

/// A user half that could not be copied. The child's is empty, the parent goes on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForkMmError {
    /// A page of a shared VMA, missing so far, could not be made.
    #[error("fork: shared {0}")]
    Shared(#[from] FaultError),
    /// No frame for one of the child's tables.
    #[error("fork: {0}")]
    Map(#[from] MapError),
    /// No heap for the child's set of VMAs.
    #[error("fork: VMAs: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}

impl<K: Kernel> NewMm<K> {
    /// Fills the user half of this mm with a copy of `parent`'s. What it held before is unmapped.
    ///
    /// # Errors
    ///
    /// As [`UserSpace::copy_from`].
    ///
    /// # Panics
    ///
    /// When `parent` is this mm.
    pub fn copy_user_half(&self, parent: &Mm<K>) -> Result<(), ForkMmError> {
        assert!(!core::ptr::eq(self.mm(), parent), "an mm was to be its own child");
        self.user().copy_from(self.mm(), &mut parent.user(), parent)
    }
}

impl<K: Kernel> UserSpace<K> {
    /// Makes this user half, of `mm`, a copy of `parent`, of `parent_mm`. What it held before is unmapped.
    ///
    /// Pages of private VMAs lose the right to store in both, and the first store to each copies it.
    /// Pages of shared VMAs stay as they are in both. A page of a shared VMA that nobody has touched
    /// yet is made now, unless the kernel finds it through the VMA's object ([`Kernel::HAS_SHARED_PAGES`]):
    /// touched later, it would become one page in the parent and another in the child.
    ///
    /// # Errors
    ///
    /// [`ForkMmError::Map`] and [`ForkMmError::Shared`] when a frame is missing, [`ForkMmError::OutOfHeap`] without heap for
    /// the VMAs; this user half is then empty.
    ///
    /// # Panics
    ///
    /// When a user half is not that of the mm it is passed with.
    pub fn copy_from(
        &mut self,
        mm: &Mm<K>,
        parent: &mut UserSpace<K>,
        parent_mm: &Mm<K>,
    ) -> Result<(), ForkMmError> {
        self.exit_mmap(mm);
        let mut from = Pages::new(parent, parent_mm);
        let mut to = Pages::new(self, mm);
        self.vmas = parent.vmas.fork_copy()?;
        // Dropped on every way out: what has lost the right to store is flushed even if the copy
        // fails. Otherwise the next fork would find it lost, and not know that a TLB still has it.
        let mut gather = Gather::new(parent_mm);
        let result = self.copy_pages(&mut to, &mut from, &mut gather);
        if result.is_err() {
            self.exit_mmap(mm);
        }
        result
    }

    fn copy_pages(
        &self,
        to: &mut Pages<'_, K>,
        from: &mut Pages<'_, K>,
        gather: &mut Gather<'_, K>,
    ) -> Result<(), ForkMmError> {
        for vma in self.vmas.iter() {
            let is_shared = vma.flags().contains(VmaFlags::SHARED);
            let is_found_again = K::HAS_SHARED_PAGES && vma.has_object();
            if is_shared && !is_found_again {
                populate(from, vma)?;
            }
            to.share_from(from, vma.range(), |addr, leaf| {
                let prot = if is_shared { leaf.prot } else { leaf.prot - Prot::WRITE };
                if prot != leaf.prot {
                    gather.stale(addr);
                }
                prot
            })?;
        }
        Ok(())
    }
}

/// Makes the pages of `vma` that nobody has touched yet.
fn populate<K: Kernel>(
    pages: &mut Pages<'_, K>,
    vma: &crate::vma::Vma<K::Object>,
) -> Result<(), FaultError> {
    for page in vma.range().step_by(PAGE_SIZE as usize) {
        if pages.lookup(page).is_some() {
            continue;
        }
        match page_in(pages, vma, page, false) {
            // Neither parent nor child can read it, and each is told when it tries.
            Ok(()) | Err(FaultError::Object { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
