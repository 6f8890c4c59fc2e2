//! Building the reference kernel.

use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the folder of the kernel's workspace.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/kernel")
}

/// Builds the kernel and returns the path of its image.
///
/// `profile` is a cargo profile. Cargo runs in the kernel's folder, because the flags that a
/// freestanding image needs are in the configuration file there. Flags from the environment would
/// replace those, so they are dropped.
pub(crate) fn build(profile: &str) -> Result<PathBuf, Box<dyn Error>> {
    build_with(profile, &[])
}

/// Builds the kernel with features, and returns the path of a copy of its image that has their names: the next build
/// replaces the image itself.
pub(crate) fn build_with_features(
    profile: &str,
    features: &[&str],
) -> Result<PathBuf, Box<dyn Error>> {
    let built = build_with(profile, features)?;
    let kept = built.with_file_name(format!("kernel-{}", features.join("-")));
    std::fs::copy(&built, &kept)?;
    Ok(kept)
}

fn build_with(profile: &str, features: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder())
        .args(["build", "--bin", "kernel", "--profile", profile])
        .args(["--features", &features.join(",")])
        // Messages for machines say where the image is; diagnostics for people go to standard error.
        .arg("--message-format=json-render-diagnostics")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the kernel does not build".into());
    }
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built the kernel and did not say where it is".into())
}
