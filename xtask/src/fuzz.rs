//! `cargo xtask verify fuzz` and `cargo xtask fuzz`: the targets of `fuzz/`, each for a bounded time, from the corpus that is checked in.
//!
//! `verify` also plants a fault in each target's kernel, and the corpus must find it. `fuzz` has the options.
//!
//! The nightly toolchain builds them with the flags that cargo-fuzz uses (`cargo fuzz run TARGET` works as well): coverage,
//! AddressSanitizer and debug assertions. libFuzzer stops at the first input that panics, leaks, hangs or asks for too much
//! memory, and leaves it in `fuzz/artifacts/`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::Outcome;
use crate::loom::root;

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only this target
    #[arg(long)]
    only: Option<String>,
    /// Keep what was found interesting: the corpus, minimised, is written back to fuzz/corpus
    #[arg(long)]
    minimise: bool,
}

const TARGETS: [&str; 5] = ["elf", "files", "handover", "operations", "ranges"];

/// Longest input in bytes. A history's last steps would else never be reached.
const MAX_LEN: u64 = 4096;

/// A fault that is put into a target's kernel, and what the target must say when it replays the corpus.
struct Planted {
    name: &'static str,
    target: &'static str,
    finding: &'static str,
}

const PLANTED: [Planted; 6] = [
    // The object behind a segment holds other bytes than the file that was parsed.
    Planted { name: "other-bytes", target: "elf", finding: "of Segment" },
    // A name that is removed stays.
    Planted { name: "name-stays", target: "files", finding: "fuzz_targets/files.rs" },
    // Who waits for what an epoll set has too is left asleep.
    Planted { name: "lost-wake-up", target: "files", finding: "nobody was woken" },
    // Memory is handed out wherever it begins.
    Planted { name: "any-alignment", target: "handover", finding: "start % align == 0" },
    // A growth is lost in one PGD.
    Planted { name: "lost-entry", target: "operations", finding: "left == right" },
    // A growth of half a page is taken for one of the page.
    Planted {
        name: "rounds-down",
        target: "ranges",
        finding: "panicked at fuzz_targets/ranges.rs",
    },
];

/// Seconds that `verify` gives each target.
const VERIFY_SECONDS: u64 = 8;

/// Fuzzes every target, or `only` one, then finds the planted faults.
pub(crate) fn verify(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    let arguments =
        Arguments { seconds: VERIFY_SECONDS, only: only.map(str::to_owned), minimise: false };
    run(&arguments)?;
    let chosen = |target: &str| only.is_none_or(|only| only == target);
    let mut found = 0;
    for planted in PLANTED.iter().filter(|planted| chosen(planted.target)) {
        find(planted)?;
        found += 1;
    }
    let targets = TARGETS.iter().filter(|target| chosen(target)).count();
    Ok(format!(
        "{targets} targets for {VERIFY_SECONDS} s each; {found} planted faults found by the corpus"
    ))
}

/// Replays the corpus that is checked in, which must find the fault.
fn find(planted: &Planted) -> Result<(), Box<dyn Error>> {
    let Planted { name, target, finding } = *planted;
    let output = libfuzzer(target)?
        .arg("-runs=0")
        // Not among what was found for real.
        .arg(format!("-exact_artifact_path={}", root().join("target/fuzz-planted").display()))
        .arg(root().join("fuzz/corpus").join(target))
        // Read by fuzz/src/lib.rs.
        .env("FUZZ_PLANT", name)
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !text.contains(finding) {
        return Err(format!(
            "the planted fault {name:?} was not found by {target}: {}\n{text}",
            output.status
        )
        .into());
    }
    println!("  planted {name}: found by {target}");
    Ok(())
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if let Some(only) = &arguments.only
        && !TARGETS.contains(&only.as_str())
    {
        return Err(format!("no target {only:?}; known are {}", TARGETS.join(", ")).into());
    }
    build()?;
    for target in TARGETS {
        if arguments.only.as_deref().is_none_or(|only| only == target) {
            fuzz(target, arguments)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What cargo-fuzz gives to rustc.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing";

/// With a target named, build scripts are built without the flags.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

fn build() -> Result<(), Box<dyn Error>> {
    let status = Command::new("rustup")
        .current_dir(root().join("fuzz"))
        .args(["run", "nightly", "cargo", "build", "--quiet", "--release", "--target", TRIPLE])
        // Of the toolchain that runs this program.
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", root().join("target/fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the targets do not build: {status}").into())
    }
}

fn libfuzzer(target: &str) -> Result<Command, Box<dyn Error>> {
    let artifacts = root().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    let mut command =
        Command::new(root().join("target/fuzz").join(TRIPLE).join("release").join(target));
    command
        .arg(format!("-artifact_prefix={}/", artifacts.canonicalize()?.display()))
        .arg(format!("-max_len={MAX_LEN}"))
        .args(["-timeout=20", "-rss_limit_mb=4096"]);
    Ok(command)
}

fn fuzz(target: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let kept = root().join("fuzz/corpus").join(target);
    let working = root().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&working)?;
    fs::create_dir_all(&kept)?;
    let (working, kept): (PathBuf, PathBuf) = (working.canonicalize()?, kept.canonicalize()?);
    println!("fuzzing {target} for {} s", arguments.seconds);
    let status = libfuzzer(target)?
        .arg(format!("-max_total_time={}", arguments.seconds))
        .args(["-print_final_stats=1", "-verbosity=0"])
        // What is new goes to the first folder.
        .args([&working, &kept])
        .status()?;
    if !status.success() {
        return Err(format!("{target}: see fuzz/artifacts/{target}; {status}").into());
    }
    if arguments.minimise {
        let smaller = root().join("target/fuzz-corpus").join(format!("{target}-smaller"));
        if smaller.exists() {
            fs::remove_dir_all(&smaller)?;
        }
        fs::create_dir_all(&smaller)?;
        // By the branches that are reached, not by how often: a file for each count would be thousands.
        let status = libfuzzer(target)?
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&smaller, &working, &kept])
            .status()?;
        if !status.success() {
            return Err(format!("{target}: the corpus could not be minimised; {status}").into());
        }
        fs::remove_dir_all(&kept)?;
        fs::rename(&smaller, &kept)?;
    }
    Ok(())
}
