//! What the modelled CPUs translate through: a root each, and top-level entries that they have cached.
//!
//! A CPU may cache any live entry of the PGD that it has loaded, uses what it has cached instead of the PGD, and forgets it in
//! a flush only: the kernel's entries are global, and loading another PGD keeps them. One step of a CPU and a flush exclude each
//! other, for a flush returns when the CPU has taken the interrupt.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use arch_x86::geometry::Geometry;
use kernel_sync::Mutex;
use mm_generic::frames::Frame;
use mm_generic::kernel_range::KernelRange;
use mutants::Mutant;

use super::frames::{TINY_SLOT, Tiny};

/// The slots that a CPU caches entries of.
pub(super) const SLOTS: usize = 2;

/// A top-level entry that a CPU has cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) entry: u64,
    /// How often the frame of the table behind it had been taken: another life of the frame is another table.
    pub(super) life: usize,
}

/// What one CPU has loaded and cached.
#[derive(Default)]
pub(super) struct Cpu {
    /// `None` on the reference PGD.
    pub(super) root: Option<Frame>,
    pub(super) cached: [Option<Cached>; SLOTS],
}

/// The CPUs of one execution.
pub(super) struct Mmu {
    pub(super) cpus: [Mutex<Cpu>; 2],
    /// A mutant: CPUs take no interrupt, and forget nothing.
    forgets_nothing: bool,
}

thread_local! {
    // As in `rcu.rs`: loom runs all threads of a model on one thread of the host.
    static MMU: RefCell<Option<Arc<Mmu>>> = const { RefCell::new(None) };
}

loom::thread_local! {
    /// The CPU that a thread of the model runs on.
    static CPU: Cell<usize> = Cell::new(0);
}

impl Mmu {
    /// Makes the CPUs of an execution.
    pub(super) fn reset(mutant: Option<Mutant>) -> Arc<Self> {
        let mmu = Arc::new(Self {
            cpus: [Mutex::new(Cpu::default()), Mutex::new(Cpu::default())],
            forgets_nothing: mutant == Some(Mutant::FlushLeftOut),
        });
        drop(MMU.replace(Some(Arc::clone(&mmu))));
        mmu
    }

    /// Moves the calling thread of the model to CPU number `cpu`.
    pub(super) fn run_on(cpu: usize) {
        CPU.with(|it| it.set(cpu));
    }

    /// Loads the PGD at `root` on the thread's CPU.
    pub(super) fn load(root: Frame) {
        let mmu = MMU.with_borrow(Clone::clone).expect("`reset` comes first");
        mmu.cpus[CPU.with(Cell::get)].lock().root = Some(root);
    }

    /// Lets every CPU forget what it has cached for addresses of `range`. What models translate is the first page of a slot.
    pub(super) fn flush(range: KernelRange) {
        let mmu = MMU.with_borrow(Clone::clone).expect("`reset` comes first");
        if mmu.forgets_nothing {
            return;
        }
        for cpu in &mmu.cpus {
            let mut cpu = cpu.lock();
            for (slot, cached) in cpu.cached.iter_mut().enumerate() {
                let addr = Tiny.kernel_half().first + slot as u64 * TINY_SLOT;
                if (range.start()..=range.last()).contains(&addr) {
                    *cached = None;
                }
            }
        }
    }
}
