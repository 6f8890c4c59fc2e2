//! The table of file descriptors: small numbers for open file descriptions.
//!
//! A process's threads share one table behind an `Arc`; fork(2) copies it. A new descriptor is always
//! the lowest free one, as POSIX wants: a shell closes 0 and opens a file to redirect its input.
//!
//! What a change pushes out of the table is dropped after the lock is released: the last close of a
//! pipe's end wakes readers, and the last close of an unlinked file frees its memory.

use crate::{Errno, OpenFile, Pair, WaitQueue};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use kernel_sync::Mutex;

/// Descriptors a process may have until it says otherwise: `RLIMIT_NOFILE`.
pub const DEFAULT_LIMIT: usize = 1024;

/// No limit is higher.
pub const MAX_LIMIT: usize = 1 << 20;

/// The descriptors of a process.
pub struct FdTable<Q: WaitQueue> {
    table: Mutex<Table<Q>>,
}

struct Table<Q: WaitQueue> {
    slots: Vec<Option<Slot<Q>>>,
    /// No descriptor below this one is free.
    lowest: usize,
    limit: usize,
}

struct Slot<Q: WaitQueue> {
    file: Arc<OpenFile<Q>>,
    cloexec: bool,
}

impl<Q: WaitQueue> Clone for Slot<Q> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), cloexec: self.cloexec }
    }
}

impl<Q: WaitQueue> fmt::Debug for FdTable<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FdTable({:?})", self.open_fds())
    }
}

impl<Q: WaitQueue> Default for FdTable<Q> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Q: WaitQueue> FdTable<Q> {
    /// Makes an empty table with the limit [`DEFAULT_LIMIT`].
    #[must_use]
    pub fn new() -> Self {
        Self { table: Mutex::new(Table { slots: Vec::new(), lowest: 0, limit: DEFAULT_LIMIT }) }
    }

    /// Copies the table for fork(2): the same descriptions under the same numbers.
    ///
    /// # Errors
    ///
    /// [`Errno::NOMEM`].
    pub fn fork(&self) -> Result<Self, Errno> {
        let table = self.table.lock();
        let used = table.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut slots = Vec::new();
        slots.try_reserve_exact(used).map_err(|_| Errno::NOMEM)?;
        slots.extend_from_slice(&table.slots[..used]);
        let (lowest, limit) = (table.lowest.min(used), table.limit);
        Ok(Self { table: Mutex::new(Table { slots, lowest, limit }) })
    }

