//! The pid table in the model checker: with two or three preemptions, and every value a load may return.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-task --release --test pid_loom`
//!
//! Chunks have two pids here and segments two chunks. RCU is a mock that orders what RCU promises and
//! nothing else: entering a section is no full barrier here, as it happens to be with epochs.
#![cfg(loom)]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use kernel_sync::atomic::{AtomicUsize, Ordering};
use kernel_sync::{Callback, Rcu, RcuArc, smp_mb};
use kernel_task::pid::{Pid, PidError, PidTable};

/// Sections and callbacks of one model. All threads of a model share one thread of the host, so a
/// thread local is their common memory, and tests that run side by side do not meet.
#[derive(Default)]
struct Sections {
    next: usize,
    inside: Vec<usize>,
    waiting: Vec<Waiting>,
}

/// A callback, and the sections that must end before it runs.
struct Waiting {
    sections: Vec<usize>,
    callback: Callback,
}

thread_local! {
    static SECTIONS: RefCell<Sections> = RefCell::default();
}

loom::lazy_static! {
    /// What is left of RCU's ordering when the waiting is the mock's: a section that a callback did
    /// not wait for begins after the unlinking, and sees it. Without this, loom rightly lets such a
    /// section load the pointer that was there before. Only read-modify-writes, which see the latest.
    static ref ORDER: AtomicUsize = AtomicUsize::new(0);

    /// See `either_first`.
    static ref START: AtomicUsize = AtomicUsize::new(0);
}

/// RCU that runs each callback the moment it may: a use after the grace period cannot hide.
struct Eager;

struct EagerGuard {
    section: usize,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a callback runs when the last section that existed when it was queued has ended; `ORDER`
// makes what those sections did happen before it.
unsafe impl Rcu for Eager {
    type Guard = EagerGuard;

    fn read_lock() -> EagerGuard {
        ORDER.fetch_or(0, Ordering::Acquire);
        SECTIONS.with_borrow_mut(|all| {
            all.next += 1;
            all.inside.push(all.next);
            EagerGuard { section: all.next, not_send: PhantomData }
        })
    }

    fn call_rcu(callback: Callback) {
        ORDER.fetch_or(0, Ordering::Release);
        SECTIONS.with_borrow_mut(|all| {
            let sections = all.inside.clone();
            all.waiting.push(Waiting { sections, callback });
        });
        run_due();
    }
}

impl Drop for EagerGuard {
    fn drop(&mut self) {
        ORDER.fetch_or(0, Ordering::Release);
        SECTIONS.with_borrow_mut(|all| {
            all.inside.retain(|&section| section != self.section);
            for waiting in &mut all.waiting {
                waiting.sections.retain(|&section| section != self.section);
            }
        });
        run_due();
    }
}

/// Runs the callbacks whose sections are over, outside of the mock's own borrow.
fn run_due() {
    let due = SECTIONS.with_borrow_mut(|all| {
        let (due, waiting) =
            all.waiting.drain(..).partition(|waiting: &Waiting| waiting.sections.is_empty());
        all.waiting = waiting;
        due
    });
    if !due.is_empty() {
        ORDER.fetch_or(0, Ordering::Acquire);
        due.into_iter().for_each(|due| due.callback.run());
    }
}

/// Task whose content is written before it is published: loom complains if a reader is not ordered
/// after that.
struct Task {
    pid: u32,
    content: loom::cell::UnsafeCell<u32>,
    dropped: Arc<std::sync::atomic::AtomicBool>,
}

// SAFETY: `content` is written by `new` and only read afterwards, which is what loom checks.
unsafe impl Sync for Task {}

impl Task {
    fn new(pid: Pid) -> RcuArc<Self, Eager> {
        let task = Self {
            pid: pid.get(),
            content: loom::cell::UnsafeCell::new(0),
            dropped: Arc::default(),
        };
        // SAFETY: nobody else has it yet.
        task.content.with_mut(|content| unsafe { *content = pid.get() });
        RcuArc::try_new(task).expect("heap")
    }

