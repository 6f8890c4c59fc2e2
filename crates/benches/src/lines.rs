//! Writes to cache lines that another CPU has used since: counted, instruction by instruction.
//!
//! Two CPUs of a hosted kernel fork and exit, or make and end threads, in turns, in a process of their own that is traced. The tracer steps through every
//! instruction, decodes what it reads and writes, and plays the caches: two of them, without limit, lines of 64 bytes, coherent. A
//! write is *shared* when the other CPU has a copy of the line, so that on a machine it would have to be taken away.
//! Everything counts that the kernel does, whatever it is for: the heap, the frames, RCU, the task list and the PGD.
//!
//! The CPUs take turns life by life, so a lock is never found taken: what is counted is the traffic, not the waiting.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::channel;

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::Plan;
use crate::kernel::{BenchKernel, UserHalf, Work};

/// What a scheme's fork and exit, or a thread of it, does to lines.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// What a life is.
    pub work: Work,
    /// The scheme.
    pub scheme: Scheme,
    /// Lives that were stepped through.
    pub lives: u64,
    /// Instructions of a life.
    pub instructions: f64,
    /// Writes of a life to lines that the other CPU had a copy of.
    pub shared_writes: f64,
    /// Reads of a life from lines that the other CPU had written since.
    pub shared_reads: f64,
}

/// Lives on each CPU before the tracer looks: caches of all kinds become as they stay.
const WARM_UP: u64 = 1000;

/// CPUs that take turns.
const CPUS: usize = 2;

/// Traces every scheme's forks, and this project's threads, which no scheme matters to.
///
/// # Errors
///
/// When threads of a child cannot be traced here.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Point>, Box<dyn Error>> {
    let forks = Scheme::ALL.into_iter().map(|scheme| (Work::ForkExit, scheme, plan.traced));
    // So short that a batch of pids or of callbacks, 64 of them, would not be seen in as few.
    let threads = (Work::Threads, Scheme::Late, plan.traced * 16);
    let traced = forks.chain([threads]).map(|(work, scheme, lives)| {
        progress(&format!("shared lines: {}, {}", work.name(), scheme.name()));
        tracer::trace(work, scheme, lives)
    });
    traced.collect()
}

/// As there is no decoder for this machine's instructions here, an error.
///
/// # Errors
///
/// Always.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn measure(_plan: &Plan, _progress: impl Fn(&str)) -> Result<Vec<Point>, Box<dyn Error>> {
    Err("instructions are decoded on x86-64 Linux only".into())
}

/// The traced process: two CPUs that fork and exit in turns, each life between two breakpoints.
///
/// # Errors
///
/// When `arguments` are not a work's name, a scheme's name and a number of lives.
pub fn be_traced(arguments: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = arguments.split(' ').collect();
    let [work, name, lives] = words[..] else {
        return Err("a work, a scheme and a number of lives".into());
    };
    let lives: u64 = lives.parse()?;
    let work = Work::ALL.into_iter().find(|it| it.name() == work).ok_or("no such work")?;
    let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
    let scheme = scheme.ok_or("no such scheme")?;
    let kernel = BenchKernel::boot(scheme, scheme.walk(), 1 << 14, CPUS, UserHalf::OnePage);
    let (turns, waits): (Vec<_>, Vec<_>) = (0..CPUS).map(|_| channel::<()>()).unzip();
    std::thread::scope(|scope| {
        for (cpu, wait) in waits.into_iter().enumerate() {
            let (kernel, next) = (&kernel, turns[(cpu + 1) % CPUS].clone());
            scope.spawn(move || {
                let mut life = 0;
                kernel.lives(work, cpu, |live| {
                    // The other CPU may be done, and not wait any more.
                    let Ok(()) = wait.recv() else { return false };
                    if life >= WARM_UP {
                        breakpoint();
                    }
                    live();
                    if life >= WARM_UP {
                        breakpoint();
                    }
                    life += 1;
                    let _ = next.send(());
                    life < WARM_UP + lives
                });
            });
        }
        let _ = turns[0].send(());
    });
    kernel.shut_down();
    Ok(())
}

/// Stops for the tracer; without one, ends the process.
fn breakpoint() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a trap for the tracer, which changes nothing.
    unsafe {
        std::arch::asm!("int3", options(nostack, preserves_flags));
    }
}

