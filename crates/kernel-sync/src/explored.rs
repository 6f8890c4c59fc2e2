//! loom's atomics, such that loom explores every order of their accesses.
//!
//! loom 0.7.3 prunes interleavings by remembering the last access to each object. Where CPU A loads a word
//! and CPU B loads it and then stores it, B's own load has replaced A's by the time of the store, and the two orders of A's
//! load and B's store are not both explored (tokio-rs/loom #166, #392). Here a relaxed
//! read-modify-write of a shadow word goes before each load. Those of two CPUs conflict with each other, so both orders
//! are explored; being relaxed, and on a word of its own, it orders nothing, and the load itself
//! may still return an old value.

use loom::sync::atomic::{self as modelled, Ordering};

macro_rules! explored {
    ($(#[$doc:meta])* $name:ident $(<$parameter:ident>)?, $value:ty, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name $(<$parameter>)? {
            real: $inner,
            shadow: modelled::AtomicUsize,
        }

        impl $(<$parameter>)? $name $(<$parameter>)? {
            /// Makes a cell that holds `value`.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                Self { real: <$inner>::new(value), shadow: modelled::AtomicUsize::new(0) }
            }

            /// Loads the value.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.shadow.fetch_add(0, Ordering::Relaxed);
                self.real.load(order)
            }

            /// Stores `value`.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                self.real.store(value, order);
            }

            /// Stores `value` and returns what was there.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.real.swap(value, order)
            }

            /// Replaces `current` by `new`.
            ///
            /// # Errors
            ///
            /// What was there, when it was not `current`.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.shadow.fetch_add(0, Ordering::Relaxed);
                self.real.compare_exchange(current, new, success, failure)
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty: $($(#[$doc:meta])* $method:ident),+) => {
        impl $name {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    self.real.$method(value, order)
                }
            )+
        }
    };
}

macro_rules! integer {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        explored!($(#[$doc])* $name, $value, modelled::$name);
        arithmetic!($name, $value:
            /// Adds `value`; returns what was there.
            fetch_add,
            /// Subtracts `value`; returns what was there.
            fetch_sub,
            /// Sets the bits of `value`; returns what was there.
            fetch_or,
            /// Keeps the bits of `value`; returns what was there.
            fetch_and,
            /// Stores the larger one; returns what was there.
            fetch_max
        );
    };
}

explored!(
    /// A modelled `AtomicBool`.
    AtomicBool,
    bool,
    modelled::AtomicBool
);
explored!(
    /// A modelled `AtomicPtr`.
    AtomicPtr<T>,
    *mut T,
    modelled::AtomicPtr<T>
);
integer!(
    /// A modelled `AtomicU8`.
    AtomicU8,
    u8
);
integer!(
    /// A modelled `AtomicU32`.
    AtomicU32,
    u32
);
integer!(
    /// A modelled `AtomicU64`.
    AtomicU64,
    u64
);
integer!(
    /// A modelled `AtomicUsize`.
    AtomicUsize,
    usize
);
