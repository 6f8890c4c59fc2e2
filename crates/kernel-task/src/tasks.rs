//! All tasks and CPUs of a kernel, and the walk over their mms.
//!
//! # What the walk sees
//!
//! It goes through the task list for processes, and finds the mm of each through any of its
//! threads. Threads are no entries of their own to it: as long as one thread of a process has the mm, the one
//! visit of the process finds it. A process made with `CLONE_VM` is different, see `attach.rs`.

use alloc::vec::Vec;

use kernel_sync::{ArcCache, OutOfHeap};
use mm_generic::kernel::RcuGuard;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::Mm;
use mm_generic::walk::Walkers;
use thiserror::Error;

use crate::kernel::TaskKernel;
use crate::pid::{PidError, PidTable};
use crate::process::Process;
use crate::task::Task;

/// The tasks and the CPUs of a kernel: what walkers walk.
pub struct Tasks<K: TaskKernel> {
    pids: PidTable<Task<K>, K::Rcu>,
    cpus: Vec<Cpu<K>>,
    objects: Option<Objects<K>>,
}

/// Caches of memory for what the task layer makes.
struct Objects<K: TaskKernel> {
    tasks: ArcCache<Task<K>>,
    processes: ArcCache<Process<K>>,
}

/// One CPU's loaded mm, on a cache line of its own (two, for the adjacent-line prefetcher).
#[repr(align(128))]
struct Cpu<K: TaskKernel> {
    loaded: LoadedMm<K>,
}

/// The task layer could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TasksError {
    /// The pid table refused its limit, or had no memory.
    #[error(transparent)]
    Pids(#[from] PidError),
    /// No heap for the CPUs.
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
}

impl<K: TaskKernel> Tasks<K> {
    /// Makes an empty task list for pids below `pid_max` and for `cpus` CPUs, all of them on the reference PGD.
    ///
    /// # Errors
    ///
    /// [`TasksError::Pids`] for a limit that is out of bounds, [`TasksError::OutOfHeap`].
    pub fn new(pid_max: u32, cpus: usize) -> Result<Self, TasksError> {
        let pids = PidTable::new(pid_max, cpus)?;
        let mut list = Vec::new();
        let bytes = cpus * size_of::<Cpu<K>>();
        list.try_reserve_exact(cpus).map_err(|_| OutOfHeap { bytes })?;
        list.extend((0..cpus).map(|_| Cpu { loaded: LoadedMm::new() }));
        Ok(Self { pids, cpus: list, objects: None })
    }

    /// Keeps the memory of tasks and processes that have ended, for `size` of each on each CPU, for those to come. Without it, it comes
    /// from the heap and goes back there.
    ///
    /// `this_cpu` returns the number of the CPU that runs it: a hint, a wrong one costs time.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn with_caches(self, size: usize, this_cpu: fn() -> usize) -> Result<Self, OutOfHeap> {
        let cpus = self.cpus();
        let objects = Objects {
            tasks: ArcCache::try_new(cpus, size, this_cpu)?,
            processes: ArcCache::try_new(cpus, size, this_cpu)?,
        };
        Ok(Self { objects: Some(objects), ..self })
    }

    /// Number of tasks and processes that memory is kept for.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.objects.as_ref().map_or(0, |them| them.tasks.kept() + them.processes.kept())
    }

    /// Gives the memory that is kept back to the heap, for a kernel that is short of it; returns for how many tasks and processes.
    pub fn shrink(&self) -> usize {
        self.objects.as_ref().map_or(0, |them| them.tasks.shrink() + them.processes.shrink())
    }

    pub(crate) fn task_cache(&self) -> Option<&ArcCache<Task<K>>> {
        self.objects.as_ref().map(|objects| &objects.tasks)
    }

    /// The cache of memory for processes, if there is one.
    #[must_use]
    pub fn process_cache(&self) -> Option<&ArcCache<Process<K>>> {
        self.objects.as_ref().map(|objects| &objects.processes)
    }

    /// The task list, which is also where pids come from.
    #[must_use]
    pub fn pids(&self) -> &PidTable<Task<K>, K::Rcu> {
        &self.pids
    }

    /// Number of CPUs.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// What CPU number `cpu` has loaded; `None` when there is no such CPU.
    #[must_use]
    pub fn loaded(&self, cpu: usize) -> Option<&LoadedMm<K>> {
        self.cpus.get(cpu).map(|cpu| &cpu.loaded)
    }
}

// SAFETY:
// * a published task is in the table, whose walk visits every entry published before it began; its process's mm is found
//   through whichever thread has it;
// * a task clears its mm under the task lock after its CPU stored the `LoadedMm`, and a task that is
//   gone from the table was removed with release ordering after that;
// * the task and thread locks are held for one visit at a time.
unsafe impl<K: TaskKernel> Walkers<K> for Tasks<K> {
    type Place = ();

    #[inline]
    fn place(&'static self) -> Result<(), OutOfHeap> {
        Ok(())
    }

    fn for_each_published(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        self.pids.for_each(rcu, &mut |task| {
            if task.is_leader() {
                task.process().with_task_mm(task, visit);
            }
        });
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        for cpu in &self.cpus {
            if let Some(mm) = cpu.loaded.get(rcu) {
                visit(mm);
            }
        }
    }
}
