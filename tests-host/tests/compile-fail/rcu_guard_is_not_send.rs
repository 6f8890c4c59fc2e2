//! A read-side section is a CPU's: its guard does not go to another thread.
use kernel_task::epoch::EpochGuard;

fn to_another_cpu<T: Send>() {}

fn main() {
    to_another_cpu::<EpochGuard>();
}
