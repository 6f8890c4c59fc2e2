//! A small program as a linker would write it, and what it must look like in memory.
//!
//! The expectation is worked out from the pieces, not from the load plan: it would not notice its own mistakes.

use std::collections::BTreeMap;
use std::ops::Range;

use kernel_exec::elf::{Class, Machine, Target};

use super::world::PAGE;

pub(crate) const X: u32 = 1;
pub(crate) const W: u32 = 2;
pub(crate) const R: u32 = 4;

const PT_LOAD: u32 = 1;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// A segment: `file` bytes at `vaddr`, and zeros up to `memsz`.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) flags: u32,
    pub(crate) vaddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
}

/// What a test may choose of a program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) class: Class,
    /// `ET_DYN` instead of `ET_EXEC`.
    pub(crate) pie: bool,
    pub(crate) entry: u64,
    pub(crate) pieces: Vec<Piece>,
    /// Flags of `PT_GNU_STACK`, if there is one.
    pub(crate) stack: Option<u32>,
}

/// A page as a program must find it, and its rights.
pub(crate) struct ExpectedPage {
    pub(crate) bytes: [u8; PAGE as usize],
    pub(crate) flags: u32,
}

impl Program {
    /// Headers and text, constants, data with a bss that begins within a page, a bss of its own, a segment
    /// that may be written and not read, one that may be executed only, and one without any right.
    pub(crate) fn sample(class: Class, pie: bool) -> Self {
        let base = if pie { 0 } else { 0x40_0000 };
        let piece =
            |flags, vaddr, filesz, memsz| Piece { flags, vaddr: base + vaddr, filesz, memsz };
        Self {
            class,
            pie,
            entry: base + 0x1010,
            pieces: vec![
                piece(R, 0, 0x400, 0x400),
                piece(R | X, 0x1000, 0x1234, 0x1234),
                piece(R, 0x3080, 0x20, 0x20),
                piece(R | W, 0x5ff0, 0x30, 0x2500),
                piece(R | W, 0x9000, 0, 0x3000),
                piece(W, 0x10_0010, 0x1010, 0x2020),
                piece(X, 0x20_0000, 0x1000, 0x1000),
                piece(0, 0x30_0000, 0x10, 0x10),
            ],
            stack: Some(R | W),
        }
    }

    fn word(&self) -> usize {
        self.class.word()
    }

    fn header_len(&self) -> u64 {
        if self.word() == 8 { 64 } else { 52 }
    }

    pub(crate) fn phdr_len(&self) -> u64 {
        if self.word() == 8 { 56 } else { 32 }
    }

    pub(crate) fn phnum(&self) -> u64 {
        (self.pieces.len() + usize::from(self.stack.is_some())) as u64
    }

    /// Where in the file the program headers are.
    pub(crate) fn phdrs(&self) -> Range<usize> {
        let start = self.header_len();
        start as usize..(start + self.phdr_len() * self.phnum()) as usize
    }

    /// Where each piece's bytes are in the file: on a page of its own, as far into it as in memory. The first
    /// piece begins with the file.
    fn offsets(&self) -> Vec<u64> {
        let mut end = 0;
        let mut offsets = Vec::new();
        for piece in &self.pieces {
            let offset = u64::next_multiple_of(end, PAGE) + piece.vaddr % PAGE;
            offsets.push(offset);
            end = offset + piece.filesz;
        }
        offsets
    }

    /// The file. No byte of it but those of the headers is 0, so that none can pass for a bss.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let offsets = self.offsets();
        let ends = offsets.iter().zip(&self.pieces).map(|(offset, piece)| offset + piece.filesz);
        let len = ends.max().unwrap_or(0).max(self.phdrs().end as u64);
        let mut bytes: Vec<u8> = (0..len).map(|at| (at * 37 + (at >> 8)) as u8 | 1).collect();

        let mut headers = b"\x7fELF".to_vec();
        let wide = self.word() == 8;
        headers.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        push(&mut headers, 2, if self.pie { 3 } else { 2 });
        push(&mut headers, 2, if wide { 62 } else { 3 });
        push(&mut headers, 4, 1);
        push(&mut headers, self.word(), self.entry);
        push(&mut headers, self.word(), self.header_len());
        push(&mut headers, self.word(), 0);
        push(&mut headers, 4, 0);
        for half in [self.header_len(), self.phdr_len(), self.phnum(), 0, 0, 0] {
            push(&mut headers, 2, half);
        }
        for (piece, offset) in self.pieces.iter().zip(offsets) {
            self.push_phdr(&mut headers, PT_LOAD, piece, offset);
        }
        if let Some(flags) = self.stack {
            let none = Piece { flags, vaddr: 0, filesz: 0, memsz: 0 };
            self.push_phdr(&mut headers, PT_GNU_STACK, &none, 0);
        }
        assert_eq!(headers.len(), self.phdrs().end);
        bytes[..headers.len()].copy_from_slice(&headers);
        bytes
    }

    fn push_phdr(&self, out: &mut Vec<u8>, kind: u32, piece: &Piece, offset: u64) {
        let word = self.word();
        push(out, 4, kind.into());
        if word == 8 {
            push(out, 4, piece.flags.into());
        }
        for value in [offset, piece.vaddr, piece.vaddr, piece.filesz, piece.memsz] {
            push(out, word, value);
        }
        if word == 4 {
            push(out, 4, piece.flags.into());
        }
        push(out, word, PAGE);
    }

    /// Every page of the program at `bias`, by address.
    pub(crate) fn pages(&self, bias: u64) -> BTreeMap<u64, ExpectedPage> {
        let file = self.to_bytes();
        let mut pages = BTreeMap::new();
        for (piece, offset) in self.pieces.iter().zip(self.offsets()) {
            let first = bias + piece.vaddr - piece.vaddr % PAGE;
            let end = (bias + piece.vaddr + piece.memsz).next_multiple_of(PAGE);
            let file_end = if piece.filesz == 0 { 0 } else { offset + piece.filesz };
            let file_start = offset - offset % PAGE;
            for page in (first..end).step_by(PAGE as usize) {
                let mut bytes = [0; PAGE as usize];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    let in_file = file_start + (page - first) + at as u64;
                    if in_file < file_end {
                        *byte = file[in_file as usize];
                    }
                }
                pages.insert(page, ExpectedPage { bytes, flags: piece.flags });
            }
        }
        pages
    }
}

fn push(out: &mut Vec<u8>, bytes: usize, value: u64) {
    assert!(bytes == 8 || value >> (8 * bytes) == 0, "{value:#x} in {bytes} bytes");
    out.extend_from_slice(&value.to_le_bytes()[..bytes]);
}

/// The processes that a program of `class` may become where user addresses end at `end`.
pub(crate) fn target(class: Class, end: u64) -> Target {
    let (machine, pie_base) = match class {
        Class::Elf32 => (Machine::I386, 0x5655_5000),
        Class::Elf64 => (Machine::X86_64, 0x5555_5555_4000),
    };
    Target { class, machine, user: 0x1_0000..end, pie_base }
}
