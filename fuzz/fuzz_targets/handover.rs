//! What a loader and firmware hand over: any bytes in an initramfs, in ACPI tables, in PVH structures, on the command line.
#![no_main]

use fuzz::Input;
use handover::acpi::{MAX_PROCESSORS, PhysicalMemory, Platform};
use handover::cmdline::CommandLine;
use handover::cpio::{Entries, Initramfs};
use handover::pvh::{self, StartInfo};
use handover::ranges::{Range, RangeSet};
use libfuzzer_sys::fuzz_target;

/// Physical memory that holds the input from this address on.
const START: u64 = 0xe_0000;

struct Memory<'a>(&'a [u8]);

impl PhysicalMemory for Memory<'_> {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let first = usize::try_from(address.checked_sub(START)?).ok()?;
        self.0.get(first..first.checked_add(len)?)
    }
}

/// Adds up every byte of the set, which must not overlap.
fn bytes_of(set: &RangeSet<8>) -> u128 {
    let mut ranges = set.as_slice().to_vec();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
    ranges.iter().map(|range| u128::from(range.len())).sum()
}

fn memory_map(data: &[u8]) {
    let mut set = RangeSet::<8>::default();
    let mut end = 0;
    for range in pvh::ram(data) {
        assert!(!range.is_empty());
        // `add` wants disjoint ranges: cut off what lies below the ones before.
        let range = Range { start: range.start.max(end), end: range.end };
        if set.add(range).is_err() {
            break;
        }
        end = end.max(range.end);
    }
    let mut input = Input(data);
    for _ in 0..8 {
        let before = bytes_of(&set);
        let (size, align) = (input.word() % (1 << 20), 1 << input.below(22));
        let limit = input.extent(0, 1 << 20);
        let fits = set.as_slice().iter().any(|range| {
            let start = range.start.checked_next_multiple_of(align);
            let end = start.and_then(|start| start.checked_add(size));
            end.is_some_and(|end| end <= range.end.min(limit))
        });
        // A hole in the middle may need a place that the set has not.
        let may_lack_room = set.as_slice().len() == 8;
        let asked = if fuzz::is_planted("any-alignment") { 1 } else { align };
        match set.take(size, asked, limit) {
            Some(start) => {
                assert!(fits && start % align == 0 && start + size <= limit);
                assert_eq!(bytes_of(&set), before - u128::from(size));
            }
            None => assert!(
                !fits || may_lack_room,
                "{size:#x} bytes, aligned to {align:#x}, below {limit:#x} of {set:?}"
            ),
        }
        let start = input.extent(0, 1 << 20);
        let hole = Range { start, end: start.saturating_add(input.word() % (1 << 24)) };
        let before = bytes_of(&set);
        let _ = set.remove(hole);
        assert!(bytes_of(&set) <= before);
        for range in set.as_slice() {
            assert!(
                hole.is_empty() || range.end <= hole.start || hole.end <= range.start,
                "{hole:?} {set:?}"
            );
        }
        for page in [1, 4096, 1 << 21] {
            let (inside, around) = (hole.shrink_to(page), hole.grow_to(page));
            assert!(
                inside.is_empty() || (hole.start <= inside.start && inside.end <= hole.end),
                "{hole:?}"
            );
            assert!(around.start <= hole.start, "{hole:?}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    match which % 5 {
        0 => {
            let mut end = 0;
            for entry in Entries::new(data) {
                let Ok(entry) = entry else { break };
                // Entries lie one behind the other in the archive.
                let at = entry.name.as_ptr() as usize - data.as_ptr() as usize;
                assert!(at >= end && at + entry.name.len() <= data.len());
                end = at + entry.name.len();
            }
            if let Ok(initramfs) = Initramfs::parse(data) {
                assert_eq!(initramfs.iter().count(), initramfs.len());
                for (path, entry) in initramfs.iter() {
                    assert_eq!(initramfs.get(path), Some(entry));
                }
            }
        }
        1 => {
            if let Ok(platform) = Platform::discover(&Memory(data), START) {
                assert!(platform.apic_ids().len() <= MAX_PROCESSORS);
            }
        }
        2 => {
            let _ = StartInfo::parse(data);
            let _ = pvh::module(data);
        }
        3 => {
            let line = CommandLine::from_c_bytes(data);
            for word in line.as_str().split_ascii_whitespace() {
                assert!(line.flag(word));
                if let Some((name, _)) = word.split_once('=') {
                    assert!(line.value(name).is_some());
                }
            }
        }
        _ => memory_map(data),
    }
});