    /// Returns the number of descriptors that are open, and of the bytes that wait in what they refer to to be read.
    #[must_use]
    pub fn holding(&self) -> (u64, u64) {
        let table = self.table.lock();
        let files = table.slots.iter().flatten().map(|slot| &slot.file);
        let waiting = |file: &Arc<OpenFile<Q>>| file.waiting() as u64;
        files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + waiting(file)))
    }

    /// Returns the description behind `fd`.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`] for a descriptor that is not open.
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile<Q>>, Errno> {
        Ok(self.table.lock().slot(fd)?.file.clone())
    }

    /// Gives `file` the lowest free descriptor, and returns that.
    ///
    /// # Errors
    ///
    /// [`Errno::MFILE`] when the limit is reached, [`Errno::NOMEM`].
    pub fn insert(&self, file: Arc<OpenFile<Q>>, cloexec: bool) -> Result<i32, Errno> {
        self.insert_from(0, file, cloexec)
    }

    /// Gives two files, a pipe's ends, the two lowest free descriptors; or neither gets one.
    ///
    /// # Errors
    ///
    /// As [`FdTable::insert`].
    pub fn insert_pair(&self, files: Pair<Q>, cloexec: bool) -> Result<(i32, i32), Errno> {
        let (one, two) = files;
        let first = self.insert(one, cloexec)?;
        match self.insert(two, cloexec) {
            Ok(second) => Ok((first, second)),
            Err(error) => {
                let _ = self.close(first);
                Err(error)
            }
        }
    }

    fn insert_from(
        &self,
        least: usize,
        file: Arc<OpenFile<Q>>,
        cloexec: bool,
    ) -> Result<i32, Errno> {
        let mut table = self.table.lock();
        let at = table.lowest_free(least);
        table.reserve(at)?;
        table.put(at, Slot { file, cloexec });
        Ok(at as i32)
    }

    /// Closes a descriptor.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`] for a descriptor that is not open.
    pub fn close(&self, fd: i32) -> Result<(), Errno> {
        let closed = self.table.lock().take(fd);
        closed.map(|_| ()).ok_or(Errno::BADF)
    }

    /// Closes all descriptors from `first` to `last`, both included; with `cloexec_only` execve will.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] if `first` is behind `last`.
    pub fn close_range(&self, first: u32, last: u32, cloexec_only: bool) -> Result<(), Errno> {
        if first > last {
            return Err(Errno::INVAL);
        }
        let (first, last) = (first as usize, last as usize);
        if cloexec_only {
            let mut table = self.table.lock();
            let end = table.slots.len().min(last + 1);
            for slot in table.slots[first.min(end)..end].iter_mut().flatten() {
                slot.cloexec = true;
            }
        } else {
            self.close_where(first, last, |_| true);
        }
        Ok(())
    }

    /// Closes what execve(2) closes.
    pub fn close_on_exec(&self) {
        self.close_where(0, usize::MAX, |slot| slot.cloexec);
    }

    /// Closes everything: the process exits.
    pub fn close_all(&self) {
        self.close_where(0, usize::MAX, |_| true);
    }

    /// Closes, one by one, the descriptors in a range for which `which` holds. The lock is released
    /// between them.
    fn close_where(&self, first: usize, last: usize, which: impl Fn(&Slot<Q>) -> bool) {
        let mut at = first;
        loop {
            let mut table = self.table.lock();
            let end = table.slots.len().min(last.saturating_add(1));
            let rest = table.slots.get(at..end).unwrap_or_default();
            let Some(found) = rest.iter().position(|slot| slot.as_ref().is_some_and(&which)) else {
                return;
            };
            at += found;
            let closed = table.take(at as i32);
            drop(table);
            drop(closed);
        }
    }

    /// Gives the description behind `fd` the lowest free descriptor as well.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`], [`Errno::MFILE`], [`Errno::NOMEM`].
    pub fn dup(&self, fd: i32) -> Result<i32, Errno> {
        self.insert(self.get(fd)?, false)
    }

    /// Gives the description behind `fd` the lowest free descriptor that is at least `least`: F_DUPFD, and
    /// with `cloexec` F_DUPFD_CLOEXEC.
    ///
    /// # Errors
    ///
    /// As [`FdTable::dup`], and [`Errno::INVAL`] for a `least` that is negative or not below the limit.
    pub fn dup_from(&self, fd: i32, least: i64, cloexec: bool) -> Result<i32, Errno> {
        let file = self.get(fd)?;
        let least = usize::try_from(least).map_err(|_| Errno::INVAL)?;
        if least >= self.limit() {
            return Err(Errno::INVAL);
        }
        self.insert_from(least, file, cloexec)
    }

    /// Makes `new` refer to the description behind `old`, and closes what it referred to. Nothing
    /// happens if they are the same.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`] if `old` is not open or `new` not below the limit, [`Errno::NOMEM`].
    pub fn dup2(&self, old: i32, new: i32) -> Result<i32, Errno> {
        if old == new {
            return self.get(old).map(|_| new);
        }
        self.dup3(old, new, false)
    }

    /// As [`FdTable::dup2`], with a choice about execve.
    ///
    /// # Errors
    ///
    /// As [`FdTable::dup2`], and [`Errno::INVAL`] if both are the same.
    pub fn dup3(&self, old: i32, new: i32, cloexec: bool) -> Result<i32, Errno> {
        if old == new {
            return Err(Errno::INVAL);
        }
        let mut table = self.table.lock();
        let file = table.slot(old)?.file.clone();
        let at = usize::try_from(new).map_err(|_| Errno::BADF)?;
        table.reserve(at).map_err(|error| match error {
            Errno::MFILE => Errno::BADF,
            error => error,
        })?;
        let replaced = table.put(at, Slot { file, cloexec });
        drop(table);
        drop(replaced);
        Ok(new)
    }

    /// Tells whether execve closes the descriptor: F_GETFD.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`].
    pub fn cloexec(&self, fd: i32) -> Result<bool, Errno> {
        Ok(self.table.lock().slot(fd)?.cloexec)
    }

    /// Sets whether execve closes the descriptor: F_SETFD.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`].
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<(), Errno> {
        self.table.lock().slot(fd)?.cloexec = cloexec;
        Ok(())
    }

    /// Returns the limit: descriptors are below it.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.table.lock().limit
    }

    /// Sets the limit, [`MAX_LIMIT`] at most. Descriptors above it stay open.
    pub fn set_limit(&self, limit: usize) {
        self.table.lock().limit = limit.min(MAX_LIMIT);
    }

    /// Returns the descriptors that are open, lowest first.
    #[must_use]
    pub fn open_fds(&self) -> Vec<i32> {
        let table = self.table.lock();
        let open = table.slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
        open.map(|(fd, _)| fd as i32).collect()
    }
}

