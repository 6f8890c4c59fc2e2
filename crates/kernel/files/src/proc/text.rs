//! What the files of `/proc` say. Source: proc(5), and Linux's `fs/proc`.

use super::source::{CpuTimes, Mapping, Process, System};
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Nanoseconds in a tick of `USER_HZ`, in which `/proc` counts processors' time.
const TICK: u64 = 10_000_000;

const PAGE_SIZE: u64 = 4096;

/// The terminal's device number, as `tty_nr` shows it: `ttyS0`.
const TTY_NUMBER: u32 = 4 << 8 | 64;

/// A text under construction. Names in it are bytes, not necessarily UTF-8.
#[derive(Debug, Default)]
pub(super) struct Text(Vec<u8>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Text {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        // Only a Display could fail, and those here do not.
        let _ = self.write_fmt(arguments);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Appends formatted text.
macro_rules! put {
    ($text:expr, $($argument:tt)*) => { $text.put(format_args!($($argument)*)) };
}

pub(super) fn meminfo(text: &mut Text, system: &System) {
    let memory = &system.memory;
    for (name, bytes) in [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemAvailable", memory.free + memory.cached),
        ("Buffers", 0),
        ("Cached", memory.cached),
        ("SwapCached", 0),
        ("Active", memory.cached),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", 0),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", memory.heap),
        ("SReclaimable", memory.heap.saturating_sub(memory.allocated)),
        ("SUnreclaim", memory.allocated),
        ("VmallocUsed", memory.vmalloc),
    ] {
        // The widths of Linux: name and number take 24 columns.
        let name = Label(name);
        put!(text, "{name:<16}{:8} kB\n", bytes / 1024);
    }
}

/// A name with its colon, which `{:<16}` pads as one.
struct Label(&'static str);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = f.width().unwrap_or(0).saturating_sub(self.0.len() + 1);
        write!(f, "{}:{:width$}", self.0, "")
    }
}

pub(super) fn uptime(text: &mut Text, system: &System) {
    let idle: u64 = system.cpus.iter().map(|cpu| cpu.idle).sum();
    put!(text, "{} {}\n", Hundredths(system.uptime / TICK), Hundredths(idle / TICK));
}

/// A number of hundredths as a decimal fraction.
struct Hundredths(u64);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

pub(super) fn version(text: &mut Text, system: &System) {
    put!(text, "Linux version {} {}\n", system.release, system.version);
}

pub(super) fn cpuinfo(text: &mut Text, system: &System) {
    for index in 0..system.cpus.len() {
        put!(text, "processor\t: {index}\n");
        put!(text, "vendor_id\t: {}\n", system.cpu_vendor);
        put!(text, "model name\t: {}\n", system.cpu_model);
        let (mhz, fraction) = (system.cpu_khz / 1000, system.cpu_khz % 1000);
        put!(text, "cpu MHz\t\t: {mhz}.{fraction:03}\n");
        put!(text, "flags\t\t: {}\n\n", system.cpu_flags);
    }
}

pub(super) fn mounts(text: &mut Text, _: &System) {
    text.bytes(b"rootfs / tmpfs rw,noatime 0 0\nproc /proc proc rw,noatime 0 0\n");
}

pub(super) fn filesystems(text: &mut Text, _: &System) {
    text.bytes(b"nodev\ttmpfs\nnodev\tproc\n");
}

