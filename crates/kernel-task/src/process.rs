//! A process: the thread group that tasks belong to, its place in the family, and how it ended.
//!
//! # Exit and reparenting
//!
//! A child that exits tells its parent; a parent that exits hands its children to the reaper. Done
//! at the same time, the child could tell a parent that is gone and the reaper never hear of it.
//! Both steps therefore happen under the child's `family` lock: whoever comes second sees what the first
//! one did, and tells the reaper.
//!
//! The reaper must find the child when it is told. So its `children` lock is held from before the first
//! child names it as the parent until all of them are on its list:
//!
//! ```text
//! CPU A: the parent exits                 CPU B: the child exits
//! child.parent = reaper
//!                                         exit is set, the parent read: the reaper
//!                                         tells the reaper, which looks: no such child
//! the child is on the reaper's list       nobody ever looks again
//! ```

use alloc::vec::Vec;

use kernel_sync::{ArcCache, Mutex, OutOfHeap, RcuArc, cpu_relax};
use mm_generic::kernel::Kernel;
use mm_generic::mm::Mm;

use crate::kernel::TaskKernel;
use crate::pid::Pid;
use crate::task::{Task, TaskRef};

/// A counted reference to a process.
pub type ProcessRef<K> = RcuArc<Process<K>, <K as Kernel>::Rcu>;

/// How a process ended, as `wait4` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By `exit`, with this code.
    Exited(u8),
    /// By a signal, with or without a core dump.
    Killed {
        /// Number of the signal.
        signal: u8,
        /// A core was dumped.
        core: bool,
    },
}

impl ExitStatus {
    /// The status word of `wait4`.
    #[must_use]
    pub const fn to_wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => (code as i32) << 8,
            Self::Killed { signal, core } => signal as i32 | if core { 0x80 } else { 0 },
        }
    }
}

/// A thread group (`signal_struct`).
pub struct Process<K: TaskKernel> {
    pid: Pid,
    threads: Mutex<Threads<K>>,
    family: Mutex<Family<K>>,
    children: Mutex<Children<K>>,
}

/// The children of a process. The lock around it covers the chain of siblings too.
struct Children<K: TaskKernel> {
    /// The others follow through `Family::sibling`.
    youngest: Option<ProcessRef<K>>,
    /// The process has exited and given its children away; it gets no more.
    given_away: bool,
}

struct Threads<K: TaskKernel> {
    /// Threads that have not exited, the leader included.
    live: usize,
    /// Threads other than the leader, from fork to exit.
    others: Vec<TaskRef<K>>,
    /// No thread may join: the process is exiting as a whole, or it is a zombie.
    closed: bool,
}

struct Family<K: TaskKernel> {
    /// `None` for the first process, before [`Process::adopt`], and once reaped.
    parent: Option<ProcessRef<K>>,
    /// The next older child of the same parent. Links, and no list, so that an exit needs no memory.
    sibling: Option<ProcessRef<K>>,
    /// How the leader ended. That is how the process does, unless there is a verdict.
    leader: Option<ExitStatus>,
    /// What the first thread that spoke for the whole process said.
    verdict: Option<ExitStatus>,
    /// Set when the last thread is gone.
    exit: Option<ExitStatus>,
}

/// A thread could not join its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The process is exiting.
    #[error("process {pid} is exiting and takes no more threads")]
    Exiting {
        /// The process.
        pid: Pid,
    },
    /// No heap for the list.
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
}

impl<K: TaskKernel> Process<K> {
    /// Makes a process with one live thread, its leader to be, and no place in any family yet, in memory of `home`, or of the
    /// heap if there is none: see [`Tasks::process_cache`](crate::tasks::Tasks::process_cache).
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new(
        home: Option<&'static ArcCache<Self>>,
        pid: Pid,
    ) -> Result<ProcessRef<K>, OutOfHeap> {
        let process = Self {
            pid,
            threads: Mutex::new(Threads { live: 1, others: Vec::new(), closed: false }),
            family: Mutex::new(Family {
                parent: None,
                sibling: None,
                leader: None,
                verdict: None,
                exit: None,
            }),
            children: Mutex::new(Children { youngest: None, given_away: false }),
        };
        RcuArc::try_new_in(process, home)
    }

