//! Sizes of guests' memory, as they are given on the command line.

use std::fs;

/// The least that the kernel and its programs have been seen to work with.
const LEAST: u64 = 16 << 20;

/// Checks a size such as `512M`, which is what QEMU takes.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    check(text, host_memory())
}

/// As [`parse`], on a host with `most` bytes of memory, if that is known.
fn check(text: &str, most: Option<u64>) -> Result<String, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let shift = match unit {
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        "" => return Err(format!("{text:?} has no unit: K, M, G or T")),
        _ => return Err(format!("{unit:?} is no unit: K, M, G or T")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too much"))?;
    if bytes < LEAST {
        return Err(format!("{text} is too little: the kernel needs {}M", LEAST >> 20));
    }
    match most {
        Some(most) if bytes > most => {
            Err(format!("{text} is more than this machine has, {}M", most >> 20))
        }
        _ => Ok(text.into()),
    }
}

/// Returns this machine's memory in bytes.
fn host_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_a_unit_are_taken_as_they_are() {
        for size in ["16M", "512M", "1g", "65536k"] {
            assert_eq!(check(size, None).as_deref(), Ok(size));
        }
    }

    #[test]
    fn every_other_size_is_refused_with_its_value() {
        for (size, complaint) in [
            ("0", "\"0\" has no unit: K, M, G or T"),
            ("0M", "0M is too little: the kernel needs 16M"),
            ("1", "\"1\" has no unit: K, M, G or T"),
            ("15M", "15M is too little: the kernel needs 16M"),
            ("12Q", "\"Q\" is no unit: K, M, G or T"),
            ("12MB", "\"MB\" is no unit: K, M, G or T"),
            ("M", "\"\" is no number"),
            ("", "\"\" has no unit: K, M, G or T"),
            ("-1M", "\"-1M\" is no unit: K, M, G or T"),
            ("99999999999T", "99999999999T is too much"),
            ("9999999999999999999999M", "\"9999999999999999999999\" is no number"),
            ("3G", "3G is more than this machine has, 2048M"),
        ] {
            assert_eq!(check(size, Some(2 << 30)), Err(complaint.into()), "{size}");
        }
    }
}
