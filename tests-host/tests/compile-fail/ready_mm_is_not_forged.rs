//! A `ReadyMm` comes out of a late init, or from an mm that went through one, and is not put together by hand.
use mm_generic::kernel::Kernel;
use mm_generic::mm::MmUser;
use mm_generic::publish::ReadyMm;

fn forge<K: Kernel>(mm: &MmUser<K>) -> ReadyMm<K> {
    ReadyMm(mm.grab())
}

fn main() {}
