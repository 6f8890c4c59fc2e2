//! Linux, 2003 to 2025.

mod grow_only;
mod removal;
#[cfg(feature = "pgd-init-late")]
mod walks;

use arch_x86::geometry::Geometry;
use hosted::mmu::Reason;
use kernel_fork::args::CloneArgs;
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use tests_host::interlude::{Point, meanwhile, points_of_a_growth};
use tests_host::machine::{Boot, Machine, PgdScheme};

tests_host::on_every_machine!(
    lazy_tlb_on_a_dead_tasks_pgd,
    dead_leader_with_live_threads,
    kthread_use_mm_of_an_mm_without_tasks,
    vmemmap_used_before_the_sync,
    kernel_entries_are_never_cleared,
);
tests_host::on_every_machine!(boots:
    entry_present_taken_for_synced,
    ldt_slot_wiped_by_a_blanket_copy,
);

/// A CPU keeps the PGD of a task that is long gone while it runs kernel threads. No list of tasks
/// leads to it; Linux finds it because `pgd_list` membership ends with the PGD and not with the
/// task.
///
/// Fails when a growth after the exit does not reach the PGD that the CPU still has.
fn lazy_tlb_on_a_dead_tasks_pgd<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    machine.switch(1, &task);
    machine.exit(&task);
    drop(task);
    machine.rcu_barrier();
    machine.grow(0..machine.shape().slots.min(2));
    machine.assert_shows_everything(machine.loaded_root(1).expect("lazily"));
}

/// `for_each_process` with a look at the leader's `->mm`: once the leader has exited, the mm of its
/// threads was not found. The review of the 2015 patch asked for `find_lock_task_mm`.
///
/// The thread runs on no CPU during the growth, so that nothing but the task list leads to the mm.
/// Fails when only leaders are looked at.
fn dead_leader_with_live_threads<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let leader = machine.fork();
    let first = machine.clone_of(&leader, &CloneArgs::THREAD);
    let second = machine.clone_of(&leader, &CloneArgs::THREAD);
    machine.exit(&leader);
    machine.exit(&first);
    let root = second.mm().expect("a live thread").root();
    machine.grow(0..machine.shape().slots.min(2));
    machine.assert_shows_everything(root);
    machine.switch(1, &second);
    machine.exit(&second);
}

/// An mm without any task during the walk is given to a kernel thread later (`vhost`, `io_uring`).
/// The 2015 patch had its hook in fork and exec only.
///
/// Fails when attaching is no publication point: under the lockless scheme the mm lacks the slot
/// until then.
fn kthread_use_mm_of_an_mm_without_tasks<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let (kthread, orphan) = (machine.kthread(), machine.orphan());
    let grown = machine.grow(0..machine.shape().slots.min(2));
    let missed = machine.translate(orphan.root(), grown[0].addr).map_err(|fault| fault.reason);
    let expected = if A::WALKS { Err(Reason::NotPresent) } else { Ok(grown[0].frame.phys()) };
    assert_eq!(missed, expected, "no walk could find it");
    machine.attach(1, &kthread, orphan);
    machine.assert_shows_everything(machine.loaded_root(1).expect("attached"));
    // Growths while it is attached, and after it was detached and the CPU kept it.
    let last = machine.shape().slots - 1;
    machine.grow(last..last + 1);
    drop(machine.detach(&kthread));
    machine.grow(last / 2..last / 2 + 1);
    machine.assert_shows_everything(machine.loaded_root(1).expect("lazily"));
}

/// 4819e15f740e (2020): a second CPU found the reference entry present, took it for synced, and
/// used the address before the first CPU's walk had ended. x86-32 faulted on vmalloc'ed memory.
///
/// A second growth comes at every moment of the first, and when it has returned every mm shows its
/// page. Fails when the second one returns because the entry is there.
fn entry_present_taken_for_synced<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    for &point in points_of_a_growth(A::WALKS) {
        boot.run(|machine| {
            let [running, waiting] = [machine.fork(), machine.fork()];
            machine.switch(1, &running);
            let second = || {
                assert!(machine.reference().is_populated(0));
                if point != Point::Synced {
                    assert!(!machine.reference().is_synced(0..1), "present is not synced");
                }
                machine.grow(0..1);
                machine.assert_complete();
            };
            meanwhile(point, second, || {
                machine.grow(0..1);
            });
            drop(waiting);
        });
    }
}

