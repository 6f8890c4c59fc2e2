//! Calls between processors, their timers, their sleep, their clocks.

use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use crate::cpu::mask::CpuMask;
use crate::cpu::trap::{TrapFrame, set_handler};
use crate::cpu::vectors::TIMER;
use crate::cpu::{MAX_CPUS, apic, clock, ipi, smp};
use crate::sync::IrqGuard;
use kernel_sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::interrupts;

const SECOND: u64 = 1_000_000_000;

type Counters = [Padded<AtomicU64>; MAX_CPUS];

const fn counters() -> Counters {
    [const { Padded(AtomicU64::new(0)) }; MAX_CPUS]
}

/// Waits until `condition` holds; false when it does not within a generous time.
pub(super) fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = clock::now() + 20 * SECOND;
    while !condition() {
        if clock::now() > deadline {
            return false;
        }
        kernel_sync::cpu_relax();
    }
    true
}

pub(super) fn calls(machine: &Machine) -> Verdict {
    let expected = machine.platform.apic_ids().len();
    let online = smp::online();
    ensure!(online.count() == expected, "{} of {expected} processors are up", online.count());
    for round in 1..=50 {
        let answers = counters();
        ipi::call_on(online, &|cpu| {
            assert_eq!(cpu, cpu_index(), "a call runs where it says");
            answers[cpu].0.fetch_add(1, Ordering::Relaxed);
        });
        for cpu in online {
            let answered = answers[cpu].0.load(Ordering::Relaxed);
            ensure!(answered == 1, "round {round}: processor {cpu} answered {answered} times");
        }
    }
    Ok(())
}

/// Every processor calls every other one, all at the same time, with interrupts off.
pub(super) fn crossing_calls(_machine: &Machine) -> Verdict {
    const ROUNDS: u64 = 20;
    static ANSWERS: Counters = counters();
    static DONE: AtomicU64 = AtomicU64::new(0);
    let online = smp::online();
    // A call cannot be made from within a call, so this starts them from the timer's handler.
    set_handler(TIMER, |_frame| {
        apic::end_of_interrupt();
        for _ in 0..ROUNDS {
            ipi::call_on(smp::online(), &|cpu| {
                ANSWERS[cpu].0.fetch_add(1, Ordering::Relaxed);
            });
        }
        DONE.fetch_add(1, Ordering::Release);
    });
    let irqs_off = IrqGuard::disable();
    // This processor's own timer has to wait until this call is over.
    ipi::call_on(online, &|_cpu| apic::start_one_shot_timer(clock::apic_ticks(SECOND / 100)));
    drop(irqs_off);
    let count = online.count() as u64;
    ensure!(
        eventually(|| DONE.load(Ordering::Acquire) == count),
        "{} of {count} processors finished",
        DONE.load(Ordering::Acquire)
    );
    for cpu in online {
        let answered = ANSWERS[cpu].0.load(Ordering::Relaxed);
        ensure!(answered == ROUNDS * count, "processor {cpu} answered {answered} calls");
    }
    Ok(())
}

pub(super) fn ticks(_machine: &Machine) -> Verdict {
    static TICKS: Counters = counters();
    fn tick(_frame: &mut TrapFrame) {
        TICKS[cpu_index()].0.fetch_add(1, Ordering::Relaxed);
        apic::end_of_interrupt();
    }
    set_handler(TIMER, tick);
    let online = smp::online();
    ipi::call_on(online, &|_cpu| apic::start_periodic_timer(clock::apic_ticks(SECOND / 1000)));
    // Not how many: they come from the emulator's main loop, whenever the host runs it.
    let arrived =
        eventually(|| online.into_iter().all(|cpu| TICKS[cpu].0.load(Ordering::Relaxed) >= 3));
    ipi::call_on(online, &|_cpu| apic::stop_timer());
    for cpu in online {
        let ticks = TICKS[cpu].0.load(Ordering::Relaxed);
        ensure!(arrived, "processor {cpu} saw {ticks} ticks");
    }
    Ok(())
}

pub(super) fn idle_wakes(_machine: &Machine) -> Verdict {
    let others = smp::online().without(cpu_index());
    for cpu in others {
        // Long enough asleep that the call has to wake it.
        clock::spin_for(2_000_000);
        let woken = AtomicU64::new(0);
        ipi::call_on(CpuMask::one(cpu), &|_cpu| {
            woken.store(1, Ordering::Relaxed);
        });
        ensure!(woken.load(Ordering::Relaxed) == 1, "processor {cpu} did not wake");
    }
    // This one: asleep until its own timer.
    static WOKEN: AtomicU64 = AtomicU64::new(0);
    set_handler(TIMER, |_frame| {
        WOKEN.store(1, Ordering::Relaxed);
        apic::end_of_interrupt();
    });
    interrupts::disable();
    apic::start_one_shot_timer(clock::apic_ticks(SECOND / 1000));
    while WOKEN.load(Ordering::Relaxed) == 0 {
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
    interrupts::enable();
    Ok(())
}

pub(super) fn time(_machine: &Machine) -> Verdict {
    let mut last = clock::now();
    for _ in 0..100_000 {
        let now = clock::now();
        ensure!(now >= last, "time went back from {last} to {now}");
        last = now;
    }
    // An upper bound would measure the host.
    let start = clock::now();
    clock::spin_for(1_000_000);
    let elapsed = clock::now() - start;
    ensure!(elapsed >= 1_000_000, "1 ms took {elapsed} ns");
    Ok(())
}
