//! What a PGD costs: this project's late init beside the schemes that it is compared with.
//!
//! `cargo bench -p benches` runs all of it, `cargo bench -p benches -- --quick` a short form. Each bench
//! prints criterion's lines and a table, and writes `target/bench/<name>.json` and a plot beside it.
//!
//! | bench | question |
//! |---|---|
//! | `kernel_half` | the kernel half of a new PGD, from `pgd_alloc` to ready, against a plain copy of 2 KiB |
//! | `fork_exit` | fork, exit and reaping of a small process, against `pgd_lock` and `pgd_list` |
//! | `growth` | `sync_global_pgds`, per live mm, against the walk over `pgd_list` |
//!
//! The fourth claim, that a fork writes no line which all CPUs share for the PGD's sake, is no matter of
//! time: `tests/no_shared_writes.rs` proves it with the host's MMU.
//!
//! # Ratios, not times
//!
//! A shared machine is now fast and now slow, by more than most of what is compared here. So nothing
//! is measured on its own: two ways of doing one thing take turns, a few microseconds or milliseconds each
//! ([`pairs`]), and what criterion gets to see is the quotient of the two ([`ratio`]). Its comparison
//! with an earlier run is then one of quotients as well. Times are reported beside them, as medians.
//!
//! Two threads are only two threads while nobody else wants their processors. Where others are at work and the
//! host allows it, `chrt -f 10` before a bench's executable keeps them away; the JSON says what the load was.
//!
//! A hosted kernel has no TLB and no interrupts. The figures are about memory that is read, written
//! and shared.

// The hosted kernel is not built for the model checker.
#![cfg(not(loom))]

pub mod chart;
pub mod chosen;
pub mod compare;
pub mod crew;
pub mod kernel;
pub mod machine;
pub mod pairs;
pub mod ratio;
pub mod ring;
pub mod schemes;
pub mod session;
pub mod walk;
