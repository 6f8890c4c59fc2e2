//! What another CPU has loaded is looked at inside a read-side section and does not leave it: that CPU may drop it at once.
use kernel_sync::Rcu;
use mm_generic::kernel::Kernel;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::Mm;

fn keep<K: Kernel>(cpu: &LoadedMm<K>) -> Option<&Mm<K>> {
    let rcu = K::Rcu::read_lock();
    cpu.get(&rcu)
}

fn main() {}
