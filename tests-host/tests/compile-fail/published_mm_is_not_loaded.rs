//! A published mm cannot be loaded before its late init: it may lack what was populated before walkers could see it.
use mm_generic::kernel::Kernel;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::PublishedMm;

unsafe fn too_early<K: Kernel>(cpu: &LoadedMm<K>, mm: PublishedMm<K>) {
    unsafe { cpu.switch_mm(mm) };
}

fn main() {}
