//! A CPU keeps the PGD that it has loaded, whoever else lets it go, and lets it go when it goes itself.

use mm_generic::arch::ArchPgd;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::ReadyMm;

use super::world::{World, on_every_mmu};

on_every_mmu!(a_cpu_that_is_taken_away_lets_its_mm_go);

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
