//! Heap, frames, the kernel's page tables, the TLB.

use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::cpu::tlb::{self, Flush};
use crate::cpu::{ipi, smp};
use crate::layout::{DIRECT_MAP, KERNEL_BASE, PAGE_SIZE, image, phys_to_virt};
use crate::mm::frames::{self, Frame};
use crate::mm::heap as kernel_heap;
use crate::mm::kernel_tables::Mapping;
use crate::mm::pte::{ENTRIES, PteFlags};
use crate::mm::user::try_read_kernel;
use crate::sync::IrqMutex;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hint::black_box;
use handover::ranges::Range;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// An address in a top-level slot that boot leaves empty.
const SCRATCH: u64 = 0xffff_c900_0000_0000;

/// memcpy, memmove, memset and memcmp against loops that the compiler cannot turn into them.
pub(super) fn functions(_machine: &Machine) -> Verdict {
    const SIZE: usize = 96;
    let pattern: [u8; SIZE] = core::array::from_fn(|n| n as u8 ^ 0x5a);
    for len in 0..=40 {
        for (from, to) in (0..24).flat_map(|from| (0..24).map(move |to| (from, to))) {
            let mut expected = pattern;
            for n in 0..len {
                expected[to + n] = black_box(pattern[from + n]);
            }
            let mut moved = pattern;
            moved.copy_within(from..from + len, to);
            ensure!(moved == expected, "memmove of {len} bytes from {from} to {to}");
            let mut copied = pattern;
            copied[to..to + len].copy_from_slice(&pattern[from..from + len]);
            ensure!(copied == expected, "memcpy of {len} bytes from {from} to {to}");
        }
        let mut filled = pattern;
        filled[3..3 + len].fill(black_box(0xa7));
        let outside = |n: usize| !(3..3 + len).contains(&n);
        let right = |(n, &byte): (usize, &u8)| byte == if outside(n) { pattern[n] } else { 0xa7 };
        ensure!(filled.iter().enumerate().all(right), "memset of {len} bytes");
        for at in 0..len {
            // Differ in one byte, and the other way round in all that follow.
            let mut other = pattern;
            other[at] ^= 0x80;
            for byte in &mut other[at + 1..] {
                *byte = !*byte;
            }
            let expected = black_box(pattern[at]).cmp(&other[at]);
            let found = pattern[..len].cmp(&other[..len]);
            ensure!(found == expected, "memcmp of {len} bytes that differ at {at}: {found:?}");
            ensure!(pattern[..len] != other[..len], "bcmp of {len} bytes that differ at {at}");
        }
    }
    Ok(())
}

pub(super) fn heap(_machine: &Machine) -> Verdict {
    let before = kernel_heap::allocated();
    let mismatches = AtomicU64::new(0);
    ipi::call_on(smp::online(), &|cpu| {
        let mut map = BTreeMap::new();
        for n in 0..200_u64 {
            map.insert(n, alloc::vec![cpu as u8; 1 + n as usize * 7]);
            if n % 3 == 0 {
                map.remove(&(n / 2));
            }
        }
        let right = |bytes: &Vec<u8>| bytes.iter().all(|&byte| byte == cpu as u8);
        let wrong = map.values().filter(|bytes| !right(bytes)).count();
        mismatches.fetch_add(wrong as u64, Ordering::Relaxed);
    });
    let wrong = mismatches.load(Ordering::Relaxed);
    ensure!(wrong == 0, "{wrong} allocations were overwritten by another processor");
    #[repr(align(4096))]
    struct Aligned([u8; 100]);
    let aligned = Box::new(Aligned([1; 100]));
    let address = aligned.0.as_ptr() as u64;
    ensure!(address.is_multiple_of(PAGE_SIZE), "a page-aligned box lies at {address:#x}");
    drop(aligned);
    let after = kernel_heap::allocated();
    ensure!(before == after, "{before} bytes were allocated before, {after} are now");
    Ok(())
}

