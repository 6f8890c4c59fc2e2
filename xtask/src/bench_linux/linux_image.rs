//! Getting Debian's Linux: its package is downloaded and unpacked into a folder, not installed.

use crate::package;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that depends on the current image.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Returns the image, which is in `folder` from an earlier call, or is put there.
pub(super) fn get(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let unpacked = folder.join("linux");
    if let Some(image) = find(&unpacked)? {
        return Ok(image);
    }
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if package::find(program).is_none() {
            return Err(format!(
                "{program} is missing, which downloads Linux: give an image with --linux FILE"
            )
            .into());
        }
    }
    let package = match package_of_image()? {
        Some(package) => package,
        None => {
            // Without lists, APT knows no package. Who may not write them is told by what comes next.
            let _ = apt_get(&["update", "-q"], folder);
            package_of_image()?.ok_or_else(|| {
                format!("APT does not know {META_PACKAGE}: give an image with --linux FILE")
            })?
        }
    };
    eprintln!("downloading {package}");
    if !apt_get(&["download", "-q", &package], folder)? {
        return Err(
            format!("apt-get cannot download {package}: give an image with --linux FILE").into()
        );
    }
    let archive = entries(folder)?
        .into_iter()
        .find(|path| {
            name(path).starts_with(&package) && path.extension().is_some_and(|it| it == "deb")
        })
        .ok_or_else(|| format!("apt-get has downloaded no {package}"))?;
    let status = Command::new("dpkg-deb")
        .arg("-x")
        .args([&archive, &unpacked])
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("dpkg-deb does not unpack {}", archive.display()).into());
    }
    fs::remove_file(archive)?;
    // The modules are most of it, and nobody loads one.
    let _ = fs::remove_dir_all(unpacked.join("lib"));
    find(&unpacked)?.ok_or_else(|| format!("{package} has no boot/vmlinuz").into())
}

/// Returns the name of the package that has the image: the one that the meta package depends on.
fn package_of_image() -> Result<Option<String>, Box<dyn Error>> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", META_PACKAGE])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let depends = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(depends.map(str::to_owned).find(|package| package.starts_with("linux-image-")))
}

fn apt_get(arguments: &[&str], folder: &Path) -> Result<bool, Box<dyn Error>> {
    let status = Command::new("apt-get")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        // Standard output belongs to the command that called us.
        .stdout(Stdio::null())
        .status()?;
    Ok(status.success())
}

fn find(unpacked: &Path) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let boot = unpacked.join("boot");
    if !boot.is_dir() {
        return Ok(None);
    }
    Ok(entries(&boot)?.into_iter().find(|path| name(path).starts_with("vmlinuz")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
