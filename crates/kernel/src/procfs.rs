//! What `/proc` shows of this kernel.

use crate::cpu::{clock, smp};
use crate::layout::PAGE_SIZE;
use crate::mm::resident::Resident;
use crate::mm::{frames, heap, page_cache, vmalloc};
use crate::os::tasks;
use crate::rcu;
use crate::sched::{self, WaitQueue, try_current};
use crate::signal::Signal;
use crate::signal::action::Action;
use crate::task::memory::FdTable;
use crate::task::process::leader_of;
use crate::task::{Task, TaskRef};
use crate::uname::UNAME;
use crate::{terminal, time};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::Node;
use files::proc::{CpuTimes, Mapping, Memory, ProcSource, Process, State, System};
use kernel_sync::atomic::Ordering;
use kernel_task::pid::Pid;
use kernel_task::task::TaskKind;
use mm_generic::prot::Prot;
use mm_generic::vma::{Backing, VmaFlags};

/// The source behind `/proc`.
#[derive(Debug)]
pub struct Proc;

/// The leader of process `pid`.
fn leader(pid: u32) -> Option<TaskRef> {
    leader_of(Pid::new(pid)?)
}

fn state(task: &Task) -> State {
    if task.process().exit_status().is_some() {
        return State::Zombie;
    }
    match task.parts().sched.state() {
        sched::State::Runnable => State::Running,
        sched::State::Interruptible => State::Sleeping,
        sched::State::Uninterruptible if task.kind() == TaskKind::Kernel => State::Idle,
        sched::State::Uninterruptible | sched::State::Killable => State::Blocked,
        sched::State::Stopped => State::Stopped,
        sched::State::Dead => State::Zombie,
    }
}

fn describe(task: &Task) -> Process {
    let parts = task.parts();
    let data = &parts.process;
    let (mut ignored, mut caught) = (0, 0);
    for signal in (1..=64).filter_map(Signal::new) {
        let action = parts.action(signal);
        ignored |= u64::from(action.handler == Action::IGNORE) << signal.index();
        caught |= u64::from(action.is_caught()) << signal.index();
    }
    let session = data.session.load(Ordering::Relaxed);
    let terminal = terminal::get().filter(|terminal| terminal.session() == Some(session));
    let name = parts.name();
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Process {
        name: name[..len].to_vec(),
        state: state(task),
        parent: task.process().parent().map_or(0, |parent| parent.pid().get()),
        group: data.group.load(Ordering::Relaxed),
        session,
        terminal: terminal.is_some(),
        foreground: terminal.and_then(|terminal| terminal.foreground()),
        threads: task.process().live_threads() as u32,
        user_time: data.past_runtime.load(Ordering::Relaxed) + parts.sched.runtime(),
        children_user_time: data.children_runtime.load(Ordering::Relaxed),
        start_time: data.started,
        virtual_size: task.mm().map_or(0, |mm| mm.user().vmas().mapped_bytes()),
        resident: task.mm().map_or(0, |mm| Resident::of(&mm).pages * PAGE_SIZE),
        processor: parts.sched.cpu() as u32,
        pending: parts.signals.pending.set().with(data.pending.set()).0,
        blocked: parts.signals.blocked().0,
        ignored,
        caught,
        ..Process::default()
    }
}

impl ProcSource<WaitQueue> for Proc {
    fn current(&self) -> Option<u32> {
        Some(try_current()?.process().pid().get())
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
            // Without memory for more, the list ends.
            if task.is_leader() && pids.try_reserve(1).is_ok() {
                pids.push(task.pid().get());
            }
        });
        pids.sort_unstable();
        pids
    }

    fn exists(&self, pid: u32) -> bool {
        leader(pid).is_some()
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let leader = leader(pid)?;
        Some(describe(&leader))
    }

    fn command_line(&self, pid: u32) -> Vec<u8> {
        let leader = leader(pid).filter(|leader| leader.process().exit_status().is_none());
        let Some(leader) = leader else { return Vec::new() };
        let memory = leader.parts().memory();
        let mut arguments = Vec::new();
        if arguments.try_reserve_exact(memory.arguments.len()).is_ok() {
            arguments.extend_from_slice(&memory.arguments);
        }
        arguments
    }

    fn executable(&self, pid: u32) -> Option<Vec<u8>> {
        let memory = leader(pid)?.parts().memory();
        let path = memory.executable.to_vec();
        (!path.is_empty()).then_some(path)
    }

    fn working_directory(&self, pid: u32) -> Option<Node> {
        let files = leader(pid)?.parts().files()?;
        let directory = files.fs.directory.lock().clone();
        Some(directory)
    }

    fn descriptors(&self, pid: u32) -> Option<Arc<FdTable>> {
        Some(leader(pid)?.parts().files()?.fds)
    }

    fn mappings(&self, pid: u32) -> Vec<Mapping> {
        let Some(leader) = leader(pid) else { return Vec::new() };
        let Some(mm) = leader.mm() else { return Vec::new() };
        let memory = leader.parts().memory();
        let heap = *memory.heap.lock();
        let space = mm.user();
        let mut all = Vec::new();
        if all.try_reserve_exact(space.vmas().len()).is_err() {
            return all;
        }
        all.extend(space.vmas().iter().map(|vma| {
            let prot = vma.prot();
            let (name, offset): (&[u8], u64) = match vma.backing() {
                Backing::Object { object, offset, .. } => (&object.path, *offset),
                Backing::Anonymous if vma.flags().contains(VmaFlags::GROWS_DOWN) => (b"[stack]", 0),
                Backing::Anonymous if vma.start() < heap.end && heap.start < vma.end() => {
                    (b"[heap]", 0)
                }
                Backing::Anonymous => (b"", 0),
            };
            Mapping {
                start: vma.start(),
                end: vma.end(),
                allowed: [Prot::READ, Prot::WRITE, Prot::EXEC].map(|right| prot.contains(right)),
                shared: vma.flags().contains(VmaFlags::SHARED),
                offset,
                name: name.to_vec(),
            }
        }));
        all
    }

    fn system(&self) -> System {
        let stats = frames::stats();
        let mut counts = [0; 2];
        let mut last_pid = 0;
        tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
            counts[0] += u32::from(task.parts().sched.state() == sched::State::Runnable);
            counts[1] += 1;
            last_pid = last_pid.max(task.pid().get());
        });
        let cpuid = raw_cpuid::CpuId::new();
        let vendor = cpuid.get_vendor_info();
        let model = cpuid.get_processor_brand_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        System {
            release: text(UNAME[2]),
            version: text(UNAME[3]),
            hostname: UNAME[1].to_vec(),
            uptime: clock::now(),
            boot_time: time::boot_seconds(),
            memory: Memory {
                total: stats.total as u64 * PAGE_SIZE,
                free: stats.free as u64 * PAGE_SIZE,
                cached: page_cache::len() as u64 * PAGE_SIZE,
                heap: heap::frames() as u64 * PAGE_SIZE,
                allocated: heap::allocated() as u64,
                vmalloc: vmalloc::pages() as u64 * PAGE_SIZE,
            },
            cpus: alloc::vec![CpuTimes::default(); smp::online().count()],
            cpu_vendor: vendor.map_or(String::new(), |vendor| vendor.as_str().into()),
            cpu_model: model.map_or(String::new(), |model| model.as_str().into()),
            tasks: counts,
            last_pid,
            ..System::default()
        }
    }
}
