//! An mm that walkers cannot see yet has no late init: what is filled in before the publication, a walk in between is lost for.
use mm_generic::kernel::Kernel;
use mm_generic::publish::NewMm;

fn too_early<K: Kernel>(mm: NewMm<K>) {
    mm.init_late();
}

fn main() {}
