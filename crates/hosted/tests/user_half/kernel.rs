//! A kernel of one CPU, reduced to what an mm asks of it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hosted::frames::HostFrames;
use kernel_sync::{Callback, Rcu};
use mm_generic::arch::ArchPgd;
use mm_generic::counted_frame::CountedFrame;
use mm_generic::frames::{Frame, PAGE_SIZE};
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::{Object, ReadError};
use mm_generic::publish::PublicationPoint;
use mm_generic::walk::Walkers;

use super::tlb;

/// The kernel over the architecture `A`.
pub(crate) struct TestKernel<A>(PhantomData<A>);

// SAFETY: no CPU but the test's thread translates, and its TLB is flushed below.
unsafe impl<A: ArchPgd> Kernel for TestKernel<A> {
    type Arch = A;
    type Frames = HostFrames;
    type Rcu = ThreadRcu;
    type Walkers = MmList<A>;
    type Object = Pattern;

    unsafe fn load_pgd(_root: Frame) {}

    fn flush_tlb(mm: &Mm<Self>, range: Range<u64>) {
        tlb::flush(mm.init_mm().frames(), mm.root(), range);
    }

    fn flush_kernel_tlb(_range: KernelRange) {
        KERNEL_FLUSHES.set(KERNEL_FLUSHES.get() + 1);
    }

    fn kept_page(object: &Pattern, offset: u64, len: usize) -> Option<CountedFrame<HostFrames>> {
        KEPT.with_borrow(|kept| {
            let is_it = |(file, at, _): &&Kept| (file, *at) == (object, (offset, len));
            kept.iter().find(is_it).map(|(_, _, frame)| frame.clone())
        })
    }

    fn peek_kept_page(
        object: &Pattern,
        offset: u64,
        len: usize,
    ) -> Option<CountedFrame<HostFrames>> {
        // Nothing is made for a load either.
        Self::kept_page(object, offset, len)
    }
}

thread_local! {
    static KERNEL_FLUSHES: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has flushed the kernel half.
pub(crate) fn kernel_flushes() -> u64 {
    KERNEL_FLUSHES.get()
}

/// A file, offset and length of a page in it, and the frame that has its bytes.
type Kept = (Pattern, (u64, usize), CountedFrame<HostFrames>);

thread_local! {
    /// The pages that the kernel keeps.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Lets the kernel keep of each of `pages` as many bytes of the file from the offset on, and nothing else.
pub(crate) fn keep(frames: &'static HostFrames, pages: &[(&Pattern, u64, usize)]) {
    let kept = |&(file, offset, len): &(&Pattern, u64, usize)| {
        let mut frame = CountedFrame::alloc(frames).unwrap();
        file.read(offset, len, frame.bytes().unwrap()).unwrap();
        (file.clone(), (offset, len), frame)
    };
    KEPT.set(pages.iter().map(kept).collect());
}

/// RCU of a single thread: a callback runs at once, or when the thread's last guard goes.
pub(crate) struct ThreadRcu;

thread_local! {
    static SECTIONS: Cell<usize> = const { Cell::new(0) };
    static WAITING: RefCell<Vec<Callback>> = const { RefCell::new(Vec::new()) };
}

/// A read-side section of [`ThreadRcu`].
pub(crate) struct ThreadGuard(PhantomData<*const ()>);

// SAFETY: callbacks wait for the guards of their own thread, and in these tests no other thread
// finds an mm without a reference of its own.
unsafe impl Rcu for ThreadRcu {
    type Guard = ThreadGuard;

    fn read_lock() -> ThreadGuard {
        SECTIONS.with(|sections| sections.set(sections.get() + 1));
        ThreadGuard(PhantomData)
    }

    fn call_rcu(callback: Callback) {
        if SECTIONS.with(Cell::get) == 0 {
            callback.run();
        } else {
            WAITING.with_borrow_mut(|waiting| waiting.push(callback));
        }
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        let left = SECTIONS.with(|sections| {
            sections.set(sections.get() - 1);
            sections.get()
        });
        if left == 0 {
            for callback in WAITING.take() {
                callback.run();
            }
        }
    }
}

/// The task list: the mm of every process.
pub(crate) struct MmList<A: ArchPgd>(Mutex<Vec<MmUser<TestKernel<A>>>>);

impl<A: ArchPgd> MmList<A> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn remove(&self, mm: &MmUser<TestKernel<A>>) {
        let removed = {
            let mut list = self.lock();
            let place = list.iter().position(|listed| listed.ptr_eq(mm));
            place.map(|place| list.swap_remove(place))
        };
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<MmUser<TestKernel<A>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: every published mm is on the list until its process is dropped; no CPU has one loaded
// without a process; no lock is held between visits.
unsafe impl<A: ArchPgd> Walkers<TestKernel<A>> for MmList<A> {
    type Place = ();

    fn place(&'static self) -> Result<(), kernel_sync::OutOfHeap> {
        Ok(())
    }

    fn for_each_published(
        &self,
        _rcu: &RcuGuard<TestKernel<A>>,
        visit: &mut dyn FnMut(&Mm<TestKernel<A>>),
    ) {
        let list: Vec<_> = self.lock().iter().map(MmUser::grab).collect();
        for mm in list {
            visit(&mm);
        }
    }

    fn for_each_loaded(
        &self,
        _rcu: &RcuGuard<TestKernel<A>>,
        _visit: &mut dyn FnMut(&Mm<TestKernel<A>>),
    ) {
    }
}

// SAFETY: the list is what the walkers visit.
unsafe impl<A: ArchPgd> PublicationPoint<TestKernel<A>> for &MmList<A> {
    type Published = MmUser<TestKernel<A>>;

    fn publish(self, mm: MmUser<TestKernel<A>>) -> Self::Published {
        self.lock().push(mm.clone());
        mm
    }
}

/// A file whose bytes follow from its seed and their offset. Bytes from `bad_from` on cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern {
    pub(crate) seed: u8,
    pub(crate) bad_from: u64,
}

impl Pattern {
    pub(crate) fn new(seed: u8) -> Self {
        Self { seed, bad_from: u64::MAX }
    }

    pub(crate) fn byte(&self, offset: u64) -> u8 {
        (offset ^ offset >> 8).wrapping_mul(31) as u8 ^ self.seed
    }
}

impl Object for Pattern {
    fn read(
        &self,
        offset: u64,
        len: usize,
        page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError> {
        for (index, byte) in page[..len].iter_mut().enumerate() {
            let offset = offset + index as u64;
            if offset >= self.bad_from {
                return Err(ReadError { offset });
            }
            *byte = self.byte(offset);
        }
        Ok(())
    }
}