    fn check(&self) {
        assert!(!self.dropped.load(std::sync::atomic::Ordering::Relaxed), "used after its drop");
        // SAFETY: only read since publication; loom panics if that is not so.
        let content = self.content.with(|content| unsafe { *content });
        assert_eq!(content, self.pid);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.dropped.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

type Table = PidTable<Task, Eager>;

fn table(limit: u32, cpus: usize) -> Arc<Table> {
    Arc::new(PidTable::new(limit, cpus).expect("good limit"))
}

fn fork(table: &Table, cpu: usize) -> Pid {
    let reservation = table.alloc(cpu).expect("a free pid");
    let task = Task::new(reservation.pid());
    reservation.publish(task)
}

/// Pids that a walk visits. Takes the guard first: the barrier is the caller's.
fn walk(table: &Table, guard: &EagerGuard) -> Vec<u32> {
    let mut seen = Vec::new();
    table.for_each(guard, &mut |task| {
        task.check();
        seen.push(task.pid);
    });
    seen
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    kernel_sync::explore(preemptions, move || {
        // Made by the first thread, so that their making orders nothing between the others.
        ORDER.load(Ordering::Relaxed);
        START.load(Ordering::Relaxed);
        model();
    });
}

/// To be called first by each side of a race. It makes loom explore both that this thread runs first
/// and that another does. By itself loom 0.7.3 does not: where one side loads a word, and the other
/// loads it and then stores to it, the second load hides the conflict, and it stops after the first
/// interleaving (tokio-rs/loom #166, #392).
fn either_first() {
    START.fetch_or(0, Ordering::Relaxed);
}

/// The race of fork and growth. `prepare` brings the table into a state and keeps what it returns.
fn publisher_or_walker_sees_the_other<K>(
    preemptions: Option<usize>,
    prepare: impl Fn(&Table) -> K + Sync + Send + 'static,
) {
    explore(preemptions, move || {
        let table = table(6, 2);
        let _kept = prepare(&table);
        let reference = Arc::new(AtomicUsize::new(0));
        let fork_side = loom::thread::spawn({
            let (table, reference) = (Arc::clone(&table), Arc::clone(&reference));
            move || {
                either_first();
                let pid = fork(&table, 0);
                smp_mb();
                (pid, reference.load(Ordering::Relaxed) == 1)
            }
        });
        either_first();
        let guard = Eager::read_lock();
        reference.store(1, Ordering::Relaxed);
        smp_mb();
        let seen = walk(&table, &guard);
        drop(guard);
        let (pid, fork_saw) = fork_side.join().expect("the fork side ends");
        assert!(fork_saw || seen.contains(&pid.get()), "pid {pid} was missed by both");
    });
}

/// The segment does not exist, nor is the chunk in the summary.
#[test]
fn first_fork_is_seen_or_sees() {
    publisher_or_walker_sees_the_other(Some(2), |_| ());
}

/// The steady state: the chunk is a batch already.
#[test]
fn fork_within_a_batch_is_seen_or_sees() {
    publisher_or_walker_sees_the_other(Some(2), |table| {
        fork(table, 0);
        let first = fork(table, 0);
        table.remove(first).expect("published");
    });
}

/// The batch is used up and empty: the fork closes its chunk and opens the next.
#[test]
fn fork_that_changes_batches_is_seen_or_sees() {
    publisher_or_walker_sees_the_other(Some(2), |table| {
        for pid in [fork(table, 0), fork(table, 0), fork(table, 0)] {
            table.remove(pid).expect("published");
        }
    });
}

/// The fork goes into a chunk that is listed, empty and nobody's batch: the walk is about to close
/// it while the fork claims it.
#[test]
fn walk_that_tidies_does_not_hide_a_fork() {
    publisher_or_walker_sees_the_other(Some(2), |table| {
        // Pids 1 to 5 in chunks 0, 1, 2. Retired while in use, emptied afterwards.
        let all: Vec<Pid> = (0..5).map(|_| fork(table, 1)).collect();
        assert_eq!(table.alloc(1).err(), Some(PidError::Exhausted { limit: 6 }));
        for pid in all {
            table.remove(pid).expect("published");
        }
    });
}

/// The same with a second walker doing the tidying, between the fork's steps.
#[test]
fn another_walk_does_not_hide_a_fork() {
    explore(Some(2), || {
        let table = table(4, 2);
        let all: Vec<Pid> = (0..3).map(|_| fork(&table, 1)).collect();
        assert!(table.alloc(1).is_err());
        all.into_iter().for_each(|pid| table.remove(pid).expect("published"));
        let reference = Arc::new(AtomicUsize::new(0));
        let fork_side = loom::thread::spawn({
            let (table, reference) = (Arc::clone(&table), Arc::clone(&reference));
            move || {
                either_first();
                let pid = fork(&table, 0);
                smp_mb();
                (pid, reference.load(Ordering::Relaxed) == 1)
            }
        });
        let tidier = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                walk(&table, &Eager::read_lock());
            }
        });
        either_first();
        let guard = Eager::read_lock();
        reference.store(1, Ordering::Relaxed);
        smp_mb();
        let seen = walk(&table, &guard);
        drop(guard);
        let (pid, fork_saw) = fork_side.join().expect("the fork side ends");
        tidier.join().expect("the other walker ends");
        assert!(fork_saw || seen.contains(&pid.get()), "pid {pid} was missed by both");
    });
}

