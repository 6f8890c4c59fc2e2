//! `cargo xtask boot`: the reference kernel in this terminal, with a shell or a program of the host.

use crate::initramfs::Archive;
use crate::qemu::{self, Ending, Guest, Machine, Serial};
use crate::{busybox, kernel_image, memory_size, programs, static_elf};
use clap::Args;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The machine to boot on, and what to run there.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    smp: u32,
    /// QEMU's name of the processor: max has SMEP, SMAP and LA57, qemu64 has none of them
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Give the processor five-level paging, if it does not have it anyway
    #[arg(long, conflicts_with = "no_la57")]
    la57: bool,
    /// Stay with four levels, whatever the processor has
    #[arg(long)]
    no_la57: bool,
    /// Memory, with a unit
    #[arg(long, default_value = "512M", value_parser = memory_size::parse)]
    memory: String,
    /// Machine
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    machine: Machine,
    /// Seconds after which QEMU is ended
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Cargo profile to build the kernel with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Words for the kernel's command line
    #[arg(long, default_value = "")]
    append: String,
    /// Run this static executable of the host instead of a shell, and end with its status
    #[arg(long, value_name = "FILE", group = "first")]
    program: Option<PathBuf>,
    /// Run the commands in this file instead of an interactive shell, and end with their status
    #[arg(long, value_name = "FILE", group = "first")]
    script: Option<PathBuf>,
    /// Put this file of the host into the guest's root folder
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// Arguments of the program or the script
    #[arg(last = true, requires = "first")]
    arguments: Vec<String>,
}

