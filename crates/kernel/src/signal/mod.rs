//! Signals: sending them, taking them on the way back to user mode, and the frames of their handlers.

pub mod action;
pub mod deliver;
mod frame;
pub mod info;
mod numbers;
pub mod pending;
pub mod send;
mod state;
mod stop;

pub use frame::{BadFrame, restore};
pub use numbers::{DefaultAction, Signal, SignalSet};
pub use state::{AlternateStack, ThreadSignals};
