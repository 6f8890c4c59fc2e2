//! `sync_global_pgds` for one new slot, by number of live mms, against the walk over `pgd_list`.
//!
//! The locked scheme finds all PGDs in one array, and holds `pgd_lock` all the while: every fork and
//! exit on every CPU waits for as long as this takes. Late init walks from pid to task to process to mm, which
//! are more lines to fetch, and nobody waits. Growth is rare where forks are not.

use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use benches::kernel::{BenchKernel, UserHalf};
use benches::session::{Axes, Match, Mode, Session};
use std::time::Duration;

/// Frames of each kernel: a PGD for each mm, and the kernel half.
const FRAMES: usize = 1 << 17;

fn main() {
    let axes = Axes { x: "mms", y: "ns per mm", from_ns: |ns, mms| ns / mms as f64 };
    let mut session = Session::begin("growth", axes, |criterion| {
        criterion.measurement_time(Duration::from_secs(2)).sample_size(20)
    });
    let mut late = BenchKernel::boot(FRAMES, 1, UserHalf::Empty, LateInit::new);
    let mut locked = BenchKernel::boot(FRAMES, 1, UserHalf::Empty, Locked::new);
    let sizes: &[u64] = match session.mode() {
        Mode::Full | Mode::Quick => &[100, 1_000, 10_000, 100_000],
        Mode::Test => &[100, 1_000],
    };
    for &mms in sizes {
        late.fill_up_to(mms);
        locked.fill_up_to(mms);
        let of = Match { group: "one slot", variant: "late", base: "locked", x: mms };
        let chunk = (10_000 / mms).max(1);
        session.compare(of, chunk, |growths| late.grow(growths), |growths| locked.grow(growths));
    }
    late.shut_down();
    locked.shut_down();
    session.finish();
}
