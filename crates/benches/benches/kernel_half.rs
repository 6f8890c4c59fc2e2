//! What the kernel half of a new PGD costs, from `pgd_alloc` to ready, against a plain copy.
//!
//! # Rivals
//!
//! - `late`: this project, nothing grew meanwhile: stamp, copy of the populated slots, fence, one load.
//! - `late, spread`: the same, with the populated slots as far apart as can be, each on a cache line of
//!   its own while there are lines enough. Everywhere else they lie side by side.
//! - `late, grew`: as `late`, and the kernel grew by one slot between `pgd_alloc` and late init.
//! - `locked`: copy and registration under `pgd_lock`. What `pgd_free` costs is not in it.
//! - `copy`: 2 KiB by `memcpy`, which is all that a kernel with preallocated slots does. It needs no late
//!   init, and no empty slots to begin with.
//! - `copy, fence`: the copy and a full barrier. A fork has several on its way in any case; whichever
//!   comes first waits for the stores of the copy.
//! - `init late`: late init alone, and `fence, load`, which it is to cost no more than. `init late, grew` is
//!   late init alone that has to look through all slots.
//!
//! # Zeroing
//!
//! Frames come zeroed, as the `Frames` contract says, and that is not timed, except in `zeroed late` and
//! `zeroed copy`: there the first zeroes 4 KiB, and the second only the 2 KiB of the user half, which is
//! all that it needs; `zeroed copy, fence` is the latter with a full barrier. A kernel whose frames are zeroed when freed, or by idle CPUs, is nearer to
//! the other figures.
//!
//! # Warm and cold
//!
//! Warm, everything is in the first-level cache, and iterations overlap. Cold, every line of the
//! new kernel half, of the reference and of the scheme's own state is flushed from all caches before each iteration, and
//! iterations are timed one by one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use arch_x86::geometry::{Geometry, LongMode};
use arch_x86::late::LateInit;
use arch_x86::late_pgd::LatePgd;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use benches::pairs::Spread;
use benches::ring::RingFrames;
use benches::session::{Axes, Match, Mode, Session};
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::smp_mb;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames};

/// Bytes in a kernel half.
const HALF: usize = 2048;

/// PGDs in the ring. All of them fit a first-level cache.
const RING: usize = 4;

/// Iterations of a turn. Where the kernel grows in the middle, each needs a PGD of its own.
const CHUNK: u64 = 512;
const GREW_CHUNK: u64 = 8;
const COLD_CHUNK: u64 = 16;

/// The reference's 256 tables, its root, and the largest ring.
const FRAMES: usize = 256 + 1 + COLD_CHUNK as usize + 1;

fn main() {
    let axes = Axes { x: "slots", y: "ns per PGD", from_ns: |ns, _| ns };
    let mut session = Session::begin("kernel_half", axes, |criterion| criterion);
    let slots: &[u64] =
        if session.mode() == Mode::Full { &[1, 8, 16, 64, 256] } else { &[1, 16, 256] };
    let caches: &[Caches] =
        if cfg!(target_arch = "x86_64") { &[Caches::Warm, Caches::Cold] } else { &[Caches::Warm] };
    for &caches in caches {
        for &x in slots {
            whole(&mut session, caches, x);
            spread(&mut session, caches, x);
            zeroed(&mut session, caches, x);
            grown_meanwhile(&mut session, caches, x);
        }
        late_init_alone(&mut session, caches);
    }
    session.aim("late, up to 16 slots, to copy", 1.0, |of| of.variant == "late" && of.x <= 16);
    session.aim("late, spread, up to 16 slots, to copy", 1.0, |of| {
        of.variant == "late, spread" && of.x <= 16
    });
    session.aim("late, 256 slots, to copy", 1.5, |of| of.variant == "late" && of.x == 256);
    session.aim("init late, nothing grew, to fence and load", 1.1, |of| of.variant == "init late");
    session.finish();
}

type Late = LateInit<LongMode, RingFrames>;

/// Where memory is when an iteration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caches {
    Warm,
    Cold,
}

