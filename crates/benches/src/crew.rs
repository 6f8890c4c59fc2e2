//! Threads that stay, each on a processor of its own, and start work at the same moment.
//!
//! A thread that has just been made faults its memory in, from the C library's heap to its list of frames; what it
//! does in its first milliseconds is mostly that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Duration;

use hosted::affinity::{allowed_cpus, pin_to};

/// What every thread of a crew does: with its number and the starting line, it returns how long its work took.
type Job<'env> = Arc<dyn Fn(usize, &StartingLine) -> Duration + Send + Sync + 'env>;

/// Threads that wait for work.
pub struct Crew<'env> {
    members: Vec<Sender<(Job<'env>, Arc<StartingLine>)>>,
    times: Receiver<Duration>,
}

/// Where threads wait for each other, spinning for a while: nobody has to be woken up.
pub struct StartingLine {
    missing: AtomicUsize,
}

impl StartingLine {
    /// Waits until every thread of the crew that works has come here.
    pub fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        for spins in 0_u32.. {
            if self.missing.load(Ordering::Acquire) == 0 {
                return;
            }
            // Two threads may share a processor, and the other may be the one that is missing.
            if spins < 1000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl<'env> Crew<'env> {
    /// Makes `threads` threads, each on the next processor that this process may use.
    pub fn hire<'scope>(scope: &'scope Scope<'scope, 'env>, threads: usize) -> Self {
        let machine = allowed_cpus().unwrap_or_default();
        let (report, times) = channel();
        let members = (0..threads).map(|number| {
            let (sender, jobs) = channel::<(Job<'env>, Arc<StartingLine>)>();
            let place = machine.get(number % machine.len().max(1)).copied();
            let report = report.clone();
            scope.spawn(move || {
                if let Some(place) = place {
                    // A host that does not allow it has noisier figures.
                    let _ = pin_to(place);
                }
                let _guard = AbortOnPanic;
                for (job, line) in jobs {
                    let time = job(number, &line);
                    drop(job);
                    if report.send(time).is_err() {
                        return;
                    }
                }
            });
            sender
        });
        Self { members: members.collect(), times }
    }

    /// Lets the first `threads` members do `job`, and returns the time of the slowest.
    ///
    /// # Panics
    ///
    /// When there are fewer members.
    pub fn work(
        &self,
        threads: usize,
        job: impl Fn(usize, &StartingLine) -> Duration + Send + Sync + 'env,
    ) -> Duration {
        let job: Job<'env> = Arc::new(job);
        let line = Arc::new(StartingLine { missing: AtomicUsize::new(threads) });
        for member in &self.members[..threads] {
            member
                .send((Arc::clone(&job), Arc::clone(&line)))
                .expect("members live as long as the crew");
        }
        let times =
            (0..threads).map(|_| self.times.recv().expect("members live as long as the crew"));
        times.max().unwrap_or_default()
    }
}

/// Ends the process when a member panics: the others may be waiting for it at the starting line.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn all_start_together_and_the_slowest_counts() {
        let started = AtomicU64::new(0);
        let time = std::thread::scope(|scope| {
            let crew = Crew::hire(scope, 3);
            crew.work(1, |number, line| {
                line.wait();
                assert_eq!(number, 0);
                Duration::ZERO
            });
            let started = &started;
            crew.work(3, move |number, line| {
                started.fetch_add(1, Ordering::Relaxed);
                line.wait();
                assert_eq!(started.load(Ordering::Relaxed), 3);
                Duration::from_secs(number as u64)
            })
        });
        assert_eq!(time, Duration::from_secs(2));
    }
}
