//! Pages that are watched for writes, by the host's MMU.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Ranges that can be watched at once.
const RANGES: usize = 4;

/// First byte and end of each watched range; 0 and 0 where there is none. The signal handler reads them.
static WATCHED: [(AtomicUsize, AtomicUsize); RANGES] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; RANGES];

/// Where the first write went; 0 while there was none.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// One watch at a time: there is one handler.
static ONE: Mutex<()> = Mutex::new(());

/// A watch that is under way.
#[must_use = "a watch that is not ended has seen nothing"]
pub(crate) struct Watch {
    _one: MutexGuard<'static, ()>,
}

impl Watch {
    /// Watches `ranges`, which are whole pages, from now on.
    pub(crate) fn over(ranges: &[Range<usize>]) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(install_handler);
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(ranges.len() <= RANGES, "{} ranges at once", ranges.len());
        WRITTEN.store(0, Ordering::Relaxed);
        for (slot, range) in WATCHED.iter().zip(ranges) {
            slot.0.store(range.start, Ordering::Relaxed);
            slot.1.store(range.end, Ordering::Relaxed);
            protect(range.clone(), libc::PROT_READ).expect("memory of this process");
        }
        Self { _one: one }
    }

    /// Ends the watch, and returns the address of the first write, if there was one.
    pub(crate) fn end(self) -> Option<usize> {
        for (start, end) in &WATCHED {
            let range = start.swap(0, Ordering::Relaxed)..end.swap(0, Ordering::Relaxed);
            if !range.is_empty() {
                protect(range, libc::PROT_READ | libc::PROT_WRITE).expect("as it was before");
            }
        }
        Some(WRITTEN.load(Ordering::Relaxed)).filter(|&addr| addr != 0)
    }
}

fn protect(range: Range<usize>, rights: libc::c_int) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the caller's own pages; what is done to them here, `end` or the handler takes back.
    match unsafe { libc::mprotect(start, range.len(), rights) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn install_handler() {
    // SAFETY: all zeros is a valid `sigaction`; no flag but the one that is set, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that `SA_SIGINFO` asks for, and does nothing but read and write
    // atomics and call `mprotect` and `signal`, which a handler may.
    let result = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Notes a write to a watched page, and lets it and all later ones to that range through.
extern "C" fn on_fault(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: with `SA_SIGINFO` the kernel passes this, and a fault has an address.
    let addr = unsafe { (*info).si_addr() }.addr();
    for (start, end) in &WATCHED {
        let range = start.load(Ordering::Relaxed)..end.load(Ordering::Relaxed);
        if range.contains(&addr) && protect(range, libc::PROT_READ | libc::PROT_WRITE).is_ok() {
            let _ = WRITTEN.compare_exchange(0, addr, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
    }
    // Somebody else's fault: it happens again when this returns, and ends the process.
    // SAFETY: the default action is always valid.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
}
