//! The names of the mutants.

use core::fmt;
use core::str::FromStr;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, cores: $cores:literal;)+) => {
        /// One wrong step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What is wrong, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// Tells whether a run on x86 cores can show it. The others need the model checks.
            #[must_use]
            pub const fn shows_on_cores(self) -> bool {
                match self {
                    $(Self::$variant => $cores,)+
                }
            }
        }
    };
}

mutants! {
    /// Fork, exec and attach read the reference without a barrier after the publication.
    ForkBarrierGone = "fork-barrier-gone", cores: true;
    /// The barrier after the publication is acquire-release only.
    ForkBarrierWeak = "fork-barrier-weak", cores: true;
    /// The walk begins without a barrier after the reference store.
    WalkBarrierGone = "walk-barrier-gone", cores: false;
    /// The barrier before the walk is acquire-release only.
    WalkBarrierWeak = "walk-barrier-weak", cores: false;
    /// The kernel half is copied in pgd_alloc, before the publication, and not looked at again.
    CopyBeforePublication = "copy-before-publication", cores: true;
    /// The stamp is taken after the copy, so that an entry that came in between counts as copied.
    StampAfterCopy = "stamp-after-copy", cores: true;
    /// Late init stores what it read of the reference, none or not, over what a walk has filled.
    PlainStore = "plain-store", cores: true;
    /// The slots are marked synced before the walk.
    SyncedBeforeWalk = "synced-before-walk", cores: true;
    /// A populated slot is taken for a synced one (Linux 4819e15f740e).
    PresentIsSynced = "present-is-synced", cores: true;
    /// The walk visits tasks only, not what CPUs have loaded.
    CpuWalkLeftOut = "cpu-walk-left-out", cores: true;
    /// The walk visits CPUs first and tasks second.
    CpusBeforeTasks = "cpus-before-tasks", cores: true;
    /// An mm that gets a task anew (kthread_use_mm, CLONE_VM) is loaded without late init.
    AttachWithoutLateInit = "attach-without-late-init", cores: true;
    /// A PGD is freed with its last reference, without a grace period.
    PgdFreedEarly = "pgd-freed-early", cores: true;
}

/// A name that is no mutant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownMutant;

impl fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such mutant; known are:")?;
        for mutant in Mutant::ALL {
            write!(f, " {mutant}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownMutant {}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, UnknownMutant> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name).ok_or(UnknownMutant)
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
