//! Sequences of steps, chosen by proptest, a fixed number of them with a fixed seed.

use std::cell::RefCell;

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use kernel_task::task::TaskRef;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::prot::Prot;
use mm_generic::reference::Refusal;
use mm_generic::replacement::{ReplaceError, Replacement};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, DATA, DATA_PAGES, LatePgds, Machine, MachineKernel};

use super::model::{Covered, Eyes, KernelPage, Mismatch, UserHalf, new_program};
use super::qemu::{LARGE, Qemu};

/// Sequences for each geometry, and steps in one at most.
const SEQUENCES: u32 = 64;
const STEPS: usize = 32;

/// Tasks at a time, slots that are used, and pages in each.
const TASKS: usize = 5;
const SLOTS: usize = 3;
const PAGES: u64 = 3;

type Task<G> = TaskRef<MachineKernel<LatePgds<G>>>;

/// One step. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Fork {
        parent: usize,
    },
    /// A fork, and a growth of the kernel by another CPU in the middle of it.
    ForkAndGrow {
        at: usize,
        place: usize,
        rights: usize,
    },
    /// A fork, and a reclaim by another CPU in the middle of it.
    ForkAndReclaim {
        at: usize,
        which: usize,
    },
    Exec {
        task: usize,
    },
    Exit {
        task: usize,
    },
    Write {
        task: usize,
        page: usize,
        byte: u8,
    },
    Protect {
        task: usize,
        page: usize,
        rights: usize,
    },
    Grow {
        place: usize,
        rights: usize,
    },
    Move {
        which: usize,
    },
    Reclaim {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..60_usize;
    prop_oneof![
        n().prop_map(|parent| Step::Fork { parent }),
        (n(), n(), n()).prop_map(|(at, place, rights)| Step::ForkAndGrow { at, place, rights }),
        (n(), n()).prop_map(|(at, which)| Step::ForkAndReclaim { at, which }),
        n().prop_map(|task| Step::Exec { task }),
        n().prop_map(|task| Step::Exit { task }),
        (n(), n(), 2..=u8::MAX).prop_map(|(task, page, byte)| Step::Write { task, page, byte }),
        (n(), n(), n()).prop_map(|(task, page, rights)| Step::Protect { task, page, rights }),
        (n(), n()).prop_map(|(place, rights)| Step::Grow { place, rights }),
        n().prop_map(|which| Step::Move { which }),
        n().prop_map(|which| Step::Reclaim { which }),
    ]
}

const RIGHTS: [Prot; 4] = [
    Prot::READ,
    Prot::READ.union(Prot::WRITE),
    Prot::READ.union(Prot::EXEC),
    Prot::READ.union(Prot::WRITE).union(Prot::EXEC),
];

/// Where another CPU comes in the middle of a fork.
const POINTS: [Point; 3] = [Point::PgdAllocated, Point::Published, Point::Completed];

/// A kernel mapping in use.
struct Live {
    range: SyncedRange,
    frame: Frame,
    prot: Prot,
}

/// A machine, and what it must show.
pub(crate) struct Known<'m, G: Geometry> {
    pub(crate) machine: &'m Machine<G, LatePgds<G>>,
    tasks: Vec<(Task<G>, UserHalf)>,
    live: Vec<Live>,
}

impl<'m, G: Geometry> Known<'m, G> {
    pub(crate) fn new(machine: &'m Machine<G, LatePgds<G>>) -> Self {
        Self { machine, tasks: vec![(machine.init().clone(), new_program())], live: Vec::new() }
    }

    /// Every page that may be in use, in all slots that are.
    fn places(&self) -> impl Iterator<Item = u64> + use<G> {
        let shape = self.machine.shape();
        let slots = SLOTS.min(shape.slots);
        (0..slots).flat_map(move |slot| {
            // The last slot of all is one of them: its addresses end where the address space does.
            let slot = if slot == 0 { shape.slots - 1 } else { slot };
            (0..PAGES).map(move |page| shape.addr(slot) + page * PAGE_SIZE)
        })
    }

    fn kernel_pages(&self) -> Vec<KernelPage> {
        let shows = |addr| {
            let live = self.live.iter().find(|live| live.range.contains(addr));
            live.map(|live| (live.frame, live.prot))
        };
        self.places().map(|addr| KernelPage { addr, shows: shows(addr) }).collect()
    }

    /// Looks at every address in every mm, and in the reference.
    pub(crate) fn look(&self, eyes: &mut Eyes, covered: &mut Covered) -> Result<(), Mismatch> {
        let kernel = self.kernel_pages();
        for (task, user) in &self.tasks {
            let root = task.mm().expect("a user task").root();
            eyes.look(root, Some(user), &kernel, covered)?;
        }
        let reference = self.machine.init_mm().arch().reference_root();
        eyes.look(reference, None, &kernel, covered)
    }