pub(super) fn frames_come_back(_machine: &Machine) -> Verdict {
    const EACH: usize = 500;
    // The vectors first, so that the heap does not grow while frames are counted.
    let taken: Vec<_> =
        (0..crate::cpu::MAX_CPUS).map(|_| IrqMutex::new(Vec::with_capacity(EACH))).collect();
    let mut all: Vec<Frame> = Vec::with_capacity(EACH * crate::cpu::MAX_CPUS);
    let before = frames::stats();
    let online = smp::online();
    ipi::call_on(online, &|cpu| {
        let mut taken = taken[cpu].lock();
        while taken.len() < EACH {
            match frames::alloc_zeroed() {
                Ok(frame) => taken.push(frame),
                Err(_) => break,
            }
        }
    });
    for taken in &taken {
        all.extend(taken.lock().iter());
    }
    ensure!(all.len() == EACH * online.count(), "only {} frames could be taken", all.len());
    let during = frames::stats();
    ensure!(during.free == before.free - all.len(), "{before:?} became {during:?}");
    all.sort_unstable();
    let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "{twice:?} was handed out twice");
    let dirty = all.iter().find(|frame| {
        let words = frame.as_ptr().cast::<[u64; 512]>();
        // SAFETY: the frame is ours, and the direct map shows it.
        unsafe { words.read() }.iter().any(|&word| word != 0)
    });
    ensure!(dirty.is_none(), "{dirty:?} was not zeroed");
    // Given back by the next processor, so that caches must even out.
    ipi::call_on(online, &|cpu| {
        let next = (cpu + 1) % online.count();
        for frame in taken[next].lock().drain(..) {
            frames::put(frame);
        }
    });
    let after = frames::stats();
    ensure!(before == after, "{before:?} became {after:?}");
    let block = frames::alloc_block(5).map_err(|error| alloc::format!("{error}"))?;
    ensure!(block.address().is_multiple_of(PAGE_SIZE << 5), "{block:?} is not aligned to its size");
    frames::free_block(block, 5);
    let after = frames::stats();
    ensure!(before == after, "{before:?} became {after:?} after a block");
    Ok(())
}

pub(super) fn frames_are_counted(_machine: &Machine) -> Verdict {
    let frame = frames::alloc().map_err(|error| alloc::format!("{error}"))?;
    ipi::call_on(smp::online(), &|_cpu| {
        for _ in 0..1000 {
            frames::get(frame);
        }
    });
    let users = frames::users(frame);
    ensure!(users == 1 + 1000 * smp::online().count() as u32, "{users} users");
    let last = AtomicU64::new(0);
    ipi::call_on(smp::online(), &|_cpu| {
        for _ in 0..1000 {
            last.fetch_add(u64::from(frames::put(frame)), Ordering::Relaxed);
        }
    });
    ensure!(last.load(Ordering::Relaxed) == 0, "the frame was freed under its first user");
    ensure!(frames::put(frame), "the last user did not free the frame");
    Ok(())
}

pub(super) fn write_xor_execute(machine: &Machine) -> Verdict {
    let (mut offender, mut text) = (None, 0);
    machine.tables.for_each_leaf(&mut |virt, value, level| {
        let flags = PteFlags::from_bits_truncate(value);
        let executable = !flags.contains(PteFlags::NO_EXECUTE);
        if flags.contains(PteFlags::USER) || (executable && flags.contains(PteFlags::WRITABLE)) {
            offender.get_or_insert((virt, value));
        }
        if executable {
            text += crate::mm::pte::span(level);
        }
    });
    ensure!(offender.is_none(), "page and entry {offender:x?}");
    let expected = Range::len(image::text());
    ensure!(text == expected, "{text} bytes are executable, the text is {expected}");
    let protected = image::text().start..image::rodata().end;
    for phys in protected.step_by(PAGE_SIZE as usize) {
        for base in [KERNEL_BASE, DIRECT_MAP] {
            let entry =
                machine.tables.lookup(base + phys).map(|(entry, _)| entry.load(Ordering::Relaxed));
            let writable = entry.unwrap_or(0) & PteFlags::WRITABLE.bits() != 0;
            ensure!(entry.is_some() && !writable, "{:#x} has entry {entry:x?}", base + phys);
        }
    }
    Ok(())
}

