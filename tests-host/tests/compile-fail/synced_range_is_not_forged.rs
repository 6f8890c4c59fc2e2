//! A `SyncedRange` comes from a finished growth: it is the only way to an address of the kernel half.
use mm_generic::growth::SyncedRange;
use mm_generic::kernel_range::KernelRange;

fn forge(range: KernelRange) -> SyncedRange {
    SyncedRange(range)
}

fn main() {}
