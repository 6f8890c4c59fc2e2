//! The pid table seen from one thread: order of the numbers, errors, and who drops what when.
#![cfg(not(loom))]

mod pid_host_rcu;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sync::Rcu;
use kernel_task::pid::{
    PID_MAX_DEFAULT, PID_MAX_LIMIT, Pid, PidError, PidReservation, PidTable, RESERVED_PIDS,
};
use pid_host_rcu::{HostRcu, task};

type Table<T> = PidTable<T, HostRcu>;

fn table<T: Send + Sync + 'static>(limit: u32, cpus: usize) -> Table<T> {
    PidTable::new(limit, cpus).expect("the limit is good")
}

fn pid(raw: u32) -> Pid {
    Pid::new(raw).expect("a pid")
}

/// Forks a task on `cpu` that knows its pid, and publishes it.
fn fork(table: &Table<u32>, cpu: usize) -> u32 {
    let reservation = table.alloc(cpu).expect("a free pid");
    let number = reservation.pid().get();
    reservation.publish(task(number)).get()
}

fn walk(table: &Table<u32>) -> Vec<u32> {
    let guard = HostRcu::read_lock();
    let mut seen = Vec::new();
    table.for_each(&guard, &mut |task| seen.push(*task));
    seen
}

#[test]
fn init_gets_pid_one_and_pids_ascend() {
    let table = table(PID_MAX_DEFAULT, 4);
    assert_eq!(fork(&table, 0), Pid::INIT.get());
    let next: Vec<u32> = (0..200).map(|_| fork(&table, 0)).collect();
    assert_eq!(next, (2..202).collect::<Vec<_>>());
    assert_eq!(walk(&table), (1..202).collect::<Vec<_>>());
}

#[test]
fn each_cpu_hands_out_from_a_chunk_of_its_own() {
    let table = table(PID_MAX_DEFAULT, 3);
    assert_eq!([fork(&table, 0), fork(&table, 1), fork(&table, 2)], [1, 64, 128]);
    assert_eq!([fork(&table, 2), fork(&table, 0), fork(&table, 1)], [129, 2, 65]);
    assert_eq!(table.batches_claimed(), 3);
}

#[test]
fn freed_pid_is_not_reused_before_the_numbers_wrapped() {
    let limit = 64 * 4;
    let table = table(limit, 1);
    for expected in 1..limit {
        assert_eq!(fork(&table, 0), expected);
        table.remove(pid(expected)).expect("published");
    }
    assert_eq!(fork(&table, 0), 1, "after the largest pid comes the smallest free one");
}

#[test]
fn pids_in_use_are_skipped_after_the_wrap() {
    let table = table(64 * 2, 1);
    for _ in 1..64 * 2 {
        fork(&table, 0);
    }
    for gone in [3, 70, 71, 127] {
        table.remove(pid(gone)).expect("published");
    }
    assert_eq!([0; 4].map(|_| fork(&table, 0)), [3, 70, 71, 127]);
}

#[test]
fn reserved_pids_are_left_alone_after_the_wrap() {
    let table = table(RESERVED_PIDS + 200, 1);
    for expected in 1..RESERVED_PIDS + 200 {
        assert_eq!(fork(&table, 0), expected);
        table.remove(pid(expected)).expect("published");
    }
    for _ in 0..3 {
        for expected in RESERVED_PIDS..RESERVED_PIDS + 200 {
            assert_eq!(fork(&table, 0), expected);
            table.remove(pid(expected)).expect("published");
        }
    }
}

#[test]
fn reserved_pids_are_the_last_resort() {
    let limit = RESERVED_PIDS + 20;
    let table = table(limit, 1);
    for _ in 1..limit {
        fork(&table, 0);
    }
    table.remove(pid(7)).expect("published");
    table.remove(pid(RESERVED_PIDS + 5)).expect("published");
    assert_eq!([fork(&table, 0), fork(&table, 0)], [RESERVED_PIDS + 5, 7]);
    assert_eq!(table.alloc(0).err(), Some(PidError::Exhausted { limit }));
}

