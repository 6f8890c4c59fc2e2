//! What the PGD crates ask of a kernel's read-copy update.

use crate::Callback;

/// Read-copy update, as the kernel that consumes these crates provides it.
///
/// Walkers follow pointers that fork, exec and exit replace at any moment. They do so inside a
/// read-side section, and whoever unlinks an object frees it through [`Rcu::call_rcu`], so the
/// object outlives every section that could have found it. A spin lock is no read-side section:
/// that was a finding of the review of the 2015 patch, which is why the guard is demanded by type.
///
/// The methods have no receiver because RCU is ambient in a kernel: one domain, reached through
/// the current CPU. The epoch-based implementation of `kernel-task` serves a kernel and a host.
///
/// # Safety
///
/// A callback handed to [`Rcu::call_rcu`] must not run before every guard that existed at the
/// time of the call, on any CPU, has been dropped; and what those sections did happens before it.
/// A section that the callback does not wait for sees everything that happened before the call: it
/// cannot find what was unlinked then. (An epoch-based implementation pays for this with a full
/// barrier on entry.)
pub unsafe trait Rcu: Send + Sync + Sized + 'static {
    /// Evidence of being inside a read-side section of this domain. Must not be `Send`.
    type Guard;

    /// Enters a read-side section; dropping the guard leaves it.
    fn read_lock() -> Self::Guard;

    /// Runs `callback` after a grace period, on any CPU, outside of any lock of the caller's.
    ///
    /// Called where nothing can be refused any more: it does not fail. An implementation links the callback by
    /// its [`crate::RcuHead`], in a [`crate::CallbackQueue`] or, by [`Callback::into_head`], in a queue of the kernel's own, and allocates nothing.
    fn call_rcu(callback: Callback);
}
