
pub use crate::atomic::fence;

/// Queues `callback`; or runs it, for mutant `number`.
pub fn call_rcu<R: crate::Rcu>(number: usize, callback: crate::Callback) {
    if is(number) {
        callback.run();
    } else {
        R::call_rcu(callback);
    }
}
