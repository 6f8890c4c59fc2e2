//! From a geometry to a running machine, and the account of its frames at the end.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::world::World;
use kernel_fork::copy_process::first_process;
use kernel_task::tasks::Tasks;

use super::life::program;
use super::scheme::{PgdScheme, Staged};
use super::{CPUS, Machine, PID_MAX};
use crate::interlude::{Interposed, InterposedWalk};
use crate::shape::Shape;

thread_local! {
    /// The CPU that this thread is from the boot of a machine on.
    static BOOT_CPU: RefCell<Option<Rc<HostCpu>>> = const { RefCell::new(None) };
}

/// A machine that can be booted, any number of times, in the same frames.
pub struct Boot<G, A> {
    geometry: G,
    shape: Shape,
    frames: &'static HostFrames,
    private: Vec<usize>,
    scheme: PhantomData<fn() -> A>,
}

impl<G: Geometry, A: PgdScheme<G>> Boot<G, A> {
    /// A machine of `geometry`, which `shape` describes.
    pub fn new(geometry: G, shape: Shape) -> Self {
        let frames = HostFrames::new(2048).checked().leak();
        Self { geometry, shape, frames, private: Vec::new(), scheme: PhantomData }
    }

    /// The same machine, where each mm keeps `slots` for itself.
    #[must_use]
    pub fn with_private(&self, slots: &[usize]) -> Self {
        Self { private: slots.to_vec(), ..*self }
    }

    /// The same machine in other frames.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { private: self.private.clone(), ..Self::new(self.geometry, self.shape) }
    }

    /// The frames that its kernels run in.
    #[must_use]
    pub fn frames(&self) -> &'static HostFrames {
        self.frames
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> G {
        self.geometry
    }

    /// What the machine's geometry looks like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Boots the machine with this thread as one of its CPUs, runs `test`, and shuts it down.
    ///
    /// # Panics
    ///
    /// When an mm lacks a page of a finished growth in the end, when frames are leaked or were
    /// written after they had been freed, and when `test` panics.
    pub fn run(&self, test: impl FnOnce(&Machine<G, A>)) {
        let frames = self.frames;
        let frames_before = frames.allocated();
        let root = Slots::with_empty_reference(self.geometry, frames)
            .expect("a frame for the root")
            .root();
        let slots = Slots::adopt(self.geometry, frames, root, self.private.clone())
            .expect("an empty reference, and private slots that exist");
        let tasks = Tasks::new(PID_MAX, CPUS).expect("memory for a small task list");
        let arch = Interposed::new(A::over(slots));
        let world: World<Staged<A>> =
            World::boot(frames, frames_before, arch, InterposedWalk::new(tasks));
        let cpu = Rc::new(world.cpu_online());
        let outer = BOOT_CPU.replace(Some(Rc::clone(&cpu)));
        let mm = program(world.init_mm());
        let init =
            first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task();
        let machine = Machine {
            world,
            shape: self.shape,
            init,
            grown: Mutex::default(),
            next_page: AtomicU64::new(0),
            geometry: PhantomData,
        };
        let tested = catch_unwind(AssertUnwindSafe(|| {
            test(&machine);
            machine.assert_complete();
        }));
        BOOT_CPU.set(outer);
        if let Err(panic) = tested {
            // Its kernel is in no state to be shut down; a panic on the way would hide this one.
            std::mem::forget((machine, cpu));
            resume_unwind(panic);
        }
        let Machine { world, init, .. } = machine;
        drop(init);
        drop::<Rc<HostCpu>>(cpu);
        // SAFETY: the machine's only lasting CPU has gone offline, threads of tests are scoped, and
        // a test has no place to keep references in.
        let left = unsafe { world.shut_down(self.shape.kind) };
        assert_eq!(left.leaked_frames, 0, "frames are lost");
        frames.check_free_frames().expect("freed frames stay zero");
    }
}

/// Frees what `cpu` has let go, and what that held: a task, its process, an mm, each two epochs after
/// the one before.
fn flush(cpu: &HostCpu) {
    for _ in 0..16 {
        cpu.rcu().flush();
    }
}

impl<G: Geometry, A: PgdScheme<G>> Machine<G, A> {
    /// Runs `body` on another CPU, which then frees all that no read-side section can find any
    /// more.
    ///
    /// With a section open on this CPU, that is nothing that the section could have found.
    pub fn on_another_cpu(&self, body: impl FnOnce()) {
        let other = self.cpu_online();
        body();
        flush(&other);
    }

    /// Frees what has been let go. Not in a read-side section.
    pub fn rcu_barrier(&self) {
        BOOT_CPU.with_borrow(|cpu| cpu.as_deref().into_iter().for_each(flush));
    }
}
