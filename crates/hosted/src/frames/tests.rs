//! The allocator's own promises, and that its traps catch what they are for.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::*;

fn put(frames: &HostFrames, frame: Frame) {
    // SAFETY: allocated by the test, which keeps no other way to it.
    unsafe { frames.put(frame) };
}

#[test]
fn every_frame_but_frame_0_is_handed_out_once() {
    let frames = HostFrames::new(300).checked();
    let all: BTreeSet<Frame> = (1..300).map(|_| frames.alloc().unwrap()).collect();
    assert_eq!(all.len(), 299);
    assert!(all.iter().all(|frame| frame.phys() != 0 && frames.contains(*frame)));
    assert_eq!(frames.alloc(), Err(OutOfFrames { total: 300 }));
    assert_eq!(frames.allocated(), 299);
    all.iter().for_each(|&frame| put(&frames, frame));
    assert_eq!(frames.allocated(), 0);
}

#[test]
fn a_frame_comes_back_zeroed_when_its_last_count_goes() {
    let frames = HostFrames::new(2).checked();
    let frame = frames.alloc().unwrap();
    frames.table64(frame)[511].store(7, Ordering::Relaxed);
    frames.get(frame);
    assert!(frames.is_shared(frame));
    put(&frames, frame);
    assert!(!frames.is_shared(frame));
    assert_eq!(frames.table64(frame)[511].load(Ordering::Relaxed), 7);
    put(&frames, frame);
    let again = frames.alloc().unwrap();
    assert_eq!(again, frame);
    assert!(frames.table64(again).iter().all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn a_table_of_32_bits_and_one_of_64_are_the_same_memory() {
    let frames = HostFrames::new(2);
    let frame = frames.alloc().unwrap();
    frames.table32(frame)[1023].store(0x1234_5678, Ordering::Relaxed);
    let word = frames.table64(frame)[511].load(Ordering::Relaxed);
    assert_eq!(word, 0x1234_5678 << 32);
}

#[test]
fn a_write_after_the_free_is_found() {
    let frames = HostFrames::new(8);
    let frame = frames.alloc().unwrap();
    let table = frames.table64(frame);
    put(&frames, frame);
    assert_eq!(frames.check_free_frames(), Ok(()));
    table[3].store(0xbad, Ordering::Relaxed);
    let found = WrittenAfterFree { frame, offset: 24, word: 0xbad };
    assert_eq!(frames.check_free_frames(), Err(found));
}

#[test]
fn a_write_after_the_free_is_found_by_the_next_allocation() {
    let frames = HostFrames::new(2).checked();
    let frame = frames.alloc().unwrap();
    let table = frames.table64(frame);
    put(&frames, frame);
    table[0].store(1, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| frames.alloc())).is_err());
}

#[test]
fn a_count_that_does_not_exist_is_not_taken_twice() {
    let frames = HostFrames::new(2);
    let frame = frames.alloc().unwrap();
    put(&frames, frame);
    assert!(catch_unwind(AssertUnwindSafe(|| put(&frames, frame))).is_err(), "put");
    let frames = HostFrames::new(2);
    let frame = frames.alloc().unwrap();
    put(&frames, frame);
    assert!(catch_unwind(AssertUnwindSafe(|| frames.get(frame))).is_err(), "get");
}

#[test]
fn allocations_fail_where_they_are_told_to() {
    let frames = HostFrames::new(16);
    let outcome = || frames.alloc().is_ok();
    frames.fail_after(2);
    assert_eq!([(); 4].map(|()| outcome()), [true, true, false, false]);
    frames.fail_never();
    assert!(outcome());
    frames.fail_once_after(1);
    assert_eq!([(); 4].map(|()| outcome()), [true, false, true, true]);
    frames.fail_after(0);
    assert!(!outcome());
    assert_eq!(frames.allocated(), 6);
}

#[test]
fn the_last_frame_is_found_on_whatever_list_it_is() {
    let frames = HostFrames::new(100);
    // Another thread takes a batch to its list and leaves it there.
    thread::scope(|scope| {
        scope.spawn(|| {
            let frame = frames.alloc().unwrap();
            put(&frames, frame);
        });
    });
    let all: Vec<Frame> = std::iter::from_fn(|| frames.alloc().ok()).collect();
    assert_eq!((all.len(), frames.allocated()), (99, 99));
}

#[test]
fn frames_wander_between_threads_and_none_is_lost() {
    let frames = HostFrames::new(2000).checked();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let frames = &frames;
        for _ in 0..2 {
            let sender = sender.clone();
            scope.spawn(move || {
                for round in 0..5000 {
                    let Ok(frame) = frames.alloc() else { continue };
                    frames.table64(frame)[7].store(round + 1, Ordering::Relaxed);
                    sender.send(frame).unwrap();
                }
            });
        }
        drop(sender);
        scope.spawn(move || receiver.into_iter().for_each(|frame| put(frames, frame)));
    });
    assert_eq!(frames.allocated(), 0);
    frames.check_free_frames().unwrap();
    let all: BTreeSet<Frame> = std::iter::from_fn(|| frames.alloc().ok()).collect();
    assert_eq!(all.len(), 1999);
}
