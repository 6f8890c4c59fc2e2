//! The names of the mutants.

use core::fmt;
use core::str::FromStr;

/// What shows a mutant in the storm of the reference kernel, on an emulated MMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InGuest {
    /// The scene of this name, whenever it is played.
    Scene(&'static str),
    /// The litmus test that lacks the same barrier, where the figure of this name is not zero: the protocol's own way from the store to the
    /// load is longer than a store stays in its buffer.
    Litmus(&'static str),
    /// Nothing can.
    Hidden {
        /// Of the machine.
        why: &'static str,
        /// The figure that would not be zero on a machine of which that is not true.
        unless: &'static str,
        /// How often that was tried.
        of: &'static str,
    },
    /// No scene plays it: the model checks alone show it.
    Unplayed {
        /// What is missing.
        why: &'static str,
    },
}

use InGuest::{Hidden, Litmus, Scene, Unplayed};

/// Of flushes that matter to tables, and not to pages.
const REMEMBERS_NOTHING: &str = "this MMU remembers pages, which are unmapped and flushed by then, and no tables: it begins every walk at CR3";

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, cores: $cores:literal, updates: $updates:literal, guest: $guest:expr;)+) => {
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

            /// Tells whether seconds of storm on x86 cores show it. The others need the model checks.
            #[must_use]
            pub const fn shows_on_cores(self) -> bool {
                match self {
                    $(Self::$variant => $cores,)+
                }
            }

            /// What shows it in a guest, or why nothing does.
            #[must_use]
            pub const fn in_guest(self) -> InGuest {
                match self {
                    $(Self::$variant => $guest,)+
                }
            }

            /// Tells whether entries must change or go for it to show: in a kernel half that only grows, it is right.
            #[must_use]
            pub const fn needs_updates(self) -> bool {
                match self {
                    $(Self::$variant => $updates,)+
                }
            }
        }
    };
}

