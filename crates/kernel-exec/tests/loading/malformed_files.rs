//! Files with one thing wrong, and the error that must name it.

use kernel_exec::elf::{Class, ElfError, LoadPlan, Target, parse};

use crate::elf_file::{
    ET_DYN, ET_EXEC, ElfFile, PT_INTERP, Phdr, R, W, X, header_fields, header_size, target,
};

const CLASSES: [Class; 2] = [Class::Elf32, Class::Elf64];

/// Parses the sample after `spoil` has had its way with it.
fn spoiled(class: Class, kind: u16, spoil: impl Fn(&mut ElfFile)) -> Result<LoadPlan, ElfError> {
    let mut elf = ElfFile::sample(class, kind);
    spoil(&mut elf);
    parse(&elf.to_bytes(), &target(class))
}

/// Parses the sample with some of its bytes overwritten.
fn patched(class: Class, at: usize, bytes: &[u8]) -> Result<LoadPlan, ElfError> {
    let mut file = ElfFile::sample(class, ET_EXEC).to_bytes();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    parse(&file, &target(class))
}

#[test]
fn a_file_of_every_shorter_length_is_refused_for_being_short() {
    for class in CLASSES {
        for kind in [ET_EXEC, ET_DYN] {
            let file = ElfFile::sample(class, kind).to_bytes();
            let table_end = header_size(class) as usize + 4 * class_phdr(class);
            for len in 0..file.len() {
                let error = parse(&file[..len], &target(class)).expect_err("the file is cut");
                let expected = if len < header_size(class) as usize {
                    matches!(error, ElfError::TruncatedHeader { have, .. } if have == len)
                } else if len < table_end {
                    matches!(error, ElfError::TruncatedPhdrs { file_len, .. } if file_len == len)
                } else {
                    matches!(error, ElfError::TruncatedSegment { file_len, .. } if file_len == len)
                };
                assert!(expected, "{class:?} cut to {len}: {error}");
            }
        }
    }
}

fn class_phdr(class: Class) -> usize {
    crate::elf_file::phdr_size(class) as usize
}

#[test]
fn a_truncated_header_tells_how_much_is_missing() {
    assert_eq!(
        parse(&[], &target(Class::Elf32)),
        Err(ElfError::TruncatedHeader { have: 0, need: 52 })
    );
    assert_eq!(
        parse(b"\x7fELF", &target(Class::Elf64)),
        Err(ElfError::TruncatedHeader { have: 4, need: 64 })
    );
}

#[test]
fn what_is_not_elf_is_told_from_what_is() {
    assert_eq!(
        parse(b"#!/bin/sh\necho hello\n", &target(Class::Elf64)),
        Err(ElfError::BadMagic { found: *b"#!/b" })
    );
    for at in 0..4 {
        let error = patched(Class::Elf64, at, &[0]).expect_err("the magic is broken");
        assert!(matches!(error, ElfError::BadMagic { .. }), "{error}");
    }
}

#[test]
fn identification_is_checked_byte_by_byte() {
    let class = |found, expected| Err(ElfError::WrongClass { found, expected });
    assert_eq!(patched(Class::Elf64, 4, &[1]), class(1, 2));
    assert_eq!(patched(Class::Elf32, 4, &[2]), class(2, 1));
    assert_eq!(patched(Class::Elf64, 4, &[0]), class(0, 2));
    assert_eq!(patched(Class::Elf32, 4, &[9]), class(9, 1));
    for found in [0, 2, 7] {
        assert_eq!(patched(Class::Elf64, 5, &[found]), Err(ElfError::WrongEndian { found }));
    }
    for found in [0, 2] {
        let error = Err(ElfError::WrongVersion { found: u32::from(found) });
        assert_eq!(patched(Class::Elf64, 6, &[found]), error);
    }
    // The ABI bytes are not ours to judge.
    patched(Class::Elf64, 7, &[3, 1, 9, 9, 9, 9, 9, 9, 9]).expect("Linux does not look either");
}

