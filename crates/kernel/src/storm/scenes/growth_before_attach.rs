//! The kernel grows while an mm has no task and is loaded nowhere. Then a kernel thread attaches it.

use crate::sched::current;
use crate::storm::attached::set_attached;
use crate::storm::{area, attacher, crowd, look};
use kernel_task::attach::kthread_unuse_mm;

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    let mm = task.mm().expect("a user task that has not exited");
    crowd::end(&task);
    let grown = area::grow_and_map(area::shared(0, 0));
    crowd::attach(cpu, mm);
    look::at(grown.address, grown.secret, "in a scene: growth before an attach");
    set_attached(cpu, false);
    drop(kthread_unuse_mm(&current()).expect("attached before"));
    attacher::leave();
    look::reclaim(grown);
}
