//! What a PGD costs: this project's late init beside the schemes that it is compared with.
//!
//! `cargo xtask bench` runs the comparison of all schemes ([`compare`], [`schemes`]): throughput by threads, growth by mms, the longest fork while
//! the kernel grows, memory, writes to shared lines ([`lines`]), and what is to be expected beyond the machine ([`model`]).
//!
//! `cargo bench -p benches` looks at one thing more closely: the kernel half of a new PGD, from `pgd_alloc` to ready, against a
//! plain copy of 2 KiB, with warm and with cold caches. It prints criterion's lines and a table, and writes
//! `target/bench/kernel_half.json` and a plot beside it; `-- --quick` is a short form.
//!
//! That a fork writes no line which all CPUs share for the PGD's sake, is no matter of
//! time: `tests/no_shared_writes` proves it with the host's MMU.
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
pub mod lines;
pub mod loading;
pub mod machine;
pub mod model;
pub mod pairs;
pub mod ratio;
pub mod ring;
pub mod schemes;
pub mod session;
pub mod walk;
