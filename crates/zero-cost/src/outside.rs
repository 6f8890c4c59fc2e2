//! The parts of the kernel that are not compiled here: frames, RCU, page tables, the loading of a root.
//!
//! Every symbol that a program with this crate leaves undefined begins with `kernel_`.

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;

use kernel_sync::atomic::{AtomicU32, AtomicU64};
use kernel_sync::{Callback, Rcu, RcuHead};
use mm_generic::arch::PopulateError;
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::kernel_range::KernelRange;
use mm_generic::page_tables::{Leaf, MapError, Shows};
use mm_generic::prot::Prot;

// SAFETY: defined nowhere, so nothing that calls them can be linked, let alone run.
unsafe extern "Rust" {
    safe fn kernel_frame_alloc() -> Result<Frame, OutOfFrames>;
    safe fn kernel_frame_get(frame: Frame);
    safe fn kernel_frame_put(frame: Frame);
    safe fn kernel_frame_is_shared(frame: Frame) -> bool;
    safe fn kernel_frame_table32(frame: Frame) -> &'static [AtomicU32];
    safe fn kernel_frame_table64(frame: Frame) -> &'static [AtomicU64];
    safe fn kernel_frame_bytes(frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]>;

    safe fn kernel_rcu_read_lock();
    safe fn kernel_rcu_read_unlock();
    safe fn kernel_call_rcu(head: NonNull<RcuHead>);

    pub(crate) safe fn kernel_load_root(root: Frame);
    pub(crate) safe fn kernel_flush_tlb(root: Frame, range: Range<u64>);
    pub(crate) safe fn kernel_flush_kernel_tlb(range: KernelRange);
    pub(crate) safe fn kernel_wake(addr: u64);

    pub(crate) safe fn kernel_populate(range: KernelRange) -> Result<(), PopulateError>;
    pub(crate) safe fn kernel_map(root: Frame, addr: u64, leaf: Leaf) -> Result<Shows, MapError>;
    pub(crate) safe fn kernel_lookup(root: Frame, addr: u64) -> Option<Leaf>;
    pub(crate) safe fn kernel_unmap_range(
        root: Frame,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, Leaf),
    );
    pub(crate) safe fn kernel_protect_range(
        root: Frame,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, Leaf) -> Option<Prot>,
    );
    pub(crate) safe fn kernel_unlink_user_tables(
        root: Frame,
        ranges: &mut dyn Iterator<Item = Range<u64>>,
        free: &mut dyn FnMut(Frame),
    );
    pub(crate) safe fn kernel_map_kernel(
        root: Frame,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError>;
    pub(crate) safe fn kernel_unmap_kernel(root: Frame, addr: u64) -> Option<Frame>;
    pub(crate) safe fn kernel_unmap_kernel_range(
        root: Frame,
        range: KernelRange,
        visit: &mut dyn FnMut(u64, Frame) -> bool,
    );
}

/// The frames of a kernel whose allocator is not compiled here.
pub struct OutsideFrames;

// SAFETY: nothing of this crate is run.
unsafe impl Frames for OutsideFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        kernel_frame_alloc()
    }

    fn get(&self, frame: Frame) {
        kernel_frame_get(frame);
    }

    unsafe fn put(&self, frame: Frame) {
        kernel_frame_put(frame);
    }

    fn is_shared(&self, frame: Frame) -> bool {
        kernel_frame_is_shared(frame)
    }

    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        kernel_frame_table32(frame)
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        kernel_frame_table64(frame)
    }

    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]> {
        kernel_frame_bytes(frame)
    }
}

/// The RCU of a kernel whose grace periods are not compiled here.
pub struct OutsideRcu;

/// A read-side section of [`OutsideRcu`].
pub struct OutsideGuard(PhantomData<*const ()>);

// SAFETY: nothing of this crate is run.
unsafe impl Rcu for OutsideRcu {
    type Guard = OutsideGuard;

    fn read_lock() -> OutsideGuard {
        kernel_rcu_read_lock();
        OutsideGuard(PhantomData)
    }

    fn call_rcu(callback: Callback) {
        kernel_call_rcu(callback.into_head());
    }
}

impl Drop for OutsideGuard {
    fn drop(&mut self) {
        kernel_rcu_read_unlock();
    }
}