/// 7cc183f2e67d, f2d2f9598ebb, 6659d0279980 (2025): memory hotplug wrote to new vmemmap before
/// anybody had synced its slots; machines died at boot. `pgd_populate_kernel` syncs inside now.
///
/// That an address cannot be had without the sync is a compile-fail test. Here: what can be mapped
/// is what has been synced, and the moment it is mapped it shows everywhere. Fails when a range
/// covers more than the growth has synced.
fn vmemmap_used_before_the_sync<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let tasks = [machine.fork(), machine.fork()];
    machine.switch(1, &tasks[0]);
    let shape = machine.shape();
    let start = shape.addr(0);
    let range = machine.init_mm().grow(start, 2 * PAGE_SIZE).expect("a range of the kernel half");
    let frame = machine.frames().alloc().expect("frames enough");
    let map = |addr| machine.init_mm().map_kernel(&range, addr, frame, Prot::READ);
    for addr in [
        start + 2 * PAGE_SIZE,
        start.wrapping_sub(PAGE_SIZE),
        shape.addr(shape.slots - 1) + 8 * PAGE_SIZE,
    ] {
        assert_eq!(map(addr), Err(MapError::BadAddress { addr }), "not of the synced range");
    }
    map(start + PAGE_SIZE).expect("a page of the synced range");
    for root in machine.roots() {
        assert_eq!(machine.translate(root, start + PAGE_SIZE), Ok(frame.phys()));
    }
}

/// af2cf278ef4f (2015) stopped clearing kernel PGD entries, f2a6a7050109 (2017) broke that in a
/// conversion to five levels, 98fe3633c5a4 (2018) repaired it. An entry cleared in the reference
/// stays in every PGD that has a copy.
///
/// Fails when anything that mms, tasks and kernel mappings do takes an entry out of the reference.
/// That no method does is a compile-fail test.
fn kernel_entries_are_never_cleared<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slots = 0..machine.shape().slots.min(4);
    let task = machine.fork();
    machine.switch(1, &task);
    let grown = machine.grow(slots.clone());
    let entries = machine.reference_slots();
    for page in &grown {
        let range = machine.init_mm().grow(page.addr, PAGE_SIZE).expect("grown before");
        // SAFETY: nothing caches the translation, and nobody uses the page.
        let frame = unsafe { machine.init_mm().unmap_kernel(&range, page.addr) };
        assert_eq!(frame, Some(page.frame));
        // SAFETY: the page was this test's, and is mapped nowhere.
        unsafe { machine.frames().put(page.frame) };
        machine.forget(page.addr);
    }
    machine.exec(1, &task);
    machine.exit(&task);
    machine.leave(1);
    machine.rcu_barrier();
    assert_eq!(machine.reference_slots(), entries);
    assert!(machine.reference().is_synced(slots.clone()));
    assert_eq!(machine.reference().populated(), slots.len());
    // What comes later finds the entries there and uses them.
    machine.grow(slots);
    assert_eq!(machine.reference_slots(), entries);
}

/// The LDT remap lies in the kernel half, differs from mm to mm, and is made before the mm is
/// published. A blanket copy of the kernel half, or a late init that writes what it reads, wipes
/// it.
///
/// Fails when late init, attach or a walk writes to a slot that the reference leaves empty, or when
/// a growth gets into it.
fn ldt_slot_wiped_by_a_blanket_copy<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let shape = boot.shape();
    if shape.slots == 1 {
        // The whole kernel half is one slot; Linux keeps no LDT there.
        return;
    }
    let ldt = shape.slots - 2;
    boot.with_private(&[ldt]).run(|machine| {
        let task = machine.fork();
        let kthread = machine.kthread();
        let mm = task.mm().expect("a user task");
        // A table of the mm's own, as a real LDT mapping has.
        let table = machine.frames().alloc().expect("frames enough");
        let word = table.phys() | 0x63;
        shape.set_slot(machine.frames(), mm.root(), ldt, word);
        machine.grow(0..ldt);
        machine.grow(shape.slots - 1..shape.slots);
        machine.switch(1, &task);
        machine.attach(2, &kthread, mm.clone());
        drop(machine.clone_of(&task, &CloneArgs::VFORK));
        assert_eq!(machine.slots_of(mm.root())[ldt], word);
        for root in machine.roots().into_iter().filter(|&root| root != mm.root()) {
            assert_eq!(machine.slots_of(root)[ldt], 0, "the LDT is nobody else's");
        }
        drop(machine.detach(&kthread));
        // The kernel that put it there takes it out again, before the mm goes.
        shape.set_slot(machine.frames(), mm.root(), ldt, 0);
        // SAFETY: in no table any more.
        unsafe { machine.frames().put(table) };
    });
}
