//! timerfd(2): a timer that is read.
//!
//! The kernel calls [`Timer::ring`] when [`Timer::next`] has come. How often the timer has expired is found by the clock
//! when somebody asks, so a ring that comes late loses nothing.

use crate::stream::Stream;
use crate::wait::{Level, Watched};
use crate::{Errno, FileType, OpenFile, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

/// When a timer is due, and how long it takes from then on. In nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// By the kernel's clock, or from now on, as the function says; 0 when it is off.
    pub due: u64,
    /// 0 for once.
    pub interval: u64,
}

/// A timer.
pub struct Timer<Q: WaitQueue> {
    state: Watched<State, Q>,
    /// Nanoseconds since boot.
    clock: fn() -> u64,
    /// Programs give absolute moments as times of day.
    realtime: bool,
}

struct State {
    setting: Setting,
    /// It has expired and nobody has read that.
    expired: bool,
    rings: u64,
}

impl State {
    /// Returns how often the timer has expired at `now` since the last read.
    fn expirations(&self, now: u64) -> u64 {
        let Setting { due, interval } = self.setting;
        match now.checked_sub(due) {
            _ if due == 0 => 0,
            None => 0,
            Some(late) => 1 + late.checked_div(interval).unwrap_or(0),
        }
    }

    /// Takes the expirations, and sets the timer for the next.
    fn take(&mut self, now: u64) -> u64 {
        let count = self.expirations(now);
        if count > 0 {
            let Setting { due, interval } = self.setting;
            self.setting.due = if interval == 0 { 0 } else { due + count * interval };
        }
        self.expired = false;
        count
    }

    /// Returns the next moment at which the timer expires, after `now`; `None` if there is none.
    fn next(&self, now: u64) -> Option<u64> {
        let Setting { due, interval } = self.setting;
        match self.expirations(now) {
            _ if due == 0 => None,
            0 => Some(due),
            _ if interval == 0 => None,
            count => Some(due + count * interval),
        }
    }

    /// Returns the setting with the time that is left.
    fn left(&self, now: u64) -> Setting {
        let due = self.next(now).map_or(0, |next| next - now);
        Setting { due, ..self.setting }
    }
}

impl Level for State {
    fn level(&self) -> u32 {
        u32::from(self.expired)
    }

    fn arrivals(&self) -> u64 {
        self.rings
    }
}

impl<Q: WaitQueue> fmt::Debug for Timer<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({:?})", self.state.look(|state| state.setting))
    }
}

/// Makes a timer that is off; with `realtime`, programs mean times of day by its absolute moments. Of `flags`, the status flags count.
#[must_use]
pub fn open<Q: WaitQueue>(
    clock: fn() -> u64,
    realtime: bool,
    flags: OpenFlags,
) -> Arc<OpenFile<Q>> {
    let state = State { setting: Setting::default(), expired: false, rings: 0 };
    let timer = Arc::new(Timer { state: Watched::<_, Q>::new(state), clock, realtime });
    OpenFile::stream(Box::new(timer), flags & OpenFlags::SETTABLE | OpenFlags::RDWR)
}

impl<Q: WaitQueue> Timer<Q> {
    /// Sets the timer to expire at `new.due` of the kernel's clock, or off; returns what was left of it.
    pub fn set(&self, new: Setting) -> Setting {
        let now = (self.clock)();
        self.state.change(|state| {
            let old = state.left(now);
            state.setting = new;
            state.expired = false;
            old
        })
    }

    /// Tells whether absolute moments are times of day.
    #[must_use]
    pub fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// Returns what is left of the timer.
    #[must_use]
    pub fn get(&self) -> Setting {
        let now = (self.clock)();
        self.state.look(|state| state.left(now))
    }

    /// Returns the next moment at which the timer expires; `None` if there is none.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let now = (self.clock)();
        self.state.look(|state| state.next(now))
    }

    /// Wakes who waits, if the timer has expired.
    pub fn ring(&self) {
        let now = (self.clock)();
        self.state.change(|state| {
            if state.expirations(now) > 0 {
                state.expired = true;
                state.rings += 1;
            }
        });
    }
}

impl<Q: WaitQueue> Stream<Q> for Arc<Timer<Q>> {
    /// As for an eventfd.
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn label(&self) -> &'static str {
        "timerfd"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let to = buffer.first_chunk_mut::<8>().ok_or(Errno::INVAL)?;
        let now = (self.clock)();
        match self.state.change(|state| state.take(now)) {
            0 => Err(Errno::AGAIN),
            count => {
                *to = count.to_le_bytes();
                Ok(8)
            }
        }
    }

    fn poll(&self) -> Ready {
        let now = (self.clock)();
        Ready::readable(self.state.look(|state| state.expirations(now) > 0))
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.state.queue())
    }

    fn edges(&self) -> u64 {
        self.state.edges()
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    /// Returns the timer, if this is one.
    #[must_use]
    pub fn timer(&self) -> Option<&Arc<Timer<Q>>> {
        self.stream_as()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bell, rings};
    use core::cell::Cell;

    extern crate std;

    std::thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn timer() -> Arc<OpenFile<Bell>> {
        NOW.set(1000);
        open(|| NOW.get(), false, OpenFlags::empty())
    }

    fn set(file: &OpenFile<Bell>, due: u64, interval: u64) -> Setting {
        file.timer().expect("a timer").set(Setting { due, interval })
    }

    fn read(file: &OpenFile<Bell>) -> Result<u64, Errno> {
        let mut buffer = [0; 8];
        file.read(&mut buffer)?;
        Ok(u64::from_le_bytes(buffer))
    }

    #[test]
    fn one_shot_expires_once() {
        let file = timer();
        assert_eq!(read(&file), Err(Errno::AGAIN), "off");
        assert_eq!(set(&file, 1100, 0), Setting::default());
        NOW.set(1099);
        assert_eq!(read(&file), Err(Errno::AGAIN));
        let timer = file.timer().expect("a timer");
        assert_eq!((timer.get().due, timer.next()), (1, Some(1100)));
        NOW.set(5000);
        timer.ring();
        assert_eq!(rings(&file), 1);
        assert_eq!((timer.get().due, timer.next()), (0, None));
        assert_eq!([read(&file), read(&file)], [Ok(1), Err(Errno::AGAIN)]);
    }

    #[test]
    fn intervals_are_counted_however_late_the_read() {
        let file = timer();
        set(&file, 1100, 100);
        NOW.set(1450);
        assert!(file.poll().contains(Ready::IN), "before any ring");
        assert_eq!(file.timer().expect("a timer").next(), Some(1500));
        assert_eq!(read(&file), Ok(4));
        assert_eq!(read(&file), Err(Errno::AGAIN));
        NOW.set(1500);
        assert_eq!(read(&file), Ok(1));
    }

    #[test]
    fn each_expiry_is_an_edge_and_setting_it_anew_forgets_the_old() {
        let file = timer();
        set(&file, 1100, 100);
        NOW.set(1100);
        let timer = file.timer().expect("a timer");
        timer.ring();
        let edges = file.edges();
        NOW.set(1200);
        timer.ring();
        assert!(file.edges() > edges);
        let old = set(&file, 2000, 0);
        assert_eq!(old, Setting { due: 100, interval: 100 });
        assert!(!file.poll().contains(Ready::IN));
        assert_eq!(read(&file), Err(Errno::AGAIN));
    }
}
