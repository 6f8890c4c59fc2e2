//! Out of memory: which process dies of it.
//!
//! When a program touches a page for which there is no frame, and nothing is left to be had back, a process is killed: the one that
//! has most, for only that helps, and not the one that happens to ask. Kernel threads are exempt, the one that is init among
//! them. The first program is not: here it may be the one that is at fault.
//!
//! One process at a time. Whoever needs memory while a victim is on its way out waits for that. The victim asks for no page more (a
//! killed task's faults fail at once), and what the kernel needs to end it comes out of the reserve that programs are not
//! given (`mm::frames`). One that has not ended after [`PATIENCE`] is given up, and another one is chosen.

use crate::cpu::clock;
use crate::layout::PAGE_SIZE;
use crate::mm::frames;
use crate::mm::resident::Resident;
use crate::os::{Os, tasks};
use crate::rcu;
use crate::reclaim::reclaim;
use crate::sched::{Current, schedule};
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::task::process::{for_each_thread, leader_of};
use crate::task::{Task, TaskRef, stack};
use core::fmt;
use files::Errno;
use kernel_sync::Mutex;
use kernel_task::pid::Pid;
use kernel_task::task::TaskKind;
use mm_generic::mm::{Mm, MmUser};

/// How long a victim may take to end, in nanoseconds.
const PATIENCE: u64 = 2_000_000_000;

/// Bytes of heap that a mapping takes, and a descriptor with what it refers to, about.
const PER_MAPPING: u64 = 96;
const PER_DESCRIPTOR: u64 = 256;

/// A process that has been killed.
struct Victim {
    leader: TaskRef,
    deadline: u64,
}

impl Victim {
    fn is_on_its_way(&self) -> bool {
        self.leader.process().exit_status().is_none() && clock::now() < self.deadline
    }
}

/// The latest one.
static VICTIM: Mutex<Option<Victim>> = Mutex::new(None);

/// What a process has, in frames.
#[derive(Clone, Copy, Debug, Default)]
struct Holding {
    resident: Resident,
    /// Stacks in the kernel.
    stacks: u64,
    /// What the kernel keeps on its behalf: mappings, descriptors, and what is in pipes.
    kernel: u64,
}

impl Holding {
    fn of(leader: &Task, mm: &Mm<Os>) -> Self {
        let mappings = mm.user().vmas().len() as u64;
        let (descriptors, bytes) =
            leader.parts().files().map_or((0, 0), |files| files.fds.holding());
        let kernel = bytes + mappings * PER_MAPPING + descriptors * PER_DESCRIPTOR;
        Self {
            resident: Resident::of(mm),
            stacks: leader.process().live_threads() as u64 * stack::PAGES,
            kernel: kernel.div_ceil(PAGE_SIZE),
        }
    }

    fn sum(&self) -> u64 {
        self.resident.pages + self.resident.tables + self.stacks + self.kernel
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |frames: u64| frames * PAGE_SIZE / 1024;
        let Self { resident: Resident { pages, tables }, stacks, kernel } = *self;
        write!(
            f,
            "{} KiB: {} of pages, {} of page tables, {} of kernel stacks, {} kept for it",
            kib(self.sum()),
            kib(pages),
            kib(tables),
            kib(stacks),
            kib(kernel)
        )
    }
}

/// What there was no memory for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// A page of the program at this address.
    Page(u64),
    /// A child.
    Fork,
    /// Another program.
    Exec,
    /// A system call with this number, and there is little left.
    Call(u64),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(address) => write!(f, "asked for a page at {address:#x}"),
            Self::Fork => f.write_str("forks"),
            Self::Exec => f.write_str("executes a program"),
            Self::Call(number) => write!(f, "made system call {number}"),
        }
    }
}

/// How things are after [`relieve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// A process is about to give its memory back, or has just done so.
    Coming,
    /// There is none that could.
    None,
}

