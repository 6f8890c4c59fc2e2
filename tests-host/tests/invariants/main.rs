//! The invariants of the protocol, a module for each, on every geometry and under both schemes.
//!
//! | invariant | what it says |
//! |---|---|
//! | complete | for every mm a CPU may load and every slot whose growth returned, the mm's slot equals the reference's |
//! | gone | when a reclaim has returned, no PGD has the entry; after a replacement, every PGD has the new one |
//! | ordered | publish, barrier, read the reference; store the reference, barrier, walk; late init ends before the first load |
//! | no-clobber | late init writes only kernel slots that are none; user slots and private slots keep their bits |
//! | lifetime | a PGD and the tables under it outlive every walker, every late init and every CPU that has them loaded |
//! | lock-free birth and death | fork, exec and exit take no global lock for the PGD |
//!
//! The sixth, that an architecture without the hook pays nothing, is a matter of machine code:
//! `crates/zero-cost`.
#![cfg(not(loom))]

mod complete;
mod gone;
mod lifetime;
#[cfg(feature = "pgd-init-late")]
mod lock_free_birth_and_death;
mod no_clobber;
mod ordered;
