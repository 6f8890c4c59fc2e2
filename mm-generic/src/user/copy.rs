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
pub(super) fn from_page(page: &[AtomicU64], at: usize, to: &mut [u8]) {
    let (head, rest) = to.split_at_mut(up_to_next_word(at, to.len()));
    if !head.is_empty() {
        part_of(&page[at / WORD], at % WORD, head);
    }
    let first = (at + head.len()) / WORD;
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let end = first + words.len();
    for (cell, word) in page[first..end].iter().zip(words) {
        *word = cell.load(Ordering::Relaxed).to_ne_bytes();
    }
    if !tail.is_empty() {
        part_of(&page[end], 0, tail);
    }
}

/// Copies `from` to byte `at` of `page` and on.
///
/// # Panics
///
/// When the page ends before.
pub(super) fn to_page(page: &[AtomicU64], at: usize, from: &[u8]) {
    let (head, rest) = from.split_at(up_to_next_word(at, from.len()));
    if !head.is_empty() {
        merge(&page[at / WORD], at % WORD, head);
    }
    let first = (at + head.len()) / WORD;
    let (words, tail) = rest.as_chunks::<WORD>();
    let end = first + words.len();
    for (cell, &word) in page[first..end].iter().zip(words) {
        cell.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
    if !tail.is_empty() {
        merge(&page[end], 0, tail);
    }
}

/// Bytes, of `len` at most, from byte `at` on to where a word begins.
fn up_to_next_word(at: usize, len: usize) -> usize {
    (at.next_multiple_of(WORD) - at).min(len)
}

/// Reads the bytes of a word from byte `within` on.
fn part_of(cell: &AtomicU64, within: usize, to: &mut [u8]) {
    let word = cell.load(Ordering::Relaxed).to_ne_bytes();
    to.copy_from_slice(&word[within..within + to.len()]);
}

/// Stores `bytes` from byte `within` of a word on. The rest of the word is not ours: a store to it meanwhile is not undone.
fn merge(cell: &AtomicU64, within: usize, bytes: &[u8]) {
    let mut old = cell.load(Ordering::Relaxed);
    loop {
        let mut word = old.to_ne_bytes();
        word[within..within + bytes.len()].copy_from_slice(bytes);
        let new = u64::from_ne_bytes(word);
        match cell.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
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
