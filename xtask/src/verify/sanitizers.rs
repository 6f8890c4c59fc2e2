//! `cargo xtask verify sanitizers`: the hosted tests and the storm under AddressSanitizer, LeakSanitizer and ThreadSanitizer.
//!
//! Nightly's sanitizers, with the std that is installed, which is not built for them: what that costs is in
//! `xtask/sanitizers/thread.supp`. ThreadSanitizer does not know fences, so it runs what does not rest on them: the locks, RCU, the pid table
//! and the list of mms by themselves. PGDs are filled under the protocol's full barriers, and are left to loom and SPIN.
//!
//! Each sanitizer is seen to find what it is for: `xtask/sanitizers` has a program for each, which must be caught.

use std::error::Error;
use std::process::{Command, Output};

use crate::loom::root;

/// With a target named, build scripts are built without the flags.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A program with a fault, and what the sanitizer must say.
const PLANTED: [(&str, &str, &str); 3] = [
    ("use_after_free", "address", "heap-use-after-free"),
    ("leak", "address", "detected memory leaks"),
    ("race", "thread", "data race"),
];

/// Packages whose tests run under AddressSanitizer.
const ADDRESS: &[&str] =
    &["kernel-sync", "mm-generic", "arch-x86", "kernel-task", "kernel-exec", "hosted"];

/// Those that only the part `full` adds: minutes.
const ADDRESS_FULL: &[&str] = &["tests-host"];

/// Packages whose tests run under ThreadSanitizer.
const THREAD: &[&str] = &["kernel-sync", "kernel-task"];

/// Tests under ThreadSanitizer that take most of the time and are left to the part `full`.
const THREAD_SLOW: &[&str] = &["--skip", "stress"];

/// Runs everything, or the part `only`: `planted`, `address`, `storm`, `thread`, or `full`, which is all of them with the long tests.
pub(crate) fn run(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    const PARTS: [&str; 5] = ["planted", "address", "storm", "thread", "full"];
    if let Some(only) = only
        && !PARTS.contains(&only)
    {
        return Err(format!("no part {only:?}; known are {}", PARTS.join(", ")).into());
    }
    let version = nightly("rustc").arg("--version").output()?;
    if !version.status.success() {
        return Err(
            "the sanitizers need the nightly toolchain: rustup toolchain install nightly".into()
        );
    }
    let is_full = only == Some("full");
    let runs = |part: &str| only.is_none_or(|only| only == part) || is_full;
    let mut covered = Vec::new();
    if runs("planted") {
        for planted in PLANTED {
            find(planted)?;
        }
        covered.push(format!("{} planted faults found", PLANTED.len()));
    }
    if runs("address") {
        let mut packages = ADDRESS.to_vec();
        if is_full {
            packages.extend(ADDRESS_FULL);
        }
        // The test harness leaks on purpose.
        let passed =
            test("address", &packages, ("ASAN_OPTIONS", "detect_leaks=0".to_owned()), &[])?;
        covered.push(format!("{passed} tests under AddressSanitizer"));
    }
    if runs("storm") {
        storm(if is_full { "20" } else { "3" })?;
        covered.push("the storm under AddressSanitizer and LeakSanitizer".to_owned());
    }
    if runs("thread") {
        let suppressions = root().join("xtask/sanitizers/thread.supp").canonicalize()?;
        let options = format!("suppressions={}", suppressions.display());
        let skipped = if is_full { &[] } else { THREAD_SLOW };
        let passed = test("thread", THREAD, ("TSAN_OPTIONS", options), skipped)?;
        covered.push(format!("{passed} tests under ThreadSanitizer"));
    }
    Ok(covered.join(", "))
}

/// A program of the nightly toolchain, whatever toolchain runs this one.
fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]).current_dir(root());
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn flags(sanitizer: &str) -> String {
    // std was built without.
    format!("-Zsanitizer={sanitizer} -Cunsafe-allow-abi-mismatch=sanitizer")
}

fn find((name, sanitizer, finding): (&str, &str, &str)) -> Result<(), Box<dyn Error>> {
    let source = root().join("xtask/sanitizers").join(name).with_extension("rs");
    let program = root().join("target").join(format!("sanitizer-{name}"));
    let built = nightly("rustc")
        .args(["--edition=2024", "-g", "--target", TRIPLE])
        .args(flags(sanitizer).split(' '))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .status()?;
    if !built.success() {
        return Err(format!("the planted fault {name:?} does not build: {built}").into());
    }
    let output = Command::new(program).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !said.contains(finding) {
        return Err(
            format!("the planted fault {name:?} was not found: {}\n{said}", output.status).into()
        );
    }
    println!("  planted {name}: found");
    Ok(())
}

fn cargo(sanitizer: &str) -> Command {
    let mut command = nightly("cargo");
    command.env("RUSTFLAGS", flags(sanitizer)).env("RUST_BACKTRACE", "0");
    command.env("CARGO_TARGET_DIR", root().join("target").join(format!("{sanitizer}-sanitizer")));
    command
}

/// Runs the packages' tests; returns how many passed.
fn test(
    sanitizer: &str,
    packages: &[&str],
    options: (&str, String),
    skipped: &[&str],
) -> Result<u64, Box<dyn Error>> {
    let mut command = cargo(sanitizer);
    command.args(["test", "--lib", "--tests", "--target", TRIPLE]).env(options.0, options.1);
    for package in packages {
        command.args(["-p", package]);
    }
    let output = command.arg("--").args(skipped).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(tell(&format!("tests under {sanitizer}"), &output));
    }
    let passed = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    Ok(passed.filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// Runs the storm, whose frames live as long as the process.
fn storm(seconds: &str) -> Result<(), Box<dyn Error>> {
    let output = cargo("address")
        .args(["run", "--quiet", "--release", "-p", "storm", "--target", TRIPLE])
        .args(["--", "--seconds", seconds, "--scheme", "late"])
        .env(
            "LSAN_OPTIONS",
            format!(
                "suppressions={}",
                root().join("xtask/sanitizers/leak.supp").canonicalize()?.display()
            ),
        )
        .output()?;
    if output.status.success() { Ok(()) } else { Err(tell("the storm", &output)) }
}

fn tell(what: &str, output: &Output) -> Box<dyn Error> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{what}: {}\n{}", output.status, String::from_utf8_lossy(&text)).into()
}
