
// Part of a mutated copy: publications that come after the hook, and hooks that are left out.

impl<K: Kernel> NewMm<K> {
    /// As [`NewMm::publish`]; for mutant `number` after the hook.
    pub fn publish_or_late<P: PublicationPoint<K>>(
        self,
        number: usize,
        point: P,
    ) -> (PublishedMm<K>, P::Published) {
        #[cfg(feature = "pgd-init-late")]
        if ::kernel_sync::mutation::is(number) {
            self.0.init_mm().arch().pgd_init_late(self.0.pgd());
        }
        self.publish(point)
    }
}

impl<K: Kernel> PublishedMm<K> {
    /// As [`PublishedMm::init_late`]; for each of `numbers` without the hook.
    pub fn init_late_unless(self, numbers: [usize; 2]) -> ReadyMm<K> {
        if numbers.map(::kernel_sync::mutation::is).contains(&true) {
            self.0.set_stage(Stage::Ready);
            return ReadyMm(self.0);
        }
        self.init_late()
    }
}

/// As [`publish_again`]; for mutant `number` after the hook.
pub fn publish_again_or_late<K: Kernel, P: PublicationPoint<K>>(
    number: usize,
    mm: SharedMm<K>,
    point: P,
) -> (AttachedMm<K>, P::Published) {
    #[cfg(feature = "pgd-init-late")]
    if ::kernel_sync::mutation::is(number) {
        mm.0.init_mm().arch().pgd_attach(mm.0.pgd());
    }
    publish_again(mm, point)
}

impl<K: Kernel> AttachedMm<K> {
    /// As [`AttachedMm::init_late`]; for each of `numbers` without the hook.
    pub fn init_late_unless(self, numbers: [usize; 2]) -> ReadyMm<K> {
        if numbers.map(::kernel_sync::mutation::is).contains(&true) {
            return ReadyMm(self.0);
        }
        self.init_late()
    }
}
