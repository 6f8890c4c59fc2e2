//! A kernel thread that grows the kernel, lets everybody look, now and then moves the table below, and gives back what it has grown.

use super::pace::{MILLISECOND, sleep};
use super::random::Random;
use super::team::Orders;
use super::{area, look};
use crate::rcu;
use crate::sched::schedule;

/// Shared slots that growers prefer, so that two often meet in one.
const POPULAR: u64 = 3;

/// Works until the orders say otherwise.
pub(super) fn run(number: usize, orders: &Orders) {
    let mut random = Random::new();
    let number = number % area::MAX_GROWERS;
    while orders.go_on() {
        round(number, &mut random);
        rcu::quiesce();
        if random.one_in(4) {
            schedule();
        } else {
            sleep(random.below(2 * MILLISECOND));
        }
    }
}

fn round(number: usize, random: &mut Random) {
    let place = match random.below(8) {
        0 => area::pair(number),
        1..5 => area::shared(random.below(POPULAR), number),
        _ => area::shared(random.below(area::shared_slots()), number),
    };
    let range = area::grow(place);
    let mut grown = area::map(place, range, crate::random::word());
    look::everywhere(&grown);
    look::open(number, &grown);
    if random.one_in(3) {
        // While others look: the top-level entry changes under their accesses.
        grown.move_table();
        look::everywhere(&grown);
    }
    // Others look while programs come and go.
    for _ in 0..random.below(4) {
        schedule();
        look::all("in a grower");
    }
    if random.one_in(2) {
        sleep(random.below(MILLISECOND));
    }
    look::close(number);
    look::reclaim(grown);
}