/// Kills the process that has most memory, unless one is dying already. `wanted` is what the running task did.
///
/// Where no lock is held.
pub fn relieve(me: &Current, wanted: Wanted) -> Relief {
    // Who finds it taken need not choose, too.
    let Some(mut latest) = VICTIM.try_lock() else { return Relief::Coming };
    // Since the running task has found none, memory may have come back.
    if latest.as_ref().is_some_and(Victim::is_on_its_way) || !frames::is_tight_for_programs() {
        return Relief::Coming;
    }
    let Some((leader, holding)) = largest() else { return Relief::None };
    let stats = frames::stats();
    let kib = |frames: usize| frames * PAGE_SIZE as usize / 1024;
    log::warn!(
        "out of memory: process {} ({}) is killed, which has {holding}; task {} ({}) {wanted}, {} KiB of {} are free and {} for the \
         kernel alone",
        leader.process().pid(),
        Name(&leader),
        me.pid(),
        Name(me),
        kib(stats.free),
        kib(stats.total),
        kib(frames::reserve())
    );
    kill_with_mm(&leader);
    *latest = Some(Victim { leader, deadline: clock::now() + PATIENCE });
    Relief::Coming
}

/// Makes room by what the kernel can give back, and if `is_enough` does not say that this will do, by a process that dies; waits for
/// its end. Where no lock is held.
pub fn make_room(me: &Current, wanted: Wanted, mut is_enough: impl FnMut() -> bool) {
    reclaim();
    if is_enough() || me.parts().is_killed() || relieve(me, wanted) == Relief::None {
        return;
    }
    while VICTIM.try_lock().is_none_or(|victim| victim.as_ref().is_some_and(Victim::is_on_its_way))
    {
        if me.parts().is_killed() {
            return;
        }
        schedule();
    }
    reclaim();
}

/// Makes `attempt`, and when that fails with `ENOMEM`, makes room and tries again.
///
/// # Errors
///
/// The last attempt's.
pub fn with_relief<T>(
    me: &Current,
    wanted: Wanted,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut result = attempt();
    if matches!(result, Err(Errno::NOMEM)) {
        make_room(me, wanted, || {
            result = attempt();
            !matches!(result, Err(Errno::NOMEM))
        });
        if matches!(result, Err(Errno::NOMEM)) && !me.parts().is_killed() {
            result = attempt();
        }
    }
    result
}

/// Tells whether `task` could be chosen.
fn is_eligible(task: &Task) -> bool {
    task.is_leader()
        && task.kind() == TaskKind::User
        && task.process().exit_status().is_none()
        && !task.parts().is_killed()
}

/// An mm of the process: the leader's, or that of another thread when the leader has exited.
fn mm_of(leader: &Task) -> Option<MmUser<Os>> {
    let mut mm = leader.mm();
    if mm.is_none() {
        for_each_thread(leader, |thread| mm = mm.take().or_else(|| thread.mm()));
    }
    mm
}

/// Returns the process that has most, of those that can be killed; of equals, the one with the highest id.
fn largest() -> Option<(TaskRef, Holding)> {
    let mut best: Option<(Pid, Holding)> = None;
    tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
        if !is_eligible(task) {
            return;
        }
        let Some(mm) = mm_of(task) else { return };
        let holding = Holding::of(task, &mm);
        let key = |pid: Pid, holding: &Holding| (holding.sum(), pid.get());
        if best.as_ref().is_none_or(|(pid, best)| key(task.pid(), &holding) > key(*pid, best)) {
            best = Some((task.pid(), holding));
        }
    });
    let (pid, holding) = best?;
    Some((leader_of(pid)?, holding))
}

/// Kills the process of `leader`, and every other one that has the same mm: only together do they give it back.
fn kill_with_mm(leader: &TaskRef) {
    let kill = |leader: &TaskRef| send::to_process(leader, Info::kernel(Signal::KILL));
    let root = mm_of(leader).map(|mm| mm.root());
    kill(leader);
    tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
        if is_eligible(task)
            && mm_of(task).map(|mm| mm.root()) == root
            && let Some(other) = leader_of(task.pid())
        {
            kill(&other);
        }
    });
}

/// Shows a task's name.
struct Name<'a>(&'a Task);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.parts().name();
        let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
        text.iter().try_for_each(|&byte| write!(f, "{}", char::from(byte).escape_default()))
    }
}