mutants! {
    /// Fork, exec and attach read the reference without a barrier after the publication.
    ForkBarrierGone = "fork-barrier-gone", cores: true, updates: false, guest: Litmus("litmus_first_gone");
    /// The barrier after the publication is acquire-release only.
    ForkBarrierWeak = "fork-barrier-weak", cores: true, updates: false, guest: Litmus("litmus_first_gone");
    /// The walk begins without a barrier after the reference store.
    WalkBarrierGone = "walk-barrier-gone", cores: true, updates: false, guest: Litmus("litmus_second_gone");
    /// The barrier before the walk is acquire-release only.
    WalkBarrierWeak = "walk-barrier-weak", cores: true, updates: false, guest: Litmus("litmus_second_gone");
    /// The kernel half is copied in pgd_alloc, before the publication, and not looked at again.
    CopyBeforePublication = "copy-before-publication", cores: true, updates: false, guest: Scene("growth-after-copy");
    /// The stamp is taken after the copy, so that an entry that came in between counts as copied.
    StampAfterCopy = "stamp-after-copy", cores: true, updates: false, guest: Scene("growth-after-copy");
    /// Late init stores what it read of the reference, none or not, over what a walk has filled.
    PlainStore = "plain-store", cores: true, updates: false, guest: Scene("growth-in-late-init");
    /// The slots are marked synced before the walk.
    SyncedBeforeWalk = "synced-before-walk", cores: true, updates: false, guest: Scene("second-growth");
    /// A populated slot is taken for a synced one (Linux 4819e15f740e).
    PresentIsSynced = "present-is-synced", cores: true, updates: false, guest: Scene("second-growth");
    /// The walk visits tasks only, not what CPUs have loaded.
    CpuWalkLeftOut = "cpu-walk-left-out", cores: true, updates: false, guest: Scene("owner-gone");
    /// The walk visits CPUs first and tasks second.
    CpusBeforeTasks = "cpus-before-tasks", cores: true, updates: false, guest: Scene("exit-in-walk");
    /// An mm that gets a task anew (kthread_use_mm, CLONE_VM) is loaded without late init.
    AttachWithoutLateInit = "attach-without-late-init", cores: true, updates: false, guest: Scene("growth-before-attach");
    /// An attach looks at the slots only if the reference has changed since late init.
    AttachByStamp = "attach-by-stamp", cores: false, updates: true, guest: Unplayed { why: "its scene would need a walker, a reclaim and an attach in step" };
    /// A PGD that is kept for another mm counts as brought up to the reference when it is taken, and misses what has changed meanwhile.
    KeptStampRenewed = "kept-stamp-renewed", cores: true, updates: false, guest: Unplayed { why: "no scene ends an mm and makes another of its PGD" };
    /// A PGD that is kept for another mm keeps its stamp although a walker has stored to it since.
    KeptStampTrusted = "kept-stamp-trusted", cores: false, updates: true, guest: Unplayed { why: "no scene ends an mm and makes another of its PGD" };
    /// A PGD is freed with its last reference, without a grace period.
    PgdFreedEarly = "pgd-freed-early", cores: true, updates: false, guest: Scene("exit-under-walker");
    /// Late init fills what it finds empty, and leaves alone what was copied and has changed since.
    LateFillsOnlyNone = "late-fills-only-none", cores: true, updates: true, guest: Scene("replaced-before-late-init");
    /// Late init exchanges what it finds for what the reference holds, without its mark in between.
    CompleteByComparison = "complete-by-comparison", cores: false, updates: true, guest: Scene("same-frame-in-late-init");
    /// Late init stores over its mark what it has read, and does not look whether a walker came first.
    CompleteByStore = "complete-by-store", cores: false, updates: true, guest: Scene("growth-in-late-init");
    /// Late init reads the reference before it puts its mark in the slot.
    ReferenceBeforeMark = "reference-before-mark", cores: false, updates: true, guest: Scene("growth-in-late-init");
    /// Late init reads the reference without a barrier after its marks.
    MarkBarrierGone = "mark-barrier-gone", cores: false, updates: true, guest: Hidden { why: "the mark is an exchange, which is a full barrier on x86", unless: "litmus_exchanged", of: "litmus_rounds" };
    /// Late init completes populated slots only, and an entry that was reclaimed stays.
    LatePopulatedOnly = "late-populated-only", cores: false, updates: true, guest: Scene("reclaimed-before-late-init");
    /// The walk fills what it finds empty, and leaves alone what has changed.
    WalkFillsOnlyNone = "walk-fills-only-none", cores: true, updates: true, guest: Scene("while-loaded");
    /// The walk passes by slots that the reference has lost.
    WalkSkipsEmpty = "walk-skips-empty", cores: true, updates: true, guest: Scene("while-loaded");
    /// Walkers read the reference without a barrier after they have found the mm.
    FoundBarrierGone = "found-barrier-gone", cores: false, updates: true, guest: Hidden { why: "x86 loads in program order, and the lock of the PGD is a barrier too", unless: "litmus_loads", of: "litmus_rounds" };
    /// Walkers do not take turns in one PGD.
    WalkWithoutLock = "walk-without-lock", cores: false, updates: true, guest: Scene("same-frame-in-attach");
    /// An attach does not wait for its turn in the PGD.
    AttachWithoutLock = "attach-without-lock", cores: false, updates: true, guest: Scene("same-frame-in-attach");
    /// A walk vouches for what changed while it was under way.
    StampAfterWalk = "stamp-after-walk", cores: false, updates: true, guest: Scene("growth-in-reclaim");
    /// Nobody flushes.
    FlushLeftOut = "flush-left-out", cores: true, updates: true, guest: Scene("same-page-in-reclaim");
    /// Who changed the slot flushes, after it was marked synced; who helps does not.
    HelperDoesNotFlush = "helper-does-not-flush", cores: false, updates: true, guest: Scene("same-page-in-reclaim");
    /// Who helps flushes his own range, and not all of the slot.
    HelperFlushesOwnRange = "helper-flushes-own-range", cores: false, updates: true, guest: Scene("same-page-in-reclaim");
    /// The flush comes before the walk.
    FlushBeforeWalk = "flush-before-walk", cores: false, updates: true, guest: Hidden { why: REMEMBERS_NOTHING, unless: "remembered_tables", of: "tables_tried" };
    /// Tables are freed as soon as the reference has lost them, before the walk.
    TablesFreedBeforeWalk = "tables-freed-before-walk", cores: true, updates: true, guest: Scene("look-in-reclaim");
    /// Tables are freed after the walk and before the flush.
    TablesFreedBeforeFlush = "tables-freed-before-flush", cores: true, updates: true, guest: Hidden { why: REMEMBERS_NOTHING, unless: "remembered_tables", of: "tables_tried" };
    /// Tables are freed after walk and flush, without a grace period.
    TablesFreedAfterFlush = "tables-freed-after-flush", cores: false, updates: true, guest: Unplayed { why: "nothing in the guest looks an address up in tables that are not its own" };
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
