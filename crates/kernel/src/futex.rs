//! Futexes: sleeping on a word of user memory until it changes.
//!
//! A waiter looks at the word and enters its bucket under the bucket's lock; a waker changes the word
//! first and takes that lock then. So either the waiter sees the change, or the waker finds the waiter.
//!
//! Words are told apart by the address space and the address in it. In a mapping that is shared
//! (`MAP_SHARED`) it is the frame that counts, because others may see it elsewhere.

use crate::os::Os;
use crate::sched::{Current, Patience, WaitQueue, Woken, sleep_until, wake};
use crate::task::TaskRef;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::Errno;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, Ordering};
use mm_generic::frames::PAGE_SIZE;
use mm_generic::mm::Mm;
use mm_generic::page_tables::PageTables;
use mm_generic::user::Access;
use mm_generic::vma::VmaFlags;

/// A word that tasks wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// Address of the mm, or 0 for a frame.
    space: u64,
    /// User address, or physical address.
    address: u64,
}

/// A task that waits.
struct Waiter {
    key: Key,
    bits: u32,
    task: TaskRef,
    /// Set when it has been woken, under the bucket's lock.
    woken: Arc<AtomicBool>,
}

const BUCKETS: usize = 256;

static TABLE: [Mutex<Vec<Waiter>>; BUCKETS] = [const { Mutex::new(Vec::new()) }; BUCKETS];

/// Waiters that are taken out of a bucket before the first of them is woken.
const AT_ONCE: usize = 16;

/// Any bit of a waiter's will do.
pub const ANY: u32 = u32::MAX;

impl Key {
    fn bucket(self) -> usize {
        let hash = (self.space >> 6 ^ self.address >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 56) as usize % BUCKETS
    }

    fn of(mm: &Mm<Os>, address: u64, private: bool) -> Self {
        let own = Self { space: core::ptr::from_ref(mm) as u64, address };
        if private {
            return own;
        }
        let mut user = mm.user();
        let is_shared =
            user.vmas().find(address).is_some_and(|vma| vma.flags().contains(VmaFlags::SHARED));
        if !is_shared {
            return own;
        }
        let page = address - address % PAGE_SIZE;
        // Another process may have it already, and wait there. If it cannot be had, there is no word either.
        let _ = user.fault(mm, address, Access::Read);
        // SAFETY: the root is live, and the lock of its user half is held.
        match unsafe { mm.init_mm().tables().lookup(mm.root(), page) } {
            Some(leaf) => Self { space: 0, address: leaf.frame.phys() + address % PAGE_SIZE },
            None => own,
        }
    }
}

