//! How a growth finds every mm: the walkers that a kernel's task layer provides.

use kernel_sync::OutOfHeap;

use crate::arch::PgdWalk;
use crate::init_mm::InitMm;
use crate::kernel::{Kernel, Pgd, RcuGuard};
use crate::mm::Mm;

/// A kernel's tasks and CPUs, as seen by a walk over all mms.
///
/// # Safety
///
/// An implementer promises that every mm that a CPU may load is found. Precisely, where *published*
/// means that [`crate::publish::PublicationPoint::publish`] has returned for it:
/// * an mm published before the walk began (ordered by full barriers on both sides) and held by a task
///   ever since is visited by [`Walkers::for_each_published`];
/// * an mm that its last task let go while a CPU had it loaded is visited by
///   [`Walkers::for_each_loaded`], called afterwards, unless that CPU has loaded another PGD meanwhile;
/// * no lock is held from one visit to the next that fork, exec or exit would wait for.
pub unsafe trait Walkers<K: Kernel>: Send + Sync + 'static {
    /// What the walkers keep in each mm: its place on a list of mms; `()` where mms are found through tasks.
    type Place: Place<K>;

    /// Makes a place for a new mm. It is dropped with the mm, a grace period after the last reference.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`]; the mm is not made.
    fn place(&'static self) -> Result<Self::Place, OutOfHeap>;

    /// Visits the mm of every process: of any of its threads, for the leader may be dead
    /// (`find_lock_task_mm`). Kernel threads that borrow an mm by `kthread_use_mm` are processes too.
    fn for_each_published(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>));

    /// Visits the mm that each CPU has loaded, if any: the running task's, or one borrowed lazily.
    fn for_each_loaded(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>));
}

/// An mm's place on a list of mms, if the walkers have one.
///
/// # Safety
///
/// An implementer promises not to call anything else with the mm, and that no walk that begins after [`Place::leave`], and that RCU
/// orders after it, finds the mm.
pub unsafe trait Place<K: Kernel>: Send + Sync + 'static {
    /// Puts `mm` on the list, before its first publication returns. With release ordering; the barrier that pairs with
    /// a walk's is late init's.
    ///
    /// # Safety
    ///
    /// `mm` lives until a grace period after [`Place::leave`].
    unsafe fn join(&self, mm: &Mm<K>);

    /// Takes the mm off the list: its last reference is gone, and its grace period is about to begin.
    fn leave(&self);
}

// SAFETY: there is no list.
unsafe impl<K: Kernel> Place<K> for () {
    #[inline(always)]
    unsafe fn join(&self, _mm: &Mm<K>) {}

    #[inline(always)]
    fn leave(&self) {}
}

/// One walk over all PGDs, inside a read-side section.
pub(crate) struct Walk<'a, K: Kernel> {
    init_mm: &'a InitMm<K>,
    rcu: &'a RcuGuard<K>,
}

impl<'a, K: Kernel> Walk<'a, K> {
    pub(crate) fn new(init_mm: &'a InitMm<K>, rcu: &'a RcuGuard<K>) -> Self {
        Self { init_mm, rcu }
    }
}

// SAFETY: `Walkers` promises to find every mm, in these two steps and in this order.
unsafe impl<K: Kernel> PgdWalk<Pgd<K>> for Walk<'_, K> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&Pgd<K>)) {
        let walkers = self.init_mm.walkers();
        // Tasks first. A task that exits between the two loops leaves its mm loaded, and the
        // second loop finds it; the other way round, it could leave a CPU that was already
        // visited with an mm that no task has any more.
        walkers.for_each_published(self.rcu, &mut |mm| visit(mm.pgd()));
        walkers.for_each_loaded(self.rcu, &mut |mm| visit(mm.pgd()));
    }
}
