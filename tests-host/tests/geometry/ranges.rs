//! Ranges that no growth takes.

use arch_x86::geometry::Geometry;
use mm_generic::arch::PopulateError;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::growth::GrowError;
use mm_generic::kernel_range::RangeError;
use tests_host::interlude::trace;
use tests_host::machine::{Boot, Machine, PgdScheme};

use super::State;

tests_host::on_every_machine!(bad_ranges);
tests_host::on_every_machine!(boots: growth_into_a_private_slot);

fn bad_ranges<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    machine.switch(1, &task);
    let before = State::of(machine);
    let shape = machine.shape();
    let (first, last) = (shape.first, shape.last);
    let half = last - first + 1;
    let grow = |start, len| machine.init_mm().grow(start, len).map(drop);
    assert_eq!(grow(first, 0), Err(GrowError::Range(RangeError::Empty { start: first })));
    for (start, len) in
        [(first + 1, PAGE_SIZE), (first, PAGE_SIZE - 1), (first + 8, 8), (first, half - 1)]
    {
        assert_eq!(grow(start, len), Err(GrowError::Range(RangeError::Unaligned { start, len })));
    }
    for (start, len) in [
        (0, PAGE_SIZE),
        (first - PAGE_SIZE, PAGE_SIZE),
        (first - PAGE_SIZE, 2 * PAGE_SIZE),
        (first, half + PAGE_SIZE),
        (last - PAGE_SIZE + 1, 2 * PAGE_SIZE),
        (last.wrapping_add(1), PAGE_SIZE),
        (0x1000, u64::MAX - 0xfff),
        (first, u64::MAX - 0xfff),
    ] {
        assert_eq!(
            grow(start, len),
            Err(GrowError::Range(RangeError::OutsideKernelHalf { start, len, first, last })),
            "{start:#x} {len:#x}"
        );
    }
    assert_eq!(State::of(machine), before);
    // The two ends of the half are in it.
    assert_eq!(grow(last - PAGE_SIZE + 1, PAGE_SIZE), Ok(()));
    assert_eq!(grow(first, half), Ok(()));
    assert_eq!(machine.reference().populated(), shape.slots);
}

fn growth_into_a_private_slot<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let shape = boot.shape();
    let private = shape.slots / 2;
    boot.with_private(&[private]).run(|machine| {
        let task = machine.fork();
        let before = State::of(machine);
        let expected = PopulateError::PrivateSlot { slot: private, addr: shape.addr(private) };
        for slots in [private..private + 1, 0..private + 1, private..shape.slots, 0..shape.slots] {
            let trace = trace(|| {
                assert_eq!(machine.try_grow(slots), Err(GrowError::Populate(expected)));
            });
            assert_eq!(trace, [], "nothing was populated and nobody visited");
        }
        assert_eq!(State::of(machine), before);
        drop(task);
    });
}
