//! Executables that need no dynamic loader.

use elf::ElfBytes;
use elf::abi::PT_INTERP;
use elf::endian::LittleEndian;
use std::error::Error;
use std::path::Path;

/// Fails unless `contents`, which were read from `path`, are an executable that needs no dynamic loader: the
/// initramfs has none.
pub(crate) fn require_static(path: &Path, contents: &[u8]) -> Result<(), Box<dyn Error>> {
    let path = path.display();
    let elf = ElfBytes::<LittleEndian>::minimal_parse(contents)
        .map_err(|error| format!("{path} is no ELF executable: {error}"))?;
    let mut segments = elf.segments().ok_or_else(|| format!("{path} has no segments"))?.iter();
    if segments.any(|segment| segment.p_type == PT_INTERP) {
        return Err(format!("{path} is linked dynamically; link it with -static").into());
    }
    Ok(())
}
