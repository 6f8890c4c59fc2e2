//! The list of mms: who joined is visited, who left is not, and slots come round.
#![cfg(not(loom))]

use kernel_sync::Mutex;
use std::collections::HashSet;

use kernel_task::mm_list::{MmList, MmPlace};

fn list(cpus: usize) -> &'static MmList<u32> {
    Box::leak(Box::new(MmList::try_new(cpus, || 0).expect("heap")))
}

fn joined(list: &'static MmList<u32>, mm: &'static u32) -> MmPlace<u32> {
    let place = list.place().expect("heap");
    // SAFETY: a leaked mm lives for ever.
    unsafe { place.join(mm) };
    place
}

fn leaked(number: u32) -> &'static u32 {
    Box::leak(Box::new(number))
}

fn visited(list: &MmList<u32>) -> Vec<u32> {
    let mut visited = Vec::new();
    // SAFETY: nothing is freed.
    unsafe { list.for_each(&mut |&mm| visited.push(mm)) };
    visited.sort_unstable();
    visited
}

#[test]
fn who_joined_is_visited_once_and_who_left_is_not() {
    let list = list(2);
    let places: Vec<_> = (0..1000).map(|number| joined(list, leaked(number))).collect();
    assert_eq!(visited(list), (0..1000).collect::<Vec<_>>());
    places.iter().step_by(2).for_each(MmPlace::leave);
    assert_eq!(visited(list), (0..1000).filter(|number| number % 2 == 1).collect::<Vec<_>>());
    let reserved = list.place().expect("heap");
    assert_eq!(visited(list).len(), 500, "a place that nobody joined at is not visited");
    drop(reserved);
    drop(places);
    assert_eq!(visited(list), []);
}

#[test]
fn live_mms_are_found_while_others_come_and_go_on_every_cpu() {
    let list = list(4);
    let (stays, seen) = (joined(list, leaked(u32::MAX)), Mutex::new(HashSet::new()));
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            let seen = &seen;
            scope.spawn(move || {
                let mut live = Vec::new();
                for turn in 0..20_000_u32 {
                    let number = cpu * 100_000 + turn % 100;
                    live.push((number, joined(list, leaked(number))));
                    if turn % 64 == 63 {
                        let found: HashSet<u32> = visited(list).into_iter().collect();
                        for (number, _) in &live {
                            assert!(found.contains(number), "{number} is live and was not found");
                        }
                        assert!(found.contains(&u32::MAX));
                        seen.lock().extend(found);
                        live.iter().for_each(|(_, place)| place.leave());
                        live.clear();
                    }
                }
            });
        }
    });
    stays.leave();
    drop(stays);
    assert_eq!(visited(list), []);
    assert!(seen.into_inner().len() > 100);
}
