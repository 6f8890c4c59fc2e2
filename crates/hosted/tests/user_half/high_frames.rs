//! Frames that lie beyond what a 32-bit entry can hold: refused, and nothing is lost or leaked.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_x86::geometry::TwoLevel;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use kernel_sync::atomic::{AtomicU32, AtomicU64};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;
use mm_generic::object::NoObject;
use mm_generic::page_tables::MapError;
use mm_generic::publish::NewMm;
use mm_generic::user::{FaultError, ForkMmError};
use mm_generic::vma::{Backing, Vma};
use mm_generic::walk::Walkers;

use super::kernel::ThreadRcu;
use super::world::{PAGE, PRIVATE, RW};

const ABOVE: u64 = 1 << 32;

/// Frames that, when told to, name themselves as 4 GiB higher than they are.
struct HighFrames {
    frames: HostFrames,
    high: AtomicBool,
}

fn low(frame: Frame) -> Frame {
    Frame::at(frame.phys() % ABOVE).unwrap()
}

// SAFETY: another name for the same frame; the memory and the counts are the arena's.
unsafe impl Frames for HighFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let above = if self.high.load(Ordering::Relaxed) { ABOVE } else { 0 };
        self.frames.alloc().map(|frame| Frame::at(frame.phys() + above).unwrap())
    }

    fn get(&self, frame: Frame) {
        self.frames.get(low(frame));
    }

    unsafe fn put(&self, frame: Frame) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.frames.put(low(frame)) };
    }

    fn is_shared(&self, frame: Frame) -> bool {
        self.frames.is_shared(low(frame))
    }

    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        self.frames.table32(low(frame))
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        self.frames.table64(low(frame))
    }

    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]> {
        self.frames.bytes(low(frame))
    }
}

/// A kernel that never runs a program.
struct Still;

// SAFETY: no CPU translates.
unsafe impl Kernel for Still {
    type Arch = Locked<TwoLevel, HighFrames>;
    type Frames = HighFrames;
    type Rcu = ThreadRcu;
    type Walkers = Nobody;
    type Object = NoObject;

    unsafe fn load_pgd(_root: Frame) {}

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

struct Nobody;

// SAFETY: nothing is ever published.
unsafe impl Walkers<Still> for Nobody {
    type Place = ();

    fn place(&'static self) -> Result<(), kernel_sync::OutOfHeap> {
        Ok(())
    }

    fn for_each_published(&self, _: &RcuGuard<Still>, _: &mut dyn FnMut(&Mm<Still>)) {}

    fn for_each_loaded(&self, _: &RcuGuard<Still>, _: &mut dyn FnMut(&Mm<Still>)) {}
}

#[test]
fn a_frame_out_of_reach_is_refused_and_given_back() {
    let frames: &'static HighFrames = Box::leak(Box::new(HighFrames {
        frames: HostFrames::new(64).checked(),
        high: AtomicBool::new(false),
    }));
    let arch = Locked::new(Slots::with_empty_reference(TwoLevel, frames).unwrap());
    let init_mm: &'static InitMm<Still> = Box::leak(Box::new(InitMm::new(arch, frames, Nobody)));
    let addr = 0x40_0000;
    let before = frames.frames.allocated();
    let parent = NewMm::new(init_mm).unwrap();
    let vma = Vma::new(addr..addr + 2 * PAGE, RW, PRIVATE, Backing::Anonymous).unwrap();
    parent.user().mmap(vma).unwrap();
    let store = |mm: &NewMm<Still>, addr| mm.user().write_bytes(mm.mm(), addr, &[1]);
    let load = |mm: &NewMm<Still>, addr| {
        let mut byte = [0];
        mm.user().read_bytes(mm.mm(), addr, &mut byte).map(|()| byte[0])
    };
    let refused = |result| matches!(result, Err(FaultError::Map(MapError::FrameTooHigh { .. })));

    let allocated = frames.frames.allocated();
    frames.high.store(true, Ordering::Relaxed);
    assert!(refused(store(&parent, addr)), "a page, or a table on the way to it");
    assert_eq!(frames.frames.allocated(), allocated);

    frames.high.store(false, Ordering::Relaxed);
    store(&parent, addr).unwrap();
    let child = NewMm::new(init_mm).unwrap();
    frames.high.store(true, Ordering::Relaxed);
    let copied = child.copy_user_half(parent.mm());
    assert!(matches!(copied, Err(ForkMmError::Map(MapError::FrameTooHigh { .. }))), "a table");
    frames.high.store(false, Ordering::Relaxed);
    child.copy_user_half(parent.mm()).unwrap();

    // A copy on write that cannot be stored in the entry leaves the page as it was.
    let allocated = frames.frames.allocated();
    frames.high.store(true, Ordering::Relaxed);
    assert!(refused(store(&child, addr)));
    assert_eq!(frames.frames.allocated(), allocated);
    assert_eq!((load(&child, addr), load(&parent, addr)), (Ok(1), Ok(1)));
    frames.high.store(false, Ordering::Relaxed);
    store(&child, addr + 1).unwrap();
    drop((parent, child));
    assert_eq!(frames.frames.allocated(), before);
    frames.frames.check_free_frames().unwrap();
}
