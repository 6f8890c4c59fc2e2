//! The little of ACPI that bringing up processors takes: RSDP, RSDT or XSDT, MADT and HPET.
//!
//! Firmware with ACPI revision 0 (SeaBIOS on QEMU's q35) has only an RSDT, qboot on microvm has only
//! an XSDT, so both are read. Source: ACPI specification 6.5, sections 5.2.5 to 5.2.12.

use crate::bytes::{u16_at, u32_at, u64_at};
use thiserror::Error;

/// Processors that are kept. A machine may have more; they stay off.
pub const MAX_PROCESSORS: usize = 16;

/// Legacy interrupts, whose wiring a MADT may override.
const ISA_INTERRUPTS: usize = 16;

/// Bytes before the body of every table but the RSDP.
const HEADER_SIZE: usize = 36;

/// Access to physical memory, which the kernel provides.
pub trait PhysicalMemory {
    /// Returns the `len` bytes at physical `address`, or `None` when they cannot be reached.
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]>;
}

/// Why the tables cannot be used. Addresses are physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AcpiError {
    /// A table lies where the kernel cannot read.
    #[error("ACPI table at {address:#x} is out of reach or cut off")]
    Unreachable {
        /// Where the table should be.
        address: u64,
    },
    /// What lies at the RSDP's address is no RSDP.
    #[error("no RSDP at {address:#x}")]
    NoRsdp {
        /// The address the loader gave.
        address: u64,
    },
    /// A table's bytes do not add up to zero.
    #[error("ACPI table {signature:?} at {address:#x} has a bad checksum")]
    Checksum {
        /// The table's signature.
        signature: [u8; 4],
        /// Where it lies.
        address: u64,
    },
    /// There is no MADT, so the processors are unknown.
    #[error("the root table at {root:#x} lists no MADT")]
    NoMadt {
        /// The RSDT or XSDT.
        root: u64,
    },
    /// An entry of the MADT is shorter than its type demands.
    #[error("MADT entry of type {kind} at offset {offset} is {len} bytes long")]
    MadtEntry {
        /// The entry's type.
        kind: u8,
        /// Its offset in the table.
        offset: usize,
        /// The length it claims.
        len: usize,
    },
}

/// One I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u64,
    /// The global system interrupt of its first input.
    pub first_gsi: u32,
}

/// How a legacy interrupt is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaWiring {
    /// The global system interrupt it arrives as.
    pub gsi: u32,
    /// Asserted when low.
    pub active_low: bool,
    /// Level-triggered rather than edge-triggered.
    pub level: bool,
}

/// Processors and interrupt controllers of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Physical address of the local APIC's registers, the same on every processor.
    pub local_apic: u64,
    apic_ids: [u8; MAX_PROCESSORS],
    processors: usize,
    /// Enabled processors beyond [`MAX_PROCESSORS`].
    pub ignored_processors: usize,
    /// The I/O APIC that serves interrupt 0.
    pub io_apic: Option<IoApic>,
    /// Where each legacy interrupt arrives.
    pub isa: [IsaWiring; ISA_INTERRUPTS],
    /// Physical address of the HPET's registers.
    pub hpet: Option<u64>,
}

impl Platform {
    /// Returns the local APIC ids of the processors that are present, in the firmware's order.
    #[must_use]
    pub fn apic_ids(&self) -> &[u8] {
        &self.apic_ids[..self.processors]
    }

