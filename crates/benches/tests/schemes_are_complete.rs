//! Every scheme that is measured is right: a slot whose growth has returned is in whatever any CPU has loaded.
//!
//! What is fast because it is wrong is no rival. CPUs fork, exec and exit while another grows the kernel, and
//! each of them resolves what has grown through its own PGD, by a page walk that knows nothing of the schemes.

// The hosted kernel is not built for the model checker.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use benches::chosen::Scheme;
use benches::kernel::{BenchKernel, GROWTHS, UserHalf};
use hosted::walk::Walk;

/// CPUs that fork, exec and exit.
const CPUS: usize = 2;

const FRAMES: usize = 1 << 14;

#[derive(Default)]
struct Grown {
    addr: AtomicU64,
    phys: AtomicU64,
}

/// Resolves each growth once it has returned; returns how many looks found one, and how many found nothing
/// or something else.
fn storm(scheme: Scheme, walk: Walk) -> (usize, usize) {
    let kernel = BenchKernel::boot(scheme, walk, FRAMES, CPUS + 1, UserHalf::OnePage);
    let log: Vec<Grown> = (0..GROWTHS).map(|_| Grown::default()).collect();
    let grown = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let (found, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let steps = AtomicUsize::new(0);
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (kernel, log, grown) = (&kernel, &log, &grown);
            let (over, found, lost, steps) = (&over, &found, &lost, &steps);
            scope.spawn(move || {
                let goes_on = || {
                    steps.fetch_add(1, Ordering::Relaxed);
                    !over.load(Ordering::Relaxed)
                };
                kernel.storm(cpu, goes_on, |resolve| {
                    // The newest first: those a PGD may lack.
                    let last = grown.load(Ordering::Acquire);
                    for entry in log[..last].iter().rev().take(4) {
                        let phys = entry.phys.load(Ordering::Relaxed);
                        let right = resolve(entry.addr.load(Ordering::Relaxed)) == Some(phys);
                        (if right { found } else { lost }).fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
        }
        let (kernel, log, grown, over, steps) = (&kernel, &log, &grown, &over, &steps);
        scope.spawn(move || {
            let cpu = kernel.grower();
            for growth in 0..GROWTHS {
                // Between two growths, everybody has come a step further.
                let seen = steps.load(Ordering::Relaxed);
                while steps.load(Ordering::Relaxed) < seen + CPUS {
                    thread::yield_now();
                }
                let (addr, frame) = kernel.grow_and_map(growth);
                let entry = &log[growth as usize];
                entry.addr.store(addr, Ordering::Relaxed);
                entry.phys.store(frame.phys(), Ordering::Relaxed);
                grown.store(growth as usize + 1, Ordering::Release);
            }
            drop(cpu);
            over.store(true, Ordering::Relaxed);
        });
    });
    // Nothing leaked, and nobody wrote to a frame that was free.
    kernel.shut_down();
    (found.into_inner(), lost.into_inner())
}

#[test]
fn every_scheme_brings_every_slot_to_every_loaded_pgd() {
    for scheme in Scheme::ALL {
        let (found, lost) = storm(scheme, Walk::ThroughTasks);
        assert_eq!(lost, 0, "{}: {found} looks were right", scheme.name());
        assert!(found > GROWTHS as usize, "{}: {found} looks", scheme.name());
    }
}

/// The other way to find mms.
#[test]
fn a_walk_over_the_list_of_mms_brings_every_slot_to_every_loaded_pgd() {
    let (found, lost) = storm(Scheme::Late, Walk::OverMms);
    assert_eq!(lost, 0, "{found} looks were right");
    assert!(found > GROWTHS as usize, "{found} looks");
}

/// What the tests above would see: the generation check without what `switch_mm` does for it.
#[test]
fn generation_check_without_its_hook_is_caught() {
    let kernel =
        BenchKernel::boot(Scheme::Generation, Walk::ThroughTasks, FRAMES, 1, UserHalf::OnePage);
    let cpu = kernel.grower();
    let (addr, frame) = kernel.grow_and_map(0);
    drop(cpu);
    let (mut with, mut without) = (None, None);
    let mut once = true;
    kernel.storm(0, || std::mem::take(&mut once), |resolve| with = resolve(addr));
    kernel.without_hook(|resolve| without = resolve(addr));
    assert_eq!((with, without), (Some(frame.phys()), None));
    kernel.shut_down();
}
