//! What the programs that race print.

use std::error::Error;
use std::process::Output;

use serde::Deserialize;

/// Takes a program's JSON, or its complaint.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(
    program: &str,
    output: &Output,
) -> Result<T, Box<dyn Error>> {
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("{program} did not race ({}): {}", output.status, complaint.trim()).into()
    })
}