/// A pid taken out of another CPU's batch, which that CPU is about to give up as empty.
#[test]
fn fork_into_the_batch_of_another_cpu_is_seen_or_sees() {
    explore(Some(2), || {
        // One chunk, pid 1 only: the batch of cpu 1, used up and empty.
        let table = table(2, 3);
        let used = fork(&table, 1);
        table.remove(used).expect("published");
        let reference = Arc::new(AtomicUsize::new(0));
        let owner = loom::thread::spawn({
            let table = Arc::clone(&table);
            // Finds its batch used up, retires it and looks for another. Gives back what it gets.
            move || {
                either_first();
                drop(table.alloc(1));
            }
        });
        let fork_side = loom::thread::spawn({
            let (table, reference) = (Arc::clone(&table), Arc::clone(&reference));
            move || {
                either_first();
                let reservation = table.alloc(0).ok()?;
                let task = Task::new(reservation.pid());
                reservation.publish(task);
                smp_mb();
                Some(reference.load(Ordering::Relaxed) == 1)
            }
        });
        either_first();
        let guard = Eager::read_lock();
        reference.store(1, Ordering::Relaxed);
        smp_mb();
        let seen = walk(&table, &guard);
        drop(guard);
        owner.join().expect("the owner ends");
        if let Some(fork_saw) = fork_side.join().expect("the fork side ends") {
            assert!(fork_saw || seen == [1], "pid 1 was missed by both");
        }
    });
}

/// Publication that happens before the walk needs no barrier.
#[test]
fn walk_after_a_message_sees_the_publication() {
    explore(Some(3), || {
        let table = table(4, 1);
        let message = Arc::new(AtomicUsize::new(0));
        let fork_side = loom::thread::spawn({
            let (table, message) = (Arc::clone(&table), Arc::clone(&message));
            move || {
                either_first();
                fork(&table, 0);
                message.store(1, Ordering::Release);
            }
        });
        either_first();
        let guard = Eager::read_lock();
        let told = message.load(Ordering::Acquire) == 1;
        let seen = walk(&table, &guard);
        drop(guard);
        assert!(!told || seen == [1], "told, and saw {seen:?}");
        fork_side.join().expect("the fork side ends");
    });
}

fn two_allocations(limit: u32, cpus: [usize; 2]) {
    explore(Some(3), move || {
        let table = table(limit, 2);
        let other = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                fork(&table, cpus[1])
            }
        });
        either_first();
        let mine = fork(&table, cpus[0]);
        let theirs = other.join().expect("the other side ends");
        assert_ne!(mine, theirs);
        let mut seen = walk(&table, &Eager::read_lock());
        seen.sort_unstable();
        assert_eq!(seen.len(), 2);
        assert!(seen.contains(&mine.get()) && seen.contains(&theirs.get()));
    });
}

#[test]
fn two_cpus_get_different_pids() {
    two_allocations(6, [0, 1]);
}

#[test]
fn two_tasks_of_one_cpu_get_different_pids() {
    two_allocations(6, [0, 0]);
}