pub(super) fn no_identity_map(machine: &Machine) -> Verdict {
    for slot in 0..ENTRIES / 2 {
        let entry = machine.tables.top_level(slot).load(Ordering::Relaxed);
        ensure!(entry == 0, "slot {slot} is {entry:#x}");
    }
    for address in [0, 0x8000, 0x10_0000, 0xfee0_0000] {
        ensure!(try_read_kernel(address).is_none(), "{address:#x} is mapped");
    }
    Ok(())
}

pub(super) fn direct_map(machine: &Machine) -> Verdict {
    for range in machine.ram.as_slice() {
        let range = range.shrink_to(PAGE_SIZE);
        let step = (Range::len(range) / 64).max(PAGE_SIZE) & !(PAGE_SIZE - 1);
        let last = range.end.saturating_sub(PAGE_SIZE);
        for phys in (range.start..range.end).step_by(step as usize).chain([last]) {
            let found = try_read_kernel(phys_to_virt(phys) as u64);
            ensure!(found.is_some(), "physical {phys:#x} is not mapped");
        }
    }
    Ok(())
}

pub(super) fn probe(_machine: &Machine) -> Verdict {
    let word = 0x1234_u64;
    let found = try_read_kernel((&raw const word) as u64);
    ensure!(found == Some(word), "a word on the stack reads as {found:x?}");
    // Not mapped, and not even canonical.
    for address in [SCRATCH + (1 << 38), 0x8000_0000_0000_0000] {
        let found = try_read_kernel(address);
        ensure!(found.is_none(), "{address:#x} reads as {found:x?}");
    }
    Ok(())
}

pub(super) fn shoot_down(machine: &Machine) -> Verdict {
    let fail = |error| alloc::format!("{error}");
    let [old, new] = [frames::alloc_zeroed().map_err(fail)?, frames::alloc_zeroed().map_err(fail)?];
    // SAFETY: both frames are ours.
    unsafe {
        old.as_ptr().cast::<u64>().write(1);
        new.as_ptr().cast::<u64>().write(2);
    }
    let mapping = Mapping {
        virt: SCRATCH,
        phys: old.address(),
        len: PAGE_SIZE,
        flags: PteFlags::KERNEL_DATA,
        largest: 1,
    };
    let mut source = || frames::alloc_zeroed().ok().map(Frame::address);
    machine.tables.map(mapping, &mut source).map_err(|error| alloc::format!("{error}"))?;
    let online = smp::online();
    let everybody_reads = |expected: u64| {
        let wrong = AtomicU64::new(0);
        ipi::call_on(online, &|_cpu| {
            if try_read_kernel(SCRATCH) != Some(expected) {
                wrong.fetch_add(1, Ordering::Relaxed);
            }
        });
        wrong.load(Ordering::Relaxed)
    };
    ensure!(everybody_reads(1) == 0, "a new page cannot be read everywhere");
    let (entry, _) = machine.tables.lookup(SCRATCH).ok_or("the page was mapped a moment ago")?;
    let flags = PteFlags::KERNEL_DATA.bits();
    for what in [Flush::Range { start: SCRATCH, end: SCRATCH + PAGE_SIZE }, Flush::All] {
        for (frame, value) in [(new, 2), (old, 1)] {
            entry.store(frame.address() | flags, Ordering::Release);
            tlb::shoot_down(online, what);
            let wrong = everybody_reads(value);
            ensure!(wrong == 0, "{wrong} processors read the old page after {what:?}");
        }
    }
    entry.store(0, Ordering::Release);
    tlb::shoot_down(online, Flush::Range { start: SCRATCH, end: SCRATCH + PAGE_SIZE });
    ensure!(try_read_kernel(SCRATCH).is_none(), "the page is still there");
    frames::put(old);
    frames::put(new);
    Ok(())
}
