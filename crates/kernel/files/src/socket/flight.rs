//! Descriptions that are under way from one process to another, and those that no longer get anywhere.
//!
//! A socket may be sent to itself, or two to each other, and then be closed: each then lies in an inbox that nobody will ever
//! read, and is kept alive by it. Whoever sends descriptions therefore looks for such sockets now and then, as Linux does:
//!
//! 1. A description of which all references are under way is a *candidate*. What a program has a descriptor of, or works with
//!    at the moment, has one reference more.
//! 2. A candidate that is in an inbox of somebody who is no candidate can still be received; and so can what is in its inbox, and
//!    so on.
//! 3. The inboxes of the others are emptied, and with that they are closed.
//!
//! # While others send and receive
//!
//! New descriptions do not get under way meanwhile: the lock is held. For each, the number under way is read before the number
//! of references, and the inboxes are looked at after both. So who receives one in between is seen to have it, or it is missing
//! from the inboxes, and counts as received by somebody else.

use crate::{Errno, FileType, OpenFile, WaitQueue};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicUsize, Ordering};

/// Descriptions under way, at most, those included that may be lost and were not looked for.
const MAX: usize = 8192;

/// So many are sent between one look and the next.
const PERIOD: usize = 64;

/// Descriptions under way.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Descriptions that are under way to somebody who gets descriptors of them.
#[derive(Debug)]
pub struct Rights<Q: WaitQueue>(Vec<Arc<OpenFile<Q>>>);

impl<Q: WaitQueue> Rights<Q> {
    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the descriptions: they have arrived.
    #[must_use]
    pub fn files(&self) -> &[Arc<OpenFile<Q>>] {
        &self.0
    }

    /// Counts them. They are referred to already: none may look as if all its references were under way.
    fn count(files: Vec<Arc<OpenFile<Q>>>) -> Self {
        // INVARIANT: each is counted once, until this is dropped.
        for file in &files {
            file.under_way().fetch_add(1, Ordering::SeqCst);
        }
        UNDER_WAY.fetch_add(files.len(), Ordering::Relaxed);
        Self(files)
    }
}

impl<Q: WaitQueue> Default for Rights<Q> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<Q: WaitQueue> Clone for Rights<Q> {
    fn clone(&self) -> Self {
        Self::count(self.0.clone())
    }
}

impl<Q: WaitQueue> Drop for Rights<Q> {
    fn drop(&mut self) {
        // Before the references go.
        for file in &self.0 {
            file.under_way().fetch_sub(1, Ordering::SeqCst);
        }
        UNDER_WAY.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// Sockets that have been under way.
pub(super) struct Flight<Q: WaitQueue>(Mutex<Sent<Q>>);

struct Sent<Q: WaitQueue> {
    /// By address: each once.
    sockets: BTreeMap<usize, Weak<OpenFile<Q>>>,
    since_last_look: usize,
}

impl<Q: WaitQueue> Default for Flight<Q> {
    fn default() -> Self {
        Self(Mutex::new(Sent { sockets: BTreeMap::new(), since_last_look: 0 }))
    }
}

impl<Q: WaitQueue> fmt::Debug for Flight<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flight({} sockets)", self.0.lock().sockets.len())
    }
}

/// What a look at a socket's inbox finds: the descriptions in there.
type Contents<Q> = Vec<Arc<OpenFile<Q>>>;

impl<Q: WaitQueue> Flight<Q> {
    /// Sends `files` on their way. `contents` looks into a socket's inbox, and `empty` empties it.
    ///
    /// # Errors
    ///
    /// [`Errno::TOOMANYREFS`] when too many are under way.
    pub(super) fn send(
        &self,
        files: Vec<Arc<OpenFile<Q>>>,
        contents: impl Fn(&OpenFile<Q>) -> Contents<Q>,
        empty: impl FnMut(&OpenFile<Q>),
    ) -> Result<Rights<Q>, Errno> {
        let is_full = || UNDER_WAY.load(Ordering::Relaxed) + files.len() > MAX;
        let is_due = self.0.lock().since_last_look >= PERIOD;
        if is_due || is_full() {
            self.collect(contents, empty);
        }
        if is_full() {
            return Err(Errno::TOOMANYREFS);
        }
        let mut sent = self.0.lock();
        for file in &files {
            if file.metadata().file_type() == Some(FileType::Socket) {
                sent.sockets.insert(Arc::as_ptr(file).addr(), Arc::downgrade(file));
                sent.since_last_look += 1;
            }
        }
        // Counted under the lock: a look meanwhile would take one that is not yet under way for one that is no longer.
        Ok(Rights::count(files))
    }

    /// Empties the inboxes that nobody will read.
    fn collect(
        &self,
        contents: impl Fn(&OpenFile<Q>) -> Contents<Q>,
        empty: impl FnMut(&OpenFile<Q>),
    ) {
        // All references that this takes are dropped at the end, without the lock.
        let mut held: Vec<Arc<OpenFile<Q>>> = Vec::new();
        let mut found: Vec<Contents<Q>> = Vec::new();
        let mut sent = self.0.lock();
        sent.since_last_look = 0;
        sent.sockets.retain(|_, file| match file.upgrade() {
            Some(file) => {
                let is_under_way = file.under_way().load(Ordering::SeqCst) > 0;
                held.push(file);
                is_under_way
            }
            None => false,
        });
        let is_candidate = |file: &&Arc<OpenFile<Q>>| {
            let under_way = file.under_way().load(Ordering::SeqCst);
            // One reference is in `held`.
            under_way > 0 && Arc::strong_count(file) == under_way + 1
        };
        // How often each is under way, besides in inboxes of candidates.
        let mut elsewhere: BTreeMap<usize, usize> = BTreeMap::new();
        let candidates: Vec<Arc<OpenFile<Q>>> = held.iter().filter(is_candidate).cloned().collect();
        for file in &candidates {
            let under_way = file.under_way().load(Ordering::SeqCst);
            elsewhere.insert(Arc::as_ptr(file).addr(), under_way);
        }
        let mut inside: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for file in &candidates {
            let files = contents(file);
            let addresses: Vec<usize> = files.iter().map(|file| Arc::as_ptr(file).addr()).collect();
            found.push(files);
            for address in &addresses {
                if let Some(count) = elsewhere.get_mut(address) {
                    *count = count.saturating_sub(1);
                }
            }
            inside.insert(Arc::as_ptr(file).addr(), addresses);
        }
        let mut reached: Vec<usize> =
            elsewhere.iter().filter(|&(_, &count)| count > 0).map(|(&at, _)| at).collect();
        while let Some(at) = reached.pop() {
            elsewhere.remove(&at);
            let next = inside.remove(&at).unwrap_or_default();
            reached.extend(next.into_iter().filter(|at| elsewhere.contains_key(at)));
        }
        candidates
            .iter()
            .filter(|file| elsewhere.contains_key(&Arc::as_ptr(file).addr()))
            .map(|file| &**file)
            .for_each(empty);
        drop(sent);
        drop((found, candidates, held));
    }
}