    /// Follows the RSDP at physical `rsdp` to the tables and reads them.
    ///
    /// # Errors
    ///
    /// [`AcpiError::NoRsdp`], [`AcpiError::Unreachable`] and [`AcpiError::Checksum`] when a table is
    /// not where it should be or not what it should be; [`AcpiError::NoMadt`] when the processors
    /// are not listed; [`AcpiError::MadtEntry`] when their list is malformed.
    pub fn discover(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Self, AcpiError> {
        let root = root_table(memory, rsdp)?;
        let mut platform = None;
        let mut hpet = None;
        let entries = table(memory, root.address)?;
        for entry in entries[HEADER_SIZE..].chunks_exact(root.entry_size) {
            let address = match root.entry_size {
                8 => u64_at(entry, 0),
                _ => u32_at(entry, 0).map(u64::from),
            };
            let Some(address) = address else { continue };
            match &signature(memory, address)? {
                b"APIC" => platform = Some(read_madt(table(memory, address)?)?),
                // The address is a generic address structure at offset 40: 4 bytes of kind, then it.
                b"HPET" => hpet = u64_at(table(memory, address)?, 44),
                _ => {}
            }
        }
        let mut platform = platform.ok_or(AcpiError::NoMadt { root: root.address })?;
        platform.hpet = hpet;
        Ok(platform)
    }
}

/// An RSDT (entries of 4 bytes) or an XSDT (8 bytes).
struct RootTable {
    address: u64,
    entry_size: usize,
}

/// Chooses the XSDT where there is one.
fn root_table(memory: &impl PhysicalMemory, rsdp: u64) -> Result<RootTable, AcpiError> {
    let unreachable = AcpiError::Unreachable { address: rsdp };
    let bytes = memory.bytes(rsdp, 20).ok_or(unreachable)?;
    if !bytes.starts_with(b"RSD PTR ") {
        return Err(AcpiError::NoRsdp { address: rsdp });
    }
    check_sum(bytes, *b"RSD ", rsdp)?;
    let revision = bytes[15];
    let rsdt = u32_at(bytes, 16).ok_or(unreachable)?;
    if revision >= 2 {
        let bytes = memory.bytes(rsdp, 36).ok_or(unreachable)?;
        check_sum(bytes, *b"RSD ", rsdp)?;
        let xsdt = u64_at(bytes, 24).ok_or(unreachable)?;
        if xsdt != 0 {
            return Ok(RootTable { address: xsdt, entry_size: 8 });
        }
    }
    Ok(RootTable { address: u64::from(rsdt), entry_size: 4 })
}

/// Reads the four letters a table begins with.
fn signature(memory: &impl PhysicalMemory, address: u64) -> Result<[u8; 4], AcpiError> {
    memory
        .bytes(address, HEADER_SIZE)
        .and_then(|header| header.first_chunk().copied())
        .ok_or(AcpiError::Unreachable { address })
}

/// Returns the whole table at `address`, header included, once its checksum is right.
fn table(memory: &impl PhysicalMemory, address: u64) -> Result<&[u8], AcpiError> {
    let unreachable = AcpiError::Unreachable { address };
    let header = memory.bytes(address, HEADER_SIZE).ok_or(unreachable)?;
    let len = u32_at(header, 4).ok_or(unreachable)? as usize;
    if len < HEADER_SIZE {
        return Err(unreachable);
    }
    let bytes = memory.bytes(address, len).ok_or(unreachable)?;
    check_sum(bytes, signature(memory, address)?, address)?;
    Ok(bytes)
}

fn check_sum(bytes: &[u8], signature: [u8; 4], address: u64) -> Result<(), AcpiError> {
    match bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) {
        0 => Ok(()),
        _ => Err(AcpiError::Checksum { signature, address }),
    }
}

/// Reads processors, I/O APICs and interrupt overrides out of a MADT.
fn read_madt(madt: &[u8]) -> Result<Platform, AcpiError> {
    // An ISA interrupt that nobody overrides arrives as the GSI of the same number, edge and high.
    let mut gsi = 0;
    let isa = [(); ISA_INTERRUPTS].map(|()| {
        let wiring = IsaWiring { gsi, active_low: false, level: false };
        gsi += 1;
        wiring
    });
    let mut platform = Platform {
        local_apic: u32_at(madt, HEADER_SIZE).map(u64::from).unwrap_or_default(),
        apic_ids: [0; MAX_PROCESSORS],
        processors: 0,
        ignored_processors: 0,
        io_apic: None,
        isa,
        hpet: None,
    };
    // Header, local APIC address, flags; then entries of type, length, body.
    let mut offset = HEADER_SIZE + 8;
    while let Some(&[kind, len]) = madt.get(offset..offset + 2) {
        let len = usize::from(len);
        let malformed = AcpiError::MadtEntry { kind, offset, len };
        let entry = madt.get(offset..offset + len).filter(|_| len >= 2).ok_or(malformed)?;
        read_madt_entry(&mut platform, kind, entry).ok_or(malformed)?;
        offset += len;
    }
    Ok(platform)
}

