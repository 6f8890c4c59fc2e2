//! An mm that got a task anew cannot be loaded before the hook (kthread_use_mm): walks may have missed it while it had none.
use mm_generic::kernel::Kernel;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::AttachedMm;

unsafe fn too_early<K: Kernel>(cpu: &LoadedMm<K>, mm: AttachedMm<K>) {
    unsafe { cpu.switch_mm(mm) };
}

fn main() {}
