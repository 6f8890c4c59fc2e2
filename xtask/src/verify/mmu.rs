//! `cargo xtask verify mmu`: page tables of the crates, read by QEMU's MMU (`tests-mmu`).
//!
//! unicorn-engine, which QEMU's MMU comes in, compiles C code; the crate that uses it is no member of the workspace, and what the
//! compilation takes is looked after here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Verdict;
use crate::loom::root;
use crate::package::{require, require_that};

/// The tests, one for each geometry.
const GEOMETRIES: [&str; 5] =
    ["two_level", "pae_shared", "pae_private", "four_level", "five_level"];

/// Builds and runs the tests, or the one that is named; returns what they covered.
pub(crate) fn run(only: Option<&str>) -> Verdict {
    if let Some(only) = only
        && !GEOMETRIES.contains(&only)
    {
        return Err(format!("no geometry {only:?}; known are {}", GEOMETRIES.join(", ")).into());
    }
    require("cc", "gcc")?;
    require("make", "make")?;
    require("cmake", "cmake")?;
    // unicorn's bindings are made by bindgen.
    require_that(has_libclang, "libclang", "libclang-dev")?;
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root().join("tests-mmu"))
        .args(["test", "--quiet", "--test", "mmu", "--target-dir"])
        .arg(root().join("target/mmu"))
        // libclang alone has no stddef.h; the C compiler has one.
        .env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{}", include_of_cc()?))
        .args(["--", "--nocapture", "--test-threads=1"])
        .args(only)
        .stdout(Stdio::piped());
    let mut running = command.spawn()?;
    let (mut geometries, mut accesses, mut faults, mut mutants) = (0, 0, 0, 0);
    for line in BufReader::new(running.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        println!("{line}");
        // Printed by tests-mmu/tests/mmu: "..., N accesses, N of them faults" and "...: N mutants, all seen".
        if line.ends_with(" of them faults") {
            geometries += 1;
            accesses += number_before(&line, " accesses")?;
            faults += number_before(&line, " of them faults")?;
        } else if line.ends_with(" mutants, all seen") {
            mutants += number_before(&line, " mutants")?;
        }
    }
    if !running.wait()?.success() {
        return Err("QEMU's MMU and the model differ, or a mutant was not seen".into());
    }
    let expected = if only.is_some() { 1 } else { GEOMETRIES.len() };
    if geometries != expected || mutants == 0 {
        return Err(format!("{geometries} of {expected} geometries ran, {mutants} mutants").into());
    }
    Ok(format!(
        "{geometries} geometries, {accesses} accesses, {faults} of them faults (unicorn does not tell their error codes), \
         {mutants} mutants seen"
    ))
}

fn number_before(line: &str, unit: &str) -> Result<u64, String> {
    let number = line.split(unit).next().and_then(|before| before.rsplit(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("no number of{unit} in {line:?}"))
}

/// Tells whether libclang is where bindgen looks for it.
fn has_libclang() -> bool {
    let is_libclang = |folder: &Path| {
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name.starts_with("libclang.so") || name.starts_with("libclang-"))
                    && !name.starts_with("libclang-cpp")
                    && name.contains(".so")
            })
        })
    };
    let llvm = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = llvm.map(|entry| entry.path().join("lib"));
    std::env::var_os("LIBCLANG_PATH").is_some()
        || llvm.into_iter().any(|folder| is_libclang(&folder))
        || ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu"]
            .iter()
            .any(|folder| is_libclang(Path::new(folder)))
}

fn include_of_cc() -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("cc").arg("-print-file-name=include").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
