//! Waiting for several files at once: poll and select.

use super::io::poll_entry;
use super::user::{self, SECOND};
use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::mm::user::{copy_from_user, copy_to_user, read_u64};
use crate::sched::{Patience, WaitQueue, Woken, sleep_until};
use crate::signal::SignalSet;
use crate::task::memory::OpenFile;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::{Errno, Ready};

/// Descriptors in one call, at most.
const MAX: u64 = 1 << 16;

/// What is asked of a descriptor.
struct Watched {
    file: Option<Arc<OpenFile>>,
    /// What is asked, and what is reported unasked.
    events: Ready,
    /// Not a descriptor that is open.
    invalid: bool,
}

impl Watched {
    fn new(call: &Call<'_>, fd: i32, events: Ready) -> Self {
        let file = if fd < 0 { None } else { call.me.parts().fds().get(fd).ok() };
        let invalid = fd >= 0 && file.is_none();
        Self { file, events: events | Ready::UNASKED, invalid }
    }

    fn ready(&self) -> Ready {
        match &self.file {
            Some(file) => file.poll() & self.events,
            None if self.invalid => Ready::NVAL,
            None => Ready::empty(),
        }
    }
}

/// Sleeps until one of `watched` is ready, or until the deadline; returns what each is ready for.
fn wait(
    call: &Call<'_>,
    watched: &[Watched],
    deadline: Option<u64>,
) -> Result<Vec<Ready>, Failure> {
    let mut ready = user::list(watched.len())?;
    let mut look = || {
        ready.clear();
        ready.extend(watched.iter().map(Watched::ready));
        ready.iter().any(|ready: &Ready| !ready.is_empty()).then_some(())
    };
    let mut queues: Vec<&WaitQueue> = user::list(watched.len())?;
    queues.extend(watched.iter().filter_map(|one| one.file.as_ref()?.queue()));
    match sleep_until(&queues, Patience::UntilSignal, deadline, &mut look) {
        Ok(()) => Ok(ready),
        Err(Woken::Deadline) => {
            look();
            Ok(ready)
        }
        Err(Woken::Signal) => Err(match deadline {
            None => Failure::InterruptedByHandler,
            Some(deadline) => call.interrupted_before(deadline),
        }),
    }
}

fn poll_entries(call: &Call<'_>, deadline: Option<u64>) -> Answer {
    /// Bytes of a `struct pollfd`, and where in it the answer is.
    const SIZE: u64 = 8;
    const REVENTS: u64 = 6;
    let (address, count) = (call.arg(0), call.arg(1));
    if count > MAX {
        return Err(Errno::INVAL.into());
    }
    let mut watched = user::list(count as usize)?;
    for n in 0..count {
        let (fd, events) = poll_entry(address.wrapping_add(SIZE * n))?;
        watched.push(Watched::new(call, fd, Ready::from_bits_retain(u32::from(events))));
    }
    let ready = wait(call, &watched, deadline)?;
    for (n, ready) in ready.iter().enumerate() {
        let at = address.wrapping_add(SIZE * n as u64 + REVENTS);
        copy_to_user(at, &(ready.bits() as u16).to_le_bytes())?;
    }
    Ok(ready.iter().filter(|ready| !ready.is_empty()).count() as u64)
}

pub(super) fn poll(call: &Call<'_>) -> Answer {
    let timeout = call.arg(2) as i32;
    let deadline = u64::try_from(timeout).ok().map(|ms| call.deadline_after(ms * 1_000_000));
    poll_entries(call, deadline)
}

/// The deadline that a `struct timespec` at `address` stands for; none for 0.
fn deadline(call: &Call<'_>, address: u64) -> Result<Option<u64>, Failure> {
    if address == 0 {
        return Ok(None);
    }
    Ok(Some(call.deadline_after(user::timespec(address)?)))
}

/// Puts the mask at `address`, if there is one, in place of the thread's while `work` waits.
pub(super) fn with_mask(
    call: &Call<'_>,
    address: u64,
    size: u64,
    work: impl FnOnce() -> Answer,
) -> Answer {
    if address == 0 {
        return work();
    }
    if size != 8 {
        return Err(Errno::INVAL.into());
    }
    let signals = &call.me.parts().signals;
    signals.block_for_now(SignalSet(read_u64(address)?));
    let answer = work();
    // When a handler is to be called, its frame takes the old mask along.
    let interrupted = [Failure::InterruptedByHandler, Failure::InterruptedSleep];
    if !answer.is_err_and(|failure| interrupted.contains(&failure)) {
        signals.restore_blocked();
    }
    answer
}

