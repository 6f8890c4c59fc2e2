//! The hosted kernel of the benches: scheme and walk are chosen when it boots, for the reason that [`crate::chosen`] gives.

use hosted::kernel::{Host, Scheme};
use hosted::walk::{ChosenWalk, Walk};
use kernel_task::tasks::Tasks;

use crate::chosen;

/// The hosted kernel's scheme: everything is chosen at boot.
pub struct Bench;

impl Scheme for Bench {
    type Arch = chosen::Chosen;
    type Walkers = ChosenWalk<Host<Self>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.tasks()
    }
}

impl chosen::Scheme {
    /// What a kernel with this scheme has for walks: this project a list of mms, the others nothing beyond the tasks that every
    /// kernel has. They have lists of their own or need none, and are not to pay for one that they do not use.
    #[must_use]
    pub const fn walk(self) -> Walk {
        match self {
            Self::Late => Walk::OverMms,
            _ => Walk::ThroughTasks,
        }
    }
}
