//! The ground the PGD crates stand on: atomics, full barriers, a spin lock and what they ask of RCU.
//!
//! Everything that several CPUs touch goes through this crate, and nothing above it names
//! `core::sync::atomic`. With `--cfg loom` the atomics and the lock become loom's, and the very
//! code that a kernel links is explored by the model checker.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;
#[cfg(all(test, not(loom)))]
extern crate std;

mod arc_cache;
pub mod atomic;
mod barrier;
mod callback;
#[cfg(loom)]
mod exploration;
#[cfg(loom)]
mod explored;
pub mod gate;
mod lock;
mod magazines;
mod rcu;
mod rcu_arc;
mod try_box;

pub use arc_cache::ArcCache;
pub use barrier::{cpu_relax, smp_mb};
pub use callback::{Callback, CallbackQueue, CallbackRoom, RcuHead};
#[cfg(loom)]
pub use exploration::explore;
pub use gate::Gate;
pub use lock::{Mutex, MutexGuard};
pub use magazines::Magazines;
pub use rcu::Rcu;
pub use rcu_arc::RcuArc;
pub use try_box::{OutOfHeap, try_box};
