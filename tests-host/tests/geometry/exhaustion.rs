//! Out of frames at every single allocation.

use arch_x86::geometry::Geometry;
use hosted::mmu::MmuKind;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frames, OutOfFrames};
use mm_generic::growth::GrowError;
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use tests_host::interlude::trace;
use tests_host::machine::{Machine, PgdScheme};

use super::{State, WAYS};

tests_host::on_every_machine!(frames_exhausted_at_each_point_of_a_growth);
tests_host::on_every_machine!(frees: frames_exhausted_at_each_point_of_a_pgd_alloc);

fn frames_exhausted_at_each_point_of_a_growth<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let [running, waiting] = [machine.fork(), machine.fork()];
    machine.switch(1, &running);
    let slots = machine.shape().slots.min(6);
    if slots > 1 {
        // One slot in the middle needs no table.
        machine.grow(slots / 2..slots / 2 + 1);
    }
    let needed = slots as u64 - u64::from(slots > 1);
    let total = machine.frames().total();
    let expected = GrowError::Populate(PopulateError::OutOfFrames(OutOfFrames { total }));
    let before = State::of(machine);
    for fail in WAYS {
        for failing in 0..needed {
            fail(machine.frames(), failing);
            let trace = trace(|| {
                assert_eq!(machine.try_grow(0..slots), Err(expected), "allocation {failing}");
            });
            machine.frames().fail_never();
            assert_eq!(trace, [], "nobody was visited");
            assert_eq!(State::of(machine), before, "allocation {failing}");
        }
    }
    machine.frames().fail_after(needed);
    let range = machine.try_grow(0..slots).expect("enough for the tables, and no more");
    machine.frames().fail_never();
    // The tables below the slots come with the pages, and may fail too.
    let addr = machine.shape().addr(0);
    let page = machine.frames().alloc().unwrap();
    let before = State::of(machine);
    let map = || machine.init_mm().map_kernel(&range, addr, page, Prot::READ);
    if machine.shape().kind != MmuKind::TwoLevel && !machine.shape().private_pmd {
        machine.frames().fail_after(0);
        let source = OutOfFrames { total };
        assert_eq!(map(), Err(MapError::OutOfFrames { addr, source }));
        machine.frames().fail_never();
        assert_eq!(State::of(machine), before);
    }
    assert_eq!(map(), Ok(()));
    for root in machine.roots() {
        assert_eq!(machine.translate(root, addr), Ok(page.phys()));
    }
    assert_eq!(map(), Err(MapError::Occupied { addr, frame: page }));
    drop(waiting);
}

fn frames_exhausted_at_each_point_of_a_pgd_alloc<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    machine.grow(0..1);
    let before = State::of(machine);
    let source = OutOfFrames { total: machine.frames().total() };
    let expected = NewMmError::Pgd(PgdAllocError::OutOfFrames(source));
    let needed = if machine.shape().private_pmd { 2 } else { 1 };
    for fail in WAYS {
        for failing in 0..needed {
            fail(machine.frames(), failing);
            assert_eq!(NewMm::new(machine.init_mm()).err(), Some(expected));
            machine.frames().fail_never();
            assert_eq!(State::of(machine), before);
        }
    }
    machine.frames().fail_after(needed);
    drop(NewMm::new(machine.init_mm()).expect("enough for the PGD, and no more"));
    machine.frames().fail_never();
    machine.rcu_barrier();
    assert_eq!(State::of(machine), before);
}
