//! **complete**: for every mm that a CPU may load and every slot whose growth has returned, the
//! mm's slot equals the reference's.
//!
//! Each event that gives a CPU an mm, or takes one away, is put at each point of a growth, and a
//! growth is put at each point of each birth. A machine is booted for each pair, because a slot is
//! grown into only once.

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use kernel_task::task::TaskRef;
use tests_host::interlude::{
    Point, meanwhile, points_of_a_birth, points_of_a_growth, points_of_an_attach,
};
use tests_host::machine::{Boot, Machine, MachineKernel, PgdScheme};

tests_host::on_every_machine!(boots:
    whatever_happens_during_a_growth,
    whenever_a_growth_happens_during_a_birth,
);
tests_host::on_every_machine!(every_slot_of_the_kernel_half);

/// The tasks that events happen to, as they are before the growth.
struct Cast<A: mm_generic::arch::ArchPgd> {
    /// Loaded on CPU 1.
    running: TaskRef<MachineKernel<A>>,
    /// Loaded nowhere.
    waiting: TaskRef<MachineKernel<A>>,
    kthread: TaskRef<MachineKernel<A>>,
    orphan: mm_generic::mm::MmUser<MachineKernel<A>>,
}

type Event<G, A> = fn(&Machine<G, A>, &Cast<A>);

/// What may happen on other CPUs during a growth. Each leaves the mm in question loaded where the
/// check finds it.
fn events<G: Geometry, A: PgdScheme<G>>() -> [(&'static str, Event<G, A>); 11] {
    [
        ("fork, and the child runs", |machine, cast| {
            let child = machine.clone_of(&cast.running, &CloneArgs::FORK);
            machine.switch(2, &child);
        }),
        ("vfork, and the parent exits", |machine, cast| {
            let child = machine.clone_of(&cast.running, &CloneArgs::VFORK);
            machine.exit(&cast.running);
            machine.leave(1);
            machine.switch(2, &child);
        }),
        ("a thread is made, and the leader exits", |machine, cast| {
            let thread = machine.clone_of(&cast.running, &CloneArgs::THREAD);
            machine.exit(&cast.running);
            machine.leave(1);
            machine.switch(2, &thread);
        }),
        ("exec", |machine, cast| machine.exec(1, &cast.running)),
        ("fork, and the child execs", |machine, cast| {
            let child = machine.clone_of(&cast.waiting, &CloneArgs::FORK);
            machine.switch(2, &child);
            machine.exec(2, &child);
        }),
        ("exit, and the CPU stays, lazily", |machine, cast| machine.exit(&cast.running)),
        ("first load, and exit", |machine, cast| {
            machine.switch(2, &cast.waiting);
            machine.exit(&cast.waiting);
        }),
        ("a task moves to another CPU", |machine, cast| {
            machine.switch(2, &cast.running);
            machine.leave(1);
        }),
        ("an orphan is attached", |machine, cast| {
            machine.attach(3, &cast.kthread, cast.orphan.clone());
        }),
        ("an orphan is attached and detached, and the CPU stays, lazily", |machine, cast| {
            machine.attach(3, &cast.kthread, cast.orphan.clone());
            drop(machine.detach(&cast.kthread));
        }),
        ("another growth of the same slots", |machine, _| {
            machine.grow(0..machine.shape().slots.min(3));
            machine.assert_complete();
        }),
    ]
}

fn cast<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Cast<A> {
    let running = machine.fork();
    machine.switch(1, &running);
    let (waiting, kthread) = (machine.fork(), machine.kthread());
    Cast { running, waiting, kthread, orphan: machine.orphan() }
}

fn whatever_happens_during_a_growth<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    for (what, event) in events::<G, A>() {
        for &point in points_of_a_growth(A::WALKS) {
            println!("{what}, at {point:?}");
            boot.run(|machine| {
                let cast = cast(machine);
                let slots = 0..machine.shape().slots.min(3);
                meanwhile(
                    point,
                    || event(machine, &cast),
                    || {
                        machine.grow(slots);
                    },
                );
                machine.assert_complete();
                // The tasks that did not run during the growth do now.
                for (cpu, task) in [&cast.running, &cast.waiting].into_iter().enumerate() {
                    if task.mm().is_some() {
                        machine.switch(cpu, task);
                        machine.assert_shows_everything(machine.loaded_root(cpu).unwrap());
                    }
                }
                if cast.kthread.mm().is_none() {
                    machine.attach(3, &cast.kthread, cast.orphan.clone());
                }
                machine.assert_shows_everything(machine.loaded_root(3).unwrap());
                drop(machine.detach(&cast.kthread));
            });
        }
    }
}

/// Births of an mm's place on the task list. Each returns with the mm loaded on CPU 2.
fn births<G: Geometry, A: PgdScheme<G>>() -> [(&'static str, &'static [Point], Event<G, A>); 4] {
    [
        ("fork", points_of_a_birth(), |machine, cast| {
            let child = machine.clone_of(&cast.running, &CloneArgs::FORK);
            machine.switch(2, &child);
        }),
        ("exec", points_of_a_birth(), |machine, cast| machine.exec(2, &cast.waiting)),
        ("vfork", points_of_an_attach(), |machine, cast| {
            let child = machine.clone_of(&cast.running, &CloneArgs::VFORK);
            machine.switch(2, &child);
        }),
        ("attach", points_of_an_attach(), |machine, cast| {
            machine.attach(2, &cast.kthread, cast.orphan.clone());
        }),
    ]
}

fn whenever_a_growth_happens_during_a_birth<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    for (what, points, birth) in births::<G, A>() {
        for &point in points {
            println!("{what}, growth at {point:?}");
            boot.run(|machine| {
                let cast = cast(machine);
                let slots = 0..machine.shape().slots.min(3);
                let growth = || {
                    machine.grow(slots);
                    machine.assert_complete();
                };
                meanwhile(point, growth, || birth(machine, &cast));
                machine.assert_shows_everything(machine.loaded_root(2).unwrap());
                machine.leave(2);
                drop(cast.kthread.take_mm());
            });
        }
    }
}

/// Old, new and lazily loaded mms hold the whole kernel half, word for word what the reference
/// holds.
fn every_slot_of_the_kernel_half<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slots = machine.shape().slots;
    let old = machine.fork();
    let lazy = machine.fork();
    machine.switch(1, &lazy);
    machine.exit(&lazy);
    machine.grow(0..slots / 2);
    let middle = machine.fork();
    machine.grow(slots / 2..slots);
    machine.exec(2, &middle);
    let new = machine.fork();
    assert_eq!(machine.reference().populated(), slots);
    let reference = machine.reference_slots();
    assert!(reference.iter().all(|&word| word & 1 != 0), "every slot is present");
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root), reference);
    }
    assert_eq!(machine.roots().len(), 4 + 2, "init, old, middle and new; CPUs 1 and 2");
    drop((old, new));
}
