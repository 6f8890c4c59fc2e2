//! What the fuzz targets share: a hosted kernel, numbers taken from the input, and models of files.

pub mod files;
pub mod names;
pub mod terminal;

use arch_x86::X86;
use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, With};
use hosted::mmu::MmuKind;
use hosted::world::{Leftovers, World};
use kernel_fork::copy_process::first_process;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::publish::NewMm;

/// The kernel over the geometry `G`.
pub type Kernel<G> = Host<With<X86<G, HostFrames>>>;

/// A kernel with one process, on one CPU, which is this thread.
pub struct Ground<G: Geometry> {
    pub world: World<With<X86<G, HostFrames>>>,
    pub init: TaskRef<Kernel<G>>,
    pub cpu: HostCpu,
}

/// CPUs of a kernel.
pub const CPUS: usize = 2;

impl<G: Geometry> Ground<G> {
    /// Boots a kernel in `frames`.
    pub fn boot(geometry: G, frames: &'static HostFrames) -> Self {
        let before = frames.allocated();
        let slots = Slots::with_empty_reference(geometry, frames).expect("frames enough");
        let tasks = Tasks::new(64, CPUS).expect("a good limit");
        let world: World<With<_>> = World::boot(frames, before, X86::new(slots), tasks);
        let cpu = world.cpu_online();
        let mm = NewMm::new(world.init_mm()).expect("frames enough");
        let init =
            first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task();
        Self { world, init, cpu }
    }

    /// Frees what waits for a grace period.
    pub fn settle(&self) {
        for _ in 0..8 {
            self.cpu.rcu().flush();
        }
    }

    /// Ends the kernel, and asserts that nothing is left of it.
    pub fn end(self, kind: MmuKind) {
        let Self { world, init, cpu } = self;
        let frames = world.frames();
        drop((init, cpu));
        // SAFETY: no CPU is left, and the caller has dropped its references.
        let left = unsafe { world.shut_down(kind) };
        assert_eq!(left, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
        frames.check_free_frames().expect("freed frames stay zero");
    }
}

/// Tells whether the fault `name` is to be in this target's kernel, so that its checks are seen to fail
/// (`cargo xtask verify fuzz`).
pub fn is_planted(name: &str) -> bool {
    std::env::var("FUZZ_PLANT").is_ok_and(|planted| planted == name)
}

/// The input, read from its beginning; zeros follow its end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.byte()) % limit
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// An address or a length: often near to what matters, now and then anything.
    pub fn extent(&mut self, first: u64, span: u64) -> u64 {
        match self.byte() % 8 {
            0 => self.word(),
            1 => self.below(4) * 4096,
            2 => span.wrapping_mul(self.below(32)),
            3 => 0_u64.wrapping_sub(4096 * self.below(3)),
            4 => first.wrapping_sub(4096 * self.below(3)),
            5 => first.wrapping_add(u64::from(self.byte())),
            _ => first
                .wrapping_add(span.wrapping_mul(self.below(255)))
                .wrapping_add(4096 * self.below(9)),
        }
    }
}
