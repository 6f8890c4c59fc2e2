//! The kernel under test, as one type, and the parts of a task that it adds.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use arch_x86::geometry::Geometry;
use hosted::cpu::HostRcu;
use hosted::frames::HostFrames;
use hosted::kernel::HostFile;
use kernel_fork::args::CloneArgs;
use kernel_fork::parts::ForkKernel;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::Process;
use kernel_task::task::Task;
use kernel_task::tasks::Tasks;
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;

use super::arch::Watched;
use super::trace::{Event, Step, is_failing, log, wants_zombies};

pub(crate) struct TestKernel<G>(PhantomData<fn() -> G>);

thread_local! {
    static CR3: Cell<Option<Frame>> = const { Cell::new(None) };
}

/// The root that the CPU of the calling thread translates through.
pub(crate) fn cr3() -> Option<Frame> {
    CR3.get()
}

// SAFETY: only the tests' page walk translates, and it caches nothing.
unsafe impl<G: Geometry> Kernel for TestKernel<G> {
    type Arch = Watched<G>;
    type Frames = HostFrames;
    type Rcu = HostRcu;
    type Walkers = Tasks<Self>;
    type Object = HostFile;

    unsafe fn load_pgd(root: Frame) {
        log(Event::Load(root));
        CR3.set(Some(root));
    }

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

impl<G: Geometry> TaskKernel for TestKernel<G> {
    type Parts = Parts;

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        init_mm.walkers()
    }

    fn wake_vfork(child: &Task<Self>) {
        assert!(child.has_released_mm(), "the sleeper would look and sleep on");
        log(Event::WakeVfork(child.pid()));
    }

    fn wake_futex(_mm: &Mm<Self>, addr: u64) {
        log(Event::WakeFutex(addr));
    }
}

/// One part of a task. Counted in its world while it lives.
pub(crate) struct Part {
    step: Step,
    alive: &'static AtomicUsize,
}

impl Part {
    fn new(step: Step, alive: &'static AtomicUsize) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { step, alive }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        log(Event::Drop(self.step));
    }
}

/// The parts, the last one that is copied first: the order in which they are dropped.
pub(crate) struct Parts {
    thread: Part,
    /// What the task was made with.
    pub(crate) args: CloneArgs,
    /// Every other part.
    _others: [Part; 5],
}

impl Parts {
    /// The parts of a task that has no parent.
    pub(crate) fn new(alive: &'static AtomicUsize) -> Self {
        let part = |step| Part::new(step, alive);
        let [creds, files, fs, sighand, signal, thread] = Step::ALL.map(part);
        Self { thread, args: CloneArgs::FORK, _others: [signal, sighand, fs, files, creds] }
    }
}

/// This part was not to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Step);

fn copy<G: Geometry>(parent: &Task<TestKernel<G>>, step: Step) -> Result<Part, Refused> {
    if is_failing(step) {
        return Err(Refused(step));
    }
    log(Event::Copy(step));
    Ok(Part::new(step, parent.parts().thread.alive))
}

impl<G: Geometry> ForkKernel for TestKernel<G> {
    type Creds = Part;
    type Files = Part;
    type Fs = Part;
    type Sighand = Part;
    type Signal = Part;
    type Thread = (Part, CloneArgs);
    type Error = Refused;

    fn copy_creds(parent: &Task<Self>, _args: &CloneArgs) -> Result<Part, Refused> {
        copy(parent, Step::Creds)
    }

    fn copy_files(parent: &Task<Self>, _args: &CloneArgs) -> Result<Part, Refused> {
        copy(parent, Step::Files)
    }

    fn copy_fs(parent: &Task<Self>, _args: &CloneArgs) -> Result<Part, Refused> {
        copy(parent, Step::Fs)
    }

    fn copy_sighand(parent: &Task<Self>, _args: &CloneArgs) -> Result<Part, Refused> {
        copy(parent, Step::Sighand)
    }

    fn copy_signal(parent: &Task<Self>, _args: &CloneArgs) -> Result<Part, Refused> {
        copy(parent, Step::Signal)
    }

    fn copy_thread(
        parent: &Task<Self>,
        args: &CloneArgs,
        _pid: Pid,
    ) -> Result<(Part, CloneArgs), Refused> {
        Ok((copy(parent, Step::Thread)?, *args))
    }

    fn assemble(
        creds: Part,
        files: Part,
        fs: Part,
        sighand: Part,
        signal: Part,
        (thread, args): (Part, CloneArgs),
    ) -> Parts {
        log(Event::Assemble);
        Parts { thread, args, _others: [signal, sighand, fs, files, creds] }
    }

    fn notify_parent(parent: &Process<Self>, child: &Process<Self>) {
        log(Event::Notify { parent: parent.pid(), child: child.pid() });
        if !wants_zombies() && child.exit_status().is_some() {
            // A wait on another CPU, as soon as the parent hears of the end: Linux says ECHILD.
            assert!(!parent.has_child(|own| own.pid() == child.pid()), "it is not to be found");
        }
    }

    fn wants_zombies(_parent: &Process<Self>) -> bool {
        wants_zombies()
    }
}
