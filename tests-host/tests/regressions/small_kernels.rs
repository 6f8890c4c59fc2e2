//! Kernels that copy the kernel half once and share what is below it: LiteBox, Northport, MentOS,
//! MicrOS, gVisor.

use arch_x86::geometry::Geometry;
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::prot::Prot;
use tests_host::machine::{Machine, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(
    litebox_971_slots_outlived_their_tables,
    northport_21_mentos_271_micros_99_stale_copy,
);
tests_host::on_every_machine!(frees: gvisor_3617_who_frees_shared_upper_tables);

/// litebox#971: transient slots (a direct map, a vmap area) were shared by copying the top-level
/// entry. When the mapping went, its tables were freed, and the copies of the entry led to whatever
/// came there next.
///
/// Mappings come and go; the tables under the slots stay, are the same for everyone, and serve the
/// next mapping. Fails when unmapping frees a table that a PGD leads to.
fn litebox_971_slots_outlived_their_tables<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let [running, waiting] = [machine.fork(), machine.fork()];
    machine.switch(1, &running);
    let addr = machine.shape().addr(0);
    let frames = machine.frames();
    let range = machine.init_mm().grow(addr, PAGE_SIZE).expect("a range of the kernel half");
    let words = machine.reference_slots();
    let table = Shape::table_of(words[0]).expect("populated");
    let mut tables = None;
    for _ in 0..3 {
        let page = frames.alloc().expect("frames enough");
        machine.init_mm().map_kernel(&range, addr, page, Prot::READ).expect("nothing is there");
        for root in machine.roots() {
            assert_eq!(machine.translate(root, addr), Ok(page.phys()));
        }
        // SAFETY: nothing caches the translation, and nobody uses the page.
        let unmapped = unsafe { machine.init_mm().unmap_kernel(&range, addr) };
        assert_eq!(unmapped, Some(page));
        // SAFETY: the page was this test's, and is mapped nowhere.
        unsafe { frames.put(page) };
        assert_eq!(frames.count(table), 1);
        assert_eq!(machine.reference_slots(), words);
        for root in machine.roots() {
            assert_eq!(machine.slots_of(root), words);
            assert!(machine.translate(root, addr).is_err());
        }
        let allocated = frames.allocated();
        assert_eq!(*tables.get_or_insert(allocated), allocated, "the tables serve again");
    }
    drop(waiting);
}

/// northport#21, MentOS#271, MicrOS#99: the kernel half was copied when a process was made and
/// never again. A process made before the kernel grew faulted on the kernel's own memory, often in
/// an interrupt.
///
/// Fails when an mm that was made early, and has not run since, lacks what came later.
fn northport_21_mentos_271_micros_99_stale_copy<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let early = machine.fork();
    let slots = machine.shape().slots;
    machine.grow(0..1);
    let middle = machine.fork();
    machine.grow(slots / 2..slots / 2 + 1);
    machine.grow(slots - 1..slots);
    for task in [&early, &middle] {
        machine.switch(1, task);
        let root = machine.loaded_root(1).expect("loaded");
        machine.assert_shows_everything(root);
        assert_eq!(machine.slots_of(root), machine.reference_slots());
    }
}

/// gvisor#3617: upper tables were shared by all address spaces, and the teardown of one freed them,
/// or nobody did.
///
/// Fails when the end of an mm frees a table of the kernel's, or when it does not free one of its
/// own: the counts of the former, and the number of frames, say so.
fn gvisor_3617_who_frees_shared_upper_tables<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let slots = machine.shape().slots.min(8);
    machine.grow(0..slots);
    machine.rcu_barrier();
    let before = machine.frames().allocated();
    for round in 0..3 {
        let tasks = [machine.fork(), machine.fork(), machine.fork()];
        machine.switch(1, &tasks[0]);
        machine.exec(1, &tasks[0]);
        machine.switch(2, &tasks[1]);
        for task in &tasks {
            machine.exit(task);
        }
        drop(tasks);
        machine.leave(2);
        machine.leave(1);
        machine.rcu_barrier();
        assert_eq!(machine.frames().allocated(), before, "round {round}");
        for word in &machine.reference_slots()[..slots] {
            assert_eq!(machine.frames().count(Shape::table_of(*word).expect("populated")), 1);
        }
    }
    machine.assert_complete();
}
