//! The reference PGD only grows: it has no method that takes an entry out, and its table is its own (Linux 98fe3633c5a4).
use mm_generic::reference::ReferencePgd;

fn clear(reference: &ReferencePgd<u64>) {
    reference.clear(3);
}

fn reach(reference: &ReferencePgd<u64>) {
    let _ = &reference.slots;
}

fn main() {}