impl Caches {
    const fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }

    const fn chunk(self, warm: u64) -> u64 {
        match self {
            Self::Warm => warm,
            Self::Cold => COLD_CHUNK,
        }
    }

    /// Times `n` iterations of `work`; where caches are cold, `evict` goes before each of them.
    #[inline(always)]
    fn time(self, n: u64, mut evict: impl FnMut(usize), mut work: impl FnMut(usize)) -> Duration {
        let clock = clock();
        if self == Self::Warm {
            let began = Instant::now();
            for index in 0..n as usize {
                work(index);
            }
            return began.elapsed().saturating_sub(clock);
        }
        let mut time = Duration::ZERO;
        for index in 0..n as usize {
            evict(index);
            smp_mb();
            let began = Instant::now();
            work(index);
            time += began.elapsed().saturating_sub(clock);
        }
        time
    }
}

/// What it costs to look at the clock twice, which is not small beside a cold copy.
fn clock() -> Duration {
    use std::sync::OnceLock;
    static CLOCK: OnceLock<Duration> = OnceLock::new();
    *CLOCK.get_or_init(|| {
        let look = |_| Instant::now().elapsed().as_nanos() as f64;
        let looks = Spread::of((0..10_000).map(look).collect()).expect("ten thousand looks");
        Duration::from_nanos(looks.median as u64)
    })
}

