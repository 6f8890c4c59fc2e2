//! What can stand between a store and a load.

use std::arch::asm;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};

use kernel_sync::{Mutex, smp_mb};

/// A barrier, or none: kept by the compiler, and between the accesses that the program has it between.
pub(crate) trait Barrier: Sync + Default {
    /// Executes it.
    fn stand(&self);
}

/// Nothing that the processor sees.
#[derive(Default)]
pub(crate) struct None;

/// A C11 acquire-release fence, which is no instruction on x86.
#[derive(Default)]
pub(crate) struct AcquireRelease;

/// `sfence`, Linux's `smp_wmb` at its strongest: what the first version of the 2015 patch had.
#[derive(Default)]
pub(crate) struct StoreFence;

/// `mfence`.
#[derive(Default)]
pub(crate) struct MemoryFence;

/// `fence(SeqCst)` as the crates call it: a locked instruction on the stack.
#[derive(Default)]
pub(crate) struct Full;

/// A locked read-modify-write of a word that nobody else uses.
#[derive(Default)]
pub(crate) struct LockedWord(Own<AtomicU64>);

/// A spin lock, taken and given back, which nobody else wants: what stands where the crates rely on a lock being a barrier.
#[derive(Default)]
pub(crate) struct Lock(Own<Mutex<()>>);

/// A value on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Own<T>(pub(crate) T);

/// Stands only on one side.
#[derive(Default)]
pub(crate) struct OnSide<const SIDE: usize, B>(PhantomData<B>);

/// A barrier for each side.
pub(crate) trait Barriers: Sync + Default {
    /// Executes `side`'s.
    fn stand_on(&self, side: usize);
}

impl Barrier for None {
    #[inline(always)]
    fn stand(&self) {
        compiler_fence(Ordering::SeqCst);
    }
}

impl Barrier for AcquireRelease {
    #[inline(always)]
    fn stand(&self) {
        fence(Ordering::AcqRel);
    }
}

impl Barrier for StoreFence {
    #[inline(always)]
    fn stand(&self) {
        // SAFETY: no operand, and every x86-64 processor has it.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }
}

impl Barrier for MemoryFence {
    #[inline(always)]
    fn stand(&self) {
        // SAFETY: no operand, and every x86-64 processor has it.
        unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    }
}

impl Barrier for Full {
    #[inline(always)]
    fn stand(&self) {
        smp_mb();
    }
}

impl Barrier for LockedWord {
    #[inline(always)]
    fn stand(&self) {
        // Of two sides, two words would be as good: what counts is that the instruction is locked.
        self.0.0.fetch_add(1, Ordering::AcqRel);
        compiler_fence(Ordering::SeqCst);
    }
}

impl Barrier for Lock {
    #[inline(always)]
    fn stand(&self) {
        drop(self.0.0.lock());
        compiler_fence(Ordering::SeqCst);
    }
}

/// The same on both sides, each with a word or a lock of its own.
#[derive(Default)]
pub(crate) struct Both<B>([B; 2]);

impl<B: Barrier> Barriers for Both<B> {
    #[inline(always)]
    fn stand_on(&self, side: usize) {
        self.0[side].stand();
    }
}

impl<const SIDE: usize, B: Barrier> Barriers for OnSide<SIDE, B> {
    #[inline(always)]
    fn stand_on(&self, side: usize) {
        if side == SIDE {
            B::default().stand();
        } else {
            None.stand();
        }
    }
}
