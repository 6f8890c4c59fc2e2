//! Random histories of a kernel against a sequential model of it.
//!
//! A history is a list of growths, forks, vforks, threads, execs, exits, context switches, attaches
//! and stores; many a step has another one in the middle of it, at one of the points of
//! `tests_host::interlude`. The model knows no PGD, no late init and no walk: the kernel's pages
//! are one set, which every address space shows from the return of a growth on, and an address
//! space is a map from pages to bytes.
//!
//! After each step, every PGD that a task has or a CPU has loaded resolves exactly the model's
//! kernel pages and user pages, by the hosted MMU. When a history has ended, all frames are back.
#![cfg(not(loom))]

mod history;
mod model;
mod run;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use arch_x86::geometry::Geometry;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests_host::machine::{Boot, PgdScheme};

use history::step;
use run::Run;

tests_host::on_every_machine!(boots: every_history_goes_as_the_model_says);

fn every_history_goes_as_the_model_says<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let boot = RefCell::new(boot.again());
    let (steps, nested) = (Cell::new(0), Cell::new(0));
    // `PROPTEST_CASES` asks for more; by default, 256 of it are 32 here.
    let default = Config::default();
    let config = Config {
        cases: default.cases.div_ceil(8),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..default
    };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..60), |history| {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            boot.borrow().run(|machine| {
                let mut run = Run::new(machine);
                for step in &history {
                    run.step(step);
                    run.verify();
                    steps.set(steps.get() + 1);
                }
                nested.set(nested.get() + run.nested());
                run.end();
            });
        }));
        if let Err(panic) = ran {
            // What has failed has kept its frames.
            boot.replace_with(|boot| boot.again());
            resume_unwind(panic);
        }
        Ok(())
    });
    result.unwrap();
    assert!(steps.get() > 300, "{} steps", steps.get());
    assert!(nested.get() > 10, "{} steps within steps", nested.get());
}