#[test]
fn the_file_header_is_checked_field_by_field() {
    for class in CLASSES {
        let [kind, machine, version, _, _, phentsize, phnum] = header_fields(class);
        for found in [0_u16, 1, 4, 0xfe00] {
            let error = Err(ElfError::WrongType { found });
            assert_eq!(patched(class, kind.0, &found.to_le_bytes()), error);
        }
        let expected = if class == Class::Elf64 { 62 } else { 3 };
        let error = Err(ElfError::WrongMachine { found: 183, expected });
        assert_eq!(patched(class, machine.0, &183_u16.to_le_bytes()), error);

        let error = Err(ElfError::WrongVersion { found: 0x0100_0000 });
        assert_eq!(patched(class, version.0, &[0, 0, 0, 1]), error);

        let expected = class_phdr(class) as u16;
        for found in [0, expected - 1, expected + 1, 0xffff] {
            let error = Err(ElfError::WrongPhentsize { found, expected });
            assert_eq!(patched(class, phentsize.0, &found.to_le_bytes()), error);
        }
        assert_eq!(patched(class, phnum.0, &[0, 0]), Err(ElfError::NoPhdrs));
        let limit = (65536 / class_phdr(class)) as u16;
        let error = Err(ElfError::TooManyPhdrs { phnum: 0xffff, limit });
        assert_eq!(patched(class, phnum.0, &[0xff, 0xff]), error);
    }
}

#[test]
fn a_program_header_table_outside_the_file_is_refused() {
    let file_len = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes().len();
    for offset in [file_len as u64 - 4 * 56 + 1, 1 << 40, u64::MAX - 100, u64::MAX] {
        let error = ElfError::TruncatedPhdrs { offset, bytes: 4 * 56, file_len };
        assert_eq!(patched(Class::Elf64, 32, &offset.to_le_bytes()), Err(error));
    }
}

#[test]
fn a_dynamic_executable_names_the_interpreter_it_needs() {
    let interp = |path: &[u8], filesz: u64| {
        let mut elf = ElfFile::sample(Class::Elf64, ET_DYN);
        elf.phdrs.push(Phdr { kind: PT_INTERP, ..Phdr::load(R, 0x1100, 0x1100, filesz) });
        elf.min_len = 0x4000;
        let mut file = elf.to_bytes();
        file[0x1100..][..path.len()].copy_from_slice(path);
        parse(&file, &target(Class::Elf64))
    };
    let needs = |path: &[u8]| Err(ElfError::NeedsInterpreter { path: path.to_vec() });
    let bad = |filesz| Err(ElfError::BadInterpreter { offset: 0x1100, filesz });

    assert_eq!(interp(b"/lib/ld.so\0", 11), needs(b"/lib/ld.so"));
    assert_eq!(interp(b"/lib\0ld.so\0", 11), needs(b"/lib"), "a C string ends at its first NUL");
    assert_eq!(interp(b"/lib/ld.so\0", 10), bad(10), "no NUL at the end");
    assert_eq!(interp(b"\0", 1), bad(1));
    assert_eq!(interp(b"", 0), bad(0));
    assert_eq!(interp(b"", u64::MAX), bad(u64::MAX));
    assert_eq!(interp(b"", 0x4000), bad(0x4000), "past the end of the file");

    let mut longest = vec![b'a'; 4095];
    longest.push(0);
    assert_eq!(interp(&longest, 4096), needs(&longest[..4095]));
    longest.insert(0, b'/');
    assert_eq!(interp(&longest, 4097), bad(4097));
}

#[test]
fn a_segment_larger_in_the_file_than_in_memory_is_refused() {
    let error = spoiled(Class::Elf64, ET_EXEC, |elf| elf.phdrs[1].memsz = 0x233);
    let expected = ElfError::FileszExceedsMemsz { index: 1, filesz: 0x234, memsz: 0x233 };
    assert_eq!(error, Err(expected));
    // Not even an empty one may claim file bytes.
    let error = spoiled(Class::Elf64, ET_EXEC, |elf| elf.phdrs[1].memsz = 0);
    assert!(matches!(error, Err(ElfError::FileszExceedsMemsz { index: 1, .. })), "{error:?}");
}