pub(super) fn ppoll(call: &Call<'_>) -> Answer {
    let deadline = deadline(call, call.arg(2))?;
    with_mask(call, call.arg(3), call.arg(4), || poll_entries(call, deadline))
}

/// Reads one of select's sets.
fn read_set(address: u64, words: usize) -> Result<Vec<u64>, Failure> {
    let mut set = user::list(words)?;
    set.resize(words, 0);
    if address != 0 {
        for (n, word) in set.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            copy_from_user(&mut bytes, address.wrapping_add(8 * n as u64))?;
            *word = u64::from_le_bytes(bytes);
        }
    }
    Ok(set)
}

fn select_sets(call: &Call<'_>, deadline: Option<u64>) -> Answer {
    const READ: Ready = Ready::IN.union(Ready::RDNORM).union(Ready::HUP).union(Ready::ERR);
    const WRITE: Ready = Ready::OUT.union(Ready::WRNORM).union(Ready::ERR);
    const KINDS: [Ready; 3] = [READ, WRITE, Ready::PRI];
    let count = call.arg(0) as i32;
    if count < 0 || count as u64 > MAX {
        return Err(Errno::INVAL.into());
    }
    let count = count as usize;
    let words = count.div_ceil(64);
    let addresses = [call.arg(1), call.arg(2), call.arg(3)];
    let mut sets = Vec::new();
    for address in addresses {
        sets.push(read_set(address, words)?);
    }
    let asked_for = |fd: &usize| sets.iter().any(|set| set[fd / 64] >> (fd % 64) & 1 != 0);
    let most = (0..count).filter(asked_for).count();
    let mut watched = user::list(most)?;
    let mut asked = user::list(most)?;
    for fd in 0..count {
        let wants = |set: &Vec<u64>| set[fd / 64] >> (fd % 64) & 1 != 0;
        let kinds: [bool; 3] = core::array::from_fn(|kind| wants(&sets[kind]));
        if kinds == [false; 3] {
            continue;
        }
        let events = KINDS.iter().zip(kinds).filter(|(_, wanted)| *wanted);
        let events = events.fold(Ready::empty(), |all, (&kind, _)| all | kind);
        let one = Watched::new(call, fd as i32, events);
        if one.invalid {
            return Err(Errno::BADF.into());
        }
        // HUP and ERR count where they mean "would not block", and only there.
        watched.push(Watched { events, ..one });
        asked.push((fd, kinds));
    }
    let ready = wait(call, &watched, deadline)?;
    // The answers take the place of the questions.
    sets.iter_mut().for_each(|set| set.fill(0));
    let mut total = 0;
    for ((fd, kinds), ready) in asked.iter().zip(ready) {
        for kind in 0..3 {
            if kinds[kind] && ready.intersects(KINDS[kind]) {
                sets[kind][fd / 64] |= 1 << (fd % 64);
                total += 1;
            }
        }
    }
    for (address, answer) in addresses.into_iter().zip(sets) {
        if address != 0 {
            for (n, word) in answer.into_iter().enumerate() {
                copy_to_user(address.wrapping_add(8 * n as u64), &word.to_le_bytes())?;
            }
        }
    }
    Ok(total)
}

pub(super) fn select(call: &Call<'_>) -> Answer {
    let deadline = match call.arg(4) {
        0 => None,
        address => Some(call.deadline_after(user::timeval(address)?)),
    };
    let answer = select_sets(call, deadline);
    // Linux reports the time that is left.
    if let Some(deadline) = deadline {
        let left = deadline.saturating_sub(clock::now());
        user::put_pair(call.arg(4), left / SECOND, left % SECOND / 1000)?;
    }
    answer
}

pub(super) fn pselect6(call: &Call<'_>) -> Answer {
    let deadline = deadline(call, call.arg(4))?;
    let (mask, size) = match call.arg(5) {
        0 => (0, 0),
        address => (read_u64(address)?, read_u64(address.wrapping_add(8))?),
    };
    with_mask(call, mask, size, || select_sets(call, deadline))
}
