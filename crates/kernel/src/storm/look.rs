//! Looks at what has been grown: through the MMU, on the processor that this runs on, in the address space that it has
//! loaded.

use super::attached::is_attached;
use super::{area, figures, probe, report};
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use crate::cpu::{MAX_CPUS, clock, ipi, smp};
use crate::mm::poison;
use crate::os::init_mm;
use crate::sched::try_current;
use crate::sync::IrqGuard;
use crate::syscall::Answer;
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_task::task::TaskKind;

/// A mapping that everybody may look at.
struct Window {
    /// 0 while it is closed.
    address: AtomicU64,
    secret: AtomicU64,
}

/// One for each grower.
static WINDOWS: [Padded<Window>; area::MAX_GROWERS] =
    [const { Padded(Window { address: AtomicU64::new(0), secret: AtomicU64::new(0) }) };
        area::MAX_GROWERS];

/// Distance of the words that each processor writes, in the page.
const STRIDE: u64 = 64;
const _: () = assert!((MAX_CPUS as u64 + 1) * STRIDE <= crate::layout::PAGE_SIZE);

/// Lets everybody look at a mapping.
pub(super) fn open(number: usize, grown: &area::Grown) {
    let window = &WINDOWS[number].0;
    window.secret.store(grown.secret, Ordering::Relaxed);
    window.address.store(grown.address, Ordering::Release);
}

/// Returns when nobody looks at the mapping any more.
pub(super) fn close(number: usize) {
    WINDOWS[number].0.address.store(0, Ordering::Relaxed);
    // Who looks has interrupts off: when a processor answers, it looks no more, or has seen the window closed.
    ipi::call_on(smp::online(), &|_cpu| {});
}

/// Looks through all open windows.
pub(super) fn all(place: &str) {
    let _irqs_off = IrqGuard::disable();
    for Padded(window) in &WINDOWS {
        let address = window.address.load(Ordering::Acquire);
        if address != 0 {
            at(address, window.secret.load(Ordering::Relaxed), place);
        }
    }
}

/// Reads and writes a mapping here.
pub(super) fn at(address: u64, secret: u64, place: &str) {
    match probe::read(address) {
        None => missed("nothing to read", place, address),
        Some(word) if word != secret => {
            figures::STALE.one();
            let what = if poison::is_trap(word) { "a freed table" } else { "another page" };
            report::fail_at(what, place, address);
        }
        Some(_) => {}
    }
    let own = address + (cpu_index() as u64 + 1) * STRIDE;
    let token = clock::now() | 1;
    // SAFETY: a page of the storm's, or nothing.
    if !unsafe { probe::write(own, token) } {
        missed("nothing to write", place, own);
    }
    if probe::read(own) != Some(token) {
        figures::STALE.one();
        report::fail_at("what was written is not there", place, own);
    }
    count();
}

fn missed(what: &str, place: &str, address: u64) -> ! {
    figures::MISSED.one();
    report::fail_at(what, place, address)
}

/// Notes in whose address space this was.
fn count() {
    let is_reference = report::cr3() == init_mm().arch().slots().root();
    let figure = match try_current().map(|task| task.kind()) {
        _ if is_reference => &figures::CHECKS_REFERENCE,
        Some(TaskKind::User) => &figures::CHECKS_OWN,
        Some(TaskKind::Kernel) if is_attached() => &figures::CHECKS_ATTACHED,
        _ => &figures::CHECKS_LAZY,
    };
    figure.one();
}

/// Looks at `grown` on every processor, whatever that is doing.
pub(super) fn everywhere(grown: &area::Grown) {
    let (address, secret) = (grown.address, grown.secret);
    ipi::call_on(smp::online(), &|_cpu| at(address, secret, "in an interrupt"));
}

/// Gives a mapping back, at which nobody looks any more, and makes sure that it is gone.
pub(super) fn reclaim(grown: area::Grown) {
    let address = grown.address;
    grown.give_back();
    everywhere_gone(address);
}

/// Makes sure that no processor reaches `address`.
fn everywhere_gone(address: u64) {
    ipi::call_on(smp::online(), &|_cpu| {
        gone(address, "in an interrupt");
        figures::CHECKS_GONE.one();
    });
}

/// Makes sure that this processor does not reach `address`.
pub(super) fn gone(address: u64, place: &str) {
    if let Some(word) = probe::read(address) {
        figures::STALE.one();
        let what = if poison::is_trap(word) { "a freed table" } else { "a reclaimed page" };
        report::fail_at(what, place, address);
    }
}

/// Called with every system call, before it is answered.
pub(crate) fn before_call() {
    all("before a system call");
}

/// Called with every system call that comes back.
pub(crate) fn after_call(number: u64, answer: Answer) {
    match (number, answer) {
        (FORK | VFORK | CLONE, Ok(_)) => figures::FORKS.one(),
        (EXECVE, Ok(_)) => figures::EXECS.one(),
        _ => {}
    }
    all("after a system call");
}

/// Called with every exit of a program's thread, killed or not.
pub(crate) fn before_exit() {
    figures::EXITS.one();
}

/// Called with every switch of tasks, on the new one's stack.
pub(crate) fn after_switch() {
    all("after a switch");
}

const CLONE: u64 = 56;
const FORK: u64 = 57;
const VFORK: u64 = 58;
const EXECVE: u64 = 59;