#[test]
fn a_segment_past_the_last_address_is_refused() {
    let overflow = |class, kind, vaddr, memsz| {
        let result = spoiled(class, kind, |elf| {
            elf.phdrs[2] = Phdr::load(R | W, 0, vaddr, 0).with_memsz(memsz);
        });
        assert_eq!(result, Err(ElfError::AddressOverflow { index: 2, vaddr, memsz }));
    };
    overflow(Class::Elf64, ET_EXEC, 0x60_0000, u64::MAX);
    overflow(Class::Elf64, ET_EXEC, u64::MAX, 1);
    // The sum fits, the end of its last page does not.
    overflow(Class::Elf64, ET_EXEC, 0xffff_ffff_ffff_f000, 0x10);
    // It fits until the bias is added.
    overflow(Class::Elf64, ET_DYN, 0xffff_ffff_0000_0000, 0x10);
    overflow(Class::Elf32, ET_EXEC, 0xffff_f000, 0x1001);
    overflow(Class::Elf32, ET_EXEC, 0x60_0000, 0xffff_ffff);
}

#[test]
fn a_segment_whose_file_bytes_overflow_is_refused() {
    let offset = u64::MAX - 0x100f;
    let mut file = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes();
    let field = 64 + 2 * 56 + 8;
    file[field..field + 8].copy_from_slice(&offset.to_le_bytes());
    let filesz = 0x1010;
    file[field + 24..field + 32].copy_from_slice(&filesz_bytes(filesz));
    assert_eq!(
        parse(&file, &target(Class::Elf64)),
        Err(ElfError::OffsetOverflow { index: 2, offset, filesz })
    );
}

fn filesz_bytes(filesz: u64) -> [u8; 8] {
    filesz.to_le_bytes()
}

#[test]
fn a_segment_past_the_end_of_the_file_is_refused() {
    let file = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes();
    let cut = &file[..file.len() - 1];
    assert_eq!(
        parse(cut, &target(Class::Elf64)),
        Err(ElfError::TruncatedSegment { index: 2, end: 0x2110, file_len: 0x210f })
    );
}

#[test]
fn a_segment_that_no_file_page_fits_is_refused() {
    let result = spoiled(Class::Elf64, ET_EXEC, |elf| elf.phdrs[2].offset = 0x1fe0);
    let error = ElfError::Misaligned { index: 2, vaddr: 0x40_2ff0, offset: 0x1fe0 };
    assert_eq!(result, Err(error));
}

#[test]
fn an_alignment_that_is_no_power_of_two_is_refused() {
    for kind in [ET_EXEC, ET_DYN] {
        for align in [3, 0x1001, u64::MAX] {
            let result = spoiled(Class::Elf64, kind, |elf| elf.phdrs[1].align = align);
            assert_eq!(result, Err(ElfError::BadAlign { index: 1, align }));
        }
    }
}

#[test]
fn a_static_pie_that_cannot_be_aligned_is_refused() {
    let align = 1 << 63;
    let mut elf = ElfFile::sample(Class::Elf64, ET_DYN);
    elf.phdrs[1].align = align;
    let pie_base = align + 1;
    let high = Target { pie_base, ..target(Class::Elf64) };
    assert_eq!(parse(&elf.to_bytes(), &high), Err(ElfError::NoAlignedBase { pie_base, align }));
    // From a usual base there is an aligned address, but not in user space.
    let result = parse(&elf.to_bytes(), &target(Class::Elf64));
    assert!(matches!(result, Err(ElfError::OutsideUser { index: 0, .. })), "{result:?}");
}

