//! The part of `docs/bench-linux.md` that is measured.

use super::figures::Comparison;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the part begins, and where the next one does.
const MEASURED: &str = "## Measured\n";
const NEXT: &str = "## What the comparison does not say\n";

/// What was measured on.
pub(super) struct Setting<'a> {
    pub(super) qemu: &'a str,
    pub(super) host: &'a str,
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
}

/// Puts what was measured in the place of what the document at `path` says.
pub(super) fn write(
    path: &Path,
    setting: &Setting<'_>,
    comparison: &Comparison,
) -> Result<(), Box<dyn Error>> {
    let old = fs::read_to_string(path)?;
    let new = replace(&old, &measured(setting, comparison)?)
        .ok_or_else(|| format!("{} lacks the heading `{MEASURED}`", path.display()))?;
    Ok(fs::write(path, new)?)
}

/// Puts `part` between the two headings.
fn replace(document: &str, part: &str) -> Option<String> {
    let (before, rest) = document.split_once(MEASURED)?;
    let (_, after) = rest.split_once(NEXT)?;
    Some(format!("{before}{MEASURED}\n{part}\n{NEXT}{after}"))
}

fn measured(setting: &Setting<'_>, comparison: &Comparison) -> Result<String, Box<dyn Error>> {
    let Setting { qemu, host, cpu, memory } = setting;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let release = comparison.linux_facts().iter().find_map(|fact| fact.strip_prefix("release "));
    let mut text = String::new();
    writeln!(
        text,
        "`cargo xtask {}` on {}: Linux {},\n{qemu} without KVM, `-cpu {cpu}`, {memory} of memory,\n{host}. Operations per second, \
         medians of the samples that count.",
        arguments.join(" "),
        today()?,
        release.unwrap_or("that does not say its release"),
    )?;
    write!(
        text,
        "\n{comparison}\nAll samples, in the order of the turns; those that do not count are in brackets:\n\n"
    )?;
    comparison.write_samples(&mut text)?;
    Ok(text)
}

fn today() -> Result<String, Box<dyn Error>> {
    let output = Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_measured_part_stays() {
        let old = format!("# Title\n\n{MEASURED}\nold\n\n{NEXT}\nrest\n");
        let new = format!("# Title\n\n{MEASURED}\nnew\n\n{NEXT}\nrest\n");
        assert_eq!(replace(&old, "new\n"), Some(new));
        assert_eq!(replace("# Title\n", "new\n"), None);
    }
}
