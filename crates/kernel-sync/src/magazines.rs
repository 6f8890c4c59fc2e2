//! Per-CPU stacks of things that are used again: page tables, frames, objects.
//!
//! What a CPU gives back, it will want again, and it has it in its cache (Bonwick's magazines, Linux's per-CPU page lists and sheaves).
//! Each CPU has a stack, behind a lock on lines of its own that as a rule nobody else wants. A depot in the
//! middle evens out CPUs that take and CPUs that give: half a stack moves at once, so that the depot's lock is taken once in so
//! many operations at worst, and never by a CPU that takes as much as it gives.
//!
//! Nothing is allocated after [`Magazines::try_new`].

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Mutex, OutOfHeap};

/// Stacks of `T`, one for each CPU, and a depot.
///
/// ```
/// # #[cfg(not(loom))] {
/// let pages = kernel_sync::Magazines::try_new(2, 4).expect("a little memory");
/// assert_eq!(pages.take(0), None);
/// assert_eq!(pages.put(0, "a page"), Ok(()));
/// assert_eq!(pages.take(0), Some("a page"));
/// # }
/// ```
pub struct Magazines<T> {
    stacks: Box<[Stack<T>]>,
    depot: Mutex<Vec<T>>,
    /// What a stack holds at most. The depot holds as much for every CPU.
    size: usize,
}

/// One CPU's stack, on lines of its own.
#[repr(align(128))]
struct Stack<T>(Mutex<Vec<T>>);

impl<T> Magazines<T> {
    /// Makes empty stacks for `cpus` CPUs, rounded up to a power of two, of `size` each, at least 2, and a depot of as many
    /// in all.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new(cpus: usize, size: usize) -> Result<Self, OutOfHeap> {
        // A power of two, because a division costs as much as all the rest.
        let (cpus, size) = (cpus.next_power_of_two(), size.max(2));
        let mut stacks = with_room::<Stack<T>>(cpus)?;
        for _ in 0..cpus {
            stacks.push(Stack(Mutex::new(with_room(size)?)));
        }
        let depot = Mutex::new(with_room(cpus * size)?);
        Ok(Self { stacks: stacks.into_boxed_slice(), depot, size })
    }

    /// Takes one that CPU number `cpu` has given back, or else one that others have given up; `None` when neither has any.
    ///
    /// A `cpu` that is wrong, or that changes meanwhile, costs time and nothing else.
    #[inline]
    pub fn take(&self, cpu: usize) -> Option<T> {
        let mut stack = self.stack(cpu).lock();
        if stack.is_empty() {
            self.refill(&mut stack);
        }
        stack.pop()
    }

    /// Gives `thing` back on CPU number `cpu`.
    ///
    /// # Errors
    ///
    /// `thing`, when there is no room for it: it is the caller's to free.
    #[inline]
    pub fn put(&self, cpu: usize, thing: T) -> Result<(), T> {
        let mut stack = self.stack(cpu).lock();
        if stack.len() == self.size && !self.make_room(&mut stack) {
            return Err(thing);
        }
        // Never reallocates: there is memory for `size` from the beginning, and `push` finds that it suffices.
        stack.push(thing);
        Ok(())
    }

    /// Moves half a stack here from the depot, or what it has.
    #[cold]
    fn refill(&self, stack: &mut Vec<T>) {
        let mut depot = self.depot.lock();
        let from = depot.len() - depot.len().min(self.size / 2);
        stack.extend(depot.drain(from..));
    }

    /// Moves half of a full stack to the depot, if it has room.
    #[cold]
    fn make_room(&self, stack: &mut Vec<T>) -> bool {
        let mut depot = self.depot.lock();
        let has_room = depot.len() + self.size / 2 <= self.stacks.len() * self.size;
        if has_room {
            // The older half: the younger one is what the CPU still has in its cache.
            depot.extend(stack.drain(..self.size / 2));
        }
        has_room
    }

    /// Takes one from anywhere, for a CPU that finds none and can get none elsewhere either.
    pub fn steal(&self) -> Option<T> {
        // A statement of its own, and the depot's lock is free again: others take it with the lock of their stack held.
        let spare = self.depot.lock().pop();
        spare.or_else(|| self.stacks.iter().find_map(|stack| stack.0.lock().pop()))
    }

    /// Number of things that are kept, exact while nobody takes or gives.
    #[must_use]
    pub fn len(&self) -> usize {
        let stacks = self.stacks.iter().map(|stack| stack.0.lock().len());
        stacks.sum::<usize>() + self.depot.lock().len()
    }

    /// Tells whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stack(&self, cpu: usize) -> &Mutex<Vec<T>> {
        &self.stacks[cpu & (self.stacks.len() - 1)].0
    }
}

fn with_room<V>(len: usize) -> Result<Vec<V>, OutOfHeap> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| OutOfHeap { bytes: len * size_of::<V>() })?;
    Ok(room)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use super::Magazines;

    #[test]
    fn last_given_is_first_taken() {
        let magazines = Magazines::try_new(1, 4).expect("heap");
        (0..3).for_each(|thing| magazines.put(0, thing).expect("room"));
        assert_eq!([magazines.take(0), magazines.take(0)], [Some(2), Some(1)]);
    }

    #[test]
    fn what_one_cpu_gives_too_much_another_gets() {
        let magazines = Magazines::try_new(2, 4).expect("heap");
        let given = (0..100).take_while(|&thing| magazines.put(0, thing).is_ok()).count();
        // A full stack, and the depot with room for two.
        assert_eq!(given, 4 + 8);
        let mut taken: Vec<i32> = std::iter::from_fn(|| magazines.take(1)).collect();
        assert_eq!(taken.len(), 8, "the depot's");
        taken.extend(std::iter::from_fn(|| magazines.steal()));
        taken.sort_unstable();
        assert_eq!(taken, (0..12).collect::<Vec<_>>());
        assert!(magazines.is_empty());
    }

    #[test]
    fn wrong_cpu_numbers_are_harmless() {
        let magazines = Magazines::try_new(2, 2).expect("heap");
        magazines.put(usize::MAX, 7).expect("room");
        assert_eq!(magazines.take(usize::MAX), Some(7));
    }

    #[test]
    fn nothing_is_lost_between_cpus() {
        let magazines = Magazines::try_new(2, 8).expect("heap");
        let (start, mut left) = (1000_usize, Vec::new());
        std::thread::scope(|scope| {
            let cpus: Vec<_> = (0..4)
                .map(|cpu| {
                    let magazines = &magazines;
                    scope.spawn(move || {
                        let mut own: Vec<usize> = (cpu * start..(cpu + 1) * start).collect();
                        for turn in 0..10_000 {
                            if turn % 3 == 0 {
                                own.extend(magazines.take(cpu));
                            } else if let Some(thing) = own.pop()
                                && let Err(thing) = magazines.put(cpu, thing)
                            {
                                own.insert(0, thing);
                            }
                        }
                        own
                    })
                })
                .collect();
            for cpu in cpus {
                left.extend(cpu.join().expect("no panic"));
            }
        });
        left.extend(std::iter::from_fn(|| magazines.steal()));
        left.sort_unstable();
        assert_eq!(left, (0..4 * start).collect::<Vec<_>>());
    }
}