    fn grow(&self, place: usize, rights: usize) -> Option<Live> {
        let places: Vec<u64> = self.places().collect();
        let addr = places[place % places.len()];
        if self.live.iter().any(|live| live.range.contains(addr)) {
            return None;
        }
        let prot = RIGHTS[rights % RIGHTS.len()];
        let range = self.machine.init_mm().grow(addr, PAGE_SIZE).expect("frames enough");
        let frame = self.machine.frames().alloc().expect("frames enough");
        self.machine.init_mm().map_kernel(&range, addr, frame, prot).expect("a free page");
        Some(Live { range, frame, prot })
    }

    fn reclaim(&self, live: Live) {
        let mut released = 0;
        let release = |_addr, frame| {
            released += 1;
            // SAFETY: allocated in `grow` for this page, which no CPU reaches any more.
            unsafe { self.machine.frames().put(frame) };
        };
        // SAFETY: nothing but this machine's steps uses the range.
        unsafe { self.machine.init_mm().reclaim(live.range, release) }.expect("frames enough");
        assert_eq!(released, 1, "one page was mapped");
    }

    fn fork(&mut self, parent: usize, fork: impl FnOnce(&Task<G>) -> Task<G>) {
        let (task, user) = &mut self.tasks[parent];
        let child = fork(task);
        user.iter_mut().for_each(|page| page.is_writable = false);
        let user = *user;
        self.tasks.push((child, user));
    }

    pub(crate) fn fork_init(&mut self) {
        self.fork(0, |parent| fork(self.machine, parent));
    }

    pub(crate) fn grow_one(&mut self) -> u64 {
        let live = self.grow(0, 1).expect("nothing is in use");
        let addr = live.range.start();
        self.live.push(live);
        addr
    }

    pub(crate) fn reclaim_one(&mut self) {
        let live = self.live.pop().expect("one was grown");
        self.reclaim(live);
    }

    pub(crate) fn root(&self, task: usize) -> Frame {
        self.tasks[task].0.mm().expect("a user task").root()
    }

    fn take(&mut self, which: usize) -> Option<Live> {
        let len = self.live.len();
        (len > 0).then(|| self.live.swap_remove(which % len))
    }

    fn step(&mut self, step: &Step) {
        let count = self.tasks.len();
        let machine = self.machine;
        let room = count < TASKS;
        match *step {
            Step::Fork { parent } if room => {
                self.fork(parent % count, |parent| fork(machine, parent));
            }
            Step::ForkAndGrow { at, place, rights } if room => {
                let mut grown = None;
                let this: &Self = self;
                let others = || grown = this.grow(place, rights);
                let child = meanwhile(POINTS[at % POINTS.len()], others, || machine.fork());
                self.fork(0, |_| child);
                self.live.extend(grown);
            }
            Step::ForkAndReclaim { at, which } if room => {
                let Some(live) = self.take(which) else { return };
                let this: &Self = self;
                let others = || this.reclaim(live);
                let child = meanwhile(POINTS[at % POINTS.len()], others, || machine.fork());
                self.fork(0, |_| child);
            }
            Step::Exec { task } if count > 1 => {
                let (task, user) = &mut self.tasks[1 + task % (count - 1)];
                machine.exec(1, task);
                *user = new_program();
            }
            Step::Exit { task } if count > 1 => {
                let (task, _) = self.tasks.swap_remove(1 + task % (count - 1));
                machine.exit(&task);
            }
            Step::Write { task, page, byte } => {
                let (task, user) = &mut self.tasks[task % count];
                let number = page % DATA_PAGES as usize;
                let page = &mut user[number];
                let mm = task.mm().expect("a user task");
                let addr = DATA + number as u64 * PAGE_SIZE;
                let written = mm.user().write_bytes(&mm, addr, &[byte]);
                assert_eq!(written.is_ok(), page.prot.contains(Prot::WRITE), "as the rights say");
                if written.is_ok() {
                    page.byte = Some(byte);
                    page.is_writable = true;
                }
            }
            Step::Protect { task, page, rights } => {
                let (task, user) = &mut self.tasks[task % count];
                let number = page % DATA_PAGES as usize;
                let page = &mut user[number];
                let mm = task.mm().expect("a user task");
                let addr = DATA + number as u64 * PAGE_SIZE;
                page.prot = RIGHTS[rights % RIGHTS.len()];
                page.is_writable &= page.prot.contains(Prot::WRITE);
                mm.user().mprotect(&mm, addr..addr + PAGE_SIZE, page.prot).expect("it is mapped");
            }
            Step::Grow { place, rights } => {
                let grown = self.grow(place, rights);
                self.live.extend(grown);
            }
            Step::Move { which } => {
                let Some(mut live) = self.take(which) else { return };
                let addr = live.range.start();
                match machine.init_mm().replace(&mut live.range, addr, Replacement::Move) {
                    Ok(()) | Err(ReplaceError::Refused(Refusal::NotSoleOwner { .. })) => {}
                    Err(error) => panic!("a table was to be moved: {error}"),
                }
                self.live.push(live);
            }
            Step::Reclaim { which } => {
                if let Some(live) = self.take(which) {
                    self.reclaim(live);
                }
            }
            Step::Fork { .. }
            | Step::ForkAndGrow { .. }
            | Step::ForkAndReclaim { .. }
            | Step::Exec { .. }
            | Step::Exit { .. } => {}
        }
    }
}

