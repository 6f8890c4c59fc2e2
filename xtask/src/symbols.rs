//! Names for the addresses in a kernel's report.

use elf::ElfBytes;
use elf::abi::{STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use std::error::Error;
use std::path::Path;

/// The functions of an image: address, size (0 for a label), name.
#[derive(Debug)]
pub(crate) struct Symbols(Vec<(u64, u64, String)>);

impl Symbols {
    /// Reads the symbol table of the ELF at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
        let (symbols, names) = elf.symbol_table()?.ok_or("the image has no symbols")?;
        let text = elf.section_header_by_name(".text")?.ok_or("the image has no .text")?;
        let text = text.sh_addr..text.sh_addr + text.sh_size;
        let mut functions = Vec::new();
        for symbol in symbols.iter().filter(|symbol| text.contains(&symbol.st_value)) {
            // Labels in assembly have no type, and no size either.
            if !matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE) {
                continue;
            }
            let name = names.get(symbol.st_name as usize)?;
            // The alternate form leaves the hash out.
            let name = format!("{:#}", rustc_demangle::demangle(name));
            functions.push((symbol.st_value, symbol.st_size, name));
        }
        functions.sort_unstable();
        Ok(Self(functions))
    }

    /// Returns the function that `address` lies in, and how far.
    fn find(&self, address: u64) -> Option<String> {
        let index = self.0.partition_point(|&(start, _, _)| start <= address).checked_sub(1)?;
        let (start, size, name) = &self.0[index];
        let next = self.0.get(index + 1).map_or(*start, |(next, ..)| *next);
        let end = if *size == 0 { next } else { start + size };
        // A return address behind a call that never returns lies at the end.
        (address <= end).then(|| format!("{name}+{:#x}", address - start))
    }

    /// Returns `log` with the function's name behind every address that lies in one.
    pub(crate) fn annotate(&self, log: &str) -> String {
        let mut annotated = String::new();
        for line in log.lines() {
            annotated.push_str(line.trim_end());
            for word in line.split_ascii_whitespace() {
                let address =
                    word.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
                if let Some(name) = address.and_then(|address| self.find(address)) {
                    annotated.push_str("  <");
                    annotated.push_str(&name);
                    annotated.push('>');
                }
            }
            annotated.push('\n');
        }
        annotated
    }
}
