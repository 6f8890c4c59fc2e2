//! Slots of the kernel half that each mm keeps for itself: the hook leaves them alone, and so does the walk.

use arch_x86::geometry::{Geometry, TwoLevel};
use hosted::mmu::{Access, MmuKind};
use kernel_fork::args::CloneArgs;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::Frames;
use mm_generic::publish::NewMm;

use super::world::{Size, World, on_four_levels, run};

/// Linux fills the slot of the LDT before the publication; a blanket copy of the kernel half would wipe it.
fn a_private_slot_survives_the_hook_and_the_walk<G: Geometry>(world: &'static World<G>) {
    const LDT: usize = 3;
    let task = world.fork(&world.init(), &CloneArgs::FORK);
    world.load(1, &task);
    let new = NewMm::new(world.init_mm).expect("frames enough");
    let root = new.mm().root();
    let mark = 0xdead_b000_u64;
    let slot = || -> u64 {
        match world.kind {
            MmuKind::TwoLevel => {
                u64::from(world.frames.table32(root)[G::BOUNDARY + LDT].load(Ordering::Relaxed))
            }
            _ => world.frames.table64(root)[G::BOUNDARY + LDT].load(Ordering::Relaxed),
        }
    };
    match world.kind {
        MmuKind::TwoLevel => world.frames.table32(root)[G::BOUNDARY + LDT]
            .store(u32::try_from(mark).expect("32 bits"), Ordering::Relaxed),
        _ => world.frames.table64(root)[G::BOUNDARY + LDT].store(mark, Ordering::Relaxed),
    }
    let before = world.grow();
    drop(world.exec(&task, new).expect("one user thread"));
    assert_eq!(slot(), mark);
    let after = world.grow();
    assert_eq!(slot(), mark);
    assert!(world.shows(root, before) && world.shows(root, after));
    // No other mm has it, and a growth there is refused.
    let refused = world.init_mm.grow(world.slot_addr(LDT), 4096);
    assert!(refused.is_err(), "{refused:?}");
    let child = world.fork(&task, &CloneArgs::FORK);
    let translated =
        world.translate(world.mm_of(&child).root(), world.slot_addr(LDT), Access::KERNEL_READ);
    assert!(translated.is_err());
    world.end_child(&task, &child);
    world.end_child(&world.init(), &task);
}

#[test]
fn private_slots_survive_on_four_levels() {
    let size = Size { private: vec![3], ..Size::default() };
    on_four_levels(size, a_private_slot_survives_the_hook_and_the_walk);
}

#[test]
fn private_slots_survive_on_two_levels() {
    let size = Size { private: vec![3], ..Size::default() };
    run(TwoLevel, MmuKind::TwoLevel, size, a_private_slot_survives_the_hook_and_the_walk);
}
