//! A `PublishedMm` comes out of a publication and of nothing else: a late init without one would run before walkers see the mm.
use mm_generic::kernel::Kernel;
use mm_generic::mm::MmUser;
use mm_generic::publish::PublishedMm;

fn forge<K: Kernel>(mm: &MmUser<K>) -> PublishedMm<K> {
    PublishedMm(mm.grab())
}

fn main() {}
