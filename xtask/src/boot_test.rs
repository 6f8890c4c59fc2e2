//! `cargo xtask boot-test`: the kernel's own tests, on every kind of machine it knows, and Linux programs
//! that run on it.
//!
//! One line per case on standard output: `ok boot q35 max smp4 la57 128M`, or `not ok ...` with what
//! happened and where the serial log is.

mod exhaustion;
mod hostility;

use crate::dialogue::Step;
use crate::initramfs::Archive;
use crate::programs::{self, Library};
use crate::qemu::{self, Ending, Guest, Machine, Serial};
use crate::symbols::Symbols;
use crate::{boot, busybox, dialogue, kernel_image};
use clap::Args;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Which cases to run, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only cases whose line contains this text
    #[arg(long)]
    filter: Option<String>,
    /// Seconds a case may take
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Cargo profile to build the kernel with
    #[arg(long, default_value = "release")]
    profile: String,
}

/// What `/etc/hello` of the initramfs contains; the kernel learns it from the command line.
const HELLO: &str = "from-the-initramfs";

/// How a case has to end.
#[derive(Clone, Debug)]
enum Expected {
    /// With success.
    Success,
    /// With a report that has all of these in it.
    Report(&'static [&'static str]),
    /// Not by itself; with all of these in the report that it makes when it is asked where it is.
    ReportWhenAsked(&'static [&'static str]),
    /// With this status of a program that printed all of these lines, in this order.
    Program(u8, Vec<String>),
    /// As that, and with all of these in what the kernel logged.
    ProgramAndLog(u8, Vec<String>, &'static [&'static str]),
    /// With this status of a shell, after this dialogue with it.
    Dialogue(u8, &'static [Step]),
}

/// A guest and what it has to do.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    guest: Guest,
    expected: Expected,
}

/// Every machine that the kernel's tests run on.
fn boots(kernel: &Path, initramfs: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for machine in [Machine::Q35, Machine::Microvm] {
        for (cpu, paging, extra) in [
            ("max", "la57", ""),
            ("max", "4-level", "nola57"),
            ("qemu64", "4-level", ""),
            ("qemu64,+la57", "la57", ""),
        ] {
            for processors in [1, 2, 4, 8] {
                for memory in ["128M", "512M"] {
                    cases.push(Case {
                        name: format!("boot {machine} {cpu} smp{processors} {paging} {memory}"),
                        guest: Guest {
                            machine,
                            cpu: cpu.into(),
                            processors,
                            memory: memory.into(),
                            kernel: kernel.into(),
                            command_line: format!("test=boot hello={HELLO} {extra}"),
                            initramfs: Some(initramfs.into()),
                            debug_console: None,
                        },
                        expected: Expected::Success,
                    });
                }
            }
        }
    }
    cases
}

/// RAM above 4 GiB, and no initramfs.
fn large(kernel: &Path) -> Case {
    Case {
        name: "boot q35 max smp2 la57 5G without initramfs".into(),
        guest: Guest {
            machine: Machine::Q35,
            cpu: "max".into(),
            processors: 2,
            memory: "5G".into(),
            kernel: kernel.into(),
            command_line: "test=boot".into(),
            initramfs: None,
            debug_console: None,
        },
        expected: Expected::Success,
    }
}

/// Ends on purpose, and what has to be reported.
fn deaths(kernel: &Path) -> Vec<Case> {
    let deaths: [(&str, &[&str]); 5] = [
        (
            "panic",
            &[
                "kernel panic on cpu0",
                "rip 0x",
                "cr2 0xffffdead00000000",
                "task: ",
                "backtrace:",
                "write_nowhere",
                "page_fault",
                "kernel_main",
                "cpu3 was at",
                "end of report",
            ],
        ),
        (
            "panic-elsewhere",
            &["kernel panic on cpu3", "write_nowhere", "cpu0 was at", "end of report"],
        ),
        (
            "stack-overflow",
            &["kernel panic on cpu0", "rip 0x", "cr2 0xffffca0000000", "end of report"],
        ),
        (
            "stuck",
            &["is stuck: for 2 s it has been in the kernel", "deaths::stuck", "end of report"],
        ),
        (
            "stuck-elsewhere",
            &[
                "cpu3 is stuck: for 1 s it has taken no interrupt",
                "cpu3 was at",
                "deaths::stuck",
                "trap_dispatch",
                "end of report",
            ],
        ),
    ];
    let case = |(test, report): (&str, &'static [&'static str])| Case {
        name: format!("{test} is reported"),
        guest: Guest {
            machine: Machine::Q35,
            cpu: "max".into(),
            processors: 4,
            memory: "128M".into(),
            kernel: kernel.into(),
            // Long enough for who is stuck on purpose.
            command_line: format!("test={test} watchdog=1"),
            initramfs: None,
            debug_console: None,
        },
        expected: Expected::Report(report),
    };
    deaths.into_iter().map(case).collect()
}

