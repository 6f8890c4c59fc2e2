//! Duels: two processors, at the very moment that matters. One grows the kernel, the other does what the growth's walk must
//! not miss.
//!
//! Everything that takes time is done before the two meet. Then both act, one of them after a delay that follows the
//! outcome of the duels before: it ends up where either side comes first equally often, which is where a wrong
//! order shows. When both have acted, the growth has returned, and the other side looks through the MMU.
//!
//! A barrier that is missing shows only where a store is still in its processor's store buffer when the other one has
//! done its load. So the duellists fill their store buffers first, with stores to lines that the other one has.

use super::area::{self, Grown};
use super::attached::set_attached;
use super::crowd::{self, Crowd};
use super::meeting::Meeting;
use super::random::Random;
use super::report::announce;
use super::team::{Orders, Team};
use super::{attacher, figures, look, report, store_buffer};
use crate::cpu::{clock, smp};
use crate::mm::poison;
use crate::os::{Os, init_mm};
use crate::rcu;
use crate::sched::current;
use crate::task::TaskRef;
use core::hint::black_box;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_task::attach::kthread_unuse_mm;
use kernel_task::insert::Insertion;
use mm_generic::mm::MmUser;
use mm_generic::publish::NewMm;
use mm_generic::walk::Walkers;
use spin::Once;

/// What the first side does while the second grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It publishes an mm that it has made before.
    Publication,
    /// It makes an mm and publishes it.
    Copy,
    /// It loads an mm for the first time, whose only task exits at once.
    Exit,
    /// It grows the same slot, on an mm that the other's walk comes to last.
    Twins,
    /// It attaches an mm that has no task.
    Attach,
    /// It ends the only task of the mm that it has loaded, and leaves that: the mm is freed.
    Free,
}

impl Kind {
    /// All of them, in turns.
    const ALL: [Self; 6] =
        [Self::Publication, Self::Copy, Self::Exit, Self::Twins, Self::Attach, Self::Free];

    /// The name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Publication => "publication",
            Self::Copy => "copy",
            Self::Exit => "exit",
            Self::Twins => "twins",
            Self::Attach => "attach",
            Self::Free => "free",
        }
    }
}

/// The one kind that the command line asks for, by its place in [`Kind::ALL`].
static ONLY: Once<Option<usize>> = Once::new();

/// Duels of one kind on end.
const BLOCK: u64 = 64;

/// Processes that make the walk long where it has to be.
const CROWD: usize = 96;

/// Longest delay, in steps of a few nanoseconds; by how much it follows the outcome; and how much chance is added.
const LONGEST: u64 = 1 << 15;
const STEP: u64 = 16;
const CHANCE: u64 = 128;

static MEETING: Meeting = Meeting::new();
static OVER: AtomicBool = AtomicBool::new(false);
static END: AtomicU64 = AtomicU64::new(0);
static PAGE: AtomicU64 = AtomicU64::new(0);
static SECRET: AtomicU64 = AtomicU64::new(0);

/// Lets two processors duel until `end`: in all ways, or in the one that `only` names.
///
/// # Panics
///
/// When `only` names none.
pub(super) fn run(end: u64, only: Option<&str>) {
    let find = |name: &str| Kind::ALL.iter().position(|kind| kind.name() == name);
    ONLY.call_once(|| only.map(|name| find(name).expect("duel= names a kind of duel")));
    if smp::online().count() < 2 {
        return announce(format_args!("no duels with one processor"));
    }
    END.store(end, Ordering::Relaxed);
    Team::start("duellist", side, 2).join();
    announce(format_args!("{} duels", figures::DUELS.get()));
}

fn side(side: usize, orders: &Orders) {
    let cpu = orders.claim_processor();
    // On no mm, so that walks have nothing to do here.
    attacher::leave();
    if side == 0 {
        First { cpu, random: Random::new(), delays: [LONGEST / 64; Kind::ALL.len()] }.duel();
    } else {
        second();
    }
    attacher::leave();
}

