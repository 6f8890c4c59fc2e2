//! A walk is made by a growth: nobody else has one to hand to `sync_global_pgds`.
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::walk::Walk;

fn walk<K: Kernel>(init_mm: &InitMm<K>, rcu: &RcuGuard<K>) {
    let _ = Walk::new(init_mm, rcu);
}

fn main() {}