#[test]
fn a_segment_outside_user_space_is_refused() {
    let user = target(Class::Elf64).user;
    let at = |vaddr: u64| {
        let result = spoiled(Class::Elf64, ET_EXEC, |elf| {
            elf.phdrs[2] = Phdr::load(R | W, 0x1000, vaddr, 0x10);
        });
        let page = vaddr..vaddr + 0x1000;
        (result, Err(ElfError::OutsideUser { index: 2, range: page, user: user.clone() }))
    };
    for vaddr in [0, user.start - 0x1000, user.end, 0xffff_8000_0000_0000] {
        let (result, expected) = at(vaddr);
        assert_eq!(result, expected);
    }
    at(user.start).0.expect("the first page is allowed");
    at(user.end - 0x1000).0.expect("the last page is allowed");
}

#[test]
fn half_a_page_of_user_space_is_no_place_for_a_segment() {
    // The kernel maps pages: what matters is where the page ends, not where the segment does.
    let odd = Target { user: 0x40_0000..0x40_5800, ..target(Class::Elf64) };
    let file = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes();
    let result = parse(&file, &odd);
    assert!(matches!(result, Err(ElfError::OutsideUser { index: 2, .. })), "{result:?}");
}

#[test]
fn segments_that_overlap_are_refused_in_either_order() {
    let mut elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    elf.phdrs[0] = elf.phdrs[0].clone().with_memsz(0x1800);
    let error = ElfError::Overlap { lower: 0x40_0000..0x40_2000, upper: 0x40_1000..0x40_2000 };
    assert_eq!(parse(&elf.to_bytes(), &target(Class::Elf64)), Err(error.clone()));
    elf.phdrs.reverse();
    assert_eq!(parse(&elf.to_bytes(), &target(Class::Elf64)), Err(error));
}

#[test]
fn segments_that_share_a_page_are_refused_even_with_equal_rights() {
    for flags in [R | X, R | W] {
        let elf = ElfFile::new(
            Class::Elf64,
            ET_EXEC,
            0x40_0000,
            vec![Phdr::load(R | X, 0, 0x40_0000, 0x800), Phdr::load(flags, 0x800, 0x40_0800, 0x10)],
        );
        let page = 0x40_0000..0x40_1000;
        assert_eq!(
            parse(&elf.to_bytes(), &target(Class::Elf64)),
            Err(ElfError::Overlap { lower: page.clone(), upper: page })
        );
    }
}

#[test]
fn a_file_that_loads_nothing_is_refused() {
    let none = ElfFile::new(Class::Elf64, ET_EXEC, 0, vec![Phdr::gnu_stack(R | W)]);
    assert_eq!(parse(&none.to_bytes(), &target(Class::Elf64)), Err(ElfError::NoLoad));
    let empty = ElfFile::new(Class::Elf64, ET_DYN, 0, vec![Phdr::load(R | X, 0, 0, 0)]);
    assert_eq!(parse(&empty.to_bytes(), &target(Class::Elf64)), Err(ElfError::NoLoad));
}

#[test]
fn an_entry_point_outside_executable_segments_is_refused() {
    // Before, in a readable one, on the text's first and last byte, behind it, in data, far off.
    for kind in [ET_EXEC, ET_DYN] {
        let base = if kind == ET_EXEC { 0x40_0000 } else { 0 };
        let enter = |entry| spoiled(Class::Elf64, kind, |elf| elf.entry = entry);
        for entry in [base, base + 0xfff, base + 0x1234, base + 0x3000, u64::MAX] {
            assert_eq!(enter(entry), Err(ElfError::EntryNotExecutable { entry }));
        }
        enter(base + 0x1000).expect("the first byte of text");
        enter(base + 0x1233).expect("the last byte of text");
    }
}

#[test]
fn errors_read_as_sentences_with_their_values() {
    let path = b"/lib64/ld-linux-x86-64.so.2".to_vec();
    assert_eq!(
        ElfError::NeedsInterpreter { path }.to_string(),
        "the program needs the interpreter /lib64/ld-linux-x86-64.so.2"
    );
    assert_eq!(
        ElfError::OutsideUser { index: 2, range: 0..0x1000, user: 0x1_0000..0x2_0000 }.to_string(),
        "segment 2 at 0x0..0x1000 is outside user space 0x10000..0x20000"
    );
}
