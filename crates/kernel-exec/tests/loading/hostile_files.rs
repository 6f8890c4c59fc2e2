//! Files nobody linked: whatever the bytes, parsing ends in a sound plan or an error.

use kernel_exec::elf::{Class, PAGE_SIZE, parse};
use mm_generic::prot::Prot;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::elf_file::{
    ET_DYN, ET_EXEC, ElfFile, Phdr, R, W, X, header_fields, header_size, phdr_fields, phdr_size,
    target,
};
use crate::soundness::{assert_sound, load};

/// Either outcome is fine; a panic, or a plan that breaks its promises, is not.
fn survives(file: &[u8]) {
    for class in [Class::Elf32, Class::Elf64] {
        if let Ok(plan) = parse(file, &target(class)) {
            assert_sound(&plan, file, &target(class));
        }
    }
}

fn classes() -> impl Strategy<Value = Class> {
    select(vec![Class::Elf32, Class::Elf64])
}

/// A segment before it has a place: gap in pages, offset in the page, file bytes, bss bytes, flags.
type Shape = (u64, u64, u64, u64, u32);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let bytes = || prop_oneof![1 => Just(0), 4 => 0..0x2800_u64];
    let shape = (0..3_u64, 0..PAGE_SIZE, bytes(), bytes(), 0..8_u32);
    prop::collection::vec(shape, 1..6)
}

/// Lays segments out as a linker would: ascending, on pages of their own, congruent in the file.
fn link(class: Class, kind: u16, shapes: &[Shape]) -> ElfFile {
    let mut vaddr = if kind == ET_DYN { 0 } else { 0x40_0000 };
    let mut offset = 0x1000;
    let mut phdrs = Vec::new();
    for &(gap, within, filesz, bss, flags) in shapes {
        vaddr = (vaddr + gap * PAGE_SIZE).next_multiple_of(PAGE_SIZE) + within;
        offset = (offset + gap).next_multiple_of(PAGE_SIZE) + within;
        // Only a segment with a size can hold the entry point or be expected in the plan.
        let memsz = (filesz + bss).max(1);
        phdrs.push(Phdr::load(flags, offset, vaddr, filesz).with_memsz(memsz));
        vaddr += memsz;
        offset += filesz;
    }
    phdrs[0].flags |= X;
    let entry = phdrs[0].vaddr + phdrs[0].memsz / 2;
    ElfFile::new(class, kind, entry, phdrs)
}

fn linked() -> impl Strategy<Value = ElfFile> {
    (classes(), select(vec![ET_EXEC, ET_DYN]), shapes())
        .prop_map(|(class, kind, shapes)| link(class, kind, &shapes))
}

/// Values at which arithmetic goes wrong, and values that other fields have.
fn interesting() -> impl Strategy<Value = u64> {
    let near_power =
        (0..64_u32, -1_i64..=1).prop_map(|(bit, by)| (1_u64 << bit).wrapping_add_signed(by));
    let page_edge = (0..0x1_0000_u64, -1_i64..=1)
        .prop_map(|(page, by)| (page * PAGE_SIZE).wrapping_add_signed(by));
    let from_the_top = (0..0x3000_u64).prop_map(|by| u64::MAX - by);
    prop_oneof![0..16_u64, near_power, page_edge, from_the_top, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4 * ProptestConfig::default().cases,
        // A failure prints its whole input; there is no directory to keep it in.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes(file in prop::collection::vec(any::<u8>(), 0..512)) {
        survives(&file);
    }

    /// Random bytes hardly ever get past the magic; these do.
    #[test]
    fn random_bytes_behind_a_good_identification(
        class in classes(),
        body in prop::collection::vec(any::<u8>(), 0..1024),
    ) {
        let mut file = ElfFile::sample(class, ET_EXEC).to_bytes();
        file.truncate(24);
        file.extend(body);
        survives(&file);
    }

    #[test]
    fn sound_files_with_bytes_overwritten(
        elf in linked(),
        spots in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = elf.to_bytes();
        // The headers are what is worth hitting.
        let headers = header_size(elf.class) + elf.phdrs.len() as u64 * phdr_size(elf.class);
        for (spot, byte) in spots {
            file[spot.index(headers as usize)] = byte;
        }
        survives(&file);
    }

    #[test]
    fn sound_files_with_fields_replaced_by_interesting_values(
        elf in linked(),
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), interesting()), 1..4),
        cut in prop::option::weighted(0.1, any::<Index>()),
    ) {
        let mut file = elf.to_bytes();
        for (which, field, value) in changes {
            // One choice in `phdrs.len() + 1` hits the file header.
            let (start, fields) = match which.index(elf.phdrs.len() + 1) {
                0 => (0, header_fields(elf.class)),
                n => {
                    let at = header_size(elf.class) + (n as u64 - 1) * phdr_size(elf.class);
                    (at as usize, phdr_fields(elf.class))
                }
            };
            let (offset, size) = *field.get(&fields);
            file[start + offset..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() + 1));
        }
        survives(&file);
    }

    /// The plan against the specification's own words: byte `i` of a segment is byte
    /// `p_offset + i` of the file up to `p_filesz`, and zero from there to `p_memsz`.
    #[test]
    fn every_byte_of_every_segment_is_where_the_header_says(elf in linked(), seed in any::<u64>()) {
        let mut shuffled = elf.clone();
        let len = shuffled.phdrs.len();
        shuffled.phdrs.swap(0, seed as usize % len);
        let file = shuffled.to_bytes();
        let target = target(elf.class);
        let plan = parse(&file, &target).expect("a linker could have made it");
        assert_sound(&plan, &file, &target);

        prop_assert_eq!(plan.bias, if elf.kind == ET_DYN { target.pie_base } else { 0 });
        prop_assert_eq!(plan.entry, plan.bias + elf.entry);
        prop_assert_eq!(plan.segments.len(), elf.phdrs.len());
        for ((phdr, segment), (at, memory)) in
            elf.phdrs.iter().zip(&plan.segments).zip(load(&plan, &file))
        {
            let start = phdr.vaddr + plan.bias;
            let end = start + phdr.memsz;
            prop_assert_eq!(segment.range.start, start / PAGE_SIZE * PAGE_SIZE);
            prop_assert_eq!(segment.range.end, end.next_multiple_of(PAGE_SIZE));
            prop_assert_eq!(segment.prot.contains(Prot::READ), phdr.flags & R != 0);
            prop_assert_eq!(segment.prot.contains(Prot::WRITE), phdr.flags & W != 0);
            prop_assert_eq!(segment.prot.contains(Prot::EXEC), phdr.flags & X != 0);

            let bytes = &memory[(start - at) as usize..];
            let (from_file, zeroes) = bytes.split_at(phdr.filesz as usize);
            if phdr.filesz != 0 {
                let offset = phdr.offset as usize;
                prop_assert_eq!(from_file, &file[offset..offset + phdr.filesz as usize]);
            }
            prop_assert!(zeroes.iter().all(|&byte| byte == 0));
        }
    }
}
