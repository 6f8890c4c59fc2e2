//! The smallest kernel that the model checks explore: two tasks, two CPUs, two slots.
//!
//! Everything the protocol consists of is the product's own code: `Mm` and its publication types,
//! the reference PGD, growth, `switch_mm`, x86's late init and sync. Only what the product asks a
//! kernel for is modelled here: frames, RCU, the list of tasks.

mod arch;
mod frames;
mod kernel;
mod mmu;
mod rcu;
mod sight;
#[cfg(feature = "pgd-init-late")]
mod tasks;

pub use arch::ModelArch;
pub use frames::{Deep, ModelFrames, TINY_SLOT, Tiny};
pub use kernel::{Model, ModelTask, ModelTasks, World, explore};
pub use rcu::ModelRcu;
#[cfg(feature = "pgd-init-late")]
pub use tasks::{
    Product, TaskModel, TaskWorld, ThroughList, ThroughTasks, WalkThrough, explore_tasks,
};
