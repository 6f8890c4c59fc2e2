//! A kernel thread that works in the address spaces of programs, most of which are gone by then, and that
//! takes its processor off all of them now and then.

use super::attached::{set_attached, under_way};
use super::pace::{MILLISECOND, sleep};
use super::random::Random;
use super::team::Orders;
use super::{figures, look};
use crate::os::{Os, init_mm, loaded_here, tasks};
use crate::rcu;
use crate::sched::{current, schedule};
use crate::sync::IrqGuard;
use kernel_task::attach::{kthread_unuse_mm, kthread_use_mm};
use kernel_task::task::TaskKind;
use mm_generic::mm::MmUser;

/// Works until the orders say otherwise.
pub(super) fn run(number: usize, orders: &Orders) {
    let mut random = Random::new();
    while orders.go_on() {
        if let Some(mm) = somebodys(&mut random) {
            // Long enough for many an owner to exit.
            sleep(random.below(4 * MILLISECOND));
            attach(number, mm, &mut random);
        }
        if random.one_in(8) {
            leave();
        }
        rcu::quiesce();
        sleep(random.below(2 * MILLISECOND));
    }
}

/// Takes a share in the mm of some program.
fn somebodys(random: &mut Random) -> Option<MmUser<Os>> {
    let task = {
        let rcu = rcu::read_lock();
        let (mut chosen, mut seen) = (None, 0);
        tasks().pids().for_each(&rcu, &mut |task| {
            if task.kind() == TaskKind::User {
                seen += 1;
                if random.one_in(seen) {
                    chosen = Some(task.pid());
                }
            }
        });
        tasks().pids().get_ref(chosen?, &rcu)?
    };
    task.mm()
}

fn attach(number: usize, mm: MmUser<Os>, random: &mut Random) {
    let me = current();
    under_way(|| {
        // SAFETY: this task runs here, and kernel code is not preempted.
        unsafe { kthread_use_mm(&me, loaded_here(), mm) }.expect("a kernel thread without mm");
    });
    set_attached(number, true);
    figures::ATTACHES.one();
    look::all("after kthread_use_mm");
    for _ in 0..random.below(4) {
        schedule();
        look::all("in an attached thread");
    }
    set_attached(number, false);
    drop(kthread_unuse_mm(&me).expect("attached above"));
    look::all("after kthread_unuse_mm");
}

/// Goes to the reference PGD, as before a processor is switched off.
pub(super) fn leave() {
    let irqs_off = IrqGuard::disable();
    // SAFETY: this processor's, and nothing preempts.
    unsafe { loaded_here().leave_mm(init_mm()) };
    drop(irqs_off);
    look::all("on the reference PGD");
}
