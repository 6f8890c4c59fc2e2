//! A `SyncedRange` has one owner: who gives the addresses back has not kept them.
use mm_generic::growth::SyncedRange;

fn keep(range: &SyncedRange) -> SyncedRange {
    range.clone()
}

fn main() {}
