//! Robust futexes: locks whose owner dies.
//!
//! A thread keeps a list of the locks it holds in user memory, and tells the kernel once where
//! (`set_robust_list`). When it ends with locks in its list, each gets a mark that the owner has died, and one who
//! waits is woken to find it. The list is the program's: it may be anything, endless too.

use super::process::visible_pid;
use crate::futex;
use crate::mm::user::{BadAddress, compare_exchange_u32, read_u32, read_u64};
use crate::sched::Current;
use kernel_sync::atomic::Ordering;

/// Bits of a lock's word: its owner, whether the owner has died, whether somebody waits.
const OWNER: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// Entries that are looked at (`ROBUST_LIST_LIMIT`).
const LIMIT: usize = 2048;

/// Bit of a pointer in the list: the lock is one with priority inheritance, which this kernel does not have.
const PRIORITY: u64 = 1;

/// Releases what `me`, which ends or executes a program, holds (`exit_robust_list`).
pub(super) fn release(me: &Current) {
    let head = me.parts().robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        // Where the list cannot be read, it ends.
        let _ = walk(me, head);
    }
}

fn walk(me: &Current, head: u64) -> Result<(), BadAddress> {
    let offset = read_u64(head.wrapping_add(8))?;
    let pending = read_u64(head.wrapping_add(16))?;
    let mut entry = read_u64(head)?;
    for _ in 0..LIMIT {
        if entry & !PRIORITY == head {
            break;
        }
        // Before its lock is released, and may go away.
        let next = read_u64(entry & !PRIORITY);
        if entry != pending {
            release_one(me, entry, offset)?;
        }
        entry = next?;
    }
    if pending != 0 {
        // It was about to be taken or released.
        release_one(me, pending, offset)?;
    }
    Ok(())
}

fn release_one(me: &Current, entry: u64, offset: u64) -> Result<(), BadAddress> {
    let address = (entry & !PRIORITY).wrapping_add(offset);
    if entry & PRIORITY != 0 || !address.is_multiple_of(4) {
        return Ok(());
    }
    let mut word = read_u32(address)?;
    while word & OWNER == visible_pid(me).get() {
        let old = compare_exchange_u32(address, word, word & WAITERS | OWNER_DIED)?;
        if old != word {
            word = old;
            continue;
        }
        if word & WAITERS != 0
            && let Some(mm) = me.mm()
        {
            futex::wake_one_of(&mm, address);
        }
        break;
    }
    Ok(())
}
