//! Mutual exclusion below the scheduler: interrupts off, and a spin lock that turns them off.
//!
//! Kernel code is preempted only where it asks to be (it calls the scheduler), never by an
//! interrupt. So code on one processor is interleaved with interrupt handlers and nothing else, and
//! data shared with handlers needs one of these two.

mod irq;
mod lock;

pub use irq::IrqGuard;
pub use lock::{IrqMutex, RawIrqSpinlock};
