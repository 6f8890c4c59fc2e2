//! The names in a directory.
//!
//! Each name has a cookie, which getdents64(2) reports as `d_off` and goes on from. Cookies are
//! given out in rising order and never again, so a reader meets every name that is there all the
//! time exactly once, whatever is created and removed meanwhile: `rm -r` depends on it.
//!
//! `I` is the inode, which contains a directory, and which this file need not know.

use super::volume::{Charge, Volume};
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};

/// What a name costs besides its bytes, roughly.
const ENTRY_COST: u64 = 128;

/// The cookies of `.` and `..` come first.
const FIRST_COOKIE: u64 = 2;

/// One name.
#[derive(Debug)]
struct Entry<I> {
    cookie: u64,
    inode: Arc<I>,
}

/// The contents of a directory.
#[derive(Debug)]
pub(super) struct Directory<I> {
    entries: BTreeMap<Arc<[u8]>, Entry<I>>,
    /// The same names by cookie.
    order: BTreeMap<u64, Arc<[u8]>>,
    next_cookie: u64,
    /// Where `..` leads; the root has none.
    parent: Weak<I>,
    /// Set by rmdir: what has no name any more must not get new children.
    removed: bool,
    charge: Charge,
}

impl<I> Directory<I> {
    pub(super) fn new(volume: &Arc<Volume>, parent: Weak<I>) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_cookie: FIRST_COOKIE,
            parent,
            removed: false,
            charge: Charge::none(volume),
        }
    }

    pub(super) fn parent(&self) -> Option<Arc<I>> {
        self.parent.upgrade()
    }

    pub(super) fn set_parent(&mut self, parent: &Arc<I>) {
        self.parent = Arc::downgrade(parent);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed
    }

    pub(super) fn set_removed(&mut self) {
        self.removed = true;
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<I>> {
        self.entries.get(name).map(|entry| &entry.inode)
    }

    /// Returns the name of `inode`, if it is here.
    pub(super) fn name_of(&self, inode: &Arc<I>) -> Option<&[u8]> {
        let mut entries = self.entries.iter();
        entries.find(|(_, entry)| Arc::ptr_eq(&entry.inode, inode)).map(|(name, _)| &**name)
    }

    /// Returns the first name at or behind `cookie`, with its own cookie.
    pub(super) fn at_or_behind(&self, cookie: u64) -> Option<(u64, &[u8], &Arc<I>)> {
        let (&cookie, name) = self.order.range(cookie..).next()?;
        Some((cookie, name, self.get(name)?))
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] in a removed directory, [`Errno::EXIST`] for a name that is there,
    /// [`Errno::NOSPC`] when the volume is full.
    pub(super) fn insert(&mut self, name: &[u8], inode: Arc<I>) -> Result<(), Errno> {
        if self.removed {
            return Err(Errno::NOENT);
        }
        if self.entries.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.charge.grow(cost(name))?;
        let name: Arc<[u8]> = name.into();
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.order.insert(cookie, name.clone());
        self.entries.insert(name, Entry { cookie, inode });
        Ok(())
    }

    /// Puts another inode behind a name and returns the former one; `None` if there is no such name.
    pub(super) fn replace(&mut self, name: &[u8], inode: Arc<I>) -> Option<Arc<I>> {
        let entry = self.entries.get_mut(name)?;
        Some(core::mem::replace(&mut entry.inode, inode))
    }

    /// Takes a name away and returns what was behind it.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<I>> {
        let entry = self.entries.remove(name)?;
        self.order.remove(&entry.cookie);
        self.charge.shrink(cost(name));
        Some(entry.inode)
    }

    /// Returns how many names there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn cost(name: &[u8]) -> u64 {
    ENTRY_COST + name.len() as u64
}
