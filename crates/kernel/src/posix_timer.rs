//! The timers of timer_create(2): as many as a process wants, each with a signal of its own.
//!
//! A timer has one signal under way at most. What expires meanwhile is counted, and told with the next one or when the program
//! asks.

use crate::cpu::clock;
use crate::signal::info::{Details, Info, SI_TIMER};
use crate::signal::{Signal, send};
use crate::task::process::{leader_of, task_of};
use crate::timer::{self, Alarm};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use kernel_sync::Mutex;
use kernel_task::pid::Pid;

/// Timers of a process, at most: each may have a signal under way.
const MAX: usize = 1024;

/// Whom a timer tells.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Nobody.
    Nobody,
    /// The process.
    Process(Pid),
    /// One of its threads.
    Thread(Pid),
}

/// A timer.
#[derive(Debug)]
pub struct PosixTimer {
    id: i32,
    told: Told,
    signal: Signal,
    /// What the program wants to be told with the signal; its id if it has not said.
    value: u64,
    /// Absolute moments are times of day.
    pub realtime: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it is due, since boot; 0 when it is off.
    due: u64,
    interval: u64,
    overrun: u64,
}

/// What is left of a timer, and its interval, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Until it is due; 0 when it is off.
    pub left: u64,
    /// From then on; 0 for once.
    pub interval: u64,
}

impl State {
    fn left(&self, now: u64) -> Left {
        let left = if self.due == 0 { 0 } else { self.due.saturating_sub(now).max(1) };
        Left { left, interval: self.interval }
    }
}

/// The timers of a process, by their ids.
#[derive(Debug, Default)]
pub struct PosixTimers(Mutex<BTreeMap<i32, Arc<PosixTimer>>>);

impl PosixTimers {
    /// Makes a timer that is off; `None` if there are too many.
    pub fn create(
        &self,
        told: Told,
        signal: Signal,
        value: Option<u64>,
        realtime: bool,
    ) -> Option<i32> {
        let mut timers = self.0.lock();
        if timers.len() >= MAX {
            return None;
        }
        let id = (0..).find(|id| !timers.contains_key(id))?;
        let value = value.unwrap_or(id as u64);
        let state = Mutex::default();
        timers.insert(id, Arc::new(PosixTimer { id, told, signal, value, realtime, state }));
        Some(id)
    }

    /// Finds a timer.
    pub fn get(&self, id: i32) -> Option<Arc<PosixTimer>> {
        self.0.lock().get(&id).cloned()
    }

    /// Ends a timer; tells whether there was one.
    pub fn delete(&self, id: i32) -> bool {
        let removed = self.0.lock().remove(&id);
        removed.map(|timer| timer.set(0, 0)).is_some()
    }

    /// Ends all timers: the process executes a program.
    pub fn delete_all(&self) {
        let timers = core::mem::take(&mut *self.0.lock());
        for timer in timers.values() {
            timer.set(0, 0);
        }
    }
}

impl PosixTimer {
    /// Sets the timer, to be due at `due` since boot (0 for off), and returns what was left of it.
    pub fn set(self: &Arc<Self>, due: u64, interval: u64) -> Left {
        let mut state = self.state.lock();
        let old = state.left(clock::now());
        *state = State { due, interval, overrun: 0 };
        drop(state);
        let alarm: Arc<dyn Alarm> = self.clone();
        timer::set_alarm(&alarm, due);
        old
    }

    /// Returns what is left.
    pub fn left(&self) -> Left {
        self.state.lock().left(clock::now())
    }

    /// Returns how often it has expired while its last signal was under way.
    pub fn overrun(&self) -> i32 {
        i32::try_from(self.state.lock().overrun).unwrap_or(i32::MAX)
    }

    fn send(&self) {
        let (target, to_thread) = match self.told {
            Told::Nobody => return,
            Told::Process(pid) => (leader_of(pid), false),
            Told::Thread(pid) => (task_of(pid), true),
        };
        let Some(target) = target else { return };
        let parts = target.parts();
        let pending = if to_thread { &parts.signals.pending } else { &parts.process.pending };
        let mut state = self.state.lock();
        if pending.set().contains(self.signal) {
            state.overrun += 1;
            return;
        }
        let overrun = core::mem::take(&mut state.overrun) as u32;
        drop(state);
        let details = Details::Sender { pid: self.id as u32, uid: overrun, value: self.value };
        let info = Info { signal: self.signal, code: SI_TIMER, details };
        if to_thread { send::to_thread(&target, info) } else { send::to_process(&target, info) }
    }
}

impl Alarm for PosixTimer {
    fn ring(&self, now: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if state.due == 0 || state.due > now {
            // It has been set anew.
            return Some(state.due).filter(|&due| due != 0);
        }
        state.due = match state.interval {
            0 => 0,
            interval => {
                let missed = (now - state.due) / interval;
                state.overrun += missed;
                state.due + interval * (missed + 1)
            }
        };
        let next = state.due;
        drop(state);
        self.send();
        Some(next).filter(|&due| due != 0)
    }
}
