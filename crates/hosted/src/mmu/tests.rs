//! Tables written by hand, with the bit numbers of the manual, and what a processor makes of them.

use super::*;

/// Tables of one root, as physical addresses and raw words.
struct Memory {
    frames: HostFrames,
}

impl Memory {
    fn new() -> Self {
        Self { frames: HostFrames::new(64) }
    }

    fn table(&self) -> u64 {
        self.frames.alloc().unwrap().phys()
    }

    fn set64(&self, table: u64, index: usize, entry: u64) {
        self.frames.table64(Frame::at(table).unwrap())[index].store(entry, Ordering::Release);
    }

    fn set32(&self, table: u64, index: usize, entry: u32) {
        self.frames.table32(Frame::at(table).unwrap())[index].store(entry, Ordering::Release);
    }

    fn walk(&self, kind: MmuKind, cr3: u64, addr: u64, access: Access) -> Result<u64, PageFault> {
        translate(&self.frames, kind, cr3, addr, access)
    }
}

fn fault(level: u8, entry: u64, reason: Reason) -> Result<u64, PageFault> {
    Err(PageFault { level, entry, reason })
}

const KERNEL_EXEC: Access = Access { exec: true, ..Access::KERNEL_READ };

#[test]
fn four_levels_lead_to_a_page() {
    let memory = Memory::new();
    let [pml4, pdpt, pd, pt] = [(); 4].map(|()| memory.table());
    let addr = 0x0000_7654_3210_f123;
    memory.set64(pml4, 0xec, pdpt | 7);
    memory.set64(pdpt, 0x150, pd | 7);
    memory.set64(pd, 0x190, pt | 7);
    memory.set64(pt, 0x10f, 0x7_7777_7000 | 7);
    let walk = |addr, access| memory.walk(MmuKind::FourLevel, pml4, addr, access);
    for access in [Access::USER_READ, Access::USER_WRITE, Access::USER_EXEC, Access::KERNEL_WRITE] {
        assert_eq!(walk(addr, access), Ok(0x7_7777_7123), "{access:?}");
    }
    assert_eq!(walk(addr + 0x1000, Access::USER_READ), fault(1, 0, Reason::NotPresent));
    assert_eq!(walk(addr + (1 << 21), Access::USER_READ), fault(2, 0, Reason::NotPresent));
    assert_eq!(walk(addr + (1 << 30), Access::USER_READ), fault(3, 0, Reason::NotPresent));
    assert_eq!(walk(addr - (1 << 39), Access::USER_READ), fault(4, 0, Reason::NotPresent));
    for bad in [1 << 47, addr | 1 << 63, 0xffff_7fff_ffff_ffff] {
        assert_eq!(walk(bad, Access::USER_READ), fault(0, 0, Reason::NonCanonical));
    }
}

#[test]
fn a_right_must_be_granted_at_every_level_and_the_topmost_refusal_is_told() {
    let memory = Memory::new();
    let [pml4, pdpt, pd, pt] = [(); 4].map(|()| memory.table());
    let tables = [(pml4, pdpt), (pdpt, pd), (pd, pt), (pt, 0x5000)];
    let walk = |access| memory.walk(MmuKind::FourLevel, pml4, 0, access);
    let set = |without: u64, xd_at: Option<usize>, at: usize| {
        for (index, (table, next)) in tables.into_iter().enumerate() {
            let rights = if index == at { 7 & !without } else { 7 };
            let xd = if xd_at == Some(index) { 1 << 63 } else { 0 };
            memory.set64(table, 0, next | rights | xd);
        }
    };
    for (at, (_, next)) in tables.into_iter().enumerate() {
        let level = 4 - at as u8;
        set(4, None, at);
        assert_eq!(walk(Access::USER_READ), fault(level, next | 3, Reason::User));
        assert_eq!(walk(Access::KERNEL_READ), Ok(0x5000));
        set(2, None, at);
        assert_eq!(walk(Access::USER_WRITE), fault(level, next | 5, Reason::Write));
        assert_eq!(walk(Access::KERNEL_WRITE), fault(level, next | 5, Reason::Write), "CR0.WP");
        assert_eq!(walk(Access::USER_READ), Ok(0x5000));
        set(0, Some(at), at);
        let entry = next | 7 | 1 << 63;
        assert_eq!(walk(Access::USER_EXEC), fault(level, entry, Reason::NoExecute));
        assert_eq!(walk(KERNEL_EXEC), fault(level, entry, Reason::NoExecute));
        assert_eq!(walk(Access::USER_WRITE), Ok(0x5000));
    }
    // What is absent further down comes before what is refused further up.
    set(4, None, 0);
    memory.set64(pt, 0, 0);
    assert_eq!(walk(Access::USER_READ), fault(1, 0, Reason::NotPresent));
}

