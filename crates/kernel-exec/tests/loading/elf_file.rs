//! A tiny ELF writer: every field is free, so that files can be wrong in exactly one place.

use kernel_exec::elf::{Class, Machine, PAGE_SIZE, Target};

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_NOTE: u32 = 4;
pub(crate) const PT_GNU_STACK: u32 = 0x6474_e551;

pub(crate) const X: u32 = 1;
pub(crate) const W: u32 = 2;
pub(crate) const R: u32 = 4;

pub(crate) const ET_EXEC: u16 = 2;
pub(crate) const ET_DYN: u16 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phdr {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) align: u64,
}

impl Phdr {
    /// A segment without bss.
    pub(crate) fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64) -> Self {
        Self { kind: PT_LOAD, flags, offset, vaddr, filesz, memsz: filesz, align: PAGE_SIZE }
    }

    /// The same segment, larger in memory than in the file.
    pub(crate) fn with_memsz(self, memsz: u64) -> Self {
        Self { memsz, ..self }
    }

    pub(crate) fn with_align(self, align: u64) -> Self {
        Self { align, ..self }
    }

    pub(crate) fn gnu_stack(flags: u32) -> Self {
        Self { kind: PT_GNU_STACK, align: 16, ..Self::load(flags, 0, 0, 0) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ElfFile {
    pub(crate) class: Class,
    pub(crate) kind: u16,
    pub(crate) entry: u64,
    /// Where the table is put; the table's own place in the file.
    pub(crate) phoff: u64,
    pub(crate) phdrs: Vec<Phdr>,
    /// Length of the file, if more than headers and segments need.
    pub(crate) min_len: u64,
}

impl ElfFile {
    pub(crate) fn new(class: Class, kind: u16, entry: u64, phdrs: Vec<Phdr>) -> Self {
        Self { class, kind, entry, phoff: header_size(class), phdrs, min_len: 0 }
    }

    /// What a linker makes of a small program: headers and text, then data with a bss behind it.
    pub(crate) fn sample(class: Class, kind: u16) -> Self {
        let base = if kind == ET_DYN { 0 } else { 0x40_0000 };
        Self::new(
            class,
            kind,
            base + 0x1010,
            vec![
                Phdr::load(R, 0, base, 0x2a0),
                Phdr::load(R | X, 0x1000, base + 0x1000, 0x234),
                Phdr::load(R | W, 0x1ff0, base + 0x2ff0, 0x120).with_memsz(0x2345),
                Phdr::gnu_stack(R | W),
            ],
        )
    }

    /// The file; bytes that are not headers are never zero, so they cannot pass for a bss.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let table_end = self.phoff + self.phdrs.len() as u64 * phdr_size(self.class);
        let len = self
            .phdrs
            .iter()
            .filter(|phdr| phdr.kind == PT_LOAD && phdr.filesz != 0)
            .map(|phdr| phdr.offset + phdr.filesz)
            .chain([table_end, header_size(self.class), self.min_len])
            .max()
            .expect("the chain is not empty");
        let mut bytes: Vec<u8> = (0..len).map(|at| (at * 31 + (at >> 8)) as u8 | 1).collect();

        let header = self.header();
        bytes[..header.len()].copy_from_slice(&header);
        let mut at = self.phoff as usize;
        for phdr in &self.phdrs {
            let phdr = encode_phdr(self.class, phdr);
            bytes[at..at + phdr.len()].copy_from_slice(&phdr);
            at += phdr.len();
        }
        bytes
    }

    fn header(&self) -> Vec<u8> {
        let wide = self.class == Class::Elf64;
        let mut out = b"\x7fELF".to_vec();
        out.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.kind.to_le_bytes());
        out.extend((if wide { 62_u16 } else { 3 }).to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        for address in [self.entry, self.phoff, 0] {
            push_word(&mut out, self.class, address);
        }
        out.extend(0_u32.to_le_bytes());
        let sizes = [header_size(self.class), phdr_size(self.class), self.phdrs.len() as u64];
        for half in sizes.into_iter().chain([0, 0, 0]) {
            out.extend((half as u16).to_le_bytes());
        }
        out
    }
}

fn encode_phdr(class: Class, phdr: &Phdr) -> Vec<u8> {
    let mut out = phdr.kind.to_le_bytes().to_vec();
    if class == Class::Elf64 {
        out.extend(phdr.flags.to_le_bytes());
    }
    for word in [phdr.offset, phdr.vaddr, phdr.vaddr, phdr.filesz, phdr.memsz] {
        push_word(&mut out, class, word);
    }
    if class == Class::Elf32 {
        out.extend(phdr.flags.to_le_bytes());
    }
    push_word(&mut out, class, phdr.align);
    out
}

fn push_word(out: &mut Vec<u8>, class: Class, value: u64) {
    match class {
        Class::Elf64 => out.extend(value.to_le_bytes()),
        Class::Elf32 => {
            let value = u32::try_from(value).expect("a test gave an Elf32 file a wide value");
            out.extend(value.to_le_bytes());
        }
    }
}

pub(crate) fn header_size(class: Class) -> u64 {
    match class {
        Class::Elf32 => 52,
        Class::Elf64 => 64,
    }
}

pub(crate) fn phdr_size(class: Class) -> u64 {
    match class {
        Class::Elf32 => 32,
        Class::Elf64 => 56,
    }
}

/// Offset and size in bytes of the file header's fields that exec reads, `e_ident` aside.
pub(crate) fn header_fields(class: Class) -> [(usize, usize); 7] {
    // e_type, e_machine, e_version, e_entry, e_phoff, e_phentsize, e_phnum
    match class {
        Class::Elf32 => [(16, 2), (18, 2), (20, 4), (24, 4), (28, 4), (42, 2), (44, 2)],
        Class::Elf64 => [(16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (54, 2), (56, 2)],
    }
}

/// Offset and size in bytes of a program header's fields that exec reads, within the header.
pub(crate) fn phdr_fields(class: Class) -> [(usize, usize); 7] {
    // p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz, p_align
    match class {
        Class::Elf32 => [(0, 4), (24, 4), (4, 4), (8, 4), (16, 4), (20, 4), (28, 4)],
        Class::Elf64 => [(0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8)],
    }
}

pub(crate) fn target(class: Class) -> Target {
    match class {
        Class::Elf32 => Target {
            class,
            machine: Machine::I386,
            user: 0x1_0000..0xc000_0000,
            pie_base: 0x5655_5000,
        },
        Class::Elf64 => Target {
            class,
            machine: Machine::X86_64,
            user: 0x1_0000..0x7fff_ffff_f000,
            pie_base: 0x5555_5555_4000,
        },
    }
}
