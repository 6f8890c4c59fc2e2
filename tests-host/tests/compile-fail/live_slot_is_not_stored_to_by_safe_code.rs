// The slots of a live PGD, atomics that anybody could store to, are not to be had without `unsafe`.

use arch_x86::geometry::LongMode;
use arch_x86::slots::Slots;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::Frames;

fn clear<F: Frames>(slots: &Slots<LongMode, F>) {
    slots.of(slots.root())[0].store(0, Ordering::Release);
}

fn main() {}