/// A guest that hangs with interrupts off, where no watchdog of its own helps.
fn hangs(kernel: &Path) -> Case {
    Case {
        name: "a guest out of time is asked where it is".into(),
        guest: Guest {
            machine: Machine::Q35,
            cpu: "max".into(),
            processors: 2,
            memory: "128M".into(),
            kernel: kernel.into(),
            command_line: "test=nmi".into(),
            initramfs: None,
            debug_console: None,
        },
        expected: Expected::ReportWhenAsked(&[
            "non-maskable interrupt from outside",
            "deaths::wait_for_nmi",
            "end of report",
        ]),
    }
}

/// Time after which a guest that hangs on purpose is asked.
const HANGS_FOR: Duration = Duration::from_secs(8);

/// What runs in a kernel thread, with the scheduler and the PGD crates in place.
fn kernel_threads(kernel: &Path) -> impl Iterator<Item = Case> {
    [("max", 1), ("max", 4), ("qemu64", 4)].into_iter().map(move |(cpu, processors)| Case {
        name: format!("kernel threads q35 {cpu} smp{processors}"),
        guest: Guest {
            machine: Machine::Q35,
            cpu: cpu.into(),
            processors,
            memory: "128M".into(),
            kernel: kernel.into(),
            command_line: "test=kernel".into(),
            initramfs: None,
            debug_console: None,
        },
        expected: Expected::Success,
    })
}

/// What `processes.c` prints.
const PROCESSES: &[&str] =
    &["hello", "statuses arrive", "pipes carry everything", "memory is copied on write", "goodbye"];
/// What `affinity.c` prints.
const AFFINITY: &[&str] = &["tasks run where they may"];
/// What `bomb.c` prints.
const BOMB: &[&str] = &["nobody got away"];
/// What `shell.sh` prints.
const SHELL: &[&str] =
    &["pipeline works", "substitution works", "background job works", "the bad program died alone"];

fn program(status: u8, lines: &[&str]) -> Expected {
    Expected::Program(status, lines.iter().copied().map(String::from).collect())
}

/// Unmodified Linux programs. Builds them, and an initramfs in `folder` for each way to start one.
fn linux_programs(kernel: &Path, folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    busybox::require()?;
    let script = fs::read(programs::sources().join("shell.sh"))?;
    let processes: &[&str] = &["/bin/processes"];
    let segfault: &[&str] = &["/bin/processes", "segfault"];
    let shell: &[&str] = &["/bin/sh", "/shell.sh"];
    let affinity: &[&str] = &["/bin/affinity"];
    let bomb: &[&str] = &["/bin/bomb", "guest"];
    let mut cases = Vec::new();
    for (name, library, arguments, expected) in [
        ("fork, exec, wait and pipes", Library::Glibc, processes, program(0, PROCESSES)),
        ("fork, exec, wait and pipes", Library::Musl, processes, program(0, PROCESSES)),
        ("segfault", Library::Glibc, segfault, program(139, &[])),
        ("busybox sh", Library::Glibc, shell, program(0, SHELL)),
        ("affinity", Library::Glibc, affinity, program(0, AFFINITY)),
        ("signals outrun forks", Library::Glibc, bomb, program(0, BOMB)),
    ] {
        let mut archive = programs::root()?;
        archive.file("bin/processes", 0o755, programs::compile("processes", library, folder)?);
        archive.file("bin/affinity", 0o755, programs::compile("affinity", library, folder)?);
        archive.file("bin/bomb", 0o755, programs::compile("bomb", library, folder)?);
        archive.file("shell.sh", 0o644, script.clone());
        programs::run_first(&mut archive, arguments);
        let initramfs = folder.join(format!("programs-{}.cpio", cases.len()));
        fs::write(&initramfs, archive.finish())?;
        // Few machines, and among them every machine, processor and number of levels.
        for (machine, cpu, processors, extra) in [
            (Machine::Q35, "max", 1, ""),
            (Machine::Q35, "max", 4, "nola57"),
            (Machine::Microvm, "qemu64", 8, ""),
        ] {
            cases.push(Case {
                name: format!(
                    "{name} ({}) {machine} {cpu} smp{processors} {extra}",
                    library.name()
                )
                .trim_end()
                .to_owned(),
                guest: Guest {
                    machine,
                    cpu: cpu.into(),
                    processors,
                    memory: "256M".into(),
                    kernel: kernel.into(),
                    command_line: extra.into(),
                    initramfs: Some(initramfs.clone()),
                    debug_console: Some(folder.join("debug-console")),
                },
                expected: expected.clone(),
            });
        }
    }
    Ok(cases)
}

