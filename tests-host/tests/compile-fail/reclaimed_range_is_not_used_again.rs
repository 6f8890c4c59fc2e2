//! A range that was given back is gone: nothing can be mapped in it, and its entries cannot be replaced.
use mm_generic::frames::Frame;
use mm_generic::growth::SyncedRange;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::prot::Prot;
use mm_generic::replacement::Replacement;

fn map<K: Kernel>(init_mm: &'static InitMm<K>, range: SyncedRange, frame: Frame) {
    let _ = unsafe { init_mm.reclaim(range, |_, _| ()) };
    let _ = init_mm.map_kernel(&range, range.start(), frame, Prot::READ);
}

fn replace_while_borrowed<K: Kernel>(init_mm: &'static InitMm<K>, range: &SyncedRange) {
    let _ = init_mm.replace(range, range.start(), Replacement::Move);
}

fn main() {}
