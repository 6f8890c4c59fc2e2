//! **lifetime**: a PGD page and the tables under it outlive every walker, every late init and every
//! CPU that has them loaded.

use arch_x86::geometry::Geometry;
use kernel_task::task::TaskMm;
use mm_generic::frames::Frame;
use mm_generic::publish::NewMm;
use tests_host::machine::{Machine, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(frees:
    a_pgd_outlives_every_cpu_that_has_it_loaded,
    a_pgd_outlives_its_late_init,
);
tests_host::on_every_machine!(shared_tables_outlive_every_mm);
tests_host::on_every_machine!(late: a_pgd_outlives_the_walk_that_visits_it);

/// Frames that an mm's PGD is made of.
fn pgd_frames<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, root: Frame) -> Vec<Frame> {
    let shape = machine.shape();
    let mut frames = vec![root];
    if shape.private_pmd {
        use mm_generic::frames::Frames;
        let entry = machine.frames().table64(root)[shape.boundary]
            .load(kernel_sync::atomic::Ordering::Acquire);
        frames.extend(Shape::table_of(entry));
        assert_eq!(frames.len(), 2);
    }
    frames
}

fn assert_counts<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    frames: &[Frame],
    count: u32,
    when: &str,
) {
    for &frame in frames {
        assert_eq!(machine.frames().count(frame), count, "{when}");
    }
}

/// The last holder of an mm lets it go while a walk is about to fill its slots.
#[cfg(feature = "pgd-init-late")]
fn a_pgd_outlives_the_walk_that_visits_it<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    use tests_host::interlude::{Point, meanwhile};

    let task = machine.fork();
    machine.switch(1, &task);
    let pgd = pgd_frames(machine, machine.loaded_root(1).unwrap());
    machine.exit(&task);
    drop(task);
    let last_goes = || {
        machine.on_another_cpu(|| machine.leave(1));
        assert_counts(machine, &pgd, 1, "the walk is still visiting the mm");
    };
    meanwhile(Point::CpuVisit(0), last_goes, || {
        machine.grow(0..1);
    });
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 0, "after the walk");
    machine.frames().check_free_frames().expect("the walk wrote before the frame was freed");
}

/// The task that a new mm was published in is killed before late init has ended.
fn a_pgd_outlives_its_late_init<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    let new = NewMm::new(machine.init_mm()).unwrap();
    let pgd = pgd_frames(machine, new.mm().root());
    let (published, old) = new.publish(TaskMm(&*task));
    drop(old);
    machine.exit(&task);
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 1, "late init is still to come");
    machine.grow(0..1);
    let ready = published.init_late();
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 1, "it may be loaded");
    drop(ready);
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 0, "nobody has it");
}

/// A CPU stays on a dead task's PGD. The user half is gone, entry by entry, and the rest stays
/// until the CPU leaves.
fn a_pgd_outlives_every_cpu_that_has_it_loaded<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let task = machine.fork();
    machine.switch(1, &task);
    machine.switch(2, &task);
    let root = machine.loaded_root(1).unwrap();
    let pgd = pgd_frames(machine, root);
    machine.exit(&task);
    drop(task);
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 1, "two CPUs have it loaded");
    assert!(machine.user_of(root).iter().all(|&word| word == 0), "nothing leads to freed tables");
    machine.grow(0..machine.shape().slots);
    machine.assert_shows_everything(root);
    machine.leave(1);
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 1, "one CPU has it loaded");
    machine.grow(0..1);
    machine.assert_shows_everything(root);
    machine.leave(2);
    machine.rcu_barrier();
    assert_counts(machine, &pgd, 0, "no CPU has it loaded");
}

/// What hangs below the slots is the kernel's and not the mms'.
fn shared_tables_outlive_every_mm<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let tasks: Vec<_> = (0..5).map(|_| machine.fork()).collect();
    machine.grow(0..machine.shape().slots.min(4));
    for task in &tasks {
        machine.switch(1, task);
        machine.exit(task);
    }
    machine.leave(1);
    drop(tasks);
    machine.rcu_barrier();
    for word in machine.reference_slots().into_iter().filter(|&word| word != 0) {
        assert_eq!(machine.frames().count(Shape::table_of(word).unwrap()), 1);
    }
    machine.assert_complete();
}