/// A guest with `arguments` for its first program, and `executable` as `/bin/NAME`.
fn guest_with(
    kernel: &Path,
    folder: &Path,
    executable: Option<(&str, &Path)>,
    arguments: &[&str],
) -> Result<Guest, Box<dyn Error>> {
    let mut archive = programs::root()?;
    let mut name = "shell".to_string();
    if let Some((path, executable)) = executable {
        archive.file(path, 0o755, fs::read(executable)?);
        name = executable.file_name().ok_or("a program has a name")?.to_string_lossy().into();
    }
    programs::run_first(&mut archive, arguments);
    let initramfs = folder.join(format!("{name}.cpio"));
    fs::write(&initramfs, archive.finish())?;
    Ok(Guest {
        machine: Machine::Q35,
        cpu: "max".into(),
        processors: 2,
        memory: "256M".into(),
        kernel: kernel.into(),
        command_line: String::new(),
        initramfs: Some(initramfs),
        debug_console: Some(folder.join("debug-console")),
    })
}

/// Programs whose every line is a fact about Linux: what they print on this machine, they have to print
/// on the reference kernel.
fn same_as_here(kernel: &Path, folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut programs = Vec::new();
    for name in [
        "signals",
        "waits",
        "memory",
        "rights",
        "registers",
        "events",
        "sockets",
        "shared",
        "events2",
    ] {
        for library in [Library::Glibc, Library::Musl] {
            let executable = programs::build(name, library, folder)?;
            programs.push((name, library.name(), executable));
        }
    }
    programs.push(("std", "rust", programs::compile_rust("std", folder)?));
    let mut cases = Vec::new();
    for (name, language, executable) in programs {
        let output = Command::new(&executable).output()?;
        if !output.status.success() {
            return Err(format!("{} ends here with {}", executable.display(), output.status).into());
        }
        let lines: Vec<String> =
            String::from_utf8(output.stdout)?.lines().map(String::from).collect();
        let path = format!("bin/{name}");
        let first = format!("/{path}");
        let guest = guest_with(kernel, folder, Some((&path, &executable)), &[&first])?;
        // Each on one processor and on several, between them with both kinds of processor.
        let machines: &[(&str, u32)] = match language {
            "musl" => &[("max", 2)],
            "rust" => &[("max", 1), ("max", 4), ("qemu64", 2)],
            _ => &[("max", 4), ("qemu64", 1)],
        };
        for &(cpu, processors) in machines {
            cases.push(Case {
                name: format!("{name} as on Linux ({language}) q35 {cpu} smp{processors}"),
                guest: Guest { cpu: cpu.into(), processors, ..guest.clone() },
                expected: Expected::Program(0, lines.clone()),
            });
        }
    }
    Ok(cases)
}