#[test]
fn last_free_pid_is_found_in_the_batch_of_another_cpu() {
    let limit = 100;
    let table = table(limit, 8);
    // CPU 0 and CPU 1 each hold one of the two chunks.
    let mut all = vec![fork(&table, 0), fork(&table, 1)];
    // CPU 7 comes too late for a batch and takes the rest out of theirs.
    all.extend((2..limit - 1).map(|_| fork(&table, 7)));
    all.sort_unstable();
    assert_eq!(all, (1..limit).collect::<Vec<_>>());
    for cpu in 0..8 {
        assert_eq!(table.alloc(cpu).err(), Some(PidError::Exhausted { limit }));
    }
    for last in [1, 63, 64, 99] {
        table.remove(pid(last)).expect("published");
        assert_eq!(fork(&table, 3), last);
        assert_eq!(table.alloc(3).err(), Some(PidError::Exhausted { limit }));
    }
}

#[test]
fn table_of_one_pid_works() {
    let table = table(2, 2);
    for cpu in [0, 1, 1, 0] {
        assert_eq!(fork(&table, cpu), 1);
        assert_eq!(table.alloc(cpu).err(), Some(PidError::Exhausted { limit: 2 }));
        table.remove(Pid::INIT).expect("published");
        assert_eq!(walk(&table), []);
    }
}

#[test]
fn largest_limit_starts_small_and_reaches_its_last_pid() {
    let table = table(PID_MAX_LIMIT, 1);
    // Reserve and give back: no task, so this is the allocator alone.
    for expected in 1..PID_MAX_LIMIT {
        let reservation = table.alloc(0).expect("a free pid");
        assert_eq!(reservation.pid().get(), expected);
    }
    assert_eq!(fork(&table, 0), RESERVED_PIDS);
    assert_eq!(walk(&table), [RESERVED_PIDS]);
}

#[test]
fn limits_outside_the_range_are_refused_with_the_value() {
    for limit in [0, 1, PID_MAX_LIMIT + 1, u32::MAX] {
        let refused = PidTable::<u32, HostRcu>::new(limit, 1).map(|table| table.limit());
        assert_eq!(refused, Err(PidError::BadLimit { limit, min: 2, max: PID_MAX_LIMIT }));
    }
    assert_eq!(table::<u32>(PID_MAX_LIMIT, 0).limit(), PID_MAX_LIMIT);
}

#[test]
fn unknown_cpu_is_refused_with_the_value() {
    let table = table::<u32>(PID_MAX_DEFAULT, 2);
    assert_eq!(table.alloc(2).err(), Some(PidError::NoSuchCpu { cpu: 2, cpus: 2 }));
}

#[test]
fn numbers_that_are_no_pids_make_no_pid() {
    assert_eq!(Pid::new(0), None);
    assert_eq!(Pid::new(PID_MAX_LIMIT), None);
    assert_eq!(Pid::new(PID_MAX_LIMIT - 1).map(Pid::get), Some(PID_MAX_LIMIT - 1));
}

#[test]
fn failed_fork_gives_its_pid_back() {
    let table = table(2, 1);
    let reservation: PidReservation<'_, u32, HostRcu> = table.alloc(0).expect("a free pid");
    assert_eq!(reservation.pid(), Pid::INIT);
    assert_eq!(table.alloc(0).err(), Some(PidError::Exhausted { limit: 2 }));
    drop(reservation);
    assert_eq!(fork(&table, 0), 1);
}

