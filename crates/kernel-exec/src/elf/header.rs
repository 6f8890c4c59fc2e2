//! Is this file for us? The file header, the program header table, and the interpreter.

use ::elf::abi;
use ::elf::endian::LittleEndian;
use ::elf::file::{ELF32_EHDR_TAILSIZE, ELF64_EHDR_TAILSIZE, FileHeader, parse_ident};
use ::elf::parse::{ParseAt, ParseError};
use ::elf::segment::{ProgramHeader, SegmentTable};

use super::{Class, ElfError, MAX_INTERP_PATH, MAX_PHDR_BYTES, Machine, Target};

pub(super) type Header = FileHeader<LittleEndian>;
pub(super) type Table<'file> = SegmentTable<'file, LittleEndian>;

/// Reads the file header and checks that it is for `target`.
///
/// Not `ElfBytes::minimal_parse`: that one insists on sound section headers.
pub(super) fn parse(file: &[u8], target: &Target) -> Result<Header, ElfError> {
    let need = target.class.header_bytes();
    let truncated = || ElfError::TruncatedHeader { have: file.len(), need };

    let ident_bytes = file.get(..abi::EI_NIDENT).ok_or_else(truncated)?;
    let expected = target.class.ident();
    let ident = parse_ident::<LittleEndian>(ident_bytes).map_err(|error| match error {
        ParseError::BadMagic(found) => ElfError::BadMagic { found },
        ParseError::UnsupportedVersion(_) => {
            ElfError::WrongVersion { found: u32::from(ident_bytes[abi::EI_VERSION]) }
        }
        ParseError::UnsupportedElfClass(found) => ElfError::WrongClass { found, expected },
        ParseError::UnsupportedElfEndianness(found) => ElfError::WrongEndian { found },
        // Of 16 bytes nothing else can be wrong; if the crate ever differs, too short is closest.
        _ => truncated(),
    })?;
    if ident.1 != target.class.parser_class() {
        return Err(ElfError::WrongClass { found: ident_bytes[abi::EI_CLASS], expected });
    }

    let tail = file.get(abi::EI_NIDENT..need).ok_or_else(truncated)?;
    let header = FileHeader::parse_tail(ident, tail).map_err(|_| truncated())?;

    if header.version != u32::from(abi::EV_CURRENT) {
        return Err(ElfError::WrongVersion { found: header.version });
    }
    if header.e_machine != target.machine.code() {
        return Err(ElfError::WrongMachine {
            found: header.e_machine,
            expected: target.machine.code(),
        });
    }
    if !matches!(header.e_type, abi::ET_EXEC | abi::ET_DYN) {
        return Err(ElfError::WrongType { found: header.e_type });
    }
    Ok(header)
}

/// Finds the program header table; whole, so that walking it cannot end early.
pub(super) fn locate_phdrs<'file>(
    file: &'file [u8],
    header: &Header,
    class: Class,
) -> Result<Table<'file>, ElfError> {
    let entry_bytes = ProgramHeader::size_for(class.parser_class());
    if usize::from(header.e_phentsize) != entry_bytes {
        return Err(ElfError::WrongPhentsize {
            found: header.e_phentsize,
            expected: entry_bytes as u16,
        });
    }
    if header.e_phnum == 0 {
        return Err(ElfError::NoPhdrs);
    }
    let bytes = usize::from(header.e_phnum) * entry_bytes;
    if bytes > MAX_PHDR_BYTES {
        return Err(ElfError::TooManyPhdrs {
            phnum: header.e_phnum,
            limit: (MAX_PHDR_BYTES / entry_bytes) as u16,
        });
    }
    let table = slice(file, header.e_phoff, bytes as u64).ok_or(ElfError::TruncatedPhdrs {
        offset: header.e_phoff,
        bytes,
        file_len: file.len(),
    })?;
    Ok(SegmentTable::new(LittleEndian, class.parser_class(), table))
}

/// The `len` bytes at `offset` of the file, if the file has them all.
fn slice(file: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    file.get(start..end)
}

/// Refuses a program that must be started by a dynamic linker.
pub(super) fn refuse_interpreter(file: &[u8], table: &Table<'_>) -> Result<(), ElfError> {
    let Some(interp) = table.iter().find(|phdr| phdr.p_type == abi::PT_INTERP) else {
        return Ok(());
    };
    let path = slice(file, interp.p_offset, interp.p_filesz)
        .filter(|path| path.len() <= MAX_INTERP_PATH && path.last() == Some(&0))
        .and_then(|path| path.split(|&byte| byte == 0).next())
        .filter(|path| !path.is_empty());
    Err(match path {
        Some(path) => ElfError::NeedsInterpreter { path: path.to_vec() },
        None => ElfError::BadInterpreter { offset: interp.p_offset, filesz: interp.p_filesz },
    })
}

impl Class {
    const fn parser_class(self) -> ::elf::file::Class {
        match self {
            Class::Elf32 => ::elf::file::Class::ELF32,
            Class::Elf64 => ::elf::file::Class::ELF64,
        }
    }

    const fn ident(self) -> u8 {
        match self {
            Class::Elf32 => abi::ELFCLASS32,
            Class::Elf64 => abi::ELFCLASS64,
        }
    }

    const fn header_bytes(self) -> usize {
        abi::EI_NIDENT
            + match self {
                Class::Elf32 => ELF32_EHDR_TAILSIZE,
                Class::Elf64 => ELF64_EHDR_TAILSIZE,
            }
    }
}

impl Machine {
    const fn code(self) -> u16 {
        match self {
            Machine::I386 => abi::EM_386,
            Machine::X86_64 => abi::EM_X86_64,
        }
    }
}
