//! epoll(7): a set of files to watch, which is a file itself.
//!
//! The set listens to the queues of its files (see [`wait`](crate::wait)), and who waits for any of them waits on the
//! set's queue. What is ready is found by asking each file; a kernel whose programs watch thousands of idle files
//! would keep a list of those that have woken the set.
//!
//! A file is in the set under the descriptor it was added with, and stays for as long as a descriptor refers to its
//! description, whichever that is: as in Linux, closing one of two does not take it out.
//!
//! # Sets of sets
//!
//! Asking a set asks its files under its lock, so a set that contains itself would wait for itself for ever.
//! [`Epoll::add`] refuses one that would close a circle, and `NESTING` lets one addition of a set happen at a time.

use crate::stream::Stream;
use crate::{Errno, FileType, OpenFile, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::fmt;
use core::ops::Bound;
use kernel_sync::Mutex;

bitflags! {
    /// How a file is watched: the upper bits of `events`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mode: u32 {
        /// One waiter at most is to be woken. All are.
        const EXCLUSIVE = 1 << 28;
        /// Suspend must not lose the event. There is none.
        const WAKEUP = 1 << 29;
        /// Reported once, until changed.
        const ONESHOT = 1 << 30;
        /// Reported when there is news, and not as long as it is ready.
        const EDGE = 1 << 31;
    }
}

/// `struct epoll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// [`Ready`] and [`Mode`].
    pub events: u32,
    /// The program's own.
    pub data: u64,
}

/// Bytes of `struct epoll_event`, which is packed on x86-64.
pub const EVENT_SIZE: usize = 12;

impl Event {
    /// Reads the bytes of a program.
    #[must_use]
    pub fn from_bytes(bytes: [u8; EVENT_SIZE]) -> Self {
        let [a, b, c, d, data @ ..] = bytes;
        Self { events: u32::from_le_bytes([a, b, c, d]), data: u64::from_le_bytes(data) }
    }

    /// Returns the bytes for a program.
    #[must_use]
    pub fn to_bytes(self) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        bytes[..4].copy_from_slice(&self.events.to_le_bytes());
        bytes[4..].copy_from_slice(&self.data.to_le_bytes());
        bytes
    }
}

/// Sets within sets, the outermost included, at most.
const MAX_DEPTH: usize = 5;

/// Held while a set is added to a set.
static NESTING: Mutex<()> = Mutex::new(());

/// A descriptor, and the address of its description: the number may since stand for another one.
type Key = (i32, usize);

/// A set of files to watch.
pub struct Epoll<Q: WaitQueue> {
    queue: Arc<Q>,
    watched: Mutex<Set<Q>>,
}

struct Set<Q: WaitQueue> {
    // INVARIANT: `queue` listens once to the queue of each file that is still there.
    files: BTreeMap<Key, Watched<Q>>,
    /// The last one that was reported: the next look begins behind it, so that nobody is left out.
    last: Key,
}

struct Watched<Q: WaitQueue> {
    file: Weak<OpenFile<Q>>,
    event: Event,
    /// The edges of the file when it was reported last.
    seen: Option<u64>,
    /// It was reported, and is to be reported once.
    is_done: bool,
}

impl<Q: WaitQueue> Watched<Q> {
    fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.event.events)
    }

    /// Returns what `file` is to be reported for, and its edges before.
    fn due(&self, file: &OpenFile<Q>) -> (Ready, u64) {
        let edges = file.edges();
        if self.is_done || (self.mode().contains(Mode::EDGE) && self.seen == Some(edges)) {
            return (Ready::empty(), edges);
        }
        let asked = Ready::from_bits_truncate(self.event.events) | Ready::UNASKED;
        (file.poll() & asked, edges)
    }
}

impl<Q: WaitQueue> fmt::Debug for Epoll<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoll({} files)", self.watched.lock().files.len())
    }
}

/// Makes a description of an empty set.
#[must_use]
pub fn open<Q: WaitQueue>() -> Arc<OpenFile<Q>> {
    let files = BTreeMap::new();
    let watched = Mutex::new(Set { files, last: (i32::MIN, 0) });
    let epoll = Arc::new(Epoll { queue: Arc::new(Q::new()), watched });
    OpenFile::stream(Box::new(epoll), OpenFlags::RDWR)
}