/// Both pids of the table are wanted at once, out of two chunks and whoever's batch.
#[test]
fn two_cpus_share_the_last_two_pids() {
    two_allocations(3, [0, 1]);
}

/// One thread gives pids back and has their chunk closed, another asks for the one pid that was free
/// all the time: it is never told that there is none.
#[test]
fn free_pid_is_found_while_its_chunk_is_closed_and_opened() {
    explore(Some(3), || {
        // Chunk 0 holds pid 1, chunk 1 pid 2. Pid 2 is free throughout.
        let table = table(3, 3);
        let (one, two) = (fork(&table, 0), fork(&table, 1));
        table.remove(two).expect("published");
        let closer = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                table.remove(one).expect("published");
                walk(&table, &Eager::read_lock());
            }
        });
        either_first();
        assert!(table.alloc(2).is_ok(), "pid 2 was free");
        closer.join().expect("the closer ends");
    });
}

/// What a search must not do: take a closed chunk for a full one.
#[test]
fn free_pid_is_found_while_cpus_change_batches() {
    explore(Some(2), || {
        let table = table(4, 3);
        // CPU 1 is at the end of chunk 1 (pids 2 and 3), which is empty, so its next fork closes it.
        let all: Vec<Pid> = (0..3).map(|_| fork(&table, 1)).collect();
        table.remove(all[1]).expect("published");
        table.remove(all[2]).expect("published");
        let other = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                drop(table.alloc(1).expect("two pids for two"));
            }
        });
        either_first();
        assert!(table.alloc(2).is_ok(), "of two pids the other takes one");
        other.join().expect("the other side ends");
    });
}

#[test]
fn reader_never_sees_a_dropped_task() {
    explore(Some(3), || {
        let table = table(4, 1);
        let pid = fork(&table, 0);
        let reader = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                let guard = Eager::read_lock();
                let seen = table.get(pid, &guard);
                loom::thread::yield_now();
                if let Some(task) = seen {
                    task.check();
                }
                let kept = table.get_ref(pid, &guard);
                drop(guard);
                loom::thread::yield_now();
                if let Some(task) = kept {
                    task.check();
                }
            }
        });
        either_first();
        table.remove(pid).expect("published");
        assert_eq!(table.remove(pid), Err(PidError::NotPublished { pid }));
        // The pid is free again at once, for a task of its own.
        let again = fork(&table, 0);
        assert_ne!(again, pid, "but not the same pid");
        reader.join().expect("the reader ends");
    });
}

#[test]
fn reader_never_sees_an_unfinished_task() {
    explore(Some(3), || {
        let table = table(4, 1);
        let publisher = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                fork(&table, 0)
            }
        });
        either_first();
        let guard = Eager::read_lock();
        if let Some(task) = table.get(Pid::INIT, &guard) {
            task.check();
        }
        drop(guard);
        publisher.join().expect("the publisher ends");
    });
}

#[test]
fn one_of_two_removers_wins() {
    explore(Some(3), || {
        let table = table(4, 1);
        let pid = fork(&table, 0);
        let other = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                table.remove(pid).is_ok()
            }
        });
        either_first();
        let mine = table.remove(pid).is_ok();
        let theirs = other.join().expect("the other side ends");
        assert!(mine ^ theirs);
    });
}

/// A pid goes from one task to the next: the second publication must not be lost to the removal of
/// the first, nor may a reader mistake the order.
#[test]
fn pid_is_reused_only_after_its_slot_is_empty() {
    explore(Some(3), || {
        let table = table(2, 2);
        let first = fork(&table, 0);
        let next = loom::thread::spawn({
            let table = Arc::clone(&table);
            move || {
                either_first();
                match table.alloc(1) {
                    Ok(reservation) => {
                        let task = Task::new(reservation.pid());
                        Some(reservation.publish(task))
                    }
                    Err(error) => {
                        assert_eq!(error, PidError::Exhausted { limit: 2 });
                        None
                    }
                }
            }
        });
        either_first();
        table.remove(first).expect("published");
        let next = next.join().expect("the next fork ends");
        let guard = Eager::read_lock();
        assert_eq!(table.get(first, &guard).is_some(), next.is_some());
    });
}
