//! A range that was checked but not grown cannot be mapped into (Linux 2025: vmemmap used before the sync).
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::prot::Prot;

fn too_early<K: Kernel>(init_mm: &InitMm<K>, range: KernelRange, frame: Frame) {
    let _ = init_mm.map_kernel(&range, range.start(), frame, Prot::READ);
}

fn main() {}
