//! What a processor does when its timer goes off: the next task's turn, and sleepers whose deadline has come.

use super::{one_shot, run_queue, try_current, watchdog};
use crate::cpu::area::{self, cpu_index};
use crate::cpu::local::Padded;
use crate::cpu::trap::{self, TrapFrame};
use crate::cpu::vectors::{RESCHEDULE, TIMER};
use crate::cpu::{MAX_CPUS, apic, clock};
use crate::os::TaskRef;
use crate::sync::IrqMutex;
use alloc::collections::BTreeMap;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// A deadline in nanoseconds since boot, and a number that tells equal ones apart.
type Key = (u64, u64);

/// Who sleeps until when, by the processor whose timer wakes them.
static SLEEPERS: [Padded<IrqMutex<BTreeMap<Key, TaskRef>>>; MAX_CPUS] =
    [const { Padded(IrqMutex::new(BTreeMap::new())) }; MAX_CPUS];

/// Takes the timer and the vector by which other processors say that there is work.
pub(super) fn install() {
    trap::set_handler(TIMER, on_tick);
    // Its purpose is served by the return from `hlt`, or by the look at the queue on the way to user mode.
    trap::set_handler(RESCHEDULE, |_frame| apic::end_of_interrupt());
}

fn on_tick(frame: &mut TrapFrame) {
    apic::end_of_interrupt();
    one_shot::has_fired();
    let now = clock::now();
    let next = wake_sleepers(now);
    if area::current() != 0 {
        if run_queue::has_waiting() {
            run_queue::give_way_soon();
            run_queue::offer_work();
        } else if try_current().is_some_and(|me| me.parts().process.timers.counts_own_time()) {
            // On the way to user mode it is seen to.
            run_queue::give_way_soon();
        }
        one_shot::arm_for_slice();
    }
    if let Some(deadline) = next {
        one_shot::arm(deadline);
    }
    if let Some(deadline) = watchdog::look(frame, now) {
        one_shot::arm(deadline);
    }
}

/// Wakes those whose deadline has come; returns the next one. They take themselves off the list.
fn wake_sleepers(now: u64) -> Option<u64> {
    let sleepers = SLEEPERS[cpu_index()].0.lock();
    for (_, task) in sleepers.range(..=(now, u64::MAX)) {
        run_queue::wake(task);
    }
    sleepers.range((now + 1, 0)..).next().map(|(&(deadline, _), _)| deadline)
}

/// A wake-up to come, unless it is dropped before.
#[derive(Debug)]
pub(super) struct WakeUp {
    cpu: usize,
    key: Key,
}

impl WakeUp {
    /// Wakes `task` at `deadline`, in nanoseconds since boot, and from then on every now and then.
    pub(super) fn at(deadline: u64, task: TaskRef) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let cpu = cpu_index();
        let key = (deadline, NUMBER.fetch_add(1, Ordering::Relaxed));
        SLEEPERS[cpu].0.lock().insert(key, task);
        one_shot::arm(deadline);
        Self { cpu, key }
    }
}

impl Drop for WakeUp {
    fn drop(&mut self) {
        let task = SLEEPERS[self.cpu].0.lock().remove(&self.key);
        // After the lock: the last reference may go, and with it more than a handler should wait for.
        drop(task);
    }
}
