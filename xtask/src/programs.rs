//! Programs for the reference kernel: static Linux executables, and an initramfs that starts one.

use crate::initramfs::Archive;
use crate::{busybox, package};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the kernel reads what to run first: the arguments, each ended by a NUL.
const ARGUMENTS: &str = "etc/init.arguments";

/// Returns an archive with the folders that programs expect, and with busybox where the host has it.
pub(crate) fn root() -> Result<Archive, Box<dyn Error>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "etc", "proc", "root", "tmp"] {
        archive.directory(folder);
    }
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n".to_vec());
    archive.file("etc/group", 0o644, b"root:x:0:\n".to_vec());
    busybox::add(&mut archive)?;
    Ok(archive)
}

/// Makes the kernel run `arguments`, of which the first is the path of the program.
pub(crate) fn run_first(archive: &mut Archive, arguments: &[&str]) {
    let terminated = arguments.iter().flat_map(|argument| argument.bytes().chain([0]));
    archive.file(ARGUMENTS, 0o644, terminated.collect());
}

/// A C library to link with, statically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Glibc,
    Musl,
    /// None: the program makes its system calls itself.
    Bare,
}

impl Library {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Bare => "bare",
        }
    }

    /// The compiler that links with it, and Debian's package of that.
    fn compiler(self) -> (&'static str, &'static str) {
        match self {
            Self::Glibc | Self::Bare => ("gcc", "gcc"),
            Self::Musl => ("musl-gcc", "musl-tools"),
        }
    }
}

/// Builds the kernel's test program `name` into `folder` and returns its contents.
pub(crate) fn compile(
    name: &str,
    library: Library,
    folder: &Path,
) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(fs::read(build(name, library, folder)?)?)
}

/// As [`compile`], and returns where it is.
pub(crate) fn build(
    name: &str,
    library: Library,
    folder: &Path,
) -> Result<PathBuf, Box<dyn Error>> {
    let (compiler, package) = library.compiler();
    package::require(compiler, package)?;
    let source = sources().join(format!("{name}.c"));
    let executable = folder.join(format!("{name}-{}", library.name()));
    let status = Command::new(compiler)
        .args(["-static", "-pthread", "-O1", "-Wall", "-Wextra", "-Werror"])
        .args((library == Library::Bare).then_some("-nostdlib"))
        .arg("-o")
        .arg(&executable)
        .arg(&source)
        .status()?;
    if !status.success() {
        return Err(format!("{compiler} does not build {}", source.display()).into());
    }
    Ok(executable)
}

/// Builds the kernel's test program `name`, which is written in Rust, into `folder`; returns where it is.
pub(crate) fn compile_rust(name: &str, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let source = sources().join(format!("{name}.rs"));
    let executable = folder.join(format!("{name}-rust"));
    let status = Command::new(rustc)
        .args(["--edition", "2024", "-O", "--target", "x86_64-unknown-linux-gnu"])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&executable)
        .arg(&source)
        .status()?;
    if !status.success() {
        return Err(format!("rustc does not build {}", source.display()).into());
    }
    Ok(executable)
}

/// Returns the folder of the test programs' and scripts' sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/kernel/tests/programs")
}
