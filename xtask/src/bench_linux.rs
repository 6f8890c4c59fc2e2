//! `cargo xtask bench-linux`: the reference kernel beside Debian's Linux, on the same virtual machine.
//!
//! Both kernels boot from the same initramfs with the same QEMU, processor model and memory, which the host has
//! touched before. The same static program (`bench.c` of the kernel's test programs) runs as init's child,
//! pins its workers, and prints its figures. The kernels take turns, so that a change of the host's speed meets both;
//! what is compared are medians over the turns in which the host was as fast as usual (`figures.rs`).

mod document;
mod figures;
mod linux_image;
mod plot;

use crate::initramfs::Archive;
use crate::programs::{self, Library};
use crate::qemu::{self, Ending, Guest, Machine, Serial};
use crate::{kernel_image, loom, package};
use clap::Args;
use document::Setting;
use figures::{Comparison, Run};
use serde_json::json;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What to measure, how often and how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Turns that each kernel gets on each machine; what is reported are medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Seconds that each row takes in each turn
    #[arg(long, default_value_t = 0.4)]
    seconds_per_row: f64,
    /// Only this row; may be given several times
    #[arg(long, value_parser = ROWS)]
    row: Vec<String>,
    /// Processors of the machine; may be given several times
    #[arg(long, default_values_t = [1, 2], value_parser = clap::value_parser!(u32).range(1..=8))]
    smp: Vec<u32>,
    /// QEMU's name of the processor
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Memory, with a unit; the host gives all of it before the guest starts
    #[arg(long, default_value = "512M")]
    memory: String,
    /// A Linux image to compare with, instead of Debian's linux-image-cloud-amd64
    #[arg(long, value_name = "FILE")]
    linux: Option<PathBuf>,
    /// Words for Linux's command line, such as mitigations=off
    #[arg(long, default_value = "")]
    linux_append: String,
    /// Leave Linux out: only this kernel's figures
    #[arg(long, conflicts_with = "linux")]
    no_linux: bool,
    /// Cargo profile to build the kernel with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Where to write the plot of the ratios [default: bench-linux.svg beside the kernel's image]
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write what was measured to docs/bench-linux.md
    #[arg(long, conflicts_with = "no_linux")]
    write: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// The rows that `bench.c` has.
const ROWS: [&str; 8] = [
    "fork-exit-wait",
    "fork-exec-wait",
    "fork-exec-libc-wait",
    "vfork-exec-wait",
    "pipe-ping-pong",
    "page-fault",
    "thread-create-join",
    "getppid",
];

/// The words that both kernels get on their command lines go to one that does not know them, too.
const LINUX: &str = "console=ttyS0 quiet panic=-1";

