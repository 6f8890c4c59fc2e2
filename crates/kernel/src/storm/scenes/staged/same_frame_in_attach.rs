//! While an attach holds what it has read, another processor grows the slot, which gets back the entry that it had: another life of
//! the same frame.
//!
//! ```text
//! attach                     reclaim, growth
//!                            v1 -> none, walk: misses the mm, which has no task; the frame is free
//! publish; finds v1, reads none
//!                            none -> v1, the same frame; walk: finds the mm, and v1 in it
//! must not take that out
//! ```
//!
//! With the lock of the PGD, the walk waits until the attach is done, and brings v1 again. So the attach waits a while only.

use super::super::grace;
use super::{cue, hold};
use crate::mm::poison;
use crate::sched::current;
use crate::storm::attached::set_attached;
use crate::storm::pace::MILLISECOND;
use crate::storm::{area, attacher, crowd, look, report};
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_task::attach::kthread_unuse_mm;
use mutants::stage::Point;

/// Time in which the other grows, where nothing keeps it from that.
const PATIENCE: u64 = 50 * MILLISECOND;

static SECRET: AtomicU64 = AtomicU64::new(0);

pub(super) fn play(actor: usize, cpu: usize) {
    let place = area::shared(0, 0);
    if actor == 1 {
        cue::wait(1);
        let grown = area::grow_and_map(place);
        SECRET.store(grown.secret, Ordering::Relaxed);
        cue::give(2);
        cue::wait(3);
        return look::reclaim(grown);
    }
    let slot = report::slot_of(place.address);
    let former = area::grow_and_map(place);
    let frame = area::table_behind(slot);
    let task = crowd::ready(cpu);
    let mm = task.mm().expect("a user task that has not exited");
    crowd::end(&task);
    look::reclaim(former);
    grace::end();
    let held = hold::at(Point::ReferenceRead { slot }, move || {
        // Another processor may have run the callback, and then it has the frame: the growth takes another one, and this play shows
        // nothing.
        let is_same = poison::take_next(frame);
        cue::give(1);
        cue::wait_here(2, PATIENCE);
        is_same
    });
    crowd::attach(cpu, mm);
    let is_same = held.take();
    cue::wait(2);
    assert!(!is_same || area::table_behind(slot) == frame, "growth takes the slot's table first");
    look::at(
        place.address,
        SECRET.load(Ordering::Relaxed),
        "in a scene: the same frame within attach",
    );
    set_attached(cpu, false);
    drop(kthread_unuse_mm(&current()).expect("attached before"));
    attacher::leave();
    cue::give(3);
}
