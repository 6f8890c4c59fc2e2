//! What a scheme keeps in memory for the kernel halves.

use serde::Serialize;

use crate::chosen::Scheme;
use crate::crew::Crew;
use crate::kernel::{BenchKernel, UserHalf, Work};

/// One scheme's memory, in frames of 4 KiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// The scheme.
    pub scheme: Scheme,
    /// The reference PGD and the tables below it, for the ten slots that a kernel like Linux has in use.
    pub boot_frames: usize,
    /// For each of 1000 live mms with nothing in their user halves.
    pub frames_per_mm: f64,
    /// Kept by two CPUs that have forked and whose children have exited: PGDs that are not in use.
    pub kept_frames: usize,
}

/// Weighs all schemes.
///
/// # Panics
///
/// When a kernel does not end as it should.
#[must_use]
pub fn measure() -> Vec<Point> {
    Scheme::ALL.into_iter().map(weigh).collect()
}

fn weigh(scheme: Scheme) -> Point {
    const MMS: u64 = 1000;
    const CPUS: usize = 2;
    let mut kernel = BenchKernel::boot(scheme, scheme.walk(), 1 << 14, CPUS, UserHalf::Empty);
    let before = kernel.frames_in_use();
    kernel.fill_up_to(1 + MMS);
    let frames_per_mm = (kernel.frames_in_use() - before) as f64 / MMS as f64;
    std::thread::scope(|scope| {
        let crew = Crew::hire(scope, CPUS);
        let kernel = &kernel;
        crew.work(CPUS, move |cpu, line| kernel.work(Work::ForkExit, cpu, 1000, line));
    });
    let point = Point {
        scheme,
        boot_frames: kernel.boot_frames(),
        frames_per_mm,
        kept_frames: kernel.kept_pgds(),
    };
    kernel.shut_down();
    point
}
