//! What the modelled CPUs show of the kernel half, and what they must not.

use kernel_sync::atomic::{AtomicBool, Ordering};
use mm_generic::frames::Frame;

use super::arch::ModelArch;
use super::frames::ModelFrames;
use super::mmu::{Cached, Cpu, Mmu, SLOTS};

/// A look at the CPUs of a modelled kernel.
pub(super) struct Sight<'a, A> {
    pub(super) arch: &'a A,
    pub(super) frames: &'a ModelFrames,
    pub(super) mmu: &'a Mmu,
}

impl<A: ModelArch> Sight<'_, A> {
    /// Uses the addresses of every slot whose growth has returned, on a CPU; and translates the others, as a CPU may at any time.
    pub(super) fn touch(&self, cpu: usize, grown: &[AtomicBool; SLOTS]) {
        let mut state = self.mmu.cpus[cpu].lock();
        for (slot, grown) in grown.iter().enumerate() {
            let handed_out = grown.load(Ordering::Acquire);
            let shown = self.translate(&mut state, slot);
            assert!(
                !handed_out || shown.is_some(),
                "slot {slot} was handed out and is missing on a CPU"
            );
        }
    }

    /// Translates an address of each slot on a CPU, as speculation may at any time.
    pub(super) fn glance(&self, cpu: usize) {
        let mut state = self.mmu.cpus[cpu].lock();
        for slot in 0..SLOTS {
            let _ = self.translate(&mut state, slot);
        }
    }

    /// Asserts that a CPU shows in slot number `slot` what the reference holds, and has cached nothing else. For the owner of a
    /// range in it, after a growth.
    pub(super) fn verify(&self, slot: usize) {
        for cpu in &self.mmu.cpus {
            let state = cpu.lock();
            let entry = self.reference(slot);
            assert!(entry.is_some(), "slot {slot} was handed out and is gone");
            assert_eq!(self.shown(&state, slot), entry, "slot {slot} in a PGD that is loaded");
            let cached = state.cached[slot];
            assert!(cached.is_none() || cached == entry, "slot {slot} is cached as it was");
        }
    }

    /// Asserts that no CPU shows `old` in slot number `slot`, or has it cached. For who has taken it out.
    pub(super) fn verify_gone(&self, slot: usize, old: Cached) {
        for cpu in &self.mmu.cpus {
            let state = cpu.lock();
            if self.reference_entry(slot) == old.entry {
                // There is a new table in the old one's frame.
                return;
            }
            assert_ne!(self.shown(&state, slot), Some(old), "slot {slot} in a PGD that is loaded");
            assert_ne!(state.cached[slot], Some(old), "slot {slot} is cached as it was");
        }
    }

    /// Asserts that every CPU shows what the reference holds, after everything else has ended.
    pub(super) fn verify_all(&self) {
        for cpu in &self.mmu.cpus {
            let state = cpu.lock();
            for slot in 0..SLOTS {
                let entry = self.reference(slot);
                assert_eq!(self.shown(&state, slot), entry, "slot {slot} in a PGD that is loaded");
                let cached = state.cached[slot];
                assert!(cached.is_none() || cached == entry, "slot {slot} is cached as it was");
            }
        }
    }

    /// What the reference holds in slot number `slot`, if it is live.
    pub(super) fn reference(&self, slot: usize) -> Option<Cached> {
        self.cached(self.reference_entry(slot))
    }

    /// Number of tables that the reference leads to. A large page has none.
    pub(super) fn tables(&self) -> usize {
        (0..SLOTS).filter(|&slot| self.reference_entry(slot) & 0x81 == 1).count()
    }

    fn translate(&self, cpu: &mut Cpu, slot: usize) -> Option<Cached> {
        if cpu.cached[slot].is_none() {
            cpu.cached[slot] = self.shown(cpu, slot);
        }
        if let Some(Cached { entry, life }) = cpu.cached[slot] {
            let now = self.cached(entry);
            assert_eq!(now, Some(Cached { entry, life }), "slot {slot} leads to a freed table");
        }
        cpu.cached[slot]
    }

    /// What the PGD that a CPU has loaded holds in a slot, if it is live.
    fn shown(&self, cpu: &Cpu, slot: usize) -> Option<Cached> {
        let root = cpu.root.unwrap_or_else(|| self.arch.reference_root());
        // SAFETY: a CPU holds what it has loaded.
        self.cached(unsafe { self.arch.slots().entry_of(root, slot) })
    }

    fn cached(&self, entry: u64) -> Option<Cached> {
        if entry & 1 == 0 {
            return None;
        }
        let is_large = entry & 1 << 7 != 0;
        let frame = Frame::at(entry & 0x000f_ffff_ffff_f000).filter(|_| !is_large);
        Some(Cached { entry, life: frame.and_then(|frame| self.frames.life(frame)).unwrap_or(0) })
    }

    fn reference_entry(&self, slot: usize) -> u64 {
        self.arch.slots().reference().entry(slot)
    }
}
