//! QEMU's MMU, in unicorn: two CPUs over the frames of a hosted kernel, one in supervisor and one in user mode.
//!
//! A CPU is asked by `uc_vmem_translate`, which does what a load, store or fetch does on its way through the TLB. It tells whether
//! there is a fault, and not the error code: which accesses succeed tells an absent page (none do) from a denied one.
//!
//! QEMU reads PAE's four top-level entries at each walk, where processors read them when CR3 is loaded. CR3 is loaded before each
//! question here, so the two are the same.

use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use unicorn_engine::unicorn_const::{Arch, Mode, Prot, X86CpuModel};
use unicorn_engine::{RegisterX86, Unicorn};

/// Where the one instruction lies that each CPU executes. Beyond all frames.
const STUB: u64 = 0x7000_0000;

/// Where large pages lie: memory beyond all frames.
pub(crate) const LARGE: u64 = 0x4000_0000;
const LARGE_BYTES: u64 = 4 << 20;

const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const SYSENTER_CS: u32 = 0x174;

/// `EFER.SCE`, `.LME`, `.NXE`.
const SCE: u64 = 1 << 0;
const LME: u64 = 1 << 8;
const NXE: u64 = 1 << 11;

/// `CR0.PE`, `.WP`, `.PG`.
const CR0: u64 = 1 | 1 << 16 | 1 << 31;

/// `CR4.PSE`, `.PAE`, `.LA57`.
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;

/// A supervisor's CPU and a user's.
pub(crate) struct Qemu {
    supervisor: Unicorn<'static, ()>,
    user: Unicorn<'static, ()>,
}

impl Qemu {
    /// Powers two CPUs up over `frames`, in the paging mode `kind`.
    pub(crate) fn new(kind: MmuKind, frames: &'static HostFrames) -> Self {
        let mut qemu = Self { supervisor: cpu(kind, frames), user: cpu(kind, frames) };
        drop_to_user_mode(kind, &mut qemu.user);
        for cpu in [&mut qemu.supervisor, &mut qemu.user] {
            enable_paging(kind, cpu);
        }
        qemu
    }

    /// Loads CR3 of both CPUs, which empties their TLBs.
    pub(crate) fn load(&mut self, root: Frame) {
        for cpu in [&mut self.supervisor, &mut self.user] {
            cpu.reg_write(RegisterX86::CR3, root.phys()).expect("CR3 takes any root");
            cpu.ctl_flush_tlb().expect("a TLB");
        }
    }

    /// The physical address that `access` at `addr` gets to; `None` if it faults.
    pub(crate) fn translate(&mut self, addr: u64, access: Access) -> Option<u64> {
        let cpu = if access.user { &mut self.user } else { &mut self.supervisor };
        let prot = match access {
            Access { write: true, .. } => Prot::WRITE,
            Access { exec: true, .. } => Prot::EXEC,
            _ => Prot::READ,
        };
        cpu.vmem_translate(addr, prot).ok()
    }
}

fn is_long(kind: MmuKind) -> bool {
    matches!(kind, MmuKind::FourLevel | MmuKind::FiveLevel)
}

fn cpu(kind: MmuKind, frames: &'static HostFrames) -> Unicorn<'static, ()> {
    let mode = if is_long(kind) { Mode::MODE_64 } else { Mode::MODE_32 };
    let mut cpu = Unicorn::new(Arch::X86, mode).expect("x86 is built in");
    // One that has LA57.
    cpu.ctl_set_cpu_model(X86CpuModel::ICELAKE_SERVER as i32).expect("a model that unicorn knows");
    let arena = frames.bytes(Frame::at(0).expect("a multiple of the page size"));
    let len = frames.total() as u64 * PAGE_SIZE;
    // SAFETY: the arena, from its first frame on; it lives for ever. Only this thread works on it, and a table is written by one side
    // at a time.
    unsafe { cpu.mem_map_ptr(0, len, Prot::ALL, arena.as_ptr().cast()) }.expect("whole pages");
    cpu.mem_map(LARGE, LARGE_BYTES, Prot::ALL).expect("beyond the arena");
    cpu.mem_map(STUB, PAGE_SIZE, Prot::ALL).expect("beyond the large pages");
    cpu
}

/// Executes SYSRET or SYSEXIT, with paging off: neither looks at a descriptor table.
fn drop_to_user_mode(kind: MmuKind, cpu: &mut Unicorn<'static, ()>) {
    let (code, target): (&[u8], RegisterX86) = if is_long(kind) {
        write_msr(cpu, EFER, SCE | LME | NXE);
        write_msr(cpu, STAR, 0x13 << 48 | 0x8 << 32);
        (&[0x48, 0x0f, 0x07], RegisterX86::RCX)
    } else {
        write_msr(cpu, SYSENTER_CS, 0x8);
        (&[0x0f, 0x35], RegisterX86::EDX)
    };
    let end = STUB + code.len() as u64;
    cpu.mem_write(STUB, code).expect("mapped above");
    cpu.reg_write(target, end).expect("a general register");
    cpu.emu_start(STUB, end, 0, 1).expect("one instruction that leads to user mode");
}

fn enable_paging(kind: MmuKind, cpu: &mut Unicorn<'static, ()>) {
    let (cr4, efer) = match kind {
        MmuKind::TwoLevel => (PSE, 0),
        MmuKind::Pae => (PSE | PAE, NXE),
        MmuKind::FourLevel => (PSE | PAE, SCE | LME | NXE),
        MmuKind::FiveLevel => (PSE | PAE | LA57, SCE | LME | NXE),
    };
    cpu.reg_write(RegisterX86::CR4, cr4).expect("CR4");
    write_msr(cpu, EFER, efer);
    cpu.reg_write(RegisterX86::CR0, CR0).expect("CR0");
    assert_eq!(cpu.reg_read(RegisterX86::CR4).expect("CR4") & cr4, cr4, "the CPU has all of it");
}

/// Writes a model-specific register: unicorn takes its number and its value as one structure.
fn write_msr(cpu: &mut Unicorn<'static, ()>, number: u32, value: u64) {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_ne_bytes());
    bytes[8..].copy_from_slice(&value.to_ne_bytes());
    cpu.reg_write_long(RegisterX86::MSR, &bytes).expect("an MSR that QEMU has");
}
