//! Faults while others are at work: growers, replacers and reclaimers that die or stop, frames refused at every site and running
//! out under concurrency, pids that run out and wrap, a machine full of tasks. Nothing is lost, nothing is leaked, and every refusal is typed.
//!
//! [`Boot::run`](tests_host::machine::Boot::run) does the account at the end of each: every mm shows every finished growth, no
//! frame is out, no freed frame was written.
#![cfg(not(loom))]

mod crowd;
mod growers;
mod pids;
mod shortage;
mod sites;
mod updaters;