fn fork<G: Geometry>(machine: &Machine<G, LatePgds<G>>, parent: &Task<G>) -> Task<G> {
    machine.clone_of(parent, &CloneArgs::FORK)
}

/// Two CPUs of QEMU over the frames of `boot`.
pub(crate) fn eyes<G: Geometry>(boot: &Boot<G, LatePgds<G>>) -> Eyes {
    let (kind, frames) = (boot.shape().kind, boot.frames());
    Eyes { qemu: Qemu::new(kind, frames), frames, kind, has_nx: G::HAS_NX }
}

/// Runs the sequences on machines of one geometry, and a split and a collapse where a slot can hold a large page.
pub(crate) fn run<G: Geometry>(name: &str, boot: &Boot<G, LatePgds<G>>) {
    let seen = RefCell::new((eyes(boot), Covered::default(), 0_u64));
    let config = Config {
        cases: SEQUENCES,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let steps = proptest::collection::vec(step(), STEPS / 2..STEPS);
    let result = TestRunner::new_with_rng(config, rng).run(&steps, |steps| {
        let mut wrong = None;
        boot.run(|machine| {
            let (eyes, covered, taken) = &mut *seen.borrow_mut();
            let mut known = Known::new(machine);
            for step in &steps {
                known.step(step);
                *taken += 1;
                if let Err(mismatch) = known.look(eyes, covered) {
                    // The machine is shut down in order: the next sequence, a shorter one, needs its frames.
                    wrong = Some(TestCaseError::fail(format!("after {step:?}: {mismatch}")));
                    break;
                }
            }
        });
        wrong.map_or(Ok(()), Err)
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
    if boot.geometry().slots_hold_large_pages() {
        boot.run(|machine| {
            let (eyes, covered, taken) = &mut *seen.borrow_mut();
            *taken += collapse_and_split(machine, eyes, covered);
        });
    }
    let (_, covered, steps) = seen.into_inner();
    println!(
        "{name}: {SEQUENCES} sequences, {steps} steps; {} address spaces loaded, {} addresses in them, {} accesses, {} of them faults",
        covered.spaces, covered.addresses, covered.accesses, covered.faults
    );
    assert!(covered.faults > 0 && covered.faults < covered.accesses, "both are needed");
}

/// Fills a slot with pages, makes one large page of them, and pages again.
fn collapse_and_split<G: Geometry>(
    machine: &Machine<G, LatePgds<G>>,
    eyes: &mut Eyes,
    covered: &mut Covered,
) -> u64 {
    let (shape, init_mm) = (machine.shape(), machine.init_mm());
    let tasks = [machine.fork(), machine.fork()];
    let (start, span) = (shape.addr(1), shape.span);
    let mut range = init_mm.grow(start, span).expect("frames enough");
    let prot = Prot::READ | Prot::WRITE;
    for offset in (0..span).step_by(PAGE_SIZE as usize) {
        let frame = Frame::at(LARGE + offset).expect("whole pages");
        init_mm.map_kernel(&range, start + offset, frame, prot).expect("a slot of its own");
    }
    let samples: Vec<KernelPage> = [0, 1, span / PAGE_SIZE / 2, span / PAGE_SIZE - 1]
        .map(|page| page * PAGE_SIZE)
        .map(|offset| (start + offset, Frame::at(LARGE + offset).expect("whole pages")))
        .map(|(addr, frame)| KernelPage { addr, shows: Some((frame, prot)) })
        .to_vec();
    let mut look = |what: &str| {
        for root in tasks.iter().map(|task| task.mm().expect("a user task").root()) {
            if let Err(mismatch) = eyes.look(root, None, &samples, covered) {
                panic!("after the {what}: {mismatch}");
            }
        }
    };
    look("growth");
    init_mm.replace(&mut range, start, Replacement::Collapse).expect("contiguous pages");
    look("collapse");
    init_mm.replace(&mut range, start, Replacement::Split).expect("a large page");
    look("split");
    // SAFETY: nobody uses the range.
    unsafe { init_mm.reclaim(range, |_, _| {}) }.expect("frames enough");
    let gone: Vec<_> = samples.iter().map(|page| KernelPage { shows: None, ..*page }).collect();
    for root in tasks.iter().map(|task| task.mm().expect("a user task").root()) {
        if let Err(mismatch) = eyes.look(root, None, &gone, covered) {
            panic!("after the reclaim: {mismatch}");
        }
    }
    4
}