/// Somebody at the keyboard of a shell.
const AT_THE_KEYBOARD: &[Step] = &[
    Step::See("# "),
    Step::Type("echo one two\n"),
    Step::See("\r\none two\r\n"),
    // The shell's line editing: a mistake is taken back, and the line before comes again.
    Step::Type("echo thrx\x7fee\n"),
    Step::See("\r\nthree\r\n"),
    Step::Type("\x1b[A\n"),
    Step::See("\r\nthree\r\n"),
    Step::See("# "),
    // The terminal's: erase a character, a word, a line; end of file.
    Step::Type("cat >/tmp/typed; echo status $?\n"),
    Step::Pause(300),
    Step::Type("nonsense\x15first wrong\x17lixn\x7f\x7fne\n"),
    Step::Pause(300),
    Step::Type("\x04"),
    Step::See("status 0\r\n"),
    Step::Type("cat /tmp/typed\n"),
    Step::See("\r\nfirst line\r\n"),
    Step::Type("read word; echo \"got <$word>\"\n"),
    Step::Pause(300),
    Step::Type("hello\n"),
    Step::See("got <hello>"),
    // Ctrl-C ends what runs in the foreground, the shell stays.
    Step::Type("sleep 1000\n"),
    Step::Pause(300),
    Step::Type("\x03"),
    Step::See("# "),
    Step::Type("echo status $?\n"),
    Step::See("\r\nstatus 130\r\n"),
    Step::Type("sleep 1000 | cat\n"),
    Step::Pause(300),
    Step::Type("\x03"),
    Step::See("# "),
    Step::Type("while :; do :; done\n"),
    Step::Pause(300),
    Step::Type("\x03"),
    Step::See("# "),
    // Ctrl-Z stops it; it goes on in the background, and in the foreground.
    Step::Type("sleep 1000\n"),
    Step::Pause(300),
    Step::Type("\x1a"),
    Step::See("Stopped"),
    Step::See("# "),
    Step::Type("bg\n"),
    Step::See("# "),
    Step::Type("jobs\n"),
    Step::See("Running"),
    Step::See("# "),
    Step::Type("fg\n"),
    Step::Pause(300),
    Step::Type("\x03"),
    Step::See("# "),
    Step::Type("jobs; echo no more jobs\n"),
    Step::See("\r\nno more jobs\r\n"),
    Step::Type("(sleep 0.3; echo from the background) & wait; echo waited\n"),
    Step::See("\r\nfrom the background\r\n"),
    Step::See("waited\r\n"),
    // Who reads from the terminal in the background is stopped.
    Step::Type("cat &\n"),
    Step::Pause(300),
    Step::Type("\n"),
    Step::See("Stopped (tty input)"),
    Step::Type("kill -9 %1; wait; echo $(stty -a | grep -c isig)\n"),
    Step::See("\r\n1\r\n"),
    Step::Type("exit 7\n"),
];

/// The shell on a terminal.
fn interactive(kernel: &Path, folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let guest = guest_with(kernel, folder, None, &["/bin/sh", "-c", boot::TAKE_TERMINAL])?;
    let case = |(machine, cpu, processors): (Machine, &str, u32)| Case {
        name: format!("shell at the keyboard {machine} {cpu} smp{processors}"),
        guest: Guest { machine, cpu: cpu.into(), processors, ..guest.clone() },
        expected: Expected::Dialogue(7, AT_THE_KEYBOARD),
    };
    let machines =
        [(Machine::Q35, "max", 1), (Machine::Q35, "qemu64", 4), (Machine::Microvm, "max", 2)];
    Ok(machines.map(case).into())
}