    /// The process id: that of its leader (`getpid`).
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The parent, unless this is the first process or it has been reaped.
    #[must_use]
    pub fn parent(&self) -> Option<ProcessRef<K>> {
        self.family.lock().parent.clone()
    }

    /// How the process ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.family.lock().exit
    }

    /// Number of threads that have not exited.
    #[must_use]
    pub fn live_threads(&self) -> usize {
        self.threads.lock().live
    }

    /// Adds a thread to the group. From here on a walk of the process finds its mm.
    ///
    /// # Errors
    ///
    /// [`JoinError::Exiting`] once the process is ending, [`JoinError::OutOfHeap`] without room in the list.
    pub fn join(&self, thread: TaskRef<K>) -> Result<(), JoinError> {
        let mut threads = self.threads.lock();
        if threads.closed {
            return Err(JoinError::Exiting { pid: self.pid });
        }
        reserve_one(&mut threads.others)?;
        threads.others.push(thread);
        threads.live += 1;
        Ok(())
    }

    /// Takes no more threads (`exit_group`, exec); the threads that are there are the caller's to kill.
    pub fn close(&self) {
        self.threads.lock().closed = true;
    }

    /// Takes threads again, after an exec has killed the others.
    pub fn reopen(&self) {
        self.threads.lock().closed = false;
    }

    /// Calls `visit` for each thread other than the leader that has not exited.
    pub fn for_each_other(&self, mut visit: impl FnMut(&TaskRef<K>)) {
        self.threads.lock().others.iter().for_each(&mut visit);
    }

    /// Counts `thread` as exited, and removes it from the list unless it is the leader. Returns how many are left.
    ///
    /// The thread has let its mm go before.
    pub fn leave(&self, thread: &Task<K>) -> usize {
        let mut threads = self.threads.lock();
        if !thread.is_leader() {
            threads.others.retain(|other| other.pid() != thread.pid());
        }
        threads.live -= 1;
        if threads.live == 0 {
            threads.closed = true;
        }
        threads.live
    }

    /// Calls `visit` with the mm of any thread that has one (`find_lock_task_mm`).
    ///
    /// The leader may have exited while other threads run on; the mm is then found through one of them.
    ///
    /// Leader and threads are looked at one after the other, and an mm cannot slip through between: a
    /// thread has joined before its creator can exit, and the list is read after the leader.
    pub(crate) fn with_task_mm(&self, leader: &Task<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        if leader.with_mm(&mut *visit).is_some() {
            return;
        }
        let threads = self.threads.lock();
        for thread in &threads.others {
            if thread.with_mm(&mut *visit).is_some() {
                return;
            }
        }
    }

    /// Makes `child` a child of `parent`, for [`Process::reap`] to find.
    ///
    /// Returns false, and does nothing, when `parent` has exited and given its children away.
    #[must_use]
    pub fn adopt(parent: &ProcessRef<K>, child: &ProcessRef<K>) -> bool {
        let mut children = parent.children.lock();
        if children.given_away {
            return false;
        }
        let mut family = child.family.lock();
        family.parent = Some(parent.clone());
        family.sibling = children.youngest.replace(child.clone());
        true
    }

    /// Tells whether any child fits `which`, exited or not.
    pub fn has_child(&self, mut which: impl FnMut(&Process<K>) -> bool) -> bool {
        let children = self.children.lock();
        siblings(children.youngest.clone()).any(|child| which(&child))
    }

    /// Records how the process is to end, unless that is settled already: a thread speaks for the
    /// process when it calls `exit_group` or was killed.
    pub fn settle_exit(&self, status: ExitStatus) {
        self.family.lock().verdict.get_or_insert(status);
    }

    /// Records how the leader ended. It does not settle how the process does: a program whose main
    /// thread is gone may still call `exit_group`.
    pub fn leader_exited(&self, status: ExitStatus) {
        self.family.lock().leader = Some(status);
    }

    /// Forgets how the leader ended: the last thread has execed, and is the process from here on.
    pub fn taken_over(&self) {
        self.family.lock().leader = None;
    }

    /// Makes the process a zombie and returns the parent that is to be told.
    ///
    /// Ends as was settled, or else as its leader did, or else with `status`.
    pub fn become_zombie(&self, status: ExitStatus) -> Option<ProcessRef<K>> {
        let mut family = self.family.lock();
        family.exit = Some(family.verdict.or(family.leader).unwrap_or(status));
        family.parent.clone()
    }

    /// Ends the process without its ever being a zombie, and returns the parent whose child it was to the last.
    ///
    /// Ends as [`Process::become_zombie`] says. A parent that exits at this moment hands it to the reaper first.
    ///
    /// # Panics
    ///
    /// When the process has no parent.
    pub fn vanish(&self, status: ExitStatus) -> ProcessRef<K> {
        loop {
            let parent =
                self.parent().expect("a process whose parent wants no zombies has a parent");
            let mut children = parent.children.lock();
            let mut younger: Option<ProcessRef<K>> = None;
            let mut rest = siblings(children.youngest.clone());
            let found = rest.find(|child| {
                let is_this = core::ptr::eq::<Self>(&raw const **child, self);
                if !is_this {
                    younger = Some(child.clone());
                }
                is_this
            });
            drop(rest);
            if found.is_some() {
                // Both under the parent's lock: no wait comes in between.
                self.become_zombie(status);
                let held = children.remove(self, younger);
                drop(children);
                drop(held);
                return parent;
            }
            drop(children);
            cpu_relax();
        }
    }

    /// Hands all children to `reaper`, an ancestor that does not exit; returns whether one of them is a
    /// zombie, so that the reaper must be told.
    pub fn give_children_to(&self, reaper: &ProcessRef<K>) -> bool {
        let mut children = self.children.lock();
        children.given_away = true;
        let Some(youngest) = children.youngest.take() else {
            return false;
        };
        drop(children);
        // Before the first child names the reaper: see the head of this file.
        let mut theirs = reaper.children.lock();
        let mut zombie = false;
        let mut oldest = youngest.clone();
        for child in siblings(Some(youngest.clone())) {
            let mut family = child.family.lock();
            family.parent = Some(reaper.clone());
            zombie |= family.exit.is_some();
            drop(family);
            oldest = child;
        }
        oldest.family.lock().sibling = theirs.youngest.replace(youngest);
        zombie
    }

    /// Forgets parent, siblings, children and threads, for a kernel that shuts down with tasks left.
    ///
    /// References between the members of a family go round in circles; this is what breaks them.
    pub fn sever(&self) {
        let youngest = self.children.lock().youngest.take();
        for child in siblings(youngest) {
            let parent = child.family.lock().parent.take();
            drop(parent);
        }
        let mut family = self.family.lock();
        let ties = (family.parent.take(), family.sibling.take());
        drop(family);
        let threads = core::mem::take(&mut self.threads.lock().others);
        drop((ties, threads));
    }

    /// Takes a zombie child that fits `which` out of the family, the youngest first.
    ///
    /// Of several that wait for the same child, one gets it.
    pub fn reap(
        &self,
        mut which: impl FnMut(&Process<K>) -> bool,
    ) -> Option<(ProcessRef<K>, ExitStatus)> {
        let mut children = self.children.lock();
        let mut younger: Option<ProcessRef<K>> = None;
        for child in siblings(children.youngest.clone()) {
            let Some(status) = child.exit_status().filter(|_| which(&child)) else {
                younger = Some(child);
                continue;
            };
            let parent = children.remove(&child, younger);
            drop(children);
            drop(parent);
            return Some((child, status));
        }
        None
    }
}

impl<K: TaskKernel> Children<K> {
    /// Takes `child`, the next older sibling of `younger`, out of the chain; returns its reference to the parent.
    fn remove(
        &mut self,
        child: &Process<K>,
        younger: Option<ProcessRef<K>>,
    ) -> Option<ProcessRef<K>> {
        let mut family = child.family.lock();
        let older = family.sibling.take();
        let parent = family.parent.take();
        drop(family);
        match younger {
            Some(younger) => younger.family.lock().sibling = older,
            None => self.youngest = older,
        }
        parent
    }
}

/// A chain of siblings, youngest first. The caller holds the parent's `children` lock, or took the chain out under it.
fn siblings<K: TaskKernel>(youngest: Option<ProcessRef<K>>) -> impl Iterator<Item = ProcessRef<K>> {
    core::iter::successors(youngest, |child| child.family.lock().sibling.clone())
}

fn reserve_one<T>(list: &mut Vec<T>) -> Result<(), OutOfHeap> {
    list.try_reserve(1).map_err(|_| OutOfHeap { bytes: size_of::<T>() })
}