/// Reads the word at `address`, through the direct map: no page fault happens, so it may be done under a
/// bucket's lock.
fn word(mm: &Mm<Os>, address: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    mm.user().read_bytes(mm, address, &mut bytes).map_err(|_| Errno::FAULT)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Sleeps until somebody wakes the word at `address`, unless it does not hold `expected`. The inner
/// result says how the sleep ended.
///
/// `deadline` is in nanoseconds since boot.
///
/// # Errors
///
/// `EAGAIN` when it holds something else, `EFAULT`, `EINVAL` for an address that is no multiple of 4, `ENOMEM`.
pub fn wait(
    me: &Current,
    address: u64,
    private: bool,
    expected: u32,
    deadline: Option<u64>,
    bits: u32,
) -> Result<Result<(), Woken>, Errno> {
    if !address.is_multiple_of(4) || bits == 0 {
        return Err(Errno::INVAL);
    }
    let mm = me.mm().ok_or(Errno::FAULT)?;
    // Brings the page in, so that the key is that of the frame.
    word(&mm, address)?;
    let key = Key::of(&mm, address, private);
    let woken = Arc::new(AtomicBool::new(false));
    {
        let mut bucket = TABLE[key.bucket()].lock();
        if word(&mm, address)? != expected {
            return Err(Errno::AGAIN);
        }
        bucket.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        bucket.push(Waiter { key, bits, task: TaskRef::clone(me), woken: woken.clone() });
    }
    let no_queue: [&WaitQueue; 0] = [];
    let result = sleep_until(&no_queue, Patience::UntilSignal, deadline, || {
        woken.load(Ordering::Acquire).then_some(())
    });
    match result {
        Err(early) if leave(&woken) => Ok(Err(early)),
        // Woken, maybe in the last moment: the wake-up must not be lost on nobody.
        _ => Ok(Ok(())),
    }
}

/// Takes a waiter out of whichever bucket it is in by now; false when it has been woken.
fn leave(woken: &Arc<AtomicBool>) -> bool {
    // A requeue may have moved it, so all buckets are looked at. Timeouts and signals are rare.
    for bucket in &TABLE {
        let mut bucket = bucket.lock();
        let place = bucket.iter().position(|waiter| Arc::ptr_eq(&waiter.woken, woken));
        if let Some(place) = place {
            let waiter = bucket.swap_remove(place);
            drop(bucket);
            drop(waiter);
            return true;
        }
    }
    false
}

/// Wakes at most `count` who wait for the word at `address` with one of `bits`; returns how many.
pub fn wake_at(mm: &Mm<Os>, address: u64, private: bool, count: usize, bits: u32) -> usize {
    let key = Key::of(mm, address, private);
    let mut woken = 0;
    // In the order of their coming, and a few at a time: there is no list of them that would need memory, and no task is woken or let go
    // with the lock held.
    while woken < count {
        let mut some = [const { None }; AT_ONCE];
        let mut taken = 0;
        let mut bucket = TABLE[key.bucket()].lock();
        let mut at = 0;
        while at < bucket.len() && taken < AT_ONCE.min(count - woken) {
            if bucket[at].key == key && bucket[at].bits & bits != 0 {
                let waiter = bucket.remove(at);
                waiter.woken.store(true, Ordering::Release);
                some[taken] = Some(waiter);
                taken += 1;
            } else {
                at += 1;
            }
        }
        drop(bucket);
        some.into_iter().flatten().for_each(|waiter| {
            wake(&waiter.task);
        });
        woken += taken;
        if taken < AT_ONCE {
            break;
        }
    }
    woken
}

/// Wakes at most `count` who wait for the word at `from`, and lets at most `move_count` of the others wait for the
/// word at `to` instead; returns how many of both.
///
/// # Errors
///
/// `EAGAIN` when the word at `from` does not hold `expected`, `EFAULT`, `ENOMEM`.
pub fn requeue(
    mm: &Mm<Os>,
    (from, to): (u64, u64),
    private: bool,
    (count, move_count): (usize, usize),
    expected: Option<u32>,
) -> Result<usize, Errno> {
    if let Some(expected) = expected
        && word(mm, from)? != expected
    {
        return Err(Errno::AGAIN);
    }
    let woken = wake_at(mm, from, private, count, ANY);
    let (from, to) = (Key::of(mm, from, private), Key::of(mm, to, private));
    // Both buckets at once, in the order of their numbers: a waiter that is in neither would be taken for
    // one that was woken.
    let (low, high) = (from.bucket().min(to.bucket()), from.bucket().max(to.bucket()));
    let mut first = TABLE[low].lock();
    if low == high {
        let matching = first.iter_mut().filter(|waiter| waiter.key == from).take(move_count);
        return Ok(woken + matching.map(|waiter| waiter.key = to).count());
    }
    let mut second = TABLE[high].lock();
    let (source, target) =
        if from.bucket() == low { (&mut first, &mut second) } else { (&mut second, &mut first) };
    let (mut at, mut moved) = (0, 0);
    while at < source.len() && moved < move_count {
        if source[at].key == from {
            if target.try_reserve(1).is_err() {
                // Those that have been moved are told of; the others stay where they are.
                return if woken + moved > 0 { Ok(woken + moved) } else { Err(Errno::NOMEM) };
            }
            let mut waiter = source.remove(at);
            waiter.key = to;
            target.push(waiter);
            moved += 1;
        } else {
            at += 1;
        }
    }
    Ok(woken + moved)
}

/// Wakes one who waits for the thread id at `address` to be cleared.
pub fn wake_one_of(mm: &Mm<Os>, address: u64) {
    wake_at(mm, address, false, 1, ANY);
}