#[test]
fn only_published_pids_are_found_and_removed() {
    let table = table::<u32>(PID_MAX_DEFAULT, 1);
    let absent = |raw| Err(PidError::NotPublished { pid: pid(raw) });
    assert_eq!(table.remove(pid(9)), absent(9), "no chunk yet");
    let reservation = table.alloc(0).expect("a free pid");
    let one = reservation.pid();
    let guard = HostRcu::read_lock();
    assert_eq!(table.get(one, &guard), None);
    assert_eq!(table.remove(one), absent(1), "reserved is not published");
    assert_eq!(table.alloc(0).expect("a free pid").pid(), pid(2), "and stays reserved");

    reservation.publish(task(17));
    assert_eq!(table.get(one, &guard), Some(&17));
    assert_eq!(table.get_ref(one, &guard).as_deref(), Some(&17));
    assert_eq!(table.get(pid(PID_MAX_LIMIT - 1), &guard), None, "beyond the limit");
    assert_eq!(table.remove(pid(PID_MAX_LIMIT - 1)), absent(PID_MAX_LIMIT - 1));

    assert_eq!(table.remove(one), Ok(()));
    assert_eq!(table.remove(one), absent(1));
    assert_eq!(table.get(one, &guard), None);
    assert!(table.get_ref(one, &guard).is_none());
}

/// Counts its drops.
struct Task(Arc<AtomicUsize>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn removed_task_lives_as_long_as_its_readers() {
    let drops = Arc::new(AtomicUsize::new(0));
    let table = table(PID_MAX_DEFAULT, 1);
    let publish = || table.alloc(0).expect("a free pid").publish(task(Task(drops.clone())));
    let (first, second) = (publish(), publish());

    let guard = HostRcu::read_lock();
    let kept = table.get_ref(second, &guard).expect("published");
    let seen = table.get(first, &guard).expect("published");
    table.remove(first).expect("published");
    table.remove(second).expect("published");
    for _ in 0..1000 {
        HostRcu::quiesce();
    }
    assert_eq!(seen.0.load(Ordering::Relaxed), 0, "a reader is inside its section");
    drop(guard);

    HostRcu::barrier();
    assert_eq!(drops.load(Ordering::Relaxed), 1, "the second task has a reference elsewhere");
    drop(kept);
    HostRcu::barrier();
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

#[test]
fn task_removed_by_a_cpu_that_left_is_dropped_by_another() {
    let drops = Arc::new(AtomicUsize::new(0));
    let table = table(PID_MAX_DEFAULT, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let task = task(Task(drops.clone()));
            let pid = table.alloc(0).expect("a free pid").publish(task);
            table.remove(pid).expect("published");
            HostRcu::leave();
        });
    });
    HostRcu::barrier();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn dropped_table_drops_its_tasks_after_the_readers() {
    let drops = Arc::new(AtomicUsize::new(0));
    let table = table(PID_MAX_DEFAULT, 2);
    let publish = |cpu| table.alloc(cpu).expect("a free pid").publish(task(Task(drops.clone())));
    let pids: Vec<Pid> = (0..150).map(|number| publish(number % 2)).collect();
    let guard = HostRcu::read_lock();
    let seen = table.get(pids[100], &guard).expect("published");
    drop(table);
    for _ in 0..1000 {
        HostRcu::quiesce();
    }
    assert_eq!(seen.0.load(Ordering::Relaxed), 0, "a reader is inside its section");
    drop(guard);
    HostRcu::barrier();
    assert_eq!(drops.load(Ordering::Relaxed), 150);
}

#[test]
fn visitor_may_remove_and_fork() {
    let table = table(PID_MAX_DEFAULT, 1);
    for _ in 0..130 {
        fork(&table, 0);
    }
    let guard = HostRcu::read_lock();
    let mut visited = 0;
    table.for_each(&guard, &mut |&task| {
        visited += 1;
        if task <= 130 {
            table.remove(pid(task)).expect("published, and this walk alone removes");
            fork(&table, 0);
        }
    });
    drop(guard);
    assert!(visited >= 130);
    assert_eq!(walk(&table), (131..261).collect::<Vec<_>>());
}
