//! Debian's busybox-static in an initramfs: the shell and what it calls.

use crate::initramfs::Archive;
use crate::{package, static_elf};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Debian's package of the one that is linked statically.
const PACKAGE: &str = "busybox-static";

/// Makes sure that busybox is there: installs it as root on Debian, else says what to install.
pub(crate) fn require() -> Result<(), Box<dyn Error>> {
    package::require_that(|| find().is_some(), "a static busybox", PACKAGE)
}

/// Returns the host's busybox and what is in it, unless it is linked dynamically.
fn find() -> Option<(PathBuf, Vec<u8>)> {
    let path = package::find("busybox")?;
    let contents = fs::read(&path).ok()?;
    static_elf::require_static(&path, &contents).ok()?;
    Some((path, contents))
}

/// Adds `/bin/busybox`, and a link to it for each of its applets; does nothing where the host has no
/// static busybox.
pub(crate) fn add(archive: &mut Archive) -> Result<(), Box<dyn Error>> {
    let Some((busybox, contents)) = find() else { return Ok(()) };
    archive.file("bin/busybox", 0o755, contents);
    let applets = Command::new(busybox).arg("--list").output()?;
    for applet in String::from_utf8(applets.stdout)?.lines().filter(|&applet| applet != "busybox") {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}