pub(super) fn stat(text: &mut Text, system: &System) {
    let sum = system.cpus.iter().fold(CpuTimes::default(), |sum, cpu| CpuTimes {
        user: sum.user + cpu.user,
        system: sum.system + cpu.system,
        idle: sum.idle + cpu.idle,
    });
    let mut line = |name: fmt::Arguments<'_>, times: &CpuTimes| {
        let [user, system, idle] = [times.user, times.system, times.idle].map(|time| time / TICK);
        put!(text, "{name} {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    };
    line(format_args!("cpu "), &sum);
    for (index, cpu) in system.cpus.iter().enumerate() {
        line(format_args!("cpu{index}"), cpu);
    }
    put!(text, "intr {}\n", system.interrupts);
    put!(text, "ctxt {}\n", system.switches);
    put!(text, "btime {}\n", system.boot_time);
    put!(text, "processes {}\n", system.forks);
    put!(text, "procs_running {}\n", system.tasks[0]);
    put!(text, "procs_blocked 0\n");
}

pub(super) fn loadavg(text: &mut Text, system: &System) {
    for load in system.load {
        put!(text, "{} ", Hundredths(load.into()));
    }
    put!(text, "{}/{} {}\n", system.tasks[0], system.tasks[1], system.last_pid);
}

pub(super) fn swaps(text: &mut Text, _: &System) {
    text.bytes(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
}

pub(super) fn hostname(text: &mut Text, system: &System) {
    text.bytes(&system.hostname);
    text.bytes(b"\n");
}

pub(super) fn ostype(text: &mut Text, _: &System) {
    text.bytes(b"Linux\n");
}

pub(super) fn osrelease(text: &mut Text, system: &System) {
    put!(text, "{}\n", system.release);
}

pub(super) fn kernel_version(text: &mut Text, system: &System) {
    put!(text, "{}\n", system.version);
}

pub(super) fn pid_max(text: &mut Text, _: &System) {
    text.bytes(b"4194304\n");
}

pub(super) fn zero(text: &mut Text, _: &System) {
    text.bytes(b"0\n");
}

pub(super) fn max_map_count(text: &mut Text, _: &System) {
    text.bytes(b"65530\n");
}

pub(super) fn pipe_max_size(text: &mut Text, _: &System) {
    put!(text, "{}\n", crate::pipe::CAPACITY);
}

/// Writes the 52 fields of `/proc/<pid>/stat`, by the numbers that proc(5) gives them.
pub(super) fn process_stat(text: &mut Text, pid: u32, process: &Process) {
    let (state, _) = process.state.names();
    let (tty, foreground) = if process.terminal {
        (TTY_NUMBER, process.foreground.map_or(-1, i64::from))
    } else {
        (0, -1)
    };
    put!(text, "{pid} (");
    text.bytes(&process.name);
    // 3 to 9: state, parent, group, session, terminal and its foreground, flags.
    let Process { parent, group, session, .. } = process;
    put!(text, ") {state} {parent} {group} {session} {tty} {foreground} 0");
    // 10 to 13: faults; those of children are not counted.
    let [minor, major] = process.faults;
    put!(text, " {minor} 0 {major} 0");
    // 14 to 17: times.
    for time in [
        process.user_time,
        process.system_time,
        process.children_user_time,
        process.children_system_time,
    ] {
        put!(text, " {}", time / TICK);
    }
    // 18 to 22: priority, niceness, threads, an old timer, start.
    let (nice, start) = (process.nice, process.start_time / TICK);
    put!(text, " {} {nice} {} 0 {start}", 20 + nice, process.threads);
    // 23 to 30: sizes and limit, then addresses that are not told.
    let resident = process.resident / PAGE_SIZE;
    put!(text, " {} {resident} {} 0 0 0 0 0", process.virtual_size, u64::MAX);
    // 31 to 34: signals. 35 to 38: waiting channel, swap, the signal at exit.
    let Process { pending, blocked, ignored, caught, .. } = process;
    put!(text, " {pending} {blocked} {ignored} {caught} 0 0 0 17");
    // 39 to 44: processor, real-time priority and policy, delays. 45 to 52: addresses, exit status.
    put!(text, " {} 0 0 0 0 0 0 0 0 0 0 0 0 0\n", process.processor);
}

pub(super) fn process_status(text: &mut Text, pid: u32, process: &Process) {
    let (letter, word) = process.state.names();
    put!(text, "Name:\t");
    text.bytes(&process.name);
    put!(text, "\nUmask:\t0022\nState:\t{letter} ({word})\n");
    put!(text, "Tgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t{}\nTracerPid:\t0\n", process.parent);
    put!(text, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t0 \n");
    let (size, resident) = (process.virtual_size / 1024, process.resident / 1024);
    put!(text, "VmPeak:\t{size:8} kB\nVmSize:\t{size:8} kB\n");
    put!(text, "VmHWM:\t{resident:8} kB\nVmRSS:\t{resident:8} kB\n");
    put!(text, "Threads:\t{}\n", process.threads);
    for (name, set) in [
        ("SigPnd", 0),
        ("ShdPnd", process.pending),
        ("SigBlk", process.blocked),
        ("SigIgn", process.ignored),
        ("SigCgt", process.caught),
    ] {
        put!(text, "{name}:\t{set:016x}\n");
    }
    put!(text, "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
}

pub(super) fn process_statm(text: &mut Text, _: u32, process: &Process) {
    let (size, resident) = (process.virtual_size / PAGE_SIZE, process.resident / PAGE_SIZE);
    put!(text, "{size} {resident} 0 0 0 {size} 0\n");
}

pub(super) fn process_comm(text: &mut Text, _: u32, process: &Process) {
    text.bytes(&process.name);
    text.bytes(b"\n");
}

pub(super) fn maps(text: &mut Text, mappings: &[Mapping]) {
    /// Where Linux starts the name.
    const NAME_COLUMN: usize = 73;
    for mapping in mappings {
        let start = text.0.len();
        let letter = |allowed, letter| if allowed { letter } else { '-' };
        let [read, write, execute] = mapping.allowed;
        put!(
            text,
            "{:08x}-{:08x} {}{}{}{} {:08x} 00:00 0 ",
            mapping.start,
            mapping.end,
            letter(read, 'r'),
            letter(write, 'w'),
            letter(execute, 'x'),
            if mapping.shared { 's' } else { 'p' },
            mapping.offset,
        );
        if !mapping.name.is_empty() {
            text.0.resize(text.0.len().max(start + NAME_COLUMN), b' ');
            text.bytes(&mapping.name);
        }
        text.bytes(b"\n");
    }
}
