//! Cases in which programs take all there is of something: memory, processes, descriptors, mappings. Each ends with a refusal or
//! is killed, the kernel and the shell go on, and all of it comes back.

use super::{Case, Expected, guest_with};
use crate::programs::{self, Library};
use crate::qemu::{Guest, Machine};
use std::error::Error;
use std::path::Path;

/// What `exhaust.c` takes all of.
const RESOURCES: &[&str] = &[
    "memory",
    "heaps",
    "copies",
    "stores",
    "tables",
    "forks",
    "tree",
    "zombies",
    "threads",
    "descriptors",
    "pipes",
    "watches",
    "files",
    "names",
    "mappings",
    "arguments",
    "signals",
];

/// What the shell runs.
const SCRIPT: &str = "/bin/exhaust && set -- $(pidof exhaust); echo $# processes are left of it";

/// What the shell prints then, and what the kernel logs on the way.
const AFTERWARDS: &str = "0 processes are left of it";
const LOGGED: &[&str] =
    &["out of memory: process ", "(exhaust) is killed, which has ", " for the kernel alone"];

/// On little memory and on more, for few and for many processors.
pub(super) fn cases(kernel: &Path, folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let executable = programs::build("exhaust", Library::Glibc, folder)?;
    let arguments = ["/bin/sh", "-c", SCRIPT];
    let guest = guest_with(kernel, folder, Some(("bin/exhaust", &executable)), &arguments)?;
    let mut lines: Vec<String> =
        RESOURCES.iter().map(|resource| format!("{resource}: over")).collect();
    lines.push(AFTERWARDS.into());
    let case = |(machine, cpu, processors, memory): (Machine, &str, u32, &str)| Case {
        name: format!("exhaustion {machine} {cpu} smp{processors} {memory}"),
        guest: Guest {
            machine,
            cpu: cpu.into(),
            processors,
            memory: memory.into(),
            ..guest.clone()
        },
        expected: Expected::ProgramAndLog(0, lines.clone(), LOGGED),
    };
    let machines = [(Machine::Q35, "max", 1, "32M"), (Machine::Microvm, "qemu64", 4, "64M")];
    Ok(machines.map(case).into())
}
