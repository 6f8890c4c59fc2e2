//! Sound files, and what must become of them.

use kernel_exec::elf::{Class, ElfError, MAX_PHDR_BYTES, Machine, Target, parse};
use mm_generic::prot::Prot;

use crate::elf_file::{ET_DYN, ET_EXEC, ElfFile, PT_NOTE, Phdr, R, W, X, phdr_size, target};
use crate::soundness::{assert_sound, load};

const CLASSES: [Class; 2] = [Class::Elf32, Class::Elf64];

#[test]
fn a_static_executable_is_planned_where_it_was_linked() {
    for class in CLASSES {
        let file = ElfFile::sample(class, ET_EXEC).to_bytes();
        let plan = parse(&file, &target(class)).expect("the sample is sound");
        assert_sound(&plan, &file, &target(class));

        assert_eq!(plan.bias, 0);
        assert_eq!(plan.entry, 0x40_1010);
        assert_eq!(plan.phdr, Some(0x40_0000 + crate::elf_file::header_size(class)));
        assert_eq!(u64::from(plan.phentsize), phdr_size(class));
        assert_eq!(plan.phnum, 4);
        assert_eq!(plan.brk_start, 0x40_6000);
        assert!(!plan.stack_exec);

        let seen: Vec<_> = plan
            .segments
            .iter()
            .map(|s| (s.range.clone(), s.prot, s.file_offset, s.file_len))
            .collect();
        assert_eq!(
            seen,
            [
                (0x40_0000..0x40_1000, Prot::READ, 0, 0x2a0),
                (0x40_1000..0x40_2000, Prot::READ | Prot::EXEC, 0x1000, 0x234),
                // The first 0xff0 bytes are not the segment's: the file has them before it.
                (0x40_2000..0x40_6000, Prot::READ | Prot::WRITE, 0x1000, 0xff0 + 0x120),
            ]
        );
    }
}

#[test]
fn a_static_pie_is_moved_as_a_whole() {
    for class in CLASSES {
        let file = ElfFile::sample(class, ET_DYN).to_bytes();
        let target = target(class);
        let plan = parse(&file, &target).expect("the sample is sound");
        assert_sound(&plan, &file, &target);

        assert_eq!(plan.bias, target.pie_base);
        assert_eq!(plan.entry, target.pie_base + 0x1010);
        assert_eq!(plan.phdr, Some(target.pie_base + crate::elf_file::header_size(class)));
        assert_eq!(plan.segments[2].range, target.pie_base + 0x2000..target.pie_base + 0x6000);
        assert_eq!(plan.brk_start, target.pie_base + 0x6000);
    }
}

#[test]
fn the_bias_of_a_static_pie_keeps_the_largest_alignment() {
    let mut elf = ElfFile::sample(Class::Elf64, ET_DYN);
    elf.phdrs[1].align = 0x20_0000;
    let file = elf.to_bytes();
    let plan = parse(&file, &target(Class::Elf64)).expect("the alignment is a power of two");
    assert_eq!(plan.bias, 0x5555_5560_0000, "the first multiple of 2 MiB past pie_base");
    assert_eq!(plan.entry, plan.bias + 0x1010);

    // A page is the least, whatever the file and the kernel ask for.
    let crooked = Target { pie_base: 0x5555_5555_4001, ..target(Class::Elf64) };
    for phdr in &mut elf.phdrs {
        phdr.align = 0;
    }
    let plan = parse(&elf.to_bytes(), &crooked).expect("alignment 0 means none");
    assert_eq!(plan.bias, 0x5555_5555_5000);
}

#[test]
fn a_bss_is_zero_from_its_first_byte() {
    let elf = ElfFile::new(
        Class::Elf64,
        ET_EXEC,
        0x40_0000,
        vec![
            Phdr::load(R | X, 0, 0x40_0000, 0x300),
            Phdr::load(R | W, 0x1800, 0x40_1800, 0x10).with_memsz(0x1000),
        ],
    );
    let mut elf = elf;
    elf.min_len = 0x4000;
    let file = elf.to_bytes();
    let plan = parse(&file, &target(Class::Elf64)).expect("sound");
    let memory = &load(&plan, &file)[1];

    assert_eq!(memory.0, 0x40_1000);
    assert_eq!(memory.1.len(), 0x2000);
    assert_eq!(memory.1[..0x810], file[0x1000..0x1810]);
    assert!(memory.1[0x810..].iter().all(|&byte| byte == 0), "file bytes leaked into the bss");
}

