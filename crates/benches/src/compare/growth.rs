//! How long a growth by one slot takes, by the number of mms that are alive.

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::Plan;
use crate::kernel::{BenchKernel, UserHalf};
use crate::pairs::Spread;

/// One scheme's growths over one number of mms.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// The scheme.
    pub scheme: Scheme,
    /// Live mms.
    pub mms: u64,
    /// Nanoseconds of a growth.
    pub ns: Spread,
    /// The median over the number of mms.
    pub ns_per_mm: f64,
}

/// Frames of each kernel beside a PGD for each mm.
const FRAMES: usize = 1 << 12;

/// Measures all schemes, turn and turn about.
///
/// # Panics
///
/// When a kernel does not end as it should.
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Point> {
    let most = plan.mms.iter().copied().max().unwrap_or(1);
    let frames = FRAMES + most as usize;
    let mut kernels = Scheme::ALL
        .map(|scheme| BenchKernel::boot(scheme, scheme.walk(), frames, 1, UserHalf::Empty));
    let mut points = Vec::new();
    for &mms in plan.mms {
        progress(&format!("growth over {mms} mms"));
        let mut times: [Vec<f64>; Scheme::ALL.len()] = Default::default();
        kernels.iter_mut().for_each(|kernel| kernel.fill_up_to(mms));
        for round in 0..plan.growths as usize {
            for place in 0..kernels.len() {
                let scheme = (place + round) % kernels.len();
                let grown = kernels[scheme].grow_next(1);
                times[scheme].extend(grown.iter().map(|time| time.as_nanos() as f64));
            }
        }
        for (scheme, times) in Scheme::ALL.into_iter().zip(times) {
            if let Some(ns) = Spread::of(times) {
                points.push(Point { scheme, mms, ns, ns_per_mm: ns.median / mms as f64 });
            }
        }
    }
    kernels.into_iter().for_each(BenchKernel::shut_down);
    points
}