#[test]
fn five_levels_lead_to_a_page_and_the_kernel_half_is_sign_extended() {
    let memory = Memory::new();
    let [pml5, pml4, pdpt, pd, pt] = [(); 5].map(|()| memory.table());
    memory.set64(pml5, 511, pml4 | 3);
    memory.set64(pml4, 510, pdpt | 3);
    memory.set64(pdpt, 1, pd | 3);
    memory.set64(pd, 2, pt | 3);
    memory.set64(pt, 3, 0x9000 | 3);
    let addr = 0xffff << 48 | 510 << 39 | 1 << 30 | 2 << 21 | 3 << 12 | 0x44;
    let walk = |kind, addr, access| memory.walk(kind, pml5, addr, access);
    assert_eq!(walk(MmuKind::FiveLevel, addr, Access::KERNEL_WRITE), Ok(0x9044));
    assert_eq!(walk(MmuKind::FiveLevel, addr, Access::USER_READ), fault(5, pml4 | 3, Reason::User));
    for bad in [1 << 56, 0xfeff << 48] {
        let result = walk(MmuKind::FiveLevel, bad, Access::USER_READ);
        assert_eq!(result, fault(0, 0, Reason::NonCanonical));
    }
    memory.set64(pml5, 511, pml4 | 3 | 1 << 7);
    let result = walk(MmuKind::FiveLevel, addr, Access::KERNEL_READ);
    assert_eq!(result, fault(5, pml4 | 3 | 1 << 7, Reason::ReservedBit));
}

#[test]
fn large_pages_of_long_mode() {
    let memory = Memory::new();
    let [pml4, pdpt, pd] = [(); 3].map(|()| memory.table());
    memory.set64(pml4, 0, pdpt | 7);
    memory.set64(pdpt, 0, pd | 7);
    // Bit 12 is PAT there.
    memory.set64(pdpt, 3, 7 << 30 | 0x1087);
    memory.set64(pd, 5, 9 << 21 | 0x1087);
    memory.set64(pd, 6, 9 << 21 | 0x2087);
    let walk = |addr| memory.walk(MmuKind::FourLevel, pml4, addr, Access::USER_READ);
    assert_eq!(walk(3 << 30 | 0x1234_5678), Ok(7 << 30 | 0x1234_5678));
    assert_eq!(walk(5 << 21 | 0x1_2345), Ok(9 << 21 | 0x1_2345));
    assert_eq!(walk(6 << 21), fault(2, 9 << 21 | 0x2087, Reason::ReservedBit));
}

#[test]
fn two_levels_have_32_bit_entries_without_a_no_execute_bit() {
    let memory = Memory::new();
    let [pd, pt] = [(); 2].map(|()| memory.table());
    memory.set32(pd, 0x300, pt as u32 | 7);
    memory.set32(pt, 0x3ff, 0x8765_4005);
    let walk = |addr, access| memory.walk(MmuKind::TwoLevel, pd, addr, access);
    let addr = 0x300 << 22 | 0x3ff << 12 | 0x77;
    assert_eq!(walk(addr, Access::USER_EXEC), Ok(0x8765_4077));
    assert_eq!(walk(addr, Access::USER_WRITE), fault(1, 0x8765_4005, Reason::Write));
    assert_eq!(walk(1 << 32, Access::USER_READ), fault(0, 0, Reason::NonCanonical));
    // 4 MiB, with address bits 39:32 in bits 20:13.
    memory.set32(pd, 1, 0x1540_0087 | 0x0000_6000);
    assert_eq!(walk(0x0070_1234, Access::USER_READ), Ok(0x3_1570_1234));
    memory.set32(pd, 1, 0x1560_0087);
    assert_eq!(walk(0x0070_1234, Access::USER_READ), fault(2, 0x1560_0087, Reason::ReservedBit));
}

#[test]
fn pae_has_four_entries_on_top_with_reserved_rights() {
    let memory = Memory::new();
    let [pdpt, pd, pt] = [(); 3].map(|()| memory.table());
    // The four need 32-byte alignment only.
    let cr3 = pdpt + 0x20;
    memory.set64(pdpt, 4 + 3, pd | 1);
    memory.set64(pd, 511, pt | 7);
    memory.set64(pt, 510, 0xa_0000_0000 | 7);
    let addr = 0xffff_e00f;
    let walk = |access| memory.walk(MmuKind::Pae, cr3, addr, access);
    assert_eq!(walk(Access::USER_WRITE), Ok(0xa_0000_000f));
    for reserved in [1 << 1, 1 << 2, 1 << 5, 1 << 8, 1 << 52, 1 << 63] {
        memory.set64(pdpt, 4 + 3, pd | 1 | reserved);
        let expected = fault(3, pd | 1 | reserved, Reason::ReservedBit);
        assert_eq!(walk(Access::KERNEL_READ), expected, "bit {reserved:#x}");
    }
    memory.set64(pdpt, 4 + 3, pd | 1);
    memory.set64(pt, 510, 0xa_0000_0000 | 7 | 1 << 63);
    assert_eq!(walk(Access::USER_READ), Ok(0xa_0000_000f));
    assert_eq!(walk(Access::USER_EXEC).unwrap_err().reason, Reason::NoExecute);
    memory.set64(pd, 511, 1 << 21 | 0x87);
    assert_eq!(walk(Access::USER_READ), Ok(1 << 21 | 0x1f_e00f));
    memory.set64(pd, 511, pt | 7 | 1 << 60);
    assert_eq!(walk(Access::USER_READ), fault(2, pt | 7 | 1 << 60, Reason::ReservedBit));
}

#[test]
fn a_walk_that_leaves_memory_is_told_apart_from_an_absent_entry() {
    let memory = Memory::new();
    let pml4 = memory.table();
    memory.set64(pml4, 0, 0x7777_7000 | 7);
    let result = memory.walk(MmuKind::FourLevel, pml4, 0, Access::USER_READ);
    assert_eq!(result, fault(4, 0x7777_7000, Reason::NoMemory));
}