fn key<Q: WaitQueue>(fd: i32, file: &Arc<OpenFile<Q>>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

impl<Q: WaitQueue> Epoll<Q> {
    /// Adds `file`, the description behind `fd`: `EPOLL_CTL_ADD`.
    ///
    /// # Errors
    ///
    /// [`Errno::PERM`] for a file that never blocks, [`Errno::EXIST`], [`Errno::INVAL`] for the set itself and for a
    /// set with [`Mode::EXCLUSIVE`], [`Errno::LOOP`] for a circle or more than five sets within each other.
    pub fn add(
        self: &Arc<Self>,
        fd: i32,
        file: &Arc<OpenFile<Q>>,
        event: Event,
    ) -> Result<(), Errno> {
        let queue = file.queue().ok_or(Errno::PERM)?;
        let nested = file.epoll();
        let _one_at_a_time = nested.map(|_| NESTING.lock());
        if let Some(nested) = nested {
            if Arc::ptr_eq(nested, self) || event.events & Mode::EXCLUSIVE.bits() != 0 {
                return Err(Errno::INVAL);
            }
            if nested.depth_without(self)? >= MAX_DEPTH {
                return Err(Errno::LOOP);
            }
        }
        let mut set = self.watched.lock();
        let key = key(fd, file);
        if set.files.contains_key(&key) {
            return Err(Errno::EXIST);
        }
        // INVARIANT: added with the file.
        queue.add_listener(&self.queue);
        let file = Arc::downgrade(file);
        set.files.insert(key, Watched { file, event, seen: None, is_done: false });
        drop(set);
        // It may be ready already.
        self.queue.wake_all();
        Ok(())
    }

    /// Returns how many sets are within each other here, this one included.
    ///
    /// # Errors
    ///
    /// [`Errno::LOOP`] if `other` is among them.
    fn depth_without(&self, other: &Arc<Self>) -> Result<usize, Errno> {
        let files: Vec<_> =
            self.watched.lock().files.values().filter_map(|one| one.file.upgrade()).collect();
        let mut deepest = 0;
        for nested in files.iter().filter_map(|file| file.epoll()) {
            if Arc::ptr_eq(nested, other) {
                return Err(Errno::LOOP);
            }
            deepest = deepest.max(nested.depth_without(other)?);
        }
        Ok(deepest + 1)
    }

    /// Watches `file` in another way: `EPOLL_CTL_MOD`.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] if it is not in the set, [`Errno::INVAL`] with [`Mode::EXCLUSIVE`].
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile<Q>>, event: Event) -> Result<(), Errno> {
        let mut set = self.watched.lock();
        let watched = set.files.get_mut(&key(fd, file)).ok_or(Errno::NOENT)?;
        if (watched.event.events | event.events) & Mode::EXCLUSIVE.bits() != 0 {
            return Err(Errno::INVAL);
        }
        *watched = Watched { event, seen: None, is_done: false, ..Watched::clone_file(watched) };
        drop(set);
        self.queue.wake_all();
        Ok(())
    }

    /// Takes `file` out: `EPOLL_CTL_DEL`.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] if it is not in the set.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile<Q>>) -> Result<(), Errno> {
        let removed = self.watched.lock().files.remove(&key(fd, file)).ok_or(Errno::NOENT)?;
        drop(removed);
        if let Some(queue) = file.queue() {
            queue.remove_listener(&self.queue);
        }
        Ok(())
    }

    /// Returns at most `max` of the files that are ready, and notes that they were reported.
    #[must_use]
    pub fn take_ready(&self, max: usize) -> Vec<Event> {
        let mut ready = Vec::new();
        // Held until the lock is released: the last reference may go.
        let mut held = Vec::new();
        let mut gone = Vec::new();
        let mut set = self.watched.lock();
        let Set { files, last } = &mut *set;
        let start = *last;
        for behind in [true, false] {
            let range = if behind {
                (Bound::Excluded(start), Bound::Unbounded)
            } else {
                (Bound::Unbounded, Bound::Included(start))
            };
            for (&key, watched) in files.range_mut(range) {
                if ready.len() >= max {
                    break;
                }
                let Some(file) = watched.file.upgrade() else {
                    gone.push(key);
                    continue;
                };
                let (events, edges) = watched.due(&file);
                held.push(file);
                if events.is_empty() {
                    continue;
                }
                watched.seen = Some(edges);
                watched.is_done = watched.mode().contains(Mode::ONESHOT);
                ready.push(Event { events: events.bits(), data: watched.event.data });
                *last = key;
            }
        }
        for key in gone {
            files.remove(&key);
        }
        drop(set);
        ready
    }

    /// Tells whether a file is ready.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        let mut held = Vec::new();
        let set = self.watched.lock();
        let found = set.files.values().any(|watched| {
            let Some(file) = watched.file.upgrade() else { return false };
            let (events, _) = watched.due(&file);
            held.push(file);
            !events.is_empty()
        });
        drop(set);
        found
    }

    /// Returns where it is announced that a file may be ready.
    #[must_use]
    pub fn wait_queue(&self) -> &Q {
        &self.queue
    }
}