/// Takes one entry into the platform; `None` when the entry is too short for its type.
fn read_madt_entry(platform: &mut Platform, kind: u8, entry: &[u8]) -> Option<()> {
    const LOCAL_APIC: u8 = 0;
    const IO_APIC: u8 = 1;
    const INTERRUPT_OVERRIDE: u8 = 2;
    const LOCAL_APIC_ADDRESS: u8 = 5;
    match kind {
        LOCAL_APIC => {
            let apic_id = *entry.get(3)?;
            let enabled = u32_at(entry, 4)? & 1 != 0;
            if enabled {
                match platform.apic_ids.get_mut(platform.processors) {
                    Some(slot) => {
                        *slot = apic_id;
                        platform.processors += 1;
                    }
                    None => platform.ignored_processors += 1,
                }
            }
        }
        IO_APIC => {
            let io_apic =
                IoApic { address: u64::from(u32_at(entry, 4)?), first_gsi: u32_at(entry, 8)? };
            if io_apic.first_gsi == 0 {
                platform.io_apic = Some(io_apic);
            }
        }
        INTERRUPT_OVERRIDE => {
            let source = usize::from(*entry.get(3)?);
            let gsi = u32_at(entry, 4)?;
            let flags = u16_at(entry, 8)?;
            if let Some(wiring) = platform.isa.get_mut(source) {
                // Polarity in bits 0-1, trigger in bits 2-3: 3 is low or level; 0 and 1 are ISA's own.
                *wiring =
                    IsaWiring { gsi, active_low: flags & 3 == 3, level: (flags >> 2) & 3 == 3 };
            }
        }
        LOCAL_APIC_ADDRESS => platform.local_apic = u64_at(entry, 4)?,
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Memory from physical address 0.
    struct Flat(Vec<u8>);

    impl PhysicalMemory for Flat {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            let start = usize::try_from(address).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    impl Flat {
        fn put(&mut self, address: usize, bytes: &[u8]) {
            self.0[address..address + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn fix_sum(bytes: &mut [u8], at: usize) {
        bytes[at] = 0;
        bytes[at] = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    }

    fn sdt(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE];
        bytes[..4].copy_from_slice(signature);
        bytes.extend(body);
        let len = u32::try_from(bytes.len()).expect("small");
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        fix_sum(&mut bytes, 9);
        bytes
    }

    fn madt_body(processors: u8) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(0xfee0_0000_u32.to_le_bytes());
        body.extend(1_u32.to_le_bytes());
        for id in 0..processors {
            // The processor with id 1 is disabled.
            body.extend([0, 8, id, id * 2, u8::from(id != 1), 0, 0, 0]);
        }
        body.extend([1, 12, 0, 0]);
        body.extend(0xfec0_0000_u32.to_le_bytes());
        body.extend(0_u32.to_le_bytes());
        // IRQ 0 arrives as GSI 2; IRQ 9 is level-triggered and active low, 10 and 11 one of them each.
        body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        body.extend([2, 10, 0, 9, 9, 0, 0, 0, 0xf, 0]);
        body.extend([2, 10, 0, 10, 10, 0, 0, 0, 0x3, 0]);
        body.extend([2, 10, 0, 11, 11, 0, 0, 0, 0xd, 0]);
        body
    }

    /// A machine as SeaBIOS describes it (RSDT) or as qboot does (XSDT only).
    fn machine(with_xsdt: bool, processors: u8) -> Flat {
        let mut memory = Flat(vec![0; 0x4000]);
        let mut rsdp = vec![0; 36];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        if with_xsdt {
            rsdp[15] = 2;
            rsdp[24..32].copy_from_slice(&0x1000_u64.to_le_bytes());
            let mut entries = Vec::new();
            entries.extend(0x3000_u64.to_le_bytes());
            entries.extend(0x2000_u64.to_le_bytes());
            memory.put(0x1000, &sdt(b"XSDT", &entries));
        } else {
            rsdp[16..20].copy_from_slice(&0x1000_u32.to_le_bytes());
            let mut entries = Vec::new();
            entries.extend(0x2000_u32.to_le_bytes());
            entries.extend(0x3000_u32.to_le_bytes());
            memory.put(0x1000, &sdt(b"RSDT", &entries));
        }
        fix_sum(&mut rsdp[..20], 8);
        fix_sum(&mut rsdp, 32);
        memory.put(0x100, &rsdp);
        memory.put(0x2000, &sdt(b"APIC", &madt_body(processors)));
        let mut hpet = vec![0; 20];
        hpet[8..16].copy_from_slice(&0xfed0_0000_u64.to_le_bytes());
        memory.put(0x3000, &sdt(b"HPET", &hpet));
        memory
    }

    #[test]
    fn rsdt_and_xsdt_lead_to_the_same_platform() {
        let platform = Platform::discover(&machine(false, 3), 0x100).expect("valid");
        assert_eq!(platform.apic_ids(), [0, 4]);
        assert_eq!(platform.local_apic, 0xfee0_0000);
        assert_eq!(platform.io_apic, Some(IoApic { address: 0xfec0_0000, first_gsi: 0 }));
        assert_eq!(platform.hpet, Some(0xfed0_0000));
        assert_eq!(platform.isa[0], IsaWiring { gsi: 2, active_low: false, level: false });
        assert_eq!(platform.isa[4], IsaWiring { gsi: 4, active_low: false, level: false });
        assert_eq!(platform.isa[9], IsaWiring { gsi: 9, active_low: true, level: true });
        assert_eq!(platform.isa[10], IsaWiring { gsi: 10, active_low: true, level: false });
        assert_eq!(platform.isa[11], IsaWiring { gsi: 11, active_low: false, level: true });
        assert_eq!(Platform::discover(&machine(true, 3), 0x100), Ok(platform));
    }

    #[test]
    fn processors_beyond_the_capacity_are_counted() {
        let platform = Platform::discover(&machine(true, 20), 0x100).expect("valid");
        assert_eq!(platform.apic_ids().len(), MAX_PROCESSORS);
        assert_eq!(platform.ignored_processors, 3);
    }

    #[test]
    fn a_flipped_bit_is_a_bad_checksum() {
        let mut memory = machine(false, 1);
        memory.0[0x2000 + 40] ^= 1;
        let expected = AcpiError::Checksum { signature: *b"APIC", address: 0x2000 };
        assert_eq!(Platform::discover(&memory, 0x100), Err(expected));
    }

    #[test]
    fn a_missing_madt_names_the_root_table() {
        let mut memory = machine(false, 1);
        memory.put(0x2000, &sdt(b"FACP", &[]));
        let found = Platform::discover(&memory, 0x100);
        assert_eq!(found, Err(AcpiError::NoMadt { root: 0x1000 }));
    }

    #[test]
    fn a_zero_length_madt_entry_ends_the_walk_with_an_error() {
        let mut body = madt_body(1);
        body.extend([0, 0]);
        let mut memory = machine(false, 1);
        let offset = HEADER_SIZE + body.len() - 2;
        memory.put(0x2000, &sdt(b"APIC", &body));
        let expected = AcpiError::MadtEntry { kind: 0, offset, len: 0 };
        assert_eq!(Platform::discover(&memory, 0x100), Err(expected));
    }

    #[test]
    fn no_rsdp_is_reported_with_its_address() {
        let found = Platform::discover(&machine(true, 1), 0x200);
        assert_eq!(found, Err(AcpiError::NoRsdp { address: 0x200 }));
        let found = Platform::discover(&machine(true, 1), 0x10_0000);
        assert_eq!(found, Err(AcpiError::Unreachable { address: 0x10_0000 }));
    }

    proptest! {
        /// Whatever the firmware wrote, the parser returns.
        #[test]
        fn garbage_never_panics(
            at in 0_usize..0x100,
            junk in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let mut memory = machine(true, 2);
            let mut madt = sdt(b"APIC", &madt_body(2));
            let end = (HEADER_SIZE + 8 + at).min(madt.len());
            let cut = junk.len().min(madt.len() - end);
            madt[end..end + cut].copy_from_slice(&junk[..cut]);
            fix_sum(&mut madt, 9);
            memory.put(0x2000, &madt);
            let _ = Platform::discover(&memory, 0x100);
        }
    }
}
