//! The interval timers of processes, `setitimer` and `alarm`, and the timers that are files.
//!
//! The one that runs in real time is a thread's business: it sleeps until the first of them is due, and sends the
//! signals. The two that run in the process's own time are looked at when one of its threads is about to go
//! back to user mode after a tick. User and system time are one to this kernel, so these two differ in their
//! signal only.

use crate::cpu::clock;
use crate::sched::{Current, Patience, WaitQueue, sleep_until};
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::task::process::{for_each_thread, leader_of};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_task::pid::Pid;

/// Which timer, as programs number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Real time; SIGALRM.
    Real = 0,
    /// The process's time in user mode; SIGVTALRM.
    Virtual = 1,
    /// The process's time; SIGPROF.
    Profile = 2,
}

impl Which {
    /// Returns the timer with this number.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Real),
            1 => Some(Self::Virtual),
            2 => Some(Self::Profile),
            _ => None,
        }
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Real => Signal::ALRM,
            Self::Virtual => Signal::VTALRM,
            Self::Profile => Signal::PROF,
        }
    }
}

/// When a timer is due, in nanoseconds of its time, and how long it takes from then on; 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    due: u64,
    interval: u64,
}

/// What is left of a timer, and its interval, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Until it is due; 0 when it is off.
    pub left: u64,
    /// From then on; 0 for once.
    pub interval: u64,
}

/// The timers of a process.
#[derive(Debug)]
pub struct Timers {
    timers: Mutex<[Timer; 3]>,
    /// One of those is on that run in the process's own time.
    own_time: AtomicBool,
    /// Tells equal moments in [`DUE`] apart.
    number: u64,
}

/// When a timer is due, and its process's number.
type Key = (u64, u64);

/// Whose timer it is.
#[derive(Clone)]
enum Owner {
    Process(Pid),
    /// The address of the timer is its number.
    File(Weak<FileTimer>),
    /// As above.
    Alarm(Weak<dyn Alarm>),
}

/// What wants to be told when it is time.
pub trait Alarm: Send + Sync {
    /// It is `now`, and the alarm was set to that or an earlier moment: returns when it wants to be told next. It may have
    /// been set to another one since.
    fn ring(&self, now: u64) -> Option<u64>;
}

/// A timer that is a file.
type FileTimer = files::timerfd::Timer<WaitQueue>;

/// The timers that run in real time.
static DUE: Mutex<BTreeMap<Key, Owner>> = Mutex::new(BTreeMap::new());

/// What the thread waits for, besides time.
static CHANGED: WaitQueue = WaitQueue::new();

impl Timers {
    /// Timers that are off.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self {
            timers: Mutex::new([Timer::default(); 3]),
            own_time: AtomicBool::new(false),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Sets a timer of the running task's process to go off after `setting.left` nanoseconds, or off with 0;
    /// returns what it was.
    pub fn set(me: &Current, which: Which, setting: Setting) -> Setting {
        let this = &me.parts().process.timers;
        let now = now(me, which);
        let due = if setting.left == 0 { 0 } else { now.saturating_add(setting.left) };
        let mut timers = this.timers.lock();
        let new = Timer { due, interval: setting.interval };
        let old = core::mem::replace(&mut timers[which as usize], new);
        if which == Which::Real {
            let mut all = DUE.lock();
            all.remove(&(old.due, this.number));
            if due != 0 {
                all.insert((due, this.number), Owner::Process(me.process().pid()));
            }
            drop(all);
            CHANGED.wake_all();
        }
        let own_time = timers[1].due | timers[2].due;
        this.own_time.store(own_time != 0, Ordering::Relaxed);
        left(old, now)
    }

    /// Returns what is left of a timer of the running task's process.
    #[must_use]
    pub fn get(me: &Current, which: Which) -> Setting {
        let timer = me.parts().process.timers.timers.lock()[which as usize];
        left(timer, now(me, which))
    }

    /// Tells whether a timer is on that runs in the process's own time.
    #[must_use]
    pub fn counts_own_time(&self) -> bool {
        self.own_time.load(Ordering::Relaxed)
    }

    /// Returns whether `which` is due at `now`, and sets it for its interval then.
    fn take_due(&self, which: Which, now: u64) -> bool {
        let mut timers = self.timers.lock();
        let timer = &mut timers[which as usize];
        if timer.due == 0 || timer.due > now {
            return false;
        }
        timer.due = match timer.interval {
            0 => 0,
            // Those that were missed count as one, as in Linux.
            interval => timer.due + interval * ((now - timer.due) / interval + 1),
        };
        true
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        let due = self.timers.lock()[Which::Real as usize].due;
        if due != 0 {
            DUE.lock().remove(&(due, self.number));
        }
    }
}

/// The moment it is, in the timer's time.
fn now(me: &Current, which: Which) -> u64 {
    if which == Which::Real { clock::now() } else { own_time(me) }
}

