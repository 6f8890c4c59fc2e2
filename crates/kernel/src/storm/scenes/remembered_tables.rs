//! Whether this processor remembers tables, and not translations only.
//!
//! Processors may cache upper entries (Intel SDM volume 3, section 4.10.3), and go on to walk through a table that no PGD leads to any more
//! until they are flushed. Where they do not, as in an emulator that begins every walk at CR3, a flush that comes too early for the tables
//! cannot be told from one in time. Both are right; this counts.

use crate::cpu::tlb::{Flush, flush_here};
use crate::mm::frames;
use crate::mm::pte::PteFlags;
use crate::os::init_mm;
use crate::storm::{area, attacher, crowd, figures, look, probe, report};
use crate::sync::IrqGuard;
use kernel_sync::atomic::Ordering;
use mm_generic::word::Word;

/// Looks in each scene.
const LOOKS: usize = 100;

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    crowd::load(&task);
    let pages = [area::grow_and_map(area::shared(0, 0)), area::grow_and_map(area::shared(0, 1))];
    let empty = frames::alloc_zeroed().expect("frames enough for a storm");
    let other = empty.address() | PteFlags::TABLE.bits();
    let slot = report::slot_of(pages[0].address);
    let mm = task.mm().expect("a user task that has not exited");
    // SAFETY: the task keeps the PGD; the slot is this scene's, and no update is under way.
    let cell = unsafe { &init_mm().arch().slots().of(mm.root())[slot] };
    let entry = <u64 as Word>::load(cell, Ordering::Relaxed);
    let irqs_off = IrqGuard::disable();
    for _ in 0..LOOKS {
        flush_here(Flush::All);
        // The way to the first page is that to the second, but for the last step.
        assert_eq!(probe::read(pages[0].address), Some(pages[0].secret), "mapped above");
        <u64 as Word>::store(cell, other, Ordering::SeqCst);
        figures::TABLES_TRIED.one();
        if probe::read(pages[1].address).is_some() {
            figures::REMEMBERED_TABLES.one();
        }
        <u64 as Word>::store(cell, entry, Ordering::SeqCst);
    }
    flush_here(Flush::All);
    drop(irqs_off);
    drop(mm);
    attacher::leave();
    crowd::end(&task);
    frames::put(empty);
    pages.into_iter().for_each(look::reclaim);
}