/// Two coherent caches without limit.
#[derive(Debug, Default)]
struct Caches {
    /// For each line: which CPUs have a copy, and whether one of them has written it last.
    lines: HashMap<u64, Copies>,
    shared_writes: u64,
    shared_reads: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Copies {
    holders: u8,
    written: bool,
}

/// Bytes of a line, as a shift.
const LINE_SHIFT: u32 = 6;

impl Caches {
    fn access(&mut self, cpu: usize, addr: u64, len: u64, writes: bool) {
        let (first, last) = (addr >> LINE_SHIFT, (addr + len.max(1) - 1) >> LINE_SHIFT);
        for line in first..=last {
            let copies = self.lines.entry(line).or_default();
            let (own, others) = (1 << cpu, copies.holders & !(1 << cpu));
            if writes {
                self.shared_writes += u64::from(others != 0);
                *copies = Copies { holders: own, written: true };
            } else if copies.holders & own == 0 {
                self.shared_reads += u64::from(others != 0 && copies.written);
                copies.holders |= own;
                copies.written &= others == 0;
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tracer {
    //! The tracer: steps, decodes, and feeds the caches.

    use std::mem::MaybeUninit;
    use std::ptr;

    use iced_x86::{
        Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, Register,
    };
    use libc::{c_int, c_void, pid_t};

    use super::*;

    /// `si_code` of a breakpoint instruction.
    const SI_KERNEL: c_int = 0x80;

    /// Longest instruction.
    const LONGEST: usize = 15;

    struct Tracer {
        decoded: HashMap<u64, Instruction>,
        info: InstructionInfoFactory,
        caches: Caches,
        /// Threads by CPU.
        cpus: Vec<pid_t>,
        /// The thread that is in the middle of a life.
        stepping: Option<pid_t>,
        lives: u64,
        instructions: u64,
    }

    pub(super) fn trace(work: Work, scheme: Scheme, lives: u64) -> Result<Point, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--traced").arg(format!("{} {} {lives}", work.name(), scheme.name()));
        // A repeated string instruction is as many steps as it has bytes.
        let never =
            "glibc.cpu.x86_rep_stosb_threshold=1000000:glibc.cpu.x86_rep_movsb_threshold=1000000";
        command.env("GLIBC_TUNABLES", never);
        // SAFETY: between fork and exec, one system call.
        unsafe {
            command.pre_exec(|| {
                check(libc::ptrace(libc::PTRACE_TRACEME, 0, ptr::null_mut::<c_void>(), 0))
            });
        }
        let mut child = command.spawn()?;
        let mut tracer = Tracer {
            decoded: HashMap::new(),
            info: InstructionInfoFactory::new(),
            caches: Caches::default(),
            cpus: Vec::new(),
            stepping: None,
            lives: 0,
            instructions: 0,
        };
        let outcome = tracer.run(child.id() as pid_t);
        if outcome.is_err() {
            // It may be stopped for ever otherwise.
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome?;
        if tracer.lives == 0 {
            return Err("the traced process ended before its first life".into());
        }
        let per_life = |count: u64| count as f64 / tracer.lives as f64;
        Ok(Point {
            work,
            scheme,
            lives: tracer.lives,
            instructions: per_life(tracer.instructions),
            shared_writes: per_life(tracer.caches.shared_writes),
            shared_reads: per_life(tracer.caches.shared_reads),
        })
    }

    impl Tracer {
        /// Follows the process `leader` to its end.
        fn run(&mut self, leader: pid_t) -> Result<(), Box<dyn Error>> {
            let mut options_set = false;
            loop {
                let mut status = 0;
                // SAFETY: a word for the status.
                let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
                if thread < 0 {
                    return Err(io::Error::last_os_error().into());
                }
                if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                    if thread != leader {
                        continue;
                    }
                    let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
                    return if well { Ok(()) } else { Err("the traced process failed".into()) };
                }
                if !options_set {
                    let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
                    request(libc::PTRACE_SETOPTIONS, thread, options as usize)?;
                    options_set = true;
                }
                let signal = libc::WSTOPSIG(status);
                let is_event = status >> 16 != 0;
                if signal == libc::SIGTRAP && !is_event {
                    self.trap(thread)?;
                    continue;
                }
                // New threads begin with a stop that is not theirs.
                let hidden = is_event || signal == libc::SIGSTOP || signal == libc::SIGTRAP;
                self.go_on(thread, if hidden { 0 } else { signal })?;
            }
        }

        fn trap(&mut self, thread: pid_t) -> io::Result<()> {
            if self.is_breakpoint(thread)? {
                if self.stepping == Some(thread) {
                    self.stepping = None;
                    self.lives += 1;
                } else {
                    self.stepping = Some(thread);
                    if !self.cpus.contains(&thread) {
                        self.cpus.push(thread);
                    }
                }
            }
            if self.stepping == Some(thread) {
                self.look(thread)?;
            }
            self.go_on(thread, 0)
        }

        /// Records what the instruction that comes next will access.
        fn look(&mut self, thread: pid_t) -> io::Result<()> {
            let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
            request(libc::PTRACE_GETREGS, thread, registers.as_mut_ptr().addr())?;
            // SAFETY: the request has filled it in.
            let registers = unsafe { registers.assume_init() };
            let instruction = match self.decoded.get(&registers.rip) {
                Some(instruction) => *instruction,
                None => {
                    let instruction = decode(thread, registers.rip)?;
                    self.decoded.insert(registers.rip, instruction);
                    instruction
                }
            };
            self.instructions += 1;
            let cpu = self.cpus.iter().position(|&it| it == thread).unwrap_or(0);
            for memory in self.info.info(&instruction).used_memory() {
                let addr = memory.virtual_address(0, |register, _, _| value(&registers, register));
                let Some(addr) = addr else { continue };
                let len = memory.memory_size().size() as u64;
                let access = memory.access();
                if matches!(access, OpAccess::NoMemAccess | OpAccess::None) {
                    continue;
                }
                let writes = matches!(
                    access,
                    OpAccess::Write
                        | OpAccess::CondWrite
                        | OpAccess::ReadWrite
                        | OpAccess::ReadCondWrite
                );
                self.caches.access(cpu, addr, len, writes);
            }
            Ok(())
        }

        fn is_breakpoint(&self, thread: pid_t) -> io::Result<bool> {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            request(libc::PTRACE_GETSIGINFO, thread, info.as_mut_ptr().addr())?;
            // SAFETY: zeroed, and the request has filled it in.
            Ok(unsafe { info.assume_init() }.si_code == SI_KERNEL)
        }

        fn go_on(&self, thread: pid_t, signal: c_int) -> io::Result<()> {
            let how = if self.stepping == Some(thread) {
                libc::PTRACE_SINGLESTEP
            } else {
                libc::PTRACE_CONT
            };
            match request(how, thread, signal as usize) {
                // It was killed meanwhile; the next wait says so.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                outcome => outcome,
            }
        }
    }

    fn request(what: libc::c_uint, thread: pid_t, data: usize) -> io::Result<()> {
        // SAFETY: where `data` is an address, the caller's memory there is as long as the request wants it.
        check(unsafe { libc::ptrace(what, thread, ptr::null_mut::<c_void>(), data) })
    }

    fn check(result: libc::c_long) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn decode(thread: pid_t, rip: u64) -> io::Result<Instruction> {
        let mut bytes = [0_u8; LONGEST];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: LONGEST };
        let remote =
            libc::iovec { iov_base: ptr::without_provenance_mut(rip as usize), iov_len: LONGEST };
        // SAFETY: the local buffer is as long as is said; the remote one is another process's.
        let read =
            unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
        if read <= 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Decoder::with_ip(64, &bytes[..read as usize], rip, DecoderOptions::NONE).decode())
    }

    fn value(registers: &libc::user_regs_struct, register: Register) -> Option<u64> {
        Some(match register.full_register() {
            Register::RAX => registers.rax,
            Register::RBX => registers.rbx,
            Register::RCX => registers.rcx,
            Register::RDX => registers.rdx,
            Register::RSI => registers.rsi,
            Register::RDI => registers.rdi,
            Register::RBP => registers.rbp,
            Register::RSP => registers.rsp,
            Register::R8 => registers.r8,
            Register::R9 => registers.r9,
            Register::R10 => registers.r10,
            Register::R11 => registers.r11,
            Register::R12 => registers.r12,
            Register::R13 => registers.r13,
            Register::R14 => registers.r14,
            Register::R15 => registers.r15,
            Register::RIP => registers.rip,
            _ => return segment(registers, register),
        })
    }

    fn segment(registers: &libc::user_regs_struct, register: Register) -> Option<u64> {
        match register {
            Register::FS => Some(registers.fs_base),
            Register::GS => Some(registers.gs_base),
            Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
            // A vector of addresses: no instruction of a fork has one.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Caches;

    #[test]
    fn a_write_is_shared_when_the_other_has_a_copy() {
        let mut caches = Caches::default();
        caches.access(0, 0x1000, 8, true);
        caches.access(0, 0x1008, 8, true);
        assert_eq!(caches.shared_writes, 0, "nobody else has it");
        caches.access(1, 0x1010, 8, false);
        assert_eq!(caches.shared_reads, 1);
        caches.access(1, 0x1018, 8, false);
        assert_eq!(caches.shared_reads, 1, "it has a copy now");
        caches.access(0, 0x1000, 8, true);
        caches.access(0, 0x1000, 8, true);
        assert_eq!(caches.shared_writes, 1, "the first of the two takes the copy away");
        caches.access(1, 0x103c, 8, true);
        assert_eq!(caches.shared_writes, 2, "an access over two lines is one to each");
    }

    #[test]
    fn a_line_that_all_read_and_nobody_writes_costs_nothing() {
        let mut caches = Caches::default();
        for turn in 0..100 {
            caches.access(turn % 2, 0x40, 8, false);
        }
        assert_eq!((caches.shared_writes, caches.shared_reads), (0, 0));
    }
}