/// Boots. Ends with the status of what was run, or with failure if the kernel did not come to an end.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    qemu::require()?;
    qemu::require_cpu(&arguments.cpu)?;
    let archive = initramfs(arguments)?;
    let kernel = kernel_image::build(&arguments.profile)?;
    // Named after this process: several guests may run at once.
    let folder = kernel.with_file_name(format!("boot-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = boot(arguments, kernel, archive, &folder);
    fs::remove_dir_all(&folder)?;
    match outcome? {
        Ending::Success => Ok(ExitCode::SUCCESS),
        Ending::Exited(status) => Ok(status.into()),
        ending => {
            eprintln!("{ending}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn boot(
    arguments: &Arguments,
    kernel: PathBuf,
    archive: Archive,
    folder: &Path,
) -> Result<Ending, Box<dyn Error>> {
    let mut cpu = arguments.cpu.clone();
    if arguments.la57 {
        cpu.push_str(",+la57");
    }
    let mut command_line = arguments.append.clone();
    if arguments.no_la57 {
        command_line.push_str(" nola57");
    }
    let initramfs = folder.join("initramfs.cpio");
    fs::write(&initramfs, archive.finish())?;
    let guest = Guest {
        machine: arguments.machine,
        cpu,
        processors: arguments.smp,
        memory: arguments.memory.clone(),
        kernel,
        command_line,
        initramfs: Some(initramfs),
        debug_console: Some(folder.join("debug-console")),
    };
    guest.run(Serial::Terminal, arguments.timeout.map(Duration::from_secs))
}

/// Makes the initramfs: the program or script, the files to add, and busybox.
fn initramfs(arguments: &Arguments) -> Result<Archive, Box<dyn Error>> {
    if arguments.program.is_none() {
        busybox::require()?;
    }
    let mut archive = programs::root()?;
    let first = if let Some(program) = &arguments.program {
        let contents = read(program)?;
        static_elf::require_static(program, &contents)?;
        let path = format!("bin/{}", name_of(program)?);
        archive.file(&path, 0o755, contents);
        vec![format!("/{path}")]
    } else if let Some(script) = &arguments.script {
        archive.file("script", 0o755, read(script)?);
        vec!["/bin/sh".into(), "/script".into()]
    } else {
        ["/bin/sh", "-c", TAKE_TERMINAL].map(String::from).into()
    };
    let all: Vec<&str> = first.iter().chain(&arguments.arguments).map(String::as_str).collect();
    programs::run_first(&mut archive, &all);
    for file in &arguments.add {
        let name = name_of(file)?;
        if archive.contains(name) {
            let file = file.display();
            return Err(format!("{file} would be /{name}, and there is a /{name} already").into());
        }
        let mode = fs::metadata(file).map_err(|error| unreadable(file, &error))?.permissions();
        archive.file(name, mode.mode() & 0o777, read(file)?);
    }
    Ok(archive)
}

/// Makes the serial port the shell's controlling terminal. As on Linux, `/dev/console`, where the first program
/// starts, never becomes that; without one, there is no job control, and nobody for Ctrl-C to end.
pub(crate) const TAKE_TERMINAL: &str = "exec /bin/sh </dev/ttyS0 >/dev/ttyS0 2>&1";

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", file.display())
}

fn name_of(file: &Path) -> Result<&str, String> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| format!("{} has no name that is text", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// What is said about `words` in the first line.
    fn complaint(words: &[&str]) -> String {
        let words = ["boot"].iter().chain(words);
        let error = CommandLine::try_parse_from(words).expect_err("wrong");
        error.to_string().lines().next().expect("a line").to_owned()
    }

    #[test]
    fn wrong_values_are_refused_and_named() {
        for (words, value) in [
            (["--smp", "0"], "'0'"),
            (["--smp", "9"], "'9'"),
            (["--smp", "999"], "'999'"),
            (["--memory", "0"], "'0'"),
            (["--memory", "1"], "'1'"),
            (["--memory", "12Q"], "'12Q'"),
            (["--memory", "8M"], "'8M'"),
            (["--memory", "99999999T"], "'99999999T'"),
            (["--timeout", "0"], "'0'"),
            (["--timeout", "soon"], "'soon'"),
            (["--machine", "toaster"], "'toaster'"),
        ] {
            let complaint = complaint(&words);
            assert!(complaint.contains(value) && complaint.contains(words[0]), "{complaint}");
        }
    }

    #[test]
    fn arguments_without_a_program_and_two_first_programs_are_refused() {
        assert!(complaint(&["--", "argument"]).contains("required"));
        assert!(complaint(&["--program", "a", "--script", "b"]).contains("cannot be used"));
    }

    /// What making the initramfs says about `words`.
    fn refusal(words: &[&str]) -> String {
        let words = ["boot"].iter().chain(words);
        let line = CommandLine::try_parse_from(words).expect("right so far");
        initramfs(&line.arguments).expect_err("wrong").to_string()
    }

    #[test]
    fn files_that_cannot_be_had_are_refused_and_named() {
        let folder = std::env::temp_dir().join(format!("boot-options-{}", std::process::id()));
        fs::create_dir_all(folder.join("other")).expect("a folder");
        let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        for name in ["one", "other/one", "etc"] {
            fs::write(path(name), "text").expect("a file");
        }
        let missing = refusal(&["--program", &path("missing")]);
        assert!(missing.starts_with(&path("missing")), "{missing}");
        let folder_given = refusal(&["--program", &path("other")]);
        assert!(folder_given.starts_with(&path("other")), "{folder_given}");
        let text = refusal(&["--program", &path("one")]);
        assert!(text.contains("is no ELF executable"), "{text}");
        let shell = std::env::current_exe().expect("this test's own executable, which is dynamic");
        let dynamic = refusal(&["--program", shell.to_str().expect("text")]);
        assert!(dynamic.contains("dynamically linked; this kernel runs static"), "{dynamic}");
        let script = &path("one");
        let added = refusal(&["--script", script, "--add", &path("missing")]);
        assert!(added.starts_with(&path("missing")), "{added}");
        let twice = refusal(&["--script", script, "--add", script, "--add", &path("other/one")]);
        assert!(twice.contains("there is a /one already"), "{twice}");
        let built_in = refusal(&["--script", script, "--add", &path("etc")]);
        assert!(built_in.contains("there is a /etc already"), "{built_in}");
        fs::remove_dir_all(&folder).expect("made above");
    }
}
