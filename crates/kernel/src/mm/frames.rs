//! Physical frames: taking them, sharing them, giving them back.
//!
//! Every frame has a count of its users, as Linux's `struct page` has; copy-on-write is built on it.
//! A frame is taken with a count of 1 and goes back when the count drops to 0.
//!
//! Single frames go through a small cache of the processor's own, so that fork, exec and exit on
//! different processors meet in the buddy allocator only once in [`BATCH`] frames.

#[cfg(feature = "storm")]
use super::poison;
use crate::cpu::area::cpu_index;
use crate::cpu::local::{CpuLocal, Padded};
use crate::cpu::{MAX_CPUS, ipi, smp};
use crate::layout::{PAGE_SHIFT, PAGE_SIZE, phys_to_virt};
use crate::sync::IrqMutex;
use buddy::{Buddy, Link};
use core::cell::RefCell;
use handover::ranges::Range;
use kernel_sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
use spin::Once;
use thiserror::Error;

/// No frame is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no block of 2^{order} frames is free, of {free} frames that are")]
pub struct OutOfFrames {
    /// The block that was asked for has 2^`order` frames.
    pub order: u8,
    /// Frames that are free, in smaller blocks.
    pub free: usize,
}

/// The number of a frame: its physical address divided by the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u32);

impl Frame {
    /// Returns the frame at physical `address`, which need not be its first byte.
    ///
    /// # Panics
    ///
    /// When the address is 16 TiB or more.
    #[must_use]
    pub fn at(address: u64) -> Self {
        let number = u32::try_from(address >> PAGE_SHIFT);
        Self(number.expect("frames are numbered in 32 bits"))
    }

    /// Returns the physical address.
    #[must_use]
    pub const fn address(self) -> u64 {
        (self.0 as u64) << PAGE_SHIFT
    }

    /// Returns the address in the direct map.
    #[must_use]
    pub const fn as_ptr(self) -> *mut u8 {
        phys_to_virt(self.address())
    }

    /// Fills the frame with zeros.
    ///
    /// # Safety
    ///
    /// Nobody else may use the frame meanwhile.
    pub unsafe fn zero(self) {
        // SAFETY: the direct map shows every frame, and the caller has this one to itself.
        unsafe { self.as_ptr().write_bytes(0, PAGE_SIZE as usize) };
    }
}

static BUDDY: IrqMutex<Option<Buddy<'static>>> = IrqMutex::new(None);

/// Users of each frame.
static COUNTS: Once<&'static [AtomicU32]> = Once::new();

/// Frames the allocator was given.
static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// Frames a processor keeps for itself at most.
const CACHE: usize = 64;

/// Frames that move between a cache and the buddy allocator at once.
const BATCH: usize = CACHE / 2;

/// A stack of free frames.
struct Cache {
    frames: [Frame; CACHE],
    len: usize,
}

static CACHES: CpuLocal<RefCell<Cache>> = CpuLocal::new(
    [const { Padded(RefCell::new(Cache { frames: [Frame(0); CACHE], len: 0 })) }; MAX_CPUS],
);

/// Lengths of the caches, for those who count.
static CACHED: [Padded<AtomicUsize>; MAX_CPUS] = [const { Padded(AtomicUsize::new(0)) }; MAX_CPUS];

/// The tables the allocator needs: one entry per frame of RAM, counted from address 0.
#[derive(Debug)]
pub struct Tables {
    /// For the buddy allocator.
    pub links: &'static mut [Link],
    /// For the users' counts, all 0.
    pub counts: &'static [AtomicU32],
}

/// Starts the allocator with no free frames.
pub fn install(tables: Tables) {
    COUNTS.call_once(|| tables.counts);
    *BUDDY.lock() = Some(Buddy::new(tables.links));
}

/// Gives the allocator the frames of `range`, which is in whole pages.
///
/// # Panics
///
/// When the allocator is not installed, or has the frames already.
///
/// # Safety
///
/// The range must be RAM within the direct map that nobody uses.
pub unsafe fn give(range: Range) {
    let frames = (range.start >> PAGE_SHIFT) as usize..(range.end >> PAGE_SHIFT) as usize;
    TOTAL.fetch_add(frames.len(), Ordering::Relaxed);
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().expect("installed before it is given frames");
    buddy.add(frames).expect("the memory map's ranges are disjoint");
    note(buddy);
}

