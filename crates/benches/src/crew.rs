//! Threads that stay, each on a processor of its own, and start work at the same moment.
//!
//! A thread that has just been made faults its memory in, from the C library's heap to its list of frames; what it
//! does in its first milliseconds is mostly that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use hosted::affinity::{allowed_cpus, pin_to};

use crate::machine::involuntary_switches;

/// What every thread of a crew does: with its number and the starting line, it returns when its work took place.
type Job<'env> = Arc<dyn Fn(usize, &StartingLine) -> Span + Send + Sync + 'env>;

/// One thread's work, from the starting line to its end.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    began: Instant,
    ended: Instant,
    /// The host took the processor from the thread in between.
    preempted: bool,
}

impl Span {
    /// Does `work`, and looks at the clock before and after.
    pub fn of(work: impl FnOnce()) -> Self {
        let switches = involuntary_switches();
        let began = Instant::now();
        work();
        let ended = Instant::now();
        Self { began, ended, preempted: involuntary_switches() != switches }
    }
}

/// What a crew did together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// From the moment when the first thread began to the moment when the last one was done.
    ///
    /// The longest thread's own time would not do: threads that share a processor may work one after the other, each for a short time.
    pub wall: Duration,
    /// The host took the processor from one of the threads, or let one begin late.
    pub disturbed: bool,
}

/// The part of a turn by which a thread may begin later than another.
const LATE: u32 = 32;

impl Turn {
    fn of(spans: &[Span]) -> Self {
        let began = spans.iter().map(|span| span.began).min();
        let ended = spans.iter().map(|span| span.ended).max();
        let wall = began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began);
        let last = spans.iter().map(|span| span.began).max();
        let late = began.zip(last).is_some_and(|(began, last)| last - began > wall / LATE);
        Self { wall, disturbed: late || spans.iter().any(|span| span.preempted) }
    }
}

/// Threads that wait for work.
pub struct Crew<'env> {
    members: Vec<Sender<(Job<'env>, Arc<StartingLine>)>>,
    spans: Receiver<Span>,
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
        let (report, spans) = channel();
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
                    let span = job(number, &line);
                    drop(job);
                    if report.send(span).is_err() {
                        return;
                    }
                }
            });
            sender
        });
        Self { members: members.collect(), spans }
    }

    /// Lets the first `threads` members do `job`.
    ///
    /// # Panics
    ///
    /// When there are fewer members.
    pub fn work(
        &self,
        threads: usize,
        job: impl Fn(usize, &StartingLine) -> Span + Send + Sync + 'env,
    ) -> Turn {
        let job: Job<'env> = Arc::new(job);
        let line = Arc::new(StartingLine { missing: AtomicUsize::new(threads) });
        for member in &self.members[..threads] {
            member
                .send((Arc::clone(&job), Arc::clone(&line)))
                .expect("members live as long as the crew");
        }
        let spans: Vec<Span> = (0..threads)
            .map(|_| self.spans.recv().expect("members live as long as the crew"))
            .collect();
        Turn::of(&spans)
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
    fn all_start_together() {
        let started = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let crew = Crew::hire(scope, 3);
            crew.work(1, |number, line| {
                line.wait();
                assert_eq!(number, 0);
                Span::of(|| ())
            });
            let started = &started;
            crew.work(3, move |_number, line| {
                started.fetch_add(1, Ordering::Relaxed);
                line.wait();
                Span::of(|| assert_eq!(started.load(Ordering::Relaxed), 3))
            });
        });
    }

    /// Two threads on one processor, of which the scheduler lets one finish before the other begins (as under `SCHED_FIFO`): to take the
    /// longest thread's time for the time of both made their rates a sum.
    #[test]
    fn threads_that_work_one_after_the_other_take_the_time_of_both() {
        let zero = Instant::now();
        let span = |from, to| {
            let at = |seconds| zero + Duration::from_secs(seconds);
            Span { began: at(from), ended: at(to), preempted: false }
        };
        assert_eq!(Turn::of(&[span(0, 2), span(2, 4)]).wall, Duration::from_secs(4));
        assert_eq!(Turn::of(&[span(1, 3), span(0, 2)]).wall, Duration::from_secs(3));
    }

    #[test]
    fn a_turn_is_disturbed_when_a_thread_was_stopped_or_began_late() {
        let zero = Instant::now();
        let span = |from, to| {
            let at = |millis| zero + Duration::from_millis(millis);
            Span { began: at(from), ended: at(to), preempted: false }
        };
        assert!(!Turn::of(&[span(0, 100), span(1, 99)]).disturbed);
        assert!(Turn::of(&[span(0, 100), span(9, 99)]).disturbed);
        let stopped = Span { preempted: true, ..span(0, 100) };
        assert!(Turn::of(&[span(0, 100), stopped]).disturbed);
    }
}
