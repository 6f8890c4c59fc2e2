//! A spin lock with one shape in a kernel, on a host and in the model checker.

#[cfg(not(loom))]
pub use spin::{Mutex, MutexGuard};

#[cfg(loom)]
pub use modelled::Mutex;

#[cfg(loom)]
pub use loom::sync::MutexGuard;

#[cfg(loom)]
mod modelled {
    use loom::sync::MutexGuard;

    /// loom's lock behind the signature of `spin::Mutex`.
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// Makes an unlocked lock around `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock and takes it.
        ///
        /// # Panics
        ///
        /// When a thread of the model panicked while it held the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a thread of the model panicked under this lock")
        }

        /// Takes the lock if nobody holds it.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
