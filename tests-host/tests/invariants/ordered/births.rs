//! The three births of an mm's place among the tasks, step by step, as walkers and schedulers see
//! them.

use arch_x86::geometry::Geometry;
use hosted::cpu::HostRcu;
use kernel_fork::copy_process::copy_process;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use mm_generic::frames::Frame;
use mm_generic::mm::Stage;
use mm_generic::publish::NotReady;
use mm_generic::walk::Walkers;
use tests_host::interlude::{Point, meanwhile, trace};
use tests_host::machine::{Machine, MachineKernel, PgdScheme};

tests_host::on_every_machine!(
    published_then_completed_then_runnable,
    published_then_completed_then_loaded_by_exec,
    published_then_completed_then_loaded_by_attach,
);

/// The mms that walkers find through tasks, with their stages.
fn published<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Vec<(Frame, Stage)> {
    let rcu = HostRcu::read_lock();
    let mut found = Vec::new();
    machine.tasks().for_each_published(&rcu, &mut |mm| found.push((mm.root(), mm.stage())));
    found
}

fn is_loaded<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, root: Frame) -> bool {
    (0..tests_host::machine::CPUS).any(|cpu| machine.loaded_root(cpu) == Some(root))
}

/// At `Published`, exactly one mm more than in `before` is found, at stage `stage` and loaded
/// nowhere.
fn newcomer<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    before: &[(Frame, Stage)],
    stage: Stage,
) -> Frame {
    let now = published(machine);
    let new: Vec<_> = now.iter().filter(|(root, _)| !before.iter().any(|b| b.0 == *root)).collect();
    let [&(root, found)] = new[..] else { panic!("{new:?}") };
    assert_eq!(found, stage);
    assert!(!is_loaded(machine, root), "loaded before its late init has ended");
    root
}

fn published_then_completed_then_runnable<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let before = published(machine);
    let at_late_init = || {
        newcomer(machine, &before, Stage::Published);
        // A scheduler that had got hold of the task could not load its mm.
        let rcu = HostRcu::read_lock();
        let mut refused = 0;
        machine.tasks().pids().for_each(&rcu, &mut |task| {
            if let Err(error) = task.mm_to_load() {
                assert_eq!(error, NotReady { stage: Stage::Published });
                refused += 1;
            }
        });
        assert_eq!(refused, 1);
    };
    let mut runnable = None;
    let trace = trace(|| {
        meanwhile(Point::Published, at_late_init, || {
            let args = kernel_fork::args::CloneArgs::FORK;
            runnable = copy_process(machine.init_mm(), machine.init(), &args, 0).ok();
        });
    });
    assert_eq!(trace, [Point::PgdAllocated, Point::Published, Point::Completed]);
    let child: TaskRef<MachineKernel<A>> = runnable.unwrap().into_task();
    assert_eq!(child.mm().unwrap().stage(), Stage::Ready);
    machine.switch(1, &child);
}

fn published_then_completed_then_loaded_by_exec<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let task = machine.fork();
    machine.switch(1, &task);
    let old = machine.loaded_root(1);
    let before = published(machine);
    let at_late_init = || {
        newcomer(machine, &before, Stage::Published);
        assert_eq!(machine.loaded_root(1), old, "the old mm is loaded until the new one is");
        assert_eq!(task.mm_to_load().err(), Some(NotReady { stage: Stage::Published }));
    };
    let trace = trace(|| {
        meanwhile(Point::Published, at_late_init, || {
            let completed = || assert_eq!(machine.loaded_root(1), old);
            meanwhile(Point::Completed, completed, || machine.exec(1, &task));
        });
    });
    assert_eq!(trace, [Point::PgdAllocated, Point::Published, Point::Completed]);
    assert_eq!(machine.loaded_root(1), Some(task.mm().unwrap().root()));
    assert_ne!(machine.loaded_root(1), old);
}

fn published_then_completed_then_loaded_by_attach<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let (kthread, orphan) = (machine.kthread(), machine.orphan());
    let root = orphan.root();
    let before = published(machine);
    let at_late_init = || assert_eq!(newcomer(machine, &before, Stage::Ready), root);
    let trace = trace(|| {
        meanwhile(Point::Published, at_late_init, || {
            let completed = || assert_eq!(machine.loaded_root(1), None);
            meanwhile(Point::Completed, completed, || machine.attach(1, &kthread, orphan));
        });
    });
    assert_eq!(trace, [Point::Published, Point::Completed]);
    assert_eq!(machine.loaded_root(1), Some(root));
    drop(machine.detach(&kthread));
}
