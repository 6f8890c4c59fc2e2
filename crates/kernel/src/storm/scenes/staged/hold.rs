//! Holding a processor up at a point of the mutants' scheme, to do there what others could do meanwhile.

use crate::cpu::MAX_CPUS;
use crate::cpu::area::cpu_index;
use crate::sync::IrqMutex;
use alloc::boxed::Box;
use alloc::sync::Arc;
use mutants::stage::Point;

type Act = Box<dyn FnOnce() + Send>;

/// What is to be done on each processor, and where.
static HOLDS: [IrqMutex<Option<(Point, Act)>>; MAX_CPUS] =
    [const { IrqMutex::new(None) }; MAX_CPUS];

/// What comes of an act.
#[must_use = "that the point was reached is part of the scene"]
pub(super) struct Held<T>(Arc<IrqMutex<Option<T>>>);

/// Lets `act` be done when this processor comes to `point` next.
pub(super) fn at<T: Send + 'static>(
    point: Point,
    act: impl FnOnce() -> T + Send + 'static,
) -> Held<T> {
    let outcome = Arc::new(IrqMutex::new(None));
    let held = Held(Arc::clone(&outcome));
    let act = Box::new(move || {
        let result = act();
        *outcome.lock() = Some(result);
    });
    let former = HOLDS[cpu_index()].lock().replace((point, act));
    assert!(former.is_none(), "one hold to a processor at a time");
    held
}

impl<T> Held<T> {
    /// Returns what has come of the act.
    ///
    /// # Panics
    ///
    /// When the point was not reached: the scene proves nothing then.
    pub(super) fn take(self) -> T {
        self.0.lock().take().expect("the scene came to its point")
    }
}

/// Called at every point.
pub(super) fn reached(point: Point) {
    let act = {
        let mut hold = HOLDS[cpu_index()].lock();
        if hold.as_ref().is_none_or(|(wanted, _)| *wanted != point) {
            return;
        }
        hold.take()
    };
    // Without the lock: the act may come to points itself.
    if let Some((_, act)) = act {
        act();
    }
}