/// Time that the running task's process had on processors so far, in nanoseconds.
fn own_time(me: &Current) -> u64 {
    let mut sum = me.parts().process.past_runtime.load(Ordering::Relaxed);
    sum += me.parts().sched.runtime_now();
    for_each_thread(me, |thread| {
        if !thread.ptr_eq(me) && !thread.parts().sched.is_dead() {
            sum += thread.parts().sched.runtime();
        }
    });
    sum
}

fn left(timer: Timer, now: u64) -> Setting {
    // One that is due and has not gone off yet is not off.
    let left = if timer.due == 0 { 0 } else { timer.due.saturating_sub(now).max(1) };
    Setting { left, interval: timer.interval }
}

/// Sends the running task's process the signals of those timers that are due in its own time.
pub fn check_own_time(me: &Current) {
    let now = own_time(me);
    for which in [Which::Virtual, Which::Profile] {
        if me.parts().process.timers.take_due(which, now)
            && let Some(leader) = leader_of(me.process().pid())
        {
            send::to_process(&leader, Info::kernel(which.signal()));
        }
    }
}

/// Sends the signals of timers that run in real time, for ever.
pub extern "C" fn serve(_: usize) -> ! {
    let first = || DUE.lock().first_key_value().map(|(&key, owner)| (key, owner.clone()));
    loop {
        let next = first().map(|((due, _), _)| due);
        let changed = || (first().map(|((due, _), _)| due) != next).then_some(());
        // Either way there is something to look at.
        let _ = sleep_until(&[&CHANGED], Patience::Endless, next, changed);
        while let Some((key, owner)) = first().filter(|((due, _), _)| *due <= clock::now()) {
            match owner {
                Owner::Process(pid) => go_off(key, pid),
                Owner::File(timer) => ring(key, &timer),
                Owner::Alarm(alarm) => ring_alarm(key, &alarm),
            }
        }
    }
}

fn go_off(key: Key, pid: Pid) {
    DUE.lock().remove(&key);
    let Some(leader) = leader_of(pid) else { return };
    let timers = &leader.parts().process.timers;
    // Another process may have got the id, or the program set the timer anew.
    if timers.number != key.1 || !timers.take_due(Which::Real, clock::now()) {
        return;
    }
    {
        let timers_locked = timers.timers.lock();
        let due = timers_locked[Which::Real as usize].due;
        if due != 0 {
            DUE.lock().insert((due, timers.number), Owner::Process(pid));
        }
    }
    send::to_process(&leader, Info::kernel(Which::Real.signal()));
}

/// Sets a timer that is a file, and returns what was left of it.
pub fn set_file(
    timer: &Arc<FileTimer>,
    setting: files::timerfd::Setting,
) -> files::timerfd::Setting {
    let old = timer.set(setting);
    {
        let mut all = DUE.lock();
        all.retain(
            |_, owner| !matches!(owner, Owner::File(other) if other.as_ptr() == Arc::as_ptr(timer)),
        );
        if setting.due != 0 {
            all.insert((setting.due, number_of(timer)), Owner::File(Arc::downgrade(timer)));
        }
    }
    CHANGED.wake_all();
    old
}

/// A number that no other timer has: processes are counted from 0, and never get as far as addresses.
fn number_of(timer: &Arc<FileTimer>) -> u64 {
    Arc::as_ptr(timer).addr() as u64
}

/// Tells who waits that a timer has expired, and sees to its next time.
fn ring(key: Key, timer: &Weak<FileTimer>) {
    DUE.lock().remove(&key);
    let Some(timer) = timer.upgrade() else { return };
    timer.ring();
    if let Some(next) = timer.next() {
        // If it is set anew at this moment, there are two entries, and one rings in vain.
        DUE.lock().insert((next, number_of(&timer)), Owner::File(Arc::downgrade(&timer)));
    }
}

fn number_of_alarm(alarm: *const dyn Alarm) -> u64 {
    alarm.addr() as u64
}

/// Sets an alarm to another moment, or off with 0.
pub fn set_alarm(alarm: &Arc<dyn Alarm>, due: u64) {
    let number = number_of_alarm(Arc::as_ptr(alarm));
    {
        let mut all = DUE.lock();
        all.retain(|key, owner| !(matches!(owner, Owner::Alarm(_)) && key.1 == number));
        if due != 0 {
            all.insert((due, number), Owner::Alarm(Arc::downgrade(alarm)));
        }
    }
    CHANGED.wake_all();
}

fn ring_alarm(key: Key, alarm: &Weak<dyn Alarm>) {
    DUE.lock().remove(&key);
    let Some(alarm) = alarm.upgrade() else { return };
    if let Some(next) = alarm.ring(clock::now()) {
        let number = number_of_alarm(Arc::as_ptr(&alarm));
        DUE.lock().insert((next, number), Owner::Alarm(Arc::downgrade(&alarm)));
    }
}
