//! Every allocation of a frame, at every site of every operation, refused once, while other CPUs fork, exec, exit, grow and
//! reclaim.
//!
//! The refusal is the thread's own: what the others do is not disturbed, and goes on in whatever the refused one left. Each
//! refusal must be told, as a lack of frames; afterwards no mm has an entry that the reference has not.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_x86::geometry::Geometry;
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::copy_process;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::user::FaultError;
use tests_host::machine::{DATA, DATA_PAGES, Machine, PgdScheme};
use tests_host::planted::is_planted;

use super::shortage::is_lack;

tests_host::on_every_machine!(every_frame_of_every_operation_is_refused_in_company);

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// One allocation that is to be refused.
struct Refusal {
    number: u64,
    struck: Cell<bool>,
}

impl Refusal {
    /// Calls `attempt` with the allocation refused, and returns what it made. A refusal must be told, and nothing else.
    fn during<G: Geometry, A: PgdScheme<G>, T, E: Display>(
        &self,
        machine: &Machine<G, A>,
        attempt: impl FnOnce() -> Result<T, E>,
        is_lack: impl FnOnce(&E) -> bool,
    ) -> Option<T> {
        machine.frames().fail_here_once_after(self.number);
        let result = attempt();
        self.struck.set(machine.frames().fail_here_never());
        match result {
            Ok(made) => {
                assert!(!self.struck.get(), "a frame was refused and nobody said so");
                Some(made)
            }
            Err(error) => {
                assert!(self.struck.get() && is_lack(&error), "{error}");
                None
            }
        }
    }
}

type Operation<G, A> = fn(&Machine<G, A>, &Refusal);

fn operations<G: Geometry, A: PgdScheme<G>>() -> [(&'static str, Operation<G, A>); 7] {
    [
        ("fork", fork),
        ("exec", exec),
        ("fault", fault),
        ("grow", grow),
        ("map", map),
        ("move", move_table),
        ("split", split),
    ]
}

fn every_frame_of_every_operation_is_refused_in_company<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let running = machine.fork();
    machine.switch(0, &running);
    let mut refused = 0;
    for (name, operation) in operations::<G, A>() {
        in_company(machine, || {
            for number in 0.. {
                assert!(number < 64, "{name} allocates without end");
                let refusal = Refusal { number, struck: Cell::new(false) };
                operation(machine, &refusal);
                machine.rcu_barrier();
                if !refusal.struck.get() {
                    break;
                }
                refused += 1;
            }
        });
        assert_no_surplus(machine);
    }
    if is_planted("surplus-entry") {
        let root = machine.loaded_root(0).expect("a user task runs");
        let slot = own_slot(machine);
        machine.shape().set_slot(machine.frames(), root, slot, 0x1003);
        assert_no_surplus(machine);
    }
    // At the least a PGD, a page and a table. Schemes that keep PGDs take fewer.
    assert!(refused >= 3, "{refused} frames were refused");
    println!("covered {refused} frames refused");
    machine.leave(0);
    machine.exit(&running);
}

/// The slot that no other CPU grows into.
fn own_slot<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> usize {
    machine.shape().slots - 1
}

/// Sets the flag when it goes, be it by a panic: the others would else go on for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `body` while two other CPUs are at work, and until each has done something.
fn in_company<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, body: impl FnOnce()) {
    let (over, others) = (AtomicBool::new(false), [(); 2].map(|()| AtomicBool::new(false)));
    let (over, others) = (&over, &others);
    std::thread::scope(|scope| {
        for (number, begun) in others.iter().enumerate() {
            scope.spawn(move || {
                let online = machine.cpu_online();
                let mut turn = 0;
                while !over.load(Ordering::Acquire) {
                    // Callbacks wait while the others stand in read-side sections.
                    if machine.frames().allocated() < 1024 {
                        if number == 0 {
                            live_and_die(machine);
                        } else {
                            grow_and_reclaim(machine, turn);
                        }
                        turn += 1;
                    }
                    begun.store(true, Ordering::Release);
                    online.rcu().quiesce();
                    std::thread::yield_now();
                }
            });
        }
        let _ends = Ends(over);
        while !others.iter().all(|begun| begun.load(Ordering::Acquire)) {
            std::thread::yield_now();
        }
        body();
    });
}

fn live_and_die<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let child = copy_process(machine.init_mm(), machine.init(), &CloneArgs::FORK, 2);
    let child = match child {
        Ok(child) => child.into_task(),
        Err(error) => {
            assert!(is_lack(&error), "{error}");
            return;
        }
    };
    machine.switch(2, &child);
    machine.exec(2, &child);
    machine.leave(2);
    machine.exit(&child);
}

fn grow_and_reclaim<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, turn: usize) {
    let slots = own_slot(machine);
    if slots == 0 {
        return live_and_die_elsewhere(machine);
    }
    let slot = turn % slots.min(5);
    give_back(machine, machine.try_grow(slot..slot + 1).expect("frames enough"));
}

/// On the one machine with one slot, which is not for this CPU.
fn live_and_die_elsewhere<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    if let Ok(child) = copy_process(machine.init_mm(), machine.init(), &CloneArgs::VFORK, 3) {
        machine.exit(&child.into_task());
    }
}

