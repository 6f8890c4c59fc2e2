//! Programs of the host that a command needs, and the Debian packages they come in.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Makes sure that `program` is in a folder of `PATH`: installs `package` as root on Debian, else says what to
/// install.
pub(crate) fn require(program: &str, package: &str) -> Result<(), Box<dyn Error>> {
    require_that(|| find(program).is_some(), program, package)
}

/// Makes sure that `is_present`, as [`require`] does; `program` is what messages call it.
pub(crate) fn require_that(
    is_present: impl Fn() -> bool,
    program: &str,
    package: &str,
) -> Result<(), Box<dyn Error>> {
    if is_present() {
        return Ok(());
    }
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        eprintln!("{program} is missing; installing {package}");
        let _ = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Standard output belongs to the command that called us.
            .stdout(Stdio::null())
            .status();
        if is_present() {
            return Ok(());
        }
    }
    Err(format!("{program} is missing; install Debian's package {package}, or your system's")
        .into())
}

/// Returns where `program` is in the folders of `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
