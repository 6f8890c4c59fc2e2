//! Nothing takes an entry out of the reference PGD but the reclaim protocol, whose step is unsafe; its table is its own (Linux 98fe3633c5a4).
use mm_generic::reference::ReferencePgd;

fn clear(reference: &ReferencePgd<u64>) {
    reference.clear(3);
}

fn retire(reference: &ReferencePgd<u64>) {
    reference.retire(3..4, |_, _| ());
}

fn reach(reference: &ReferencePgd<u64>) {
    let _ = &reference.slots;
}

fn main() {}
