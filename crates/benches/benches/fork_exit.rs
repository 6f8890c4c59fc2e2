//! Fork, exit and reaping of a small process, against the locked scheme, by number of threads.
//!
//! The two kernels are alike but for the scheme, and take turns of a few milliseconds. With one thread,
//! the difference is an uncontended lock and a list entry at birth and at death against a barrier and a
//! generation number. With more, it is whether forks and exits on different CPUs meet.

use benches::chosen::Chosen;
use benches::crew::Crew;
use benches::kernel::{BenchKernel, UserHalf};
use benches::session::{Axes, Match, Session};
use std::time::Duration;

/// Forks of each thread in a turn.
const FORKS: u64 = 4000;

/// CPUs of the kernels, and threads at most.
const CPUS: usize = 2;

/// Frames of each kernel. Each thread's list keeps up to 256 of them.
const FRAMES: usize = 1 << 16;

fn main() {
    let axes = Axes {
        x: "threads",
        y: "forks and exits per second",
        from_ns: |ns, threads| threads as f64 * 1e9 / ns,
    };
    let mut session = Session::begin("fork_exit", axes, |criterion| {
        criterion
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(4))
            .sample_size(40)
    });
    for (group, user) in [("empty", UserHalf::Empty), ("one page", UserHalf::OnePage)] {
        let late = BenchKernel::boot(FRAMES, CPUS, user, Chosen::late);
        let locked = BenchKernel::boot(FRAMES, CPUS, user, Chosen::locked);
        std::thread::scope(|scope| {
            let crew = Crew::hire(scope, CPUS);
            let (late, locked) = (&late, &locked);
            for threads in 1..=CPUS {
                session.compare(
                    Match { group, variant: "late", base: "locked", x: threads as u64 },
                    FORKS,
                    |forks| crew.work(threads, move |cpu, line| late.fork_exit(cpu, forks, line)),
                    |forks| crew.work(threads, move |cpu, line| locked.fork_exit(cpu, forks, line)),
                );
            }
        });
        late.shut_down();
        locked.shut_down();
    }
    // Two kernels with the same scheme differ by as much.
    session.aim("late to locked, 1 thread, give or take 1 %", 1.01, |of| of.x == 1);
    session.aim("late to locked, 2 threads", 1.0, |of| of.x == 2);
    session.finish();
}
