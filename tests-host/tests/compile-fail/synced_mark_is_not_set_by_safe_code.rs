// A slot is marked synced by whoever has walked, and says so in an `unsafe` block.

use mm_generic::reference::ReferencePgd;

fn mark(reference: &ReferencePgd<u64>) {
    reference.mark_synced(0..1, reference.stamp());
}

fn main() {}