/// Measures. Fails when a kernel did not deliver every figure.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    qemu::require()?;
    package::require("gcc", "gcc")?;
    let kernel = kernel_image::build(&arguments.profile)?;
    let folder = kernel.with_file_name("bench-linux");
    fs::create_dir_all(&folder)?;
    let linux = match (&arguments.linux, arguments.no_linux) {
        (_, true) => None,
        (Some(image), _) => Some(image.clone()),
        (None, _) => Some(linux_image::get(&folder)?),
    };
    let rows: Vec<&str> = if arguments.row.is_empty() {
        ROWS.to_vec()
    } else {
        arguments.row.iter().map(String::as_str).collect()
    };
    let programs = compile(&folder)?;
    let mut comparison = Comparison::default();
    for &processors in &arguments.smp {
        // One worker alone, and one on each processor.
        let workers: Vec<u32> = if processors == 1 { vec![1] } else { vec![1, processors] };
        let archive = initramfs(&programs, arguments.seconds_per_row, &workers, &rows)?;
        let initramfs = folder.join(format!("initramfs-{processors}.cpio"));
        fs::write(&initramfs, archive)?;
        let guest = |image: &Path, command_line: String| Guest {
            machine: Machine::Q35,
            cpu: arguments.cpu.clone(),
            processors,
            memory: arguments.memory.clone(),
            kernel: image.into(),
            command_line,
            initramfs: Some(initramfs.clone()),
            debug_console: None,
        };
        let mut ours = guest(&kernel, String::new());
        ours.debug_console = Some(folder.join("debug-console"));
        let theirs = linux
            .as_deref()
            .map(|image| guest(image, format!("{LINUX} {}", arguments.linux_append)));
        let timed = arguments.seconds_per_row * 1.2 * (rows.len() * workers.len()) as f64;
        let timeout = Duration::from_secs_f64(60.0 + 3.0 * timed);
        for sample in 1..=arguments.samples {
            eprintln!("smp {processors}, turn {sample} of {}", arguments.samples);
            if let Some(theirs) = &theirs {
                let run = turn(theirs, &folder.join("linux.log"), timeout)?;
                comparison.add_linux(processors, &workers, &rows, run)?;
            }
            let run = turn(&ours, &folder.join("kernel.log"), timeout)?;
            comparison.add_kernel(processors, &workers, &rows, run)?;
        }
    }
    if !arguments.no_linux {
        let path = arguments.plot.clone().unwrap_or_else(|| folder.join("bench-linux.svg"));
        plot::draw(&path, &comparison)?;
        eprintln!("plot: {}", path.display());
    }
    let (qemu, host) = (version_of_qemu()?, host()?);
    if arguments.write {
        let path = loom::root().join("docs/bench-linux.md");
        let Arguments { cpu, memory, .. } = arguments;
        document::write(&path, &Setting { qemu: &qemu, host: &host, cpu, memory }, &comparison)?;
        eprintln!("written: {}", path.display());
    }
    if arguments.json {
        println!("{}", report(arguments, &comparison, &qemu, &host));
    } else {
        println!("{qemu}; {host}");
        for fact in comparison.linux_facts() {
            println!("Linux: {fact}");
        }
        print!("\n{comparison}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs of the initramfs, with their paths.
type Programs = Vec<(&'static str, Vec<u8>)>;

fn compile(folder: &Path) -> Result<Programs, Box<dyn Error>> {
    Ok(vec![
        ("bin/bench", programs::compile("bench", Library::Glibc, folder)?),
        ("bin/nothing", programs::compile("nothing", Library::Bare, folder)?),
        // Where Linux looks for what to run first. The reference kernel is its own init.
        ("init", programs::compile("linux-init", Library::Glibc, folder)?),
    ])
}

fn initramfs(
    programs: &Programs,
    seconds: f64,
    workers: &[u32],
    rows: &[&str],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "etc", "proc", "tmp"] {
        archive.directory(folder);
    }
    for (path, contents) in programs {
        archive.file(path, 0o755, contents.clone());
    }
    let milliseconds = Duration::try_from_secs_f64(seconds)?.as_millis().to_string();
    let workers: Vec<String> = workers.iter().map(u32::to_string).collect();
    programs::run_first(
        &mut archive,
        &["/bin/bench", &milliseconds, &workers.join(","), &rows.join(",")],
    );
    Ok(archive.finish())
}

/// Lets `guest` measure once.
fn turn(guest: &Guest, log: &Path, timeout: Duration) -> Result<Run, Box<dyn Error>> {
    fs::write(log, "")?;
    let ending = guest.run_touched(Serial::File(log), Some(timeout))?;
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let ended_well = match ending {
        Ending::Exited(0) => true,
        // Linux switches the machine off.
        Ending::Other(status) => status.success(),
        _ => false,
    };
    if !ended_well || !text.lines().any(|line| line.trim_end() == "end of figures") {
        let last = text.lines().last().unwrap_or("no output");
        return Err(format!("{ending}; {last}; the serial log is {}", log.display()).into());
    }
    Run::parse(&text)
}

fn report(
    arguments: &Arguments,
    comparison: &Comparison,
    qemu: &str,
    host: &str,
) -> serde_json::Value {
    json!({
        "qemu": qemu,
        "host": host,
        "cpu": arguments.cpu,
        "memory": arguments.memory,
        "samples": arguments.samples,
        "seconds_per_row": arguments.seconds_per_row,
        "linux": comparison.linux_facts(),
        "rows": comparison.to_json(),
    })
}

fn version_of_qemu() -> Result<String, Box<dyn Error>> {
    let output = Command::new(qemu::QEMU).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or("QEMU without a version").to_owned())
}

/// Names the host's processor.
fn host() -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let processors = text.lines().filter(|line| line.starts_with("processor")).count();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("unknown processor", |(_, name)| name);
    Ok(format!("{processors} processors of a host with {name}"))
}
