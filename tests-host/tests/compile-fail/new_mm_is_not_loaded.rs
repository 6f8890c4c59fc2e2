//! An mm that was never published cannot be loaded: growths would not find it on any CPU.
use mm_generic::kernel::Kernel;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::NewMm;

unsafe fn too_early<K: Kernel>(cpu: &LoadedMm<K>, mm: NewMm<K>) {
    unsafe { cpu.switch_mm(mm) };
}

fn main() {}
