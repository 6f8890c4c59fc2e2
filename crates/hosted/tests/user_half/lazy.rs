//! What a CPU may load, and how long it keeps it.

use mm_generic::arch::ArchPgd;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::Stage;
use mm_generic::publish::{NewMm, NotReady, ReadyMm};

use super::world::{World, on_every_mmu};

on_every_mmu!(
    a_cpu_that_is_taken_away_lets_its_mm_go,
    an_mm_is_loaded_when_its_late_init_has_ended
);

fn an_mm_is_loaded_when_its_late_init_has_ended<A: ArchPgd>(world: &World<A>) {
    let (published, mm) = NewMm::new(world.init_mm).unwrap().publish(world.init_mm.walkers());
    let refused = NotReady { stage: Stage::Published };
    assert_eq!(ReadyMm::of(&mm).err(), Some(refused));
    published.init_late();
    assert!(ReadyMm::of(&mm).is_ok());
    world.init_mm.walkers().remove(&mm);
}

fn a_cpu_that_is_taken_away_lets_its_mm_go<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let process = world.process();
    let loaded = LoadedMm::new();
    // SAFETY: this thread is the CPU, and the process holds the mm.
    unsafe { loaded.switch_mm(ReadyMm::of(&process.mm).unwrap()) };
    drop(process);
    assert!(world.frames.allocated() > before, "the CPU still has the PGD loaded");
    drop(loaded);
    world.assert_allocated(before);
}