#[test]
fn a_segment_that_is_all_bss_takes_nothing_from_the_file() {
    // Linkers leave any offset in such a header, even past the end of the file and not congruent.
    let bss = Phdr { offset: 0xdead_beef, ..Phdr::load(R | W, 0, 0x40_2010, 0).with_memsz(0x20) };
    let elf = ElfFile::new(
        Class::Elf64,
        ET_EXEC,
        0x40_0000,
        vec![Phdr::load(R | X, 0, 0x40_0000, 0x300), bss],
    );
    let file = elf.to_bytes();
    let plan = parse(&file, &target(Class::Elf64)).expect("sound");
    assert_eq!(plan.segments[1].range, 0x40_2000..0x40_3000);
    assert_eq!((plan.segments[1].file_offset, plan.segments[1].file_len), (0, 0));
    assert!(load(&plan, &file)[1].1.iter().all(|&byte| byte == 0));
}

#[test]
fn segments_come_out_ascending_whatever_their_order_in_the_table() {
    let elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    let ascending = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound");
    let mut reversed = elf;
    reversed.phdrs.reverse();
    let plan = parse(&reversed.to_bytes(), &target(Class::Elf64)).expect("order does not matter");
    assert_eq!(plan, ascending);
}

#[test]
fn an_empty_segment_maps_nothing_and_conflicts_with_nothing() {
    let mut elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    let whole = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound").segments;
    elf.phdrs.push(Phdr::load(R | W, 0x33, 0x40_0000, 0));
    elf.phdrs.push(Phdr::load(R | W, 0, 0xffff_ffff_ffff_ffff, 0));
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("empty segments are skipped");
    assert_eq!(plan.segments, whole);
}

#[test]
fn rights_are_taken_as_they_are() {
    for flags in 0..8 {
        let elf = ElfFile::new(
            Class::Elf64,
            ET_EXEC,
            0x40_0000,
            vec![
                Phdr::load(R | X, 0, 0x40_0000, 0x300),
                // Bits above the three are the processor's and the system's, and mean nothing here.
                Phdr::load(flags | 0x00f0_0000, 0x1000, 0x40_1000, 0x10),
            ],
        );
        let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("any rights will do");
        let prot = plan.segments[1].prot;
        assert_eq!(prot.contains(Prot::READ), flags & R != 0);
        assert_eq!(prot.contains(Prot::WRITE), flags & W != 0);
        assert_eq!(prot.contains(Prot::EXEC), flags & X != 0);
    }
}

#[test]
fn the_last_gnu_stack_header_decides_and_without_one_the_machine_does() {
    let stack_exec = |class, headers: &[u32]| {
        let mut elf = ElfFile::sample(class, ET_EXEC);
        elf.phdrs.truncate(3);
        elf.phdrs.extend(headers.iter().map(|&flags| Phdr::gnu_stack(flags)));
        parse(&elf.to_bytes(), &target(class)).expect("sound").stack_exec
    };
    assert!(!stack_exec(Class::Elf64, &[]));
    assert!(stack_exec(Class::Elf32, &[]));
    for class in CLASSES {
        assert!(!stack_exec(class, &[R | W]));
        assert!(stack_exec(class, &[R | W | X]));
        assert!(!stack_exec(class, &[R | W | X, R | W]));
    }
}

#[test]
fn the_program_headers_are_found_in_whichever_segment_loads_them() {
    // Linux assumed the first segment until 5.18, and gave such files a wild AT_PHDR.
    let mut elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    elf.phoff = 0x2008;
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound");
    assert_eq!(plan.phdr, Some(0x40_3008), "in the data segment, at 0x18 from its start");

    // The table must be loaded whole, up to its last byte.
    let table_end = 0x18 + 4 * 56;
    elf.phdrs[2].filesz = table_end;
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound");
    assert_eq!(plan.phdr, Some(0x40_3008));
    elf.phdrs[2].filesz = table_end - 1;
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound");
    assert_eq!(plan.phdr, None);
}