/// Flushes the lines of `len` bytes from `start` from every cache.
fn flush(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len + 63).step_by(64) {
        // SAFETY: SSE2 is part of x86-64. Beyond the end the address may belong to something else, which is
        // flushed and nothing worse.
        unsafe { core::arch::x86_64::_mm_clflush(start.wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// A reference PGD with some slots populated, and a ring of frames for new PGDs.
struct Ground {
    frames: &'static RingFrames,
}

impl Ground {
    fn new() -> Self {
        Self { frames: RingFrames::leak(FRAMES) }
    }

    /// Makes a kernel with `slots` populated; its PGDs come from a ring of `ring` frames.
    fn kernel<A: ArchPgd>(
        &self,
        slots: impl IntoIterator<Item = u64>,
        ring: usize,
        scheme: fn(Slots<LongMode, RingFrames>) -> A,
    ) -> A {
        self.frames.reset();
        let empty = Slots::with_empty_reference(LongMode::FOUR_LEVEL, self.frames);
        let arch = scheme(empty.expect("frames for 256 tables and more"));
        for slot in slots {
            grow(&arch, slot);
        }
        self.frames.close(ring);
        arch
    }

    /// Flushes what a new PGD in `frame` is made from.
    fn evict<A: ArchPgd>(&self, arch: &A, frame: Frame) {
        flush(self.frames.kernel_half(frame).as_ptr(), HALF);
        flush(self.frames.kernel_half(arch.reference_root()).as_ptr(), HALF);
        flush(core::ptr::from_ref(arch).cast(), size_of::<A>());
    }

    /// Zeroes the first `len` bytes, one half or both, of the frame that comes next.
    #[inline(always)]
    fn zero_next(&self, len: usize) {
        let bytes = self.frames.bytes(self.frames.next()).cast::<u8>();
        // By halves, whoever zeroes: a C library may change its ways between 2 KiB and 4 KiB.
        for half in (0..len).step_by(HALF) {
            // SAFETY: half of the frame's own bytes, and only this thread has it.
            unsafe { bytes.add(half).write_bytes(0, HALF) };
        }
    }

    /// Makes a PGD as a kernel does whose slots are all preallocated.
    #[inline(always)]
    fn copy(&self, reference: Frame) -> Frame {
        let frame = self.frames.alloc().expect("a ring has no end");
        let (from, to) = (self.frames.kernel_half(reference), self.frames.kernel_half(frame));
        // SAFETY: halves of two frames, and nobody grows the reference meanwhile.
        unsafe { from.copy_to_nonoverlapping(to, HALF) };
        frame
    }

    /// Fails unless the PGD at `root` has what the reference has.
    fn check<A: ArchPgd>(&self, arch: &A, root: Frame, slots: u64) {
        let half = |frame| {
            let entries = &self.frames.table64(frame)[LongMode::BOUNDARY..];
            entries.iter().map(|entry| entry.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        let entries = half(root);
        assert_eq!(entries, half(arch.reference_root()));
        assert_eq!(entries.iter().filter(|&&entry| entry != 0).count() as u64, slots);
    }
}

/// Populates one slot of the reference.
fn grow<A: ArchPgd>(arch: &A, slot: u64) {
    let span = LongMode::FOUR_LEVEL.slot_span();
    let half = arch.kernel_half();
    let range = half.range(half.first + slot * span, span).expect("a slot of the kernel half");
    arch.populate_kernel(range).expect("frames for 256 tables");
}

/// One PGD from `pgd_alloc` to ready.
#[inline(always)]
fn make_late(arch: &Late) -> LatePgd {
    let pgd = arch.pgd_alloc().expect("a ring has no end");
    arch.pgd_init_late(&pgd);
    pgd
}

/// Late, locked, and copy with a fence, against the plain copy; frames are zeroed already.
fn whole(session: &mut Session, caches: Caches, x: u64) {
    let group = caches.name();
    let chunk = caches.chunk(CHUNK);

    let ground = Ground::new();
    let arch = ground.kernel(0..x, RING, LateInit::new);
    let reference = arch.reference_root();
    let evict = |_| ground.evict(&arch, ground.frames.next());
    let late = |n| {
        caches.time(n, evict, |_| {
            black_box(make_late(&arch));
        })
    };
    let copy = |n| {
        caches.time(n, evict, |_| {
            black_box(ground.copy(reference));
        })
    };
    let fenced = |n| {
        caches.time(n, evict, |_| {
            black_box(ground.copy(reference));
            smp_mb();
        })
    };
    session.compare(Match { group, variant: "late", base: "copy", x }, chunk, late, copy);
    ground.check(&arch, make_late(&arch).root(), x);
    session.compare(Match { group, variant: "copy, fence", base: "copy", x }, chunk, fenced, copy);
    ground.check(&arch, ground.copy(reference), x);

    let (ground, rival) = (Ground::new(), ground);
    let locked = ground.kernel(0..x, RING, Locked::new);
    let mut pgds = Vec::with_capacity(chunk as usize);
    let register = |n| {
        let evict = |_| ground.evict(&locked, ground.frames.next());
        let time =
            caches.time(n, evict, |_| pgds.push(locked.pgd_alloc().expect("a ring has no end")));
        for pgd in pgds.drain(..) {
            // SAFETY: no CPU has it loaded, no walker is under way, and its user half was never filled.
            unsafe { locked.pgd_free(pgd) };
        }
        time
    };
    let copy = |n| {
        caches.time(
            n,
            |_| rival.evict(&arch, rival.frames.next()),
            |_| {
                black_box(rival.copy(reference));
            },
        )
    };
    session.compare(Match { group, variant: "locked", base: "copy", x }, chunk, register, copy);
}

/// Late against the plain copy, where the populated slots share as few cache lines as can be.
fn spread(session: &mut Session, caches: Caches, x: u64) {
    let ground = Ground::new();
    let arch = ground.kernel((0..x).map(|slot| slot * (256 / x)), RING, LateInit::new);
    let reference = arch.reference_root();
    let evict = |_| ground.evict(&arch, ground.frames.next());
    let late = |n| {
        caches.time(n, evict, |_| {
            black_box(make_late(&arch));
        })
    };
    let copy = |n| {
        caches.time(n, evict, |_| {
            black_box(ground.copy(reference));
        })
    };
    let of = Match { group: caches.name(), variant: "late, spread", base: "copy", x };
    session.compare(of, caches.chunk(CHUNK), late, copy);
    ground.check(&arch, make_late(&arch).root(), x);
}

/// Late against copy, with the zeroing that each needs.
fn zeroed(session: &mut Session, caches: Caches, x: u64) {
    let group = caches.name();
    let ground = Ground::new();
    let arch = ground.kernel(0..x, RING, LateInit::new);
    let reference = arch.reference_root();
    let evict = |_| {
        ground.evict(&arch, ground.frames.next());
        flush(ground.frames.bytes(ground.frames.next()).as_ptr().cast(), HALF);
    };
    let late = |n| {
        caches.time(n, evict, |_| {
            ground.zero_next(2 * HALF);
            black_box(make_late(&arch));
        })
    };
    let copy = |n| {
        caches.time(n, evict, |_| {
            ground.zero_next(HALF);
            black_box(ground.copy(reference));
        })
    };
    let fenced = |n| {
        caches.time(n, evict, |_| {
            ground.zero_next(HALF);
            black_box(ground.copy(reference));
            smp_mb();
        })
    };
    let chunk = caches.chunk(CHUNK);
    let of = |variant| Match { group, variant, base: "zeroed copy", x };
    session.compare(of("zeroed late"), chunk, late, copy);
    ground.check(&arch, make_late(&arch).root(), x);
    session.compare(of("zeroed copy, fence"), chunk, fenced, copy);
}

/// Late with a growth between `pgd_alloc` and late init, which has to find it; and that late init alone.
fn grown_meanwhile(session: &mut Session, caches: Caches, x: u64) {
    let group = caches.name();
    let chunk = caches.chunk(GREW_CHUNK);
    let (ground, rival) = (Ground::new(), Ground::new());
    let fixed = rival.kernel(0..x, chunk as usize, LateInit::new);
    let reference = fixed.reference_root();

    // Returns the times of `pgd_alloc` and of late init.
    let grew = |n| {
        let arch = ground.kernel(0..x - 1, chunk as usize, LateInit::new);
        let mut pgds = Vec::with_capacity(n as usize);
        // Making the kernel anew has cooled the frames down.
        (0..n).for_each(|_| drop(black_box(arch.pgd_alloc())));
        let evict = |_| ground.evict(&arch, ground.frames.next());
        let alloc =
            caches.time(n, evict, |_| pgds.push(arch.pgd_alloc().expect("a ring has no end")));
        ground.frames.open();
        grow(&arch, x - 1);
        let evict = |index: usize| ground.evict(&arch, pgds[index].root());
        let late = caches.time(n, evict, |index| arch.pgd_init_late(&pgds[index]));
        ground.check(&arch, pgds[0].root(), x);
        (alloc, late)
    };
    let copy = |n| {
        caches.time(
            n,
            |_| rival.evict(&fixed, rival.frames.next()),
            |_| {
                black_box(rival.copy(reference));
            },
        )
    };
    let whole = |n| {
        let (alloc, late) = grew(n);
        alloc + late
    };
    session.compare(Match { group, variant: "late, grew", base: "copy", x }, chunk, whole, copy);
    let of = Match { group, variant: "init late, grew", base: "copy", x };
    session.compare(of, chunk, |n| grew(n).1, copy);
}

/// Late init when nothing grew, against the least that it could be.
fn late_init_alone(session: &mut Session, caches: Caches) {
    let ground = Ground::new();
    let arch = ground.kernel(0..16, RING, LateInit::new);
    // What the PGD's structure says was written a moment ago, by `pgd_alloc`; it is not cold.
    let pgd = arch.pgd_alloc().expect("a ring has no end");
    let evict = |_| ground.evict(&arch, pgd.root());
    let late = |n| caches.time(n, evict, |_| arch.pgd_init_late(black_box(&pgd)));
    let of = Match { group: caches.name(), variant: "init late", base: "fence, load", x: 16 };
    session.compare(of, caches.chunk(CHUNK), late, |n| floor(&arch, &ground, caches, n));
}

/// A full barrier and one load, of a line that is as warm or cold as the others.
fn floor<A: ArchPgd>(arch: &A, ground: &Ground, caches: Caches, n: u64) -> Duration {
    let word = AtomicU64::new(1);
    let evict = |_| {
        ground.evict(arch, arch.reference_root());
        flush((&raw const word).cast(), size_of::<AtomicU64>());
    };
    caches.time(n, evict, |_| {
        smp_mb();
        black_box(black_box(&word).load(Ordering::Acquire));
    })
}
