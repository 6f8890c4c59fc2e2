//! Executables that need no dynamic loader.

use elf::ElfBytes;
use elf::abi::{EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, ET_DYN, ET_EXEC, PT_INTERP};
use elf::endian::LittleEndian;
use std::error::Error;
use std::path::Path;

/// Fails unless `contents`, which were read from `path`, are an executable for x86-64 that needs no dynamic loader:
/// the initramfs has none.
pub(crate) fn require_static(path: &Path, contents: &[u8]) -> Result<(), Box<dyn Error>> {
    let path = path.display();
    if contents.starts_with(b"#!") {
        return Err(format!("{path} is a script, and no ELF executable; --script runs one").into());
    }
    if contents.starts_with(b"\x7fELF\x01") {
        return Err(format!("{path} is a 32-bit ELF file; this kernel runs 64-bit ones").into());
    }
    let elf = ElfBytes::<LittleEndian>::minimal_parse(contents)
        .map_err(|error| format!("{path} is no ELF executable: {error}"))?;
    let header = &elf.ehdr;
    if header.e_machine != EM_X86_64 {
        let machine = match header.e_machine {
            EM_386 => "x86",
            EM_ARM => "ARM",
            EM_AARCH64 => "AArch64",
            EM_RISCV => "RISC-V",
            _ => "another machine",
        };
        let number = header.e_machine;
        return Err(
            format!("{path} is for {machine} ({number}), and this kernel for x86-64").into()
        );
    }
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return Err(
            format!("{path} is an ELF file of type {}, and no executable", header.e_type).into()
        );
    }
    let mut segments = elf.segments().ok_or_else(|| format!("{path} has no segments"))?.iter();
    if segments.any(|segment| segment.p_type == PT_INTERP) {
        return Err(format!(
            "{path} is dynamically linked; this kernel runs static executables (link it with -static)"
        )
        .into());
    }
    if header.e_entry == 0 {
        return Err(format!("{path} is a library: it has no entry point").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with `class`, `kind`, `machine` and `entry`, and one segment of type `segment`.
    fn file(class: u8, kind: u16, machine: u16, entry: u64, segment: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[24..32].copy_from_slice(&entry.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&segment.to_le_bytes());
        bytes
    }

    fn complaint(contents: &[u8]) -> String {
        match require_static(Path::new("/a/file"), contents) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_static_executable_is_taken() {
        assert_eq!(complaint(&file(2, 2, 62, 0x40_1000, 1)), "");
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name_and_reason() {
        for (contents, reason) in [
            (
                file(2, 2, 62, 1, PT_INTERP),
                "dynamically linked; this kernel runs static executables",
            ),
            (file(2, 2, 183, 1, 1), "for AArch64 (183)"),
            (file(1, 2, 3, 1, 1), "a 32-bit ELF file"),
            (file(2, 1, 62, 1, 1), "an ELF file of type 1, and no executable"),
            (file(2, 3, 62, 0, 1), "a library"),
            (b"#!/bin/sh\n".to_vec(), "a script"),
            (b"text".to_vec(), "no ELF executable"),
            (Vec::new(), "no ELF executable"),
        ] {
            let complaint = complaint(&contents);
            assert!(complaint.starts_with("/a/file is "), "{complaint}");
            assert!(complaint.contains(reason), "{complaint}");
            assert!(!complaint.contains('\n'), "{complaint}");
        }
    }
}
