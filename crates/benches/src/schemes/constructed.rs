//! PGDs are constructed once and used again: a freed one keeps its kernel half, goes to a cache of the CPU's, and stays on the list.
//!
//! NetBSD's `pmap_cache`, and what Linux did until 2006 for PAE. In the steady state a fork takes a PGD out of the CPU's cache and
//! an exit puts it back: no lock, no copy, and no zeroing either, for both halves are as they should be. The lock
//! is taken to construct, to trim a cache that is full, and by a growth, which walks all PGDs, used or not,
//! while it holds it: who constructs waits as long.
//!
//! A burst of forks constructs, and a burst of exits destroys, so that bursts run into the lock.

use hosted::cpu::this_cpu;
use kernel_sync::Mutex;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames, OutOfFrames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};

use arch_x86::geometry::LongMode;
use arch_x86::tables::Tables;

use super::half::{Half, Synced};

/// PGDs that a CPU keeps. An RCU batch frees up to 64 at once.
pub(crate) const CACHED: usize = 128;

/// Caches; threads beyond this number share.
pub(crate) const CACHES: usize = 64;

/// x86 with caches of constructed PGDs.
pub struct Constructed<F: Frames> {
    half: Half<F>,
    synced: Synced,
    list: Mutex<List>,
    caches: Box<[Cache]>,
}

/// A constructed PGD and its place on the list.
#[derive(Debug, Clone, Copy)]
pub struct ConstructedPgd {
    root: Frame,
    place: usize,
}

/// All constructed PGDs, used and cached.
#[derive(Default)]
struct List {
    roots: Vec<Option<Frame>>,
    free: Vec<usize>,
}

/// One CPU's constructed PGDs, and a lock that nobody else wants.
#[derive(Default)]
#[repr(align(128))]
struct Cache(Mutex<Vec<ConstructedPgd>>);

impl<F: Frames> Constructed<F> {
    /// Makes an empty reference PGD and empty caches.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`].
    pub fn new(frames: &'static F) -> Result<Self, OutOfFrames> {
        Ok(Self {
            half: Half::new(frames)?,
            synced: Synced::new(),
            list: Mutex::new(List::default()),
            caches: (0..CACHES).map(|_| Cache(Mutex::new(Vec::with_capacity(CACHED)))).collect(),
        })
    }

    /// Number of PGDs that are cached.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.caches.iter().map(|cache| cache.0.lock().len()).sum()
    }

    fn construct(&self) -> Result<ConstructedPgd, PgdAllocError> {
        let root = self.half.frames().alloc()?;
        let mut list = self.list.lock();
        // Under the lock: a growth comes before the copy or finds the PGD on the list.
        self.half.fill_populated(root);
        let place = list.free.pop().unwrap_or(list.roots.len());
        if place == list.roots.len() {
            list.roots.push(None);
        }
        list.roots[place] = Some(root);
        Ok(ConstructedPgd { root, place })
    }

    fn destroy(&self, pgd: ConstructedPgd) {
        let mut list = self.list.lock();
        list.roots[pgd.place] = None;
        list.free.push(pgd.place);
        drop(list);
        // SAFETY: it was free already, and the list has forgotten it.
        unsafe { self.half.frames().put(pgd.root) };
    }

    fn cache(&self) -> &Cache {
        &self.caches[this_cpu() % CACHES]
    }
}

impl<F: Frames> ArchPgd for Constructed<F> {
    type Pgd = ConstructedPgd;
    type Tables = Tables<LongMode, F>;

    fn tables(&self) -> &Self::Tables {
        self.half.tables()
    }

    fn root(&self, pgd: &ConstructedPgd) -> Frame {
        pgd.root
    }

    fn reference_root(&self) -> Frame {
        self.half.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.half.addresses()
    }

    fn pgd_alloc(&self) -> Result<ConstructedPgd, PgdAllocError> {
        let cached = self.cache().0.lock().pop();
        cached.map_or_else(|| self.construct(), Ok)
    }

    unsafe fn pgd_free(&self, pgd: ConstructedPgd) {
        let mut cache = self.cache().0.lock();
        if cache.len() < CACHED {
            cache.push(pgd);
        } else {
            drop(cache);
            self.destroy(pgd);
        }
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.half.populate(self.half.range(range), || ())
    }

    #[inline]
    fn is_synced(&self, range: KernelRange) -> bool {
        self.synced.contains(self.half.range(range))
    }

    /// Walks the list under its lock. The task layer's walk is not needed.
    fn sync_global_pgds(
        &self,
        range: KernelRange,
        _walk: &dyn PgdWalk<ConstructedPgd>,
        _flush: &mut dyn FnMut(),
    ) {
        let range = self.half.range(range);
        let list = self.list.lock();
        for &root in list.roots.iter().flatten() {
            self.half.fill(root, range.clone());
        }
        drop(list);
        self.synced.insert(range);
    }
}

impl<F: Frames> Drop for Constructed<F> {
    fn drop(&mut self) {
        for cache in &self.caches {
            let pgds = std::mem::take(&mut *cache.0.lock());
            pgds.into_iter().for_each(|pgd| self.destroy(pgd));
        }
    }
}
