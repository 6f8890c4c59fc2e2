//! What the processor can do, and turning on what the kernel uses.

use bitflags::bitflags;
use kernel_sync::atomic::{AtomicBool, Ordering};
use raw_cpuid::CpuId;
use spin::Once;
use x86_64::registers::control::{Cr4, Cr4Flags};

bitflags! {
    /// Features the kernel makes use of when they are there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Five-level paging is on (not merely available): decided in `boot/entry.s`.
        const LA57 = 1 << 0;
        /// The kernel cannot execute user pages.
        const SMEP = 1 << 1;
        /// The kernel cannot read or write user pages outside of `stac`/`clac`.
        const SMAP = 1 << 2;
        /// Translations can be global.
        const PGE = 1 << 3;
        /// Pages of 1 GiB.
        const HUGE_PAGES = 1 << 4;
        /// User mode cannot read the descriptor table registers.
        const UMIP = 1 << 5;
    }
}

static FEATURES: Once<Features> = Once::new();

/// Read by the entry code, which must clear AC on the way in when SMAP is on.
#[unsafe(no_mangle)]
static SMAP_ENABLED: AtomicBool = AtomicBool::new(false);

/// Asks CPUID and CR4. The first processor to come here answers for all: they are alike.
pub fn detect() -> Features {
    *FEATURES.call_once(|| {
        let cpuid = CpuId::new();
        let mut features = Features::empty();
        features.set(Features::LA57, Cr4::read().contains(Cr4Flags::L5_PAGING));
        features.set(Features::PGE, cpuid.get_feature_info().is_some_and(|f| f.has_pge()));
        if let Some(extended) = cpuid.get_extended_feature_info() {
            features.set(Features::SMEP, extended.has_smep());
            features.set(Features::SMAP, extended.has_smap());
            features.set(Features::UMIP, extended.has_umip());
        }
        if let Some(amd) = cpuid.get_extended_processor_and_feature_identifiers() {
            features.set(Features::HUGE_PAGES, amd.has_1gib_pages());
        }
        features
    })
}

/// Turns on, on this processor, what [`detect`] found.
///
/// FSGSBASE and XSAVE stay off even where they exist: the first so that a user's GS cannot look like
/// the kernel's (see `cpu/area.rs`), the second so that 512 bytes hold all of a task's registers.
pub fn enable() {
    let features = detect();
    let mut flags = Cr4::read();
    for (feature, flag) in [
        (Features::SMEP, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (Features::SMAP, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (Features::PGE, Cr4Flags::PAGE_GLOBAL),
        (Features::UMIP, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
    ] {
        flags.set(flag, features.contains(feature));
    }
    // SAFETY: CPUID has each feature that is turned on, and none changes how what is mapped now
    // translates for the kernel.
    unsafe { Cr4::write(flags) };
    SMAP_ENABLED.store(features.contains(Features::SMAP), Ordering::Relaxed);
}
