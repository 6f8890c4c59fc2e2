//! What a process wants done when a signal comes: `struct sigaction`.

use super::numbers::{DefaultAction, Signal, SignalSet};
use bitflags::bitflags;
use kernel_sync::Mutex;

bitflags! {
    /// `SA_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ActionFlags: u64 {
        /// No SIGCHLD when a child stops.
        const NOCLDSTOP = 0x1;
        /// Children do not become zombies.
        const NOCLDWAIT = 0x2;
        /// The handler takes three arguments. It gets them anyway.
        const SIGINFO = 0x4;
        /// The program says where the handler returns to.
        const RESTORER = 0x0400_0000;
        /// The handler runs on the alternate stack.
        const ONSTACK = 0x0800_0000;
        /// An interrupted system call is made again.
        const RESTART = 0x1000_0000;
        /// The signal is not blocked while its handler runs.
        const NODEFER = 0x4000_0000;
        /// The action is the default again once the handler has been called.
        const RESETHAND = 0x8000_0000;
        const _ = !0;
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Address of the handler, or [`Action::DEFAULT`] or [`Action::IGNORE`].
    pub handler: u64,
    /// How.
    pub flags: ActionFlags,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals that are blocked while the handler runs.
    pub mask: SignalSet,
}

impl Action {
    /// `SIG_DFL`.
    pub const DEFAULT: u64 = 0;
    /// `SIG_IGN`.
    pub const IGNORE: u64 = 1;

    /// The default action.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            handler: Self::DEFAULT,
            flags: ActionFlags::empty(),
            restorer: 0,
            mask: SignalSet(0),
        }
    }

    /// Tells whether `signal` has no effect with this action.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.handler {
            Self::IGNORE => true,
            Self::DEFAULT => signal.default_action() == DefaultAction::Ignore,
            _ => false,
        }
    }

    /// Tells whether there is a handler to call.
    #[must_use]
    pub const fn is_caught(&self) -> bool {
        self.handler != Self::DEFAULT && self.handler != Self::IGNORE
    }
}

impl Default for Action {
    fn default() -> Self {
        Self::new()
    }
}

/// The actions of a process (`sighand_struct`).
#[derive(Debug)]
pub struct Handlers(Mutex<[Action; Signal::COUNT]>);

impl Handlers {
    /// All actions at their defaults.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new([Action::new(); Signal::COUNT]))
    }

    /// Returns a copy (`fork`).
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Mutex::new(*self.0.lock()))
    }

    /// Returns a copy without handlers, whose code is gone (`execve`).
    #[must_use]
    pub fn copy_for_exec(&self) -> Self {
        let mut actions = *self.0.lock();
        for action in &mut actions {
            *action = match action.handler {
                Action::IGNORE => Action { handler: Action::IGNORE, ..Action::new() },
                _ => Action::new(),
            };
        }
        Self(Mutex::new(actions))
    }

    /// Returns the action for `signal`.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Action {
        self.0.lock()[signal.index()]
    }

    /// Sets the action for `signal`, and returns the one before.
    pub fn set(&self, signal: Signal, action: Action) -> Action {
        core::mem::replace(&mut self.0.lock()[signal.index()], action)
    }
}

impl Default for Handlers {
    fn default() -> Self {
        Self::new()
    }
}
