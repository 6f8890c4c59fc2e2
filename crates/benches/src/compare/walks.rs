//! This project with its two ways to find mms: through tasks and CPUs, or over a list of mms.
//!
//! Both kernels run the same code, and choose at boot: see [`hosted::walk`].

use std::time::Duration;

use hosted::walk::Walk;
use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::Plan;
use crate::crew::Crew;
use crate::kernel::{BenchKernel, UserHalf, Work};
use crate::pairs::{Pairs, Spread};

/// Both at one place.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// A work's name, or `growth`.
    pub what: &'static str,
    /// Threads, or live mms.
    pub x: u64,
    /// Nanoseconds of an operation, or of a growth per mm, through tasks.
    pub through_tasks: f64,
    /// The same over the list.
    pub over_mms: f64,
    /// The list's over the tasks', turn by turn.
    pub ratio: Spread,
}

const FRAMES: usize = 1 << 15;

/// Compares the two on forks and on growths.
///
/// # Panics
///
/// When a kernel does not end as it should.
pub fn measure(plan: &Plan, cpus: usize, mut progress: impl FnMut(&str)) -> Vec<Point> {
    progress("walks through tasks and over mms");
    let mut points = forks(plan, cpus);
    points.extend(growths(plan));
    points
}

fn forks(plan: &Plan, cpus: usize) -> Vec<Point> {
    const OPS: u64 = 4000;
    let most = cpus.min(2);
    let tasks = boot(Walk::ThroughTasks, FRAMES, most, UserHalf::OnePage);
    let mms = boot(Walk::OverMms, FRAMES, most, UserHalf::OnePage);
    let mut points = Vec::new();
    std::thread::scope(|scope| {
        let crew = Crew::hire(scope, most);
        for work in [Work::ForkExit, Work::ForkExecExit] {
            for threads in 1..=most {
                let (tasks, mms) = (&tasks, &mms);
                let mut pairs = Pairs::default();
                pairs.take(
                    plan.rounds as u64,
                    OPS,
                    |ops| crew.work(threads, move |cpu, line| mms.work(work, cpu, ops, line)).wall,
                    |ops| {
                        crew.work(threads, move |cpu, line| tasks.work(work, cpu, ops, line)).wall
                    },
                );
                points.extend(point(work.name(), threads as u64, 1.0, &pairs));
            }
        }
    });
    tasks.shut_down();
    mms.shut_down();
    points
}

fn growths(plan: &Plan) -> Vec<Point> {
    let most = plan.mms.iter().copied().max().unwrap_or(1) as usize;
    let mut tasks = boot(Walk::ThroughTasks, FRAMES + most, 1, UserHalf::Empty);
    let mut mms = boot(Walk::OverMms, FRAMES + most, 1, UserHalf::Empty);
    let mut points = Vec::new();
    for &live in plan.mms {
        tasks.fill_up_to(live);
        mms.fill_up_to(live);
        let mut pairs = Pairs::default();
        let sum = |times: Vec<Duration>| times.into_iter().sum();
        pairs.take(plan.growths, 1, |n| sum(mms.grow_next(n)), |n| sum(tasks.grow_next(n)));
        points.extend(point("growth", live, live as f64, &pairs));
    }
    tasks.shut_down();
    mms.shut_down();
    points
}

fn boot(walk: Walk, frames: usize, cpus: usize, user: UserHalf) -> BenchKernel {
    BenchKernel::boot(Scheme::Late, walk, frames, cpus, user)
}

fn point(what: &'static str, x: u64, per: f64, pairs: &Pairs) -> Option<Point> {
    Some(Point {
        what,
        x,
        through_tasks: pairs.base()?.median / per,
        over_mms: pairs.variant()?.median / per,
        ratio: pairs.ratio()?,
    })
}
