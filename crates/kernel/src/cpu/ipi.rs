//! Running a function on other processors, and waiting until they have.
//!
//! Each processor has one record for the call it is making, and one word with a bit per processor
//! that wants something of it.
//!
//! 1. The caller fills its record: the function, and who has not answered yet.
//! 2. For each target it sets its own bit in the target's word, and interrupts the target.
//! 3. The target takes all bits at once, runs each caller's function, and takes itself out of the
//!    caller's set of unanswered.
//! 4. The caller goes on when that set is empty.
//!
//! A caller may have interrupts off. Two such callers would wait for each other forever, so a caller
//! answers others while it waits. What must not happen is that a processor spins with interrupts off
//! on something a caller holds: see `sync/lock.rs` for why its locks do not.

use super::area::{apic_id, cpu_index};
use super::local::Padded;
use super::mask::CpuMask;
use super::vectors::{CALL, RESCHEDULE};
use super::{MAX_CPUS, apic, trap};
use kernel_sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// What a target runs: the closure behind the pointer, with the target's number.
type Thunk = unsafe fn(*const (), usize);

struct Mailbox {
    /// Processors whose records this one shall look at.
    callers: AtomicU64,
    /// This processor's own record: the closure and how to call it.
    closure: AtomicPtr<()>,
    thunk: AtomicPtr<()>,
    /// Targets that have not run the closure yet.
    unanswered: AtomicU64,
    /// The record is in use.
    calling: AtomicBool,
}

static MAILBOXES: [Padded<Mailbox>; MAX_CPUS] = [const {
    Padded(Mailbox {
        callers: AtomicU64::new(0),
        closure: AtomicPtr::new(core::ptr::null_mut()),
        thunk: AtomicPtr::new(core::ptr::null_mut()),
        unanswered: AtomicU64::new(0),
        calling: AtomicBool::new(false),
    })
}; MAX_CPUS];

/// Lets the vectors of this file be answered.
pub fn install() {
    trap::set_handler(CALL, |_frame| {
        apic::end_of_interrupt();
        answer();
    });
    // Until there is a scheduler that takes the vector over: waking from `hlt` is all it does.
    trap::set_handler(RESCHEDULE, |_frame| apic::end_of_interrupt());
}

/// Runs what other processors have asked of this one.
fn answer() {
    let cpu = cpu_index();
    // Acquire: pairs with the Release in `call_on`, so the callers' records are seen complete.
    let callers = MAILBOXES[cpu].0.callers.swap(0, Ordering::Acquire);
    for caller in CpuMask::from_bits(callers) {
        let record = &MAILBOXES[caller].0;
        let closure = record.closure.load(Ordering::Relaxed);
        let thunk = record.thunk.load(Ordering::Relaxed);
        // SAFETY: the caller's bit was set after it stored both, and it keeps both, and the closure
        // they belong to, until this processor is out of `unanswered`.
        unsafe {
            let thunk = core::mem::transmute::<*mut (), Thunk>(thunk);
            thunk(closure, cpu);
        }
        // Release: what the closure did happens before the caller goes on.
        record.unanswered.fetch_and(!CpuMask::one(cpu).bits(), Ordering::Release);
    }
}

/// Runs `f` on every processor in `cpus`, this one included if it is in the set, and returns when all
/// have. `f` gets the number of the processor it runs on; elsewhere it runs with interrupts off.
///
/// # Panics
///
/// When called from within an `f`, or from an interrupt handler during a call: a processor makes one
/// call at a time.
pub fn call_on<F: Fn(usize) + Sync>(cpus: CpuMask, f: &F) {
    unsafe fn thunk<F: Fn(usize)>(closure: *const (), cpu: usize) {
        // SAFETY: `call_on` stored the closure and this instance of `thunk` together.
        unsafe { (*closure.cast::<F>())(cpu) };
    }
    let cpu = cpu_index();
    let record = &MAILBOXES[cpu].0;
    let others = cpus.without(cpu);
    if !others.is_empty() {
        let nested = record.calling.swap(true, Ordering::Relaxed);
        assert!(!nested, "processor {cpu} makes a call within a call");
        record.closure.store((&raw const *f).cast_mut().cast(), Ordering::Relaxed);
        record.thunk.store(thunk::<F> as *mut (), Ordering::Relaxed);
        record.unanswered.store(others.bits(), Ordering::Relaxed);
        for target in others {
            // Release: pairs with the Acquire in `answer`.
            let waiting =
                MAILBOXES[target].0.callers.fetch_or(CpuMask::one(cpu).bits(), Ordering::Release);
            // If others' bits were there, their interrupt is still to be answered, and covers ours.
            if waiting == 0 {
                apic::send(apic_id(target), CALL);
            }
        }
    }
    if cpus.contains(cpu) {
        f(cpu);
    }
    if !others.is_empty() {
        // Acquire: pairs with the Release in `answer`.
        while record.unanswered.load(Ordering::Acquire) != 0 {
            answer();
            kernel_sync::cpu_relax();
        }
        record.calling.store(false, Ordering::Relaxed);
    }
}

/// Interrupts `cpu` so that it looks at its run queue.
pub fn reschedule(cpu: usize) {
    apic::send(apic_id(cpu), RESCHEDULE);
}