/// The side that grows.
fn second() {
    let mut random = Random::new();
    for number in 0.. {
        let place = area::shared(number % area::shared_slots(), 1);
        PAGE.store(place.address, Ordering::Relaxed);
        MEETING.meet(1);
        if OVER.load(Ordering::Relaxed) {
            return;
        }
        // What the walk reads is brought into this processor's cache, and the lines in the other's way as well.
        let rcu = rcu::read_lock();
        Walkers::<Os>::for_each_published(init_mm().walkers(), &rcu, &mut |_mm| {});
        drop(rcu);
        store_buffer::take_lines_of(0);
        MEETING.meet(1);
        store_buffer::fill(1, random.below(store_buffer::LINES));
        let range = area::grow(place);
        let secret = crate::random::word();
        let grown = area::map(place, range, secret);
        SECRET.store(secret, Ordering::Relaxed);
        MEETING.meet(1);
        MEETING.meet(1);
        look::reclaim(grown);
        rcu::quiesce();
    }
}

/// The side that does something that a walk must not miss.
struct First {
    cpu: usize,
    random: Random,
    /// For each entry of [`Kind::ALL`].
    delays: [u64; Kind::ALL.len()],
}

/// What was made before a duel.
enum Prepared {
    Publication(NewMm<Os>, Insertion<'static, Os>),
    Copy(Insertion<'static, Os>),
    Task(TaskRef),
    Orphan(MmUser<Os>),
}

/// What is left after both have acted.
enum Acted {
    Task(TaskRef),
    Twin(TaskRef, Grown),
    Orphan(Option<MmUser<Os>>),
    Gone,
    Freed,
}

impl First {
    fn duel(&mut self) {
        for block in 0.. {
            let turn = ONLY.get().copied().flatten().unwrap_or(block % Kind::ALL.len());
            let crowded = matches!(Kind::ALL[turn], Kind::Exit | Kind::Twins);
            let crowd = crowded.then(|| Crowd::new(self.cpu, CROWD));
            for _ in 0..BLOCK {
                if clock::now() > END.load(Ordering::Relaxed) {
                    drop(crowd);
                    OVER.store(true, Ordering::Relaxed);
                    MEETING.meet(0);
                    return;
                }
                self.one(turn);
            }
        }
    }

    fn one(&mut self, turn: usize) {
        let kind = Kind::ALL[turn];
        let prepared = self.prepare(kind);
        MEETING.meet(0);
        let page = PAGE.load(Ordering::Relaxed);
        store_buffer::take_lines_of(1);
        MEETING.meet(0);
        // The last stretch takes no decision that costs time.
        let chance = if matches!(kind, Kind::Exit | Kind::Twins) { 8 * CHANCE } else { CHANCE };
        for step in 0..self.delays[turn] + self.random.below(chance) {
            black_box(step);
        }
        let acted = self.act(turn, prepared, page);
        MEETING.meet(0);
        self.check(acted, page);
        figures::DUELS.one();
        MEETING.meet(0);
        rcu::quiesce();
    }

    fn prepare(&mut self, kind: Kind) -> Prepared {
        match kind {
            Kind::Publication => {
                let insertion = crowd::unpublished(self.cpu);
                Prepared::Publication(crowd::new_mm(), insertion)
            }
            Kind::Copy => Prepared::Copy(crowd::unpublished(self.cpu)),
            Kind::Exit => {
                attacher::leave();
                Prepared::Task(crowd::ready(self.cpu))
            }
            Kind::Twins | Kind::Free => {
                let task = crowd::ready(self.cpu);
                crowd::load(&task);
                Prepared::Task(task)
            }
            Kind::Attach => {
                attacher::leave();
                let task = crowd::ready(self.cpu);
                let mm = task.mm().expect("a user task that has not exited");
                crowd::end(&task);
                Prepared::Orphan(mm)
            }
        }
    }

    fn act(&mut self, turn: usize, prepared: Prepared, page: u64) -> Acted {
        match prepared {
            Prepared::Publication(mm, insertion) => {
                store_buffer::fill(0, self.random.below(store_buffer::LINES));
                let (published, task) = mm.publish(insertion);
                let ready = published.init_late();
                self.follow(turn, crowd::has_slot_of(ready.mm(), page));
                Acted::Task(task)
            }
            Prepared::Copy(insertion) => {
                let mm = crowd::new_mm();
                let copied = crowd::has_slot_of(mm.mm(), page);
                let (published, task) = mm.publish(insertion);
                drop(published.init_late());
                self.follow(turn, copied);
                Acted::Task(task)
            }
            Prepared::Task(task) if Kind::ALL[turn] == Kind::Free => {
                let mm = task.mm().expect("a user task that has not exited");
                // The walk comes to it as this task's, and then once more as this processor's.
                self.follow(turn, crowd::has_slot_of(&mm, page));
                drop(mm);
                crowd::end(&task);
                drop(task);
                attacher::leave();
                Acted::Freed
            }
            Prepared::Task(task) if Kind::ALL[turn] == Kind::Exit => {
                let begun = is_populated(page);
                crowd::load(&task);
                let mm = task.mm().expect("a user task that has not exited").grab();
                crowd::end(&task);
                let had = crowd::has_slot_of(&mm, page);
                if begun == had {
                    self.follow(turn, had);
                }
                Acted::Gone
            }
            Prepared::Task(task) => {
                let begun = is_populated(page);
                let mm = task.mm().expect("a user task that has not exited");
                let had = crowd::has_slot_of(&mm, page);
                let place = area::shared((page - area::shared(0, 1).address) / slot_span(), 0);
                let range = area::grow(place);
                // The growth has returned, and this processor has the mm loaded.
                if !crowd::has_slot_of(&mm, page) {
                    figures::MISSED.one();
                    report::fail_at("no entry", "in a duel of two growths", place.address);
                }
                let grown = area::map(place, range, crate::random::word());
                look::at(grown.address, grown.secret, "in a duel of two growths");
                if begun == had {
                    self.follow(turn, had);
                }
                Acted::Twin(task, grown)
            }
            Prepared::Orphan(mm) => {
                if self.random.one_in(2) {
                    return Acted::Orphan(Some(mm));
                }
                crowd::attach(self.cpu, mm);
                Acted::Orphan(None)
            }
        }
    }

    /// The delay was too long when the growth came first, otherwise too short.
    fn follow(&mut self, turn: usize, growth_was_first: bool) {
        let delay = &mut self.delays[turn];
        *delay = if growth_was_first {
            delay.saturating_sub(STEP)
        } else {
            (*delay + STEP).min(LONGEST)
        };
    }

    /// Looks at the growth, which has returned by now.
    fn check(&mut self, acted: Acted, page: u64) {
        let look = |place| look::at(page, SECRET.load(Ordering::Relaxed), place);
        match acted {
            Acted::Task(task) => {
                crowd::load(&task);
                look("in a duel of publication and growth");
                crowd::end(&task);
            }
            Acted::Twin(task, grown) => {
                look("in a duel of two growths");
                look::reclaim(grown);
                crowd::end(&task);
            }
            Acted::Gone => look("in a duel of exit and growth"),
            Acted::Freed => {
                look("in a duel of free and growth");
                poison::look_through_quarantine();
            }
            Acted::Orphan(mm) => {
                if let Some(mm) = mm {
                    crowd::attach(self.cpu, mm);
                }
                look("in a duel of attach and growth");
                set_attached(self.cpu, false);
                drop(kthread_unuse_mm(&current()).expect("attached before"));
            }
        }
    }
}

/// Tells whether the growth into the slot of `page` has begun.
fn is_populated(page: u64) -> bool {
    init_mm().arch().slots().reference().is_populated(report::slot_of(page))
}

fn slot_span() -> u64 {
    use arch_x86::geometry::Geometry;
    init_mm().tables().geometry().slot_span()
}
