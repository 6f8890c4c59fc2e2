//! Bytes to and from a page that programs may be using at the same moment.
//!
//! Another thread of the program, or another program that maps the frame too, may load and store
//! while the kernel copies. The page is therefore reached as 512 atomic words; what one such race
//! leaves in a word is the program's own affair, and no undefined behaviour of the kernel's.

use kernel_sync::atomic::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// Copies from byte `at` of `page` on, until `to` is full.
///
/// # Panics
///
/// When the page ends before.
pub(super) fn from_page(page: &[AtomicU64], mut at: usize, mut to: &mut [u8]) {
    while !to.is_empty() {
        let within = at % WORD;
        let (head, tail) = to.split_at_mut((WORD - within).min(to.len()));
        let word = page[at / WORD].load(Ordering::Relaxed).to_ne_bytes();
        head.copy_from_slice(&word[within..within + head.len()]);
        at += head.len();
        to = tail;
    }
}

/// Copies `from` to byte `at` of `page` and on.
///
/// # Panics
///
/// When the page ends before.
pub(super) fn to_page(page: &[AtomicU64], mut at: usize, mut from: &[u8]) {
    while !from.is_empty() {
        let within = at % WORD;
        let (head, tail) = from.split_at((WORD - within).min(from.len()));
        let cell = &page[at / WORD];
        if let Ok(whole) = <[u8; WORD]>::try_from(head) {
            cell.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        } else {
            // The rest of the word is not ours: a store to it meanwhile must not be undone.
            let mut old = cell.load(Ordering::Relaxed);
            loop {
                let mut word = old.to_ne_bytes();
                word[within..within + head.len()].copy_from_slice(head);
                let new = u64::from_ne_bytes(word);
                match cell.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => old = now,
                }
            }
        }
        at += head.len();
        from = tail;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn page() -> [AtomicU64; 4] {
        core::array::from_fn(|word| AtomicU64::new(u64::from_ne_bytes([word as u8; 8])))
    }

    #[test]
    fn every_cut_of_a_page_is_copied_and_nothing_beside_it() {
        for start in 0..32 {
            for end in start..=32 {
                let page = page();
                let new = [0xaa; 32];
                to_page(&page, start, &new[start..end]);
                let mut all = [0xff; 32];
                from_page(&page, 0, &mut all);
                for (at, &byte) in all.iter().enumerate() {
                    let expected = if (start..end).contains(&at) { 0xaa } else { (at / 8) as u8 };
                    assert_eq!(byte, expected, "byte {at} of {start}..{end}");
                }
                let mut part = [0xff; 32];
                from_page(&page, start, &mut part[start..end]);
                assert_eq!(part[start..end], all[start..end]);
            }
        }
    }
}
