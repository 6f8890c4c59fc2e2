//! `cargo xtask verify faults`: memory refused at every site, updaters that die, pids and frames that run out, a hundred thousand tasks.
//!
//! The tests are `tests-host/tests/faults` and `tests-host/tests/fork_heap.rs`. Each family's account is seen to fail as well: a fault
//! is put into the tests' kernel, and the test that must find it is run again.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, Output};

use crate::loom::root;

/// A fault that is put back, and who must find it.
struct Planted {
    name: &'static str,
    test: &'static str,
    /// The test's name contains it.
    filter: &'static str,
    /// What it must say.
    finding: &'static str,
}

const PLANTED: &[Planted] = &[
    // A PGD is never freed.
    Planted {
        name: "lost-frame",
        test: "faults",
        filter: "sites::every_frame_of_every_operation_is_refused_in_company::locked::four_level",
        finding: "frames are lost",
    },
    // A PGD that could not be had is asked for again, and nobody is told.
    Planted {
        name: "swallowed-refusal",
        test: "faults",
        filter: "sites::every_frame_of_every_operation_is_refused_in_company::locked::four_level",
        finding: "a frame was refused and nobody said so",
    },
    // An mm is left with an entry of its own.
    Planted {
        name: "surplus-entry",
        test: "faults",
        filter: "sites::every_frame_of_every_operation_is_refused_in_company::locked::four_level",
        finding: "has an entry that the reference has not",
    },
    // An entry that is present counts as synced, whoever put it there and died.
    Planted {
        name: "present-is-synced",
        test: "faults",
        filter: "growers::a_grower_that_panics_leaves_its_slots_to_the_next::late::four_level",
        finding: "in the PGD at",
    },
    Planted {
        name: "present-is-synced",
        test: "faults",
        filter: "updaters::a_reclaimer_that_panics_loses_its_tables_and_nothing_else::late::four_level",
        finding: "failed: in 0x",
    },
    Planted {
        name: "lost-pid",
        test: "faults",
        filter: "pids::pids_run_out_and_wrap_and_none_is_lost::locked::four_level",
        finding: "all pids but 0 and init's can be had",
    },
    // One of the hundred thousand never exits.
    Planted {
        name: "lost-task",
        test: "faults",
        filter: "crowd::a_hundred_thousand_tasks_come_and_go",
        finding: "only the first task is left",
    },
    // An allocation that aborts instead of being refused.
    Planted {
        name: "infallible-allocation",
        test: "fork_heap",
        filter: "a_reclaim",
        finding: "infallible: ",
    },
    // The same where nobody could be told: an exit, and what RCU makes of it.
    Planted {
        name: "infallible-allocation",
        test: "fork_heap",
        filter: "an_exit",
        finding: "infallible: ",
    },
];

/// Runs the tests, then each planted fault; returns what the tests counted.
pub(crate) fn run(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    if only.is_some_and(|only| !["tests", "planted"].contains(&only)) {
        return Err(
            format!("no part {:?}; known are tests, planted", only.unwrap_or_default()).into()
        );
    }
    let mut covered = BTreeMap::<String, u64>::new();
    if only != Some("planted") {
        let output = test(&["faults", "fork_heap"], &[], None)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}\n{stdout}\n{stderr}", output.status).into());
        }
        for line in stdout.lines() {
            // Behind the test's name where tests run one by one.
            let Some((_, line)) = line.split_once("covered ") else { continue };
            let Some((number, what)) = line.split_once(' ') else { continue };
            *covered.entry(what.to_owned()).or_default() += number.parse::<u64>()?;
        }
    }
    let mut found = 0;
    for planted in PLANTED.iter().filter(|_| only != Some("tests")) {
        let output = test(&[planted.test], &["--exact", planted.filter], Some(planted.name))?;
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text);
        if output.status.success() || !text.contains(planted.finding) {
            return Err(format!(
                "the planted fault {:?} was not found by {}: {}\n{text}",
                planted.name, planted.filter, output.status
            )
            .into());
        }
        println!("  planted {}: found by {}", planted.name, planted.filter);
        found += 1;
    }
    let counts: Vec<String> =
        covered.iter().map(|(what, number)| format!("{number} {what}")).collect();
    Ok(format!("{}; {found} planted faults found", counts.join(", ")))
}

fn test(
    binaries: &[&str],
    arguments: &[&str],
    planted: Option<&str>,
) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["test", "--quiet", "-p", "tests-host"]);
    for binary in binaries {
        command.args(["--test", binary]);
    }
    command.args(["--", "--nocapture"]).args(arguments).env("RUST_BACKTRACE", "0");
    if let Some(planted) = planted {
        // Read by tests-host/src/planted.rs.
        command.env("FAULTS_PLANT", planted);
    }
    Ok(command.output()?)
}