/// Every live entry of every mm is the reference's.
fn assert_no_surplus<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    // Accessed and dirty are the MMU's.
    const SET_BY_MMU: u64 = 0x60;
    let reference = machine.reference_slots();
    for root in machine.roots() {
        for (slot, word) in machine.slots_of(root).into_iter().enumerate() {
            assert!(
                word & 1 == 0 || word | SET_BY_MMU == reference[slot] | SET_BY_MMU,
                "slot {slot} of {:#x} has an entry that the reference has not: {word:#x}",
                root.phys()
            );
        }
    }
}

fn fork<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let fork = || copy_process(machine.init_mm(), machine.init(), &CloneArgs::FORK, 1);
    if let Some(child) = refusal.during(machine, fork, is_lack) {
        machine.exit(&child.into_task());
    }
}

fn exec<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let child = machine.fork();
    machine.switch(1, &child);
    let is_lack =
        |error: &NewMmError| matches!(error, NewMmError::Pgd(PgdAllocError::OutOfFrames(_)));
    if let Some(new) = refusal.during(machine, || NewMm::new(machine.init_mm()), is_lack) {
        // SAFETY: this thread plays the CPU.
        drop(unsafe { exec_mmap(&child, machine.loaded(1), new) }.expect("one thread"));
    }
    machine.leave(1);
    machine.exit(&child);
}

fn fault<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let child = machine.fork();
    let mm = child.mm().expect("a user task");
    let touch = || {
        (0..DATA_PAGES)
            .try_for_each(|page| mm.user().write_bytes(&mm, DATA + page * PAGE_SIZE, &[7]))
    };
    refusal.during(machine, touch, |error| {
        matches!(
            error,
            FaultError::OutOfFrames { .. } | FaultError::Map(MapError::OutOfFrames { .. })
        )
    });
    drop(mm);
    machine.exit(&child);
}

fn is_lack_of_tables(error: &ReplaceError) -> bool {
    matches!(error, ReplaceError::OutOfFrames(_))
}

fn grow<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let slot = own_slot(machine);
    let is_lack =
        |error: &GrowError| matches!(error, GrowError::Populate(PopulateError::OutOfFrames(_)));
    if let Some(range) = refusal.during(machine, || machine.try_grow(slot..slot + 1), is_lack) {
        give_back(machine, range);
    }
}

fn map<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let slot = own_slot(machine);
    let range = machine.try_grow(slot..slot + 1).expect("frames enough");
    let frame = machine.frames().alloc().expect("frames enough");
    let map = || machine.init_mm().map_kernel(&range, range.start(), frame, RW);
    let is_lack = |error: &MapError| matches!(error, MapError::OutOfFrames { .. });
    if refusal.during(machine, map, is_lack).is_none() {
        // SAFETY: allocated above, and mapped nowhere.
        unsafe { machine.frames().put(frame) };
    }
    give_back(machine, range);
}

fn move_table<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    let slot = own_slot(machine);
    let mut range = machine.try_grow(slot..slot + 1).expect("frames enough");
    let (addr, frame) = (range.start(), machine.frames().alloc().expect("frames enough"));
    machine.init_mm().map_kernel(&range, addr, frame, RW).expect("a free page");
    let replace = || machine.init_mm().replace(&mut range, addr, Replacement::Move);
    refusal.during(machine, replace, is_lack_of_tables);
    for root in machine.roots() {
        assert_eq!(machine.translate(root, addr), Ok(frame.phys()), "refused or not");
    }
    give_back(machine, range);
}

/// A part of a large page is reclaimed, for which the large page is split.
fn split<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, refusal: &Refusal) {
    if !machine.slots().tables().geometry().slots_hold_large_pages() {
        return;
    }
    let (start, span) = (machine.shape().addr(own_slot(machine)), machine.shape().span);
    let mut whole = machine.init_mm().grow(start, span).expect("frames enough");
    for offset in (0..span).step_by(PAGE_SIZE as usize) {
        // Nobody's frames, and never touched.
        let frame = Frame::at(0x4000_0000 + offset).expect("a page");
        machine.init_mm().map_kernel(&whole, start + offset, frame, RW).expect("a free page");
    }
    machine.init_mm().replace(&mut whole, start, Replacement::Collapse).expect("uniform");
    let part = machine.init_mm().grow(start + PAGE_SIZE, PAGE_SIZE).expect("frames enough");
    let init_mm = machine.init_mm();
    // SAFETY: nobody uses the range, and its frames are nobody's.
    let reclaim = |range| unsafe { init_mm.reclaim(range, |_, _| ()) };
    machine.frames().fail_here_once_after(refusal.number);
    let reclaimed = reclaim(part);
    refusal.struck.set(machine.frames().fail_here_never());
    match reclaimed {
        Ok(()) => assert!(!refusal.struck.get(), "a frame was refused and nobody said so"),
        Err(error) => {
            assert!(refusal.struck.get() && is_lack_of_tables(&error.source), "{error}");
            reclaim(error.range).expect("frames enough");
        }
    }
    for root in machine.roots() {
        assert!(machine.translate(root, start + PAGE_SIZE).is_err(), "reclaimed");
        assert_eq!(machine.translate(root, start), Ok(0x4000_0000), "not reclaimed");
    }
    reclaim(whole).expect("frames enough");
}

fn give_back<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, range: SyncedRange) {
    let frames = machine.frames();
    // SAFETY: nobody uses the range; each frame is handed over once and was allocated for it.
    unsafe { machine.init_mm().reclaim(range, |_, frame| frames.put(frame)) }.expect("heap enough");
}