impl<Q: WaitQueue> Table<Q> {
    fn slot(&mut self, fd: i32) -> Result<&mut Slot<Q>, Errno> {
        let at = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        self.slots.get_mut(at).and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    /// Returns the lowest free descriptor that is at least `least`.
    fn lowest_free(&self, least: usize) -> usize {
        let start = least.max(self.lowest);
        let rest = self.slots.get(start..).unwrap_or_default();
        rest.iter().position(Option::is_none).map_or(start.max(self.slots.len()), |at| start + at)
    }

    /// Makes the table long enough for the slot `at`.
    fn reserve(&mut self, at: usize) -> Result<(), Errno> {
        if at >= self.limit {
            return Err(Errno::MFILE);
        }
        if at >= self.slots.len() {
            self.slots.try_reserve(at + 1 - self.slots.len()).map_err(|_| Errno::NOMEM)?;
            self.slots.resize(at + 1, None);
        }
        Ok(())
    }

    /// Fills the slot `at`, which is there, and returns what was in it.
    fn put(&mut self, at: usize, slot: Slot<Q>) -> Option<Slot<Q>> {
        let old = self.slots[at].replace(slot);
        if at == self.lowest {
            self.lowest = self.lowest_free(at);
        }
        old
    }

    /// Empties the slot of `fd` and returns what was in it.
    fn take(&mut self, fd: i32) -> Option<Slot<Q>> {
        let at = usize::try_from(fd).ok()?;
        let slot = self.slots.get_mut(at)?.take()?;
        self.lowest = self.lowest.min(at);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenFlags;
    use crate::pipe;
    use crate::testing::Bell;
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use proptest::prelude::*;

    fn file() -> Arc<OpenFile<Bell>> {
        crate::eventfd::open(0, false, OpenFlags::empty())
    }

    #[test]
    fn a_new_descriptor_is_the_lowest_free_one() {
        let table = FdTable::new();
        for expected in 0..4 {
            assert_eq!(table.insert(file(), false), Ok(expected));
        }
        table.close(1).expect("open");
        assert_eq!(table.dup_from(0, 5, true), Ok(5));
        assert_eq!(table.insert(file(), false), Ok(1));
        assert_eq!(table.insert(file(), false), Ok(4));
        assert_eq!(table.open_fds(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn fork_shares_descriptions_and_not_the_table() {
        let table = FdTable::new();
        let (reader, writer) = pipe::pair::<Bell>(OpenFlags::empty());
        assert_eq!(table.insert_pair((reader, writer), false), Ok((0, 1)));
        let child = table.fork().expect("memory");
        table.close(1).expect("open");
        let mut buffer = [0; 4];
        let read = |buffer: &mut [u8]| table.get(0).expect("open").read(buffer);
        assert_eq!(read(&mut buffer), Err(Errno::AGAIN), "the child still has the write end");
        child.close_all();
        assert_eq!(read(&mut buffer), Ok(0));
        assert_eq!(table.open_fds(), [0]);
    }

    #[test]
    fn limits_are_reported_as_linux_does() {
        let table = FdTable::new();
        table.insert(file(), false).expect("free");
        table.set_limit(3);
        assert_eq!(table.dup2(0, 3), Err(Errno::BADF));
        assert_eq!(table.dup2(0, -1), Err(Errno::BADF));
        assert_eq!(table.dup_from(0, 3, false), Err(Errno::INVAL));
        assert_eq!(table.dup_from(0, -1, false), Err(Errno::INVAL));
        assert_eq!(table.dup_from(0, i64::MAX, false), Err(Errno::INVAL));
        assert_eq!(table.dup(0), Ok(1));
        let pair = pipe::pair(OpenFlags::empty());
        assert_eq!(table.insert_pair(pair, false), Err(Errno::MFILE));
        assert_eq!(table.open_fds(), [0, 1], "half a pipe is no pipe");
        assert_eq!(table.dup3(0, 0, false), Err(Errno::INVAL));
        assert_eq!(table.dup2(7, 7), Err(Errno::BADF));
        assert_eq!(table.close_range(3, 2, false), Err(Errno::INVAL));
        assert_eq!(table.close_range(u32::MAX, u32::MAX, false), Ok(()));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(bool),
        Close(i32),
        Dup(i32),
        DupFrom(i32, i64),
        Dup3(i32, i32, bool),
        SetCloexec(i32, bool),
        CloseRange(u32, u32, bool),
        Exec,
        Fork,
    }

    fn op() -> impl Strategy<Value = Op> {
        let fd = -1..12_i32;
        prop_oneof![
            4 => any::<bool>().prop_map(Op::Insert),
            2 => fd.clone().prop_map(Op::Close),
            2 => fd.clone().prop_map(Op::Dup),
            1 => (fd.clone(), -1..12_i64).prop_map(|(fd, least)| Op::DupFrom(fd, least)),
            2 => (fd.clone(), fd.clone(), any::<bool>()).prop_map(|(a, b, c)| Op::Dup3(a, b, c)),
            1 => (fd, any::<bool>()).prop_map(|(fd, on)| Op::SetCloexec(fd, on)),
            1 => (0..12_u32, 0..12_u32, any::<bool>()).prop_map(|(a, b, c)| Op::CloseRange(a, b, c)),
            1 => Just(Op::Exec),
            1 => Just(Op::Fork),
        ]
    }

    /// Descriptors and whether execve closes them, with the file's address for identity.
    type Model = BTreeMap<i32, (*const OpenFile<Bell>, bool)>;

    const LIMIT: i32 = 10;

    fn free_in(model: &Model, least: i32) -> Option<i32> {
        (least..LIMIT).find(|fd| !model.contains_key(fd))
    }

    proptest! {
        #[test]
        fn the_table_behaves_as_a_map(ops in proptest::collection::vec(op(), 1..60)) {
            let mut table = FdTable::new();
            table.set_limit(LIMIT as usize);
            let mut model = Model::new();
            // So that no address is used twice.
            let mut all = vec![];
            for op in ops {
                match op {
                    Op::Insert(cloexec) => {
                        let file = file();
                        all.push(file.clone());
                        let expected = free_in(&model, 0).ok_or(Errno::MFILE);
                        if let Ok(fd) = expected {
                            model.insert(fd, (Arc::as_ptr(&file), cloexec));
                        }
                        prop_assert_eq!(table.insert(file, cloexec), expected);
                    }
                    Op::Close(fd) => {
                        let expected = model.remove(&fd).map(|_| ()).ok_or(Errno::BADF);
                        prop_assert_eq!(table.close(fd), expected);
                    }
                    Op::Dup(fd) => {
                        let expected = match (model.get(&fd), free_in(&model, 0)) {
                            (None, _) => Err(Errno::BADF),
                            (_, None) => Err(Errno::MFILE),
                            (Some(&(file, _)), Some(new)) => {
                                model.insert(new, (file, false));
                                Ok(new)
                            }
                        };
                        prop_assert_eq!(table.dup(fd), expected);
                    }
                    Op::DupFrom(fd, least) => {
                        let expected = match model.get(&fd) {
                            None => Err(Errno::BADF),
                            _ if !(0..i64::from(LIMIT)).contains(&least) => Err(Errno::INVAL),
                            Some(&(file, _)) => {
                                let new = free_in(&model, least as i32).ok_or(Errno::MFILE);
                                if let Ok(new) = new {
                                    model.insert(new, (file, true));
                                }
                                new
                            }
                        };
                        prop_assert_eq!(table.dup_from(fd, least, true), expected);
                    }
                    Op::Dup3(old, new, cloexec) => {
                        let expected = match model.get(&old) {
                            _ if old == new => Err(Errno::INVAL),
                            None => Err(Errno::BADF),
                            _ if !(0..LIMIT).contains(&new) => Err(Errno::BADF),
                            Some(&(file, _)) => {
                                model.insert(new, (file, cloexec));
                                Ok(new)
                            }
                        };
                        prop_assert_eq!(table.dup3(old, new, cloexec), expected);
                    }
                    Op::SetCloexec(fd, on) => {
                        let expected = match model.get_mut(&fd) {
                            Some(slot) => {
                                slot.1 = on;
                                Ok(())
                            }
                            None => Err(Errno::BADF),
                        };
                        prop_assert_eq!(table.set_cloexec(fd, on), expected);
                    }
                    Op::CloseRange(first, last, cloexec) => {
                        let expected = if first > last { Err(Errno::INVAL) } else { Ok(()) };
                        if expected.is_ok() {
                            let range = first as i32..=last as i32;
                            if cloexec {
                                model.range_mut(range).for_each(|(_, slot)| slot.1 = true);
                            } else {
                                model.retain(|fd, _| !range.contains(fd));
                            }
                        }
                        prop_assert_eq!(table.close_range(first, last, cloexec), expected);
                    }
                    Op::Exec => {
                        model.retain(|_, slot| !slot.1);
                        table.close_on_exec();
                    }
                    Op::Fork => table = table.fork().expect("memory"),
                }
                let real: Model = table
                    .open_fds()
                    .into_iter()
                    .map(|fd| {
                        let file = Arc::as_ptr(&table.get(fd).expect("open"));
                        (fd, (file, table.cloexec(fd).expect("open")))
                    })
                    .collect();
                prop_assert_eq!(&real, &model);
            }
        }
    }
}