impl<Q: WaitQueue> Watched<Q> {
    /// The file as it is watched now, for an update of the rest.
    fn clone_file(&self) -> Self {
        Self { file: self.file.clone(), event: self.event, seen: self.seen, is_done: self.is_done }
    }
}

impl<Q: WaitQueue> Drop for Epoll<Q> {
    fn drop(&mut self) {
        let files = core::mem::take(&mut self.watched.lock().files);
        for file in files.values().filter_map(|watched| watched.file.upgrade()) {
            if let Some(queue) = file.queue() {
                queue.remove_listener(&self.queue);
            }
        }
    }
}

impl<Q: WaitQueue> Stream<Q> for Arc<Epoll<Q>> {
    /// As for an eventfd.
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn label(&self) -> &'static str {
        "eventpoll"
    }

    fn poll(&self) -> Ready {
        Ready::readable(self.has_ready())
    }

    fn queue(&self) -> Option<&Q> {
        Some(&self.queue)
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    /// Returns the set of watched files, if this is one.
    #[must_use]
    pub fn epoll(&self) -> Option<&Arc<Epoll<Q>>> {
        self.stream_as()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventfd;
    use crate::pipe;
    use crate::testing::{Bell, World, rings};
    use alloc::vec;

    const IN: u32 = Ready::IN.bits();

    fn event(events: u32, data: u64) -> Event {
        Event { events, data }
    }

    fn counter() -> Arc<OpenFile<Bell>> {
        eventfd::open(0, false, OpenFlags::empty())
    }

    fn raise(file: &OpenFile<Bell>) {
        assert_eq!(file.write(&1_u64.to_le_bytes()), Ok(8));
    }

    fn lower(file: &OpenFile<Bell>) {
        assert_eq!(file.read(&mut [0; 8]), Ok(8));
    }

    fn taken(set: &OpenFile<Bell>) -> Vec<u64> {
        let epoll = set.epoll().expect("a set");
        epoll.take_ready(10).into_iter().map(|event| event.data).collect()
    }

    fn add(set: &OpenFile<Bell>, fd: i32, file: &Arc<OpenFile<Bell>>, how: u32) {
        let added = set.epoll().expect("a set").add(fd, file, event(how, fd as u64));
        assert_eq!(added, Ok(()));
    }

    #[test]
    fn what_is_ready_is_reported_as_long_as_it_is() {
        let (set, file) = (open(), counter());
        add(&set, 3, &file, IN);
        assert_eq!(taken(&set), []);
        let before = rings(&set);
        raise(&file);
        assert!(rings(&set) > before, "who waits for the set is woken");
        assert!(set.poll().contains(Ready::IN));
        assert_eq!(taken(&set), [3]);
        assert_eq!(taken(&set), [3]);
        lower(&file);
        assert_eq!(taken(&set), []);
    }

    #[test]
    fn an_edge_is_reported_once_and_so_is_what_arrives_later() {
        let (set, file) = (open(), counter());
        raise(&file);
        add(&set, 3, &file, IN | Mode::EDGE.bits());
        assert_eq!(taken(&set), [3], "ready when it was added");
        assert_eq!(taken(&set), []);
        let before = rings(&set);
        raise(&file);
        assert!(rings(&set) > before, "news, although it was ready");
        assert_eq!(taken(&set), [3]);
        lower(&file);
        assert_eq!(taken(&set), []);
        // Down and up again without a look in between.
        raise(&file);
        lower(&file);
        raise(&file);
        assert_eq!(taken(&set), [3]);
    }

    #[test]
    fn one_shot_is_over_until_it_is_modified() {
        let (set, file) = (open(), counter());
        add(&set, 3, &file, IN | Mode::ONESHOT.bits());
        raise(&file);
        assert_eq!(taken(&set), [3]);
        raise(&file);
        assert_eq!(taken(&set), []);
        let epoll = set.epoll().expect("a set");
        assert_eq!(epoll.modify(3, &file, event(IN, 7)), Ok(()));
        assert_eq!(taken(&set), [7]);
    }

    #[test]
    fn everybody_gets_a_turn_when_there_is_room_for_one_only() {
        let set: Arc<OpenFile<Bell>> = open();
        let files: Vec<_> = (0..3).map(|_| counter()).collect();
        for (fd, file) in (0..).zip(&files) {
            raise(file);
            add(&set, fd, file, IN);
        }
        let epoll = set.epoll().expect("a set");
        let turns: Vec<u64> = (0..6).map(|_| epoll.take_ready(1)[0].data).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn hang_ups_come_unasked() {
        let set = open();
        let (read, write) = pipe::pair::<Bell>(OpenFlags::empty());
        add(&set, 3, &read, 0);
        drop(write);
        let ready = set.epoll().expect("a set").take_ready(1);
        assert_eq!(ready, [event(Ready::HUP.bits(), 3)]);
    }

    #[test]
    fn a_description_is_watched_until_its_last_descriptor_is_closed() {
        let (set, file) = (open(), counter());
        raise(&file);
        add(&set, 3, &file, IN);
        let other_descriptor = file.clone();
        drop(file);
        assert_eq!(taken(&set), [3]);
        drop(other_descriptor);
        assert_eq!(taken(&set), []);
    }

    #[test]
    fn errors_are_linuxs() {
        let (set, file) = (open(), counter());
        let epoll = set.epoll().expect("a set");
        let ask = event(IN, 0);
        assert_eq!(epoll.modify(3, &file, ask), Err(Errno::NOENT));
        assert_eq!(epoll.remove(3, &file), Err(Errno::NOENT));
        assert_eq!(epoll.add(3, &file, ask), Ok(()));
        assert_eq!(epoll.add(3, &file, ask), Err(Errno::EXIST));
        assert_eq!(epoll.add(4, &file, ask), Ok(()), "another descriptor of the same file");
        assert_eq!(epoll.remove(3, &file), Ok(()));
        assert_eq!(epoll.add(5, &set, ask), Err(Errno::INVAL), "itself");
        let world = World::new(1 << 20);
        world.put("/file", b"");
        let regular = world.open("/file", OpenFlags::empty()).expect("there");
        assert_eq!(epoll.add(6, &regular, ask), Err(Errno::PERM));
    }

    #[test]
    fn sets_may_be_in_sets_but_not_in_a_circle() {
        let (outer, inner, file) = (open(), open(), counter());
        add(&outer, 3, &inner, IN);
        add(&inner, 4, &file, IN);
        let before = rings(&outer);
        raise(&file);
        assert!(rings(&outer) > before);
        assert_eq!(taken(&outer), [3]);
        let circle = inner.epoll().expect("a set").add(5, &outer, event(IN, 0));
        assert_eq!(circle, Err(Errno::LOOP));
        // Five within each other is the limit.
        let mut chain = vec![outer];
        for _ in 0..3 {
            let next = open();
            add(&next, 3, chain.last().expect("not empty"), IN);
            chain.push(next);
        }
        let top = chain.last().expect("not empty");
        let last: Arc<OpenFile<Bell>> = open();
        let deep = last.epoll().expect("a set").add(3, top, event(IN, 0));
        assert_eq!(deep, Err(Errno::LOOP));
        raise(&file);
        assert_eq!(taken(top), [3]);
    }
}
