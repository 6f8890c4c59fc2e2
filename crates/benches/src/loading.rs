//! What each CPU has loaded or is about to load: what TLB shoot-down goes by in every kernel.

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::smp_mb;
use mm_generic::frames::Frame;

/// The root that each CPU has loaded or is about to load: what TLB shoot-down goes by in every kernel.
pub struct Loading(Box<[LoadingCpu]>);

#[derive(Default)]
#[repr(align(128))]
struct LoadingCpu(AtomicU64);

impl Loading {
    pub(crate) fn new(cpus: usize) -> Self {
        Self((0..cpus).map(|_| LoadingCpu::default()).collect())
    }

    /// Notes that CPU number `cpu` is about to load `root`, before it does or reads anything that decides what it finds there.
    #[inline]
    pub(crate) fn note(&self, cpu: usize, root: Frame) {
        self.0[cpu].0.store(root.phys(), Ordering::Relaxed);
        smp_mb();
    }

    /// Calls `visit` with what each CPU has loaded or is about to.
    pub fn for_each(&self, mut visit: impl FnMut(Frame)) {
        for cpu in &self.0 {
            // A CPU that has loaded nothing yet says 0, where no PGD is.
            let root = Frame::at(cpu.0.load(Ordering::Acquire)).filter(|root| root.phys() != 0);
            root.into_iter().for_each(&mut visit);
        }
    }
}
