//! Cases in which programs mean ill: bad pointers to every call, instructions that are not theirs, forged frames, copies from memory
//! that goes away, broken executables. Each dies alone, and all of its memory comes back.

use super::{Case, Expected, guest_with};
use crate::programs::{self, Library};
use crate::qemu::{Guest, Machine};
use std::error::Error;
use std::path::Path;

/// What `hostile.c` tries.
const ATTACKS: &[&str] = &[
    "calls",
    "pointers",
    "instructions",
    "frames",
    "races",
    "rewriting",
    "executables",
    "clones",
    "futexes",
];

/// ptrace and another call that there is no answer to.
const LOGGED: &[&str] =
    &["system call 101 is not implemented", "system call 165 is not implemented"];

/// On one machine: they take a while.
pub(super) fn cases(kernel: &Path, folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let executable = programs::build("hostile", Library::Glibc, folder)?;
    let program = ("bin/hostile", executable.as_path());
    let guest = guest_with(kernel, folder, Some(program), &["/bin/hostile"])?;
    let lines: Vec<String> = ATTACKS.iter().map(|attack| format!("{attack}: over")).collect();
    let case = |(machine, cpu, processors): (Machine, &str, u32)| Case {
        name: format!("hostile programs {machine} {cpu} smp{processors}"),
        guest: Guest { machine, cpu: cpu.into(), processors, ..guest.clone() },
        expected: Expected::ProgramAndLog(0, lines.clone(), LOGGED),
    };
    Ok([(Machine::Q35, "max", 2)].map(case).into())
}
