//! `cargo xtask fuzz`: the targets of `fuzz/`, each for a bounded time, from the corpus that is checked in.
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

const TARGETS: [&str; 4] = ["elf", "handover", "operations", "ranges"];

/// Longest input in bytes. A history's last steps would else never be reached.
const MAX_LEN: u64 = 4096;

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
        let status =
            libfuzzer(target)?.arg("-merge=1").args([&smaller, &working, &kept]).status()?;
        if !status.success() {
            return Err(format!("{target}: the corpus could not be minimised; {status}").into());
        }
        fs::remove_dir_all(&kept)?;
        fs::rename(&smaller, &kept)?;
    }
    Ok(())
}
