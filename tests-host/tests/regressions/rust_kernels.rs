//! Redox, Asterinas, and the crates that they and others build on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use mm_generic::arch::{ArchPgd, PgdWalk};
use mm_generic::frames::Frame;
use mm_generic::kernel_range::KernelRange;
use mm_generic::reference::ReferencePgd;
use mm_generic::word::Word;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(
    redox_only_named_slots_were_copied,
    asterinas_1822_plain_read_of_an_entry_that_is_written,
    x86_64_416_exclusive_reference_to_a_live_table,
);

/// An entry of a live table, for whoever reaches it: an atomic, behind a shared reference.
type Entry<G> = <<G as Geometry>::Word as Word>::Atomic;
type SlotsOf<G> = unsafe fn(&Slots<G, HostFrames>, Frame) -> &[Entry<G>];
type Settle<G> = unsafe fn(&ReferencePgd<<G as Geometry>::Word>, &[Entry<G>], usize) -> bool;
type Sync<A> = fn(&A, KernelRange, &dyn PgdWalk<<A as ArchPgd>::Pgd>, &mut dyn FnMut());
type SettleAll<G> = unsafe fn(&ReferencePgd<<G as Geometry>::Word>, &[Entry<G>]);

/// Redox b0d5fa09, "fixes some AMD CPUs": a new address space got the kernel's slot, the heap's and
/// the physical map's, each by name. Where a processor's memory made the kernel use another slot,
/// it was missing.
///
/// Every slot there is gets used, alone and in no order. Fails when any slot of the half is left
/// out of the copy, of late init or of the walk.
fn redox_only_named_slots_were_copied<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slots = machine.shape().slots;
    let old = machine.fork();
    let growths = || {
        // The last slot, the first, and others far apart, each alone; then the rest.
        for slot in [slots - 1, 0, slots / 2, slots / 3, slots - slots / 3 - 1] {
            machine.grow(slot..slot + 1);
        }
        machine.grow(0..slots);
    };
    // The growths' walks bring the slots to the old mm, late init to the one that is being made.
    let young = meanwhile(Point::PgdAllocated, growths, || machine.fork());
    let new = machine.fork();
    let reference = machine.reference_slots();
    assert!(reference.iter().all(|&word| word != 0));
    for task in [&old, &young, &new] {
        let root = task.mm().expect("a user task").root();
        assert_eq!(machine.slots_of(root), reference);
        machine.assert_shows_everything(root);
    }
}

/// asterinas#1822: an entry was read as a plain value while another CPU wrote it: a data race, and
/// on paper half of an entry.
///
/// One CPU grows, another reads every slot of a live PGD all the time. Each read is none or what
/// the slot holds in the end. That there is no other way to read is in the types below. Fails when
/// an entry is put together in more than one store.
fn asterinas_1822_plain_read_of_an_entry_that_is_written<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let _: SlotsOf<G> = Slots::of;
    let _: Settle<G> = ReferencePgd::settle;

    let task = machine.fork();
    let root = task.mm().expect("a user task").root();
    let slots = machine.shape().slots.min(64);
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = vec![0; machine.shape().slots];
            loop {
                let last = over.load(Ordering::Acquire);
                for (seen, word) in seen.iter_mut().zip(machine.slots_of(root)) {
                    assert!(word == *seen || *seen == 0, "{seen:#x} became {word:#x}");
                    *seen = word;
                }
                if last {
                    return seen;
                }
            }
        });
        for slot in 0..slots {
            machine.grow(slot..slot + 1);
        }
        over.store(true, Ordering::Release);
        reader.join().expect("every read was whole")
    });
    assert_eq!(seen, machine.reference_slots());
}

/// x86_64#416: `&mut PageTable` of a table that is loaded claims that nobody else writes to it, and
/// the MMU does.
///
/// Compiles only as long as everything that changes a live PGD takes shared references.
fn x86_64_416_exclusive_reference_to_a_live_table<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let _: fn(&A, &A::Pgd) = A::pgd_init_late;
    let _: fn(&A, &A::Pgd) = A::pgd_attach;
    let _: Sync<A> = A::sync_global_pgds;
    let _: SettleAll<G> = ReferencePgd::settle_used;
    // And the tables are shared in fact: two CPUs have this one loaded when it changes.
    let task = machine.fork();
    machine.switch(1, &task);
    machine.switch(2, &task);
    machine.grow(0..1);
    machine.assert_complete();
}
