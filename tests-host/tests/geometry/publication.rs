//! An mm in two places at once, or a task in two mms.

use arch_x86::geometry::Geometry;
use kernel_exec::exec_mmap::ExecMmapError;
use kernel_fork::args::CloneArgs;
use kernel_task::attach::{AttachError, kthread_unuse_mm, kthread_use_mm};
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(frees: an_mm_is_published_in_one_place_at_a_time);

/// A second attach, an exec beside other threads: refused with the names of those concerned, and
/// nothing has changed.
fn an_mm_is_published_in_one_place_at_a_time<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let (task, kthread) = (machine.fork(), machine.kthread());
    let orphans = [machine.orphan(), machine.orphan()];
    let attach = |task, mm| {
        // SAFETY: one thread plays the CPU.
        unsafe { kthread_use_mm(task, machine.loaded(1), mm) }
    };
    let (pid, user) = (kthread.pid(), task.pid());
    assert_eq!(kthread_unuse_mm(&kthread).err(), Some(AttachError::NotAttached { pid }));
    assert_eq!(kthread_unuse_mm(&task).err(), Some(AttachError::NotKernelThread { pid: user }));
    assert_eq!(attach(&task, orphans[0].clone()), Err(AttachError::NotKernelThread { pid: user }));
    assert_eq!(attach(&kthread, orphans[0].clone()), Ok(()));
    for orphan in &orphans {
        assert_eq!(attach(&kthread, orphan.clone()), Err(AttachError::AlreadyAttached { pid }));
    }
    assert_eq!(machine.loaded_root(1), Some(orphans[0].root()));
    assert_eq!((orphans[0].users(), orphans[1].users()), (2, 1), "what was refused was let go");

    let mm = task.mm().unwrap();
    let thread = machine.clone_of(&task, &CloneArgs::THREAD);
    machine.switch(2, &task);
    machine.rcu_barrier();
    let before = machine.frames().allocated();
    assert_eq!(
        machine.try_exec(2, &task),
        Err(ExecMmapError::OtherThreads { pid: task.process().pid(), threads: 2 })
    );
    assert_eq!(machine.try_exec(2, &kthread), Err(ExecMmapError::KernelThread { pid }));
    machine.rcu_barrier();
    assert_eq!(machine.frames().allocated(), before, "the new mm is gone");
    assert_eq!(machine.loaded_root(2), Some(mm.root()));
    assert!(task.mm().unwrap().ptr_eq(&mm));
    machine.exit(&thread);
    assert_eq!(machine.try_exec(2, &task), Ok(()));
    drop(machine.detach(&kthread));
}
