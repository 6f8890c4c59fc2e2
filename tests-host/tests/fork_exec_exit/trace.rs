//! What the kernel was asked to do, in order, on the CPU that the calling thread plays.

use std::cell::{Cell, RefCell};

use kernel_task::pid::Pid;
use mm_generic::frames::Frame;

/// A part of a task, in the order in which `copy_process` copies them; the mm comes before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Creds,
    Files,
    Fs,
    Sighand,
    Signal,
    Thread,
}

impl Step {
    pub(crate) const ALL: [Self; 6] =
        [Self::Creds, Self::Files, Self::Fs, Self::Sighand, Self::Signal, Self::Thread];
}

/// Something that the kernel was asked to do. Logged before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part is copied for a child.
    Copy(Step),
    /// The parts become one.
    Assemble,
    /// A part is dropped.
    Drop(Step),
    /// `pgd_alloc` has made this root.
    PgdAlloc(Frame),
    /// `pgd_free`.
    PgdFree(Frame),
    /// The hook, for a new PGD.
    InitLate(Frame),
    /// The hook, for one that gets another task.
    Attach(Frame),
    /// CR3 is written.
    Load(Frame),
    /// Whoever waits for this child to let its mm go is woken.
    WakeVfork(Pid),
    /// A waiter of the futex at this address is woken.
    WakeFutex(u64),
    /// A parent is told of a child.
    Notify { parent: Pid, child: Pid },
}

type Observer = Box<dyn FnMut(Event)>;

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    static FAILING: Cell<Option<Step>> = const { Cell::new(None) };
    static WANTS_ZOMBIES: Cell<bool> = const { Cell::new(true) };
}

/// Logs `event` and shows it to the observer, if there is one that is not looking at another event already.
pub(crate) fn log(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push(event));
    let Some(mut observer) = OBSERVER.take() else { return };
    observer(event);
    OBSERVER.set(Some(observer));
}

/// Takes what has been logged on this CPU since the last call.
pub(crate) fn events() -> Vec<Event> {
    EVENTS.take()
}

/// Calls `f` while `observer` is shown every event on this CPU, at the moment it happens; returns the
/// events of the call as well.
pub(crate) fn observed<T>(
    observer: impl FnMut(Event) + 'static,
    f: impl FnOnce() -> T,
) -> (T, Vec<Event>) {
    events();
    OBSERVER.set(Some(Box::new(observer)));
    let value = f();
    OBSERVER.set(None);
    (value, events())
}

/// The events of one call.
pub(crate) fn logged<T>(f: impl FnOnce() -> T) -> (T, Vec<Event>) {
    observed(|_| {}, f)
}

/// Makes copies of `step` fail on this CPU while `f` is called.
pub(crate) fn failing<T>(step: Step, f: impl FnOnce() -> T) -> T {
    FAILING.set(Some(step));
    let value = f();
    FAILING.set(None);
    value
}

pub(crate) fn is_failing(step: Step) -> bool {
    FAILING.get() == Some(step)
}

/// Makes parents that are told of a child on this CPU ignore it, as with `SIGCHLD` ignored.
pub(crate) fn ignore_children(ignore: bool) {
    WANTS_ZOMBIES.set(!ignore);
}

pub(crate) fn wants_zombies() -> bool {
    WANTS_ZOMBIES.get()
}
