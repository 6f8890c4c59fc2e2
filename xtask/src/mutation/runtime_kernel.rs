
pub use crate::atomic::fence;

/// Queues `callback`; or runs it, for mutant `number`.
pub fn call_rcu<R: crate::Rcu>(number: usize, callback: impl FnOnce() + Send + 'static) {
    if is(number) {
        callback();
    } else {
        R::call_rcu(callback);
    }
}