fn count(frame: Frame) -> &'static AtomicU32 {
    &COUNTS.get().expect("frames exist once the allocator does")[frame.0 as usize]
}

/// Takes a frame, with whatever it contains.
///
/// # Errors
///
/// [`OutOfFrames`] when neither this processor's cache nor the buddy allocator has one beside its reserve. Frames in
/// other processors' caches do not help, at most [`CACHE`] each, until they are drained.
pub fn alloc() -> Result<Frame, OutOfFrames> {
    #[cfg(feature = "storm")]
    if let Some(chosen) = poison::next() {
        poison::check(chosen);
        let frame = Frame::at(chosen);
        count(frame).store(1, Ordering::Relaxed);
        return Ok(frame);
    }
    let frame = CACHES.with(|cache| {
        let mut cache = cache.borrow_mut();
        if cache.len == 0 {
            refill(&mut cache)?;
        }
        cache.len -= 1;
        CACHED[cpu_index()].0.store(cache.len, Ordering::Relaxed);
        Ok(cache.frames[cache.len])
    })?;
    #[cfg(feature = "storm")]
    poison::check(frame.address());
    count(frame).store(1, Ordering::Relaxed);
    Ok(frame)
}

/// Takes a frame full of zeros.
///
/// # Errors
///
/// As [`alloc`].
pub fn alloc_zeroed() -> Result<Frame, OutOfFrames> {
    let frame = alloc()?;
    // SAFETY: nobody knows the frame yet.
    unsafe { frame.zero() };
    Ok(frame)
}

/// Adds a user to `frame`, which must have one.
///
/// # Panics
///
/// When the frame is free: the caller's reference was not one.
pub fn get(frame: Frame) {
    let users = count(frame).fetch_add(1, Ordering::Relaxed);
    assert!(users != 0, "{frame:?} gets a user while it is free");
}

/// Returns the number of users. It is a hint unless the caller is the only one, or excludes others.
#[must_use]
pub fn users(frame: Frame) -> u32 {
    count(frame).load(Ordering::Acquire)
}

/// Takes a user from `frame`; returns whether it was the last, in which case the frame is free now.
///
/// # Panics
///
/// When the frame has no user.
pub fn put(frame: Frame) -> bool {
    // Release: this user's accesses to the frame come before the frame's next life.
    let users = count(frame).fetch_sub(1, Ordering::Release);
    assert!(users != 0, "{frame:?} is given back twice");
    if users > 1 {
        return false;
    }
    // Pairs with the Release of the other users, whichever came before us.
    fence(Ordering::Acquire);
    #[cfg(feature = "storm")]
    let Some(frame) = poison::exchange(frame.address()).map(Frame::at) else { return true };
    free(frame);
    true
}

/// Puts a frame without users where [`alloc`] finds it.
fn free(frame: Frame) {
    CACHES.with(|cache| {
        let mut cache = cache.borrow_mut();
        if cache.len == CACHE {
            spill(&mut cache, BATCH);
        }
        let top = cache.len;
        cache.frames[top] = frame;
        cache.len += 1;
        CACHED[cpu_index()].0.store(cache.len, Ordering::Relaxed);
    });
}

/// Frames that programs are not given: one in 32, and no fewer than a MiB.
///
/// They are for the heap. Programs use single frames, for pages, tables and kernel stacks, and large allocations, and are told when
/// there are none; the kernel's own data structures mostly cannot do without.
#[must_use]
pub fn reserve() -> usize {
    (total() / 32).max(256)
}

/// What there is, as of the last change: one of the constants below.
static SCARCITY: AtomicU8 = AtomicU8::new(PLENTY);

const PLENTY: u8 = 0;
/// Programs get no more.
const RESERVED: u8 = 1;
/// The heap has taken a quarter of the reserve.
const SCARCE: u8 = 2;

