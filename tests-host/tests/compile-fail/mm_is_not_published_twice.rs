//! Publishing consumes the mm: it becomes visible in one place, once.
use mm_generic::kernel::Kernel;
use mm_generic::publish::{NewMm, PublicationPoint};

fn twice<K: Kernel, P: PublicationPoint<K>>(mm: NewMm<K>, first: P, second: P) {
    let _ = mm.publish(first).0.init_late();
    let _ = mm.publish(second).0.init_late();
}

fn main() {}