#[test]
fn of_two_segments_that_load_the_program_headers_the_last_one_counts() {
    let mut elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    elf.phdrs.push(Phdr::load(R, 0, 0x50_0000, 0x1000));
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("sound");
    assert_eq!(plan.phdr, Some(0x50_0040));
}

#[test]
fn headers_of_other_types_are_not_looked_into() {
    let mut elf = ElfFile::sample(Class::Elf64, ET_EXEC);
    let wild = u64::MAX;
    for kind in [PT_NOTE, 0, 2, 7, 0x6fff_ffff, u32::MAX] {
        let fields = Phdr::load(R, wild, wild, 0).with_memsz(wild).with_align(wild);
        elf.phdrs.push(Phdr { kind, ..fields });
    }
    let plan = parse(&elf.to_bytes(), &target(Class::Elf64)).expect("only PT_LOAD counts");
    assert_eq!(plan.segments.len(), 3);
}

#[test]
fn garbage_where_section_headers_should_be_is_never_read() {
    let mut file = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes();
    file[40..48].copy_from_slice(&u64::MAX.to_le_bytes()); // e_shoff
    file[58..64].copy_from_slice(&[0xff; 6]); // e_shentsize, e_shnum, e_shstrndx
    parse(&file, &target(Class::Elf64)).expect("sections are the linker's business");
}

#[test]
fn the_program_header_table_may_be_as_large_as_linux_allows_and_no_larger() {
    for class in CLASSES {
        let limit = MAX_PHDR_BYTES / phdr_size(class) as usize;
        let mut elf = ElfFile::sample(class, ET_EXEC);
        elf.phdrs[0].filesz = 0x1000;
        elf.phdrs[0].memsz = 0x1000;
        elf.phoff = 0x3000;
        let filler = Phdr { kind: PT_NOTE, ..Phdr::load(R, 0, 0, 0) };
        elf.phdrs.resize(limit, filler.clone());
        let plan = parse(&elf.to_bytes(), &target(class)).expect("at the limit");
        assert_eq!(usize::from(plan.phnum), limit);

        elf.phdrs.push(filler);
        assert_eq!(
            parse(&elf.to_bytes(), &target(class)),
            Err(ElfError::TooManyPhdrs { phnum: limit as u16 + 1, limit: limit as u16 })
        );
    }
}

#[test]
fn a_segment_may_end_exactly_where_user_space_does() {
    let user = 0x40_0000..0x40_6000;
    let exact = Target { user, ..target(Class::Elf64) };
    let file = ElfFile::sample(Class::Elf64, ET_EXEC).to_bytes();
    let plan = parse(&file, &exact).expect("user space is just large enough");
    assert_eq!(plan.brk_start, exact.user.end);
}

#[test]
fn a_32_bit_segment_may_end_at_4_gib() {
    let all = Target { user: 0..u64::MAX, ..target(Class::Elf32) };
    let elf = ElfFile::new(
        Class::Elf32,
        ET_EXEC,
        0xffff_f000,
        vec![Phdr::load(R | X, 0, 0xffff_f000, 0x200).with_memsz(0x1000)],
    );
    let plan = parse(&elf.to_bytes(), &all).expect("the last page has an address");
    assert_eq!(plan.brk_start, 1 << 32);
}

#[test]
fn a_32_bit_program_for_x86_64_is_a_target_of_its_own() {
    // x32: Elf32 with the 64-bit machine. The class and the machine are checked separately.
    let x32 = Target { machine: Machine::X86_64, ..target(Class::Elf32) };
    let file = ElfFile::sample(Class::Elf32, ET_EXEC).to_bytes();
    assert_eq!(parse(&file, &x32), Err(ElfError::WrongMachine { found: 3, expected: 62 }));
}