/// Publishes how much of the frames `buddy` has is free. With its lock held.
fn note(buddy: &Buddy<'_>) {
    let (free, reserve) = (buddy.free_frames(), reserve());
    let scarcity = if free >= reserve + BATCH {
        PLENTY
    } else if free >= reserve / 4 * 3 {
        RESERVED
    } else {
        SCARCE
    };
    if SCARCITY.load(Ordering::Relaxed) != scarcity {
        SCARCITY.store(scarcity, Ordering::Relaxed);
    }
}

/// Tells whether programs get no frames at the moment.
#[must_use]
pub fn is_tight_for_programs() -> bool {
    SCARCITY.load(Ordering::Relaxed) >= RESERVED
}

/// Tells whether the kernel itself has little left.
#[inline]
#[must_use]
pub fn is_scarce() -> bool {
    SCARCITY.load(Ordering::Relaxed) >= SCARCE
}

fn refill(cache: &mut Cache) -> Result<(), OutOfFrames> {
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().ok_or(OutOfFrames { order: 0, free: 0 })?;
    let free = buddy.free_frames();
    if free < reserve() + BATCH {
        return Err(OutOfFrames { order: 0, free });
    }
    while cache.len < BATCH {
        match buddy.alloc(0) {
            Some(number) => {
                // Buddy::new made sure that numbers fit.
                cache.frames[cache.len] = Frame(number as u32);
                cache.len += 1;
            }
            None if cache.len == 0 => return Err(OutOfFrames { order: 0, free: 0 }),
            None => break,
        }
    }
    note(buddy);
    Ok(())
}

/// Gives the `count` frames back that were used least recently: the others are likely to be in the processor's cache.
fn spill(cache: &mut Cache, count: usize) {
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().expect("frames that come back were taken from it");
    for frame in &cache.frames[..count] {
        buddy.free(frame.0 as usize, 0).expect("the users' count excludes freeing twice");
    }
    cache.frames.copy_within(count..cache.len, 0);
    cache.len -= count;
    note(buddy);
}

/// Empties the caches of all processors: for when there are no other frames. Where no lock is held.
pub fn drain() {
    ipi::call_on(smp::online(), &|cpu| {
        CACHES.with(|cache| {
            let mut cache = cache.borrow_mut();
            let len = cache.len;
            spill(&mut cache, len);
            CACHED[cpu].0.store(0, Ordering::Relaxed);
        });
    });
}

/// Takes 2^`order` frames in a row, aligned to their size, with whatever they contain. The first
/// one's count of users stands for the block.
///
/// # Errors
///
/// [`OutOfFrames`] when no block of that size is free.
pub fn alloc_block(order: u8) -> Result<Frame, OutOfFrames> {
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().ok_or(OutOfFrames { order, free: 0 })?;
    let free = buddy.free_frames();
    let number = buddy.alloc(order).ok_or(OutOfFrames { order, free })?;
    note(buddy);
    let frame = Frame(number as u32);
    #[cfg(feature = "storm")]
    (frame.0..frame.0 + (1 << order)).for_each(|frame| poison::check(Frame(frame).address()));
    count(frame).store(1, Ordering::Relaxed);
    Ok(frame)
}

/// Gives back a block of 2^`order` frames.
///
/// # Panics
///
/// When `frame` is not the first of a block taken with [`alloc_block`], or has more users than one.
pub fn free_block(frame: Frame, order: u8) {
    let users = count(frame).swap(0, Ordering::AcqRel);
    assert!(users == 1, "block {frame:?} is given back with {users} users");
    let mut buddy = BUDDY.lock();
    let buddy = buddy.as_mut().expect("blocks that come back were taken from it");
    buddy.free(frame.0 as usize, order).expect("the users' count excludes freeing twice");
    note(buddy);
}

/// Returns the number of frames the allocator was given.
#[must_use]
pub fn total() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// How many frames there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Frames the allocator was given.
    pub total: usize,
    /// Frames that are free, those in the processors' caches included.
    pub free: usize,
}

/// Counts the frames. Exact only while nobody allocates.
#[must_use]
pub fn stats() -> Stats {
    let buddy = BUDDY.lock().as_ref().map_or(0, Buddy::free_frames);
    let cached: usize = CACHED.iter().map(|len| len.0.load(Ordering::Relaxed)).sum();
    Stats { total: total(), free: buddy + cached }
}