/// Runs one case; the error says what went wrong.
fn run_case(
    case: &Case,
    symbols: &Symbols,
    log: &Path,
    timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    // Nothing of an earlier run may pass for this one's.
    fs::write(log, "")?;
    let ending = if let Expected::Dialogue(_, steps) = case.expected {
        let (ending, text) = dialogue::hold(&case.guest, steps, timeout)?;
        fs::write(log, text)?;
        ending
    } else {
        let hangs = matches!(case.expected, Expected::ReportWhenAsked(_));
        let timeout = if hangs { timeout.min(HANGS_FOR) } else { timeout };
        case.guest.run(Serial::File(log), Some(timeout))?
    };
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let text = symbols.annotate(&text);
    fs::write(log, &text)?;
    match &case.expected {
        Expected::Success if ending == Ending::Success => Ok(()),
        Expected::Report(_) if ending != Ending::Failure => {
            Err(format!("ended with: {ending}, instead of a report").into())
        }
        Expected::ReportWhenAsked(_) if !matches!(ending, Ending::Timeout(_)) => {
            Err(format!("ended with: {ending}, instead of hanging").into())
        }
        Expected::Report(report) | Expected::ReportWhenAsked(report) => {
            match report.iter().find(|&&part| !text.contains(part)) {
                Some(missing) => Err(format!("the report has no `{missing}`").into()),
                None => Ok(()),
            }
        }
        Expected::Dialogue(status, _) if ending == Ending::Exited(*status) => Ok(()),
        Expected::Program(status, lines) if ending == Ending::Exited(*status) => {
            printed(&text, lines)
        }
        Expected::ProgramAndLog(status, lines, log) if ending == Ending::Exited(*status) => {
            printed(&text, lines)?;
            if let Some(missing) = log.iter().find(|&&part| !text.contains(part)) {
                return Err(format!("the kernel did not log `{missing}`").into());
            }
            mentioned_once(&text)
        }
        Expected::Success
        | Expected::Program(..)
        | Expected::ProgramAndLog(..)
        | Expected::Dialogue(..) => {
            let complaint = text
                .lines()
                .find(|line| line.starts_with("not ok") || line.starts_with("failed: "));
            let complaint = complaint.or_else(|| text.lines().last()).unwrap_or("no output");
            Err(format!("{ending}; {complaint}").into())
        }
    }
}

/// Checks that the kernel has mentioned no unknown call twice.
fn mentioned_once(text: &str) -> Result<(), Box<dyn Error>> {
    let mut calls: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("system call ")?.1.strip_suffix(" is not implemented"))
        .collect();
    calls.sort_unstable();
    match calls.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("system call {} was mentioned twice", pair[0]).into()),
        None => Ok(()),
    }
}

/// Checks that `text` has all of `lines`, in this order.
fn printed(text: &str, lines: &[String]) -> Result<(), Box<dyn Error>> {
    let mut printed = text.lines();
    match lines.iter().find(|&line| !printed.any(|other| other == line)) {
        Some(missing) => Err(format!("the program did not print `{missing}`").into()),
        None => Ok(()),
    }
}

/// Runs all cases. Ends with success if all of them do.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    qemu::require()?;
    let kernel = kernel_image::build(&arguments.profile)?;
    let symbols = Symbols::read(&kernel)?;
    let folder = scratch(&kernel)?;
    let initramfs = folder.join("initramfs.cpio");
    let mut archive = Archive::default();
    archive.file("etc/hello", 0o644, HELLO.into());
    fs::write(&initramfs, archive.finish())?;

    let mut cases = boots(&kernel, &initramfs);
    cases.push(large(&kernel));
    cases.extend(deaths(&kernel));
    cases.push(hangs(&kernel));
    cases.extend(kernel_threads(&kernel));
    cases.extend(linux_programs(&kernel, &folder)?);
    cases.extend(same_as_here(&kernel, &folder)?);
    cases.extend(exhaustion::cases(&kernel, &folder)?);
    cases.extend(hostility::cases(&kernel, &folder)?);
    cases.extend(interactive(&kernel, &folder)?);
    if let Some(filter) = &arguments.filter {
        cases.retain(|case| case.name.contains(filter.as_str()));
        if cases.is_empty() {
            // That has tested nothing.
            return Err(format!("no case has {filter:?} in its line").into());
        }
    }
    let timeout = Duration::from_secs(arguments.timeout);
    let mut failed = 0;
    for case in &cases {
        let log = folder.join(format!("{}.log", case.name.replace([' ', ',', '(', ')'], "-")));
        match run_case(case, &symbols, &log, timeout) {
            Ok(()) => println!("ok {}", case.name),
            Err(error) => {
                println!("not ok {}: {error}; serial log: {}", case.name, log.display());
                failed += 1;
            }
        }
    }
    println!("{} cases, {failed} failed", cases.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the folder for logs and archives, beside the image.
fn scratch(kernel: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = kernel.parent().ok_or("the image lies in a folder")?.join("boot-test");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
