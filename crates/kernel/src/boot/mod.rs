//! From the loader's hand-over to a machine with all processors, memory and time.

use crate::console;
use crate::cpu::{
    apic, area, clock, features, features::Features, gdt, idt, io_apic, ipi, legacy, smp, syscall,
};
use crate::layout::{self, BOOT_MAP_SIZE, PAGE_SHIFT, PAGE_SIZE, image, phys_to_virt};
use crate::mm::early::{EarlyMemory, MAX_RANGES};
use crate::mm::kernel_tables::{self, KernelTables, MapError, device_page};
use crate::mm::{frames, pte};
use crate::report;
use core::arch::global_asm;
use handover::acpi::{AcpiError, PhysicalMemory, Platform};
use handover::cmdline::CommandLine;
use handover::cpio::{CpioError, Initramfs};
use handover::pvh::{self, StartInfo, StartInfoError};
use handover::ranges::{Range, RangeSet, TooManyRanges};
use kernel_sync::atomic::AtomicU32;
use spin::Once;
use thiserror::Error;
use x86_64::PhysAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PhysFrame;

global_asm!(include_str!("entry.s"), options(att_syntax, raw));

// entry.s has the number of the slot.
const _: () = assert!(pte::index(layout::DIRECT_MAP, 4) == 273);

unsafe extern "C" {
    static boot_pml4: u8;
    static boot_pml5: u8;
    static boot_stack_top: u8;
}

/// Bytes of the command line that are kept; QEMU and Linux stop at 2048 too.
const MAX_COMMAND_LINE: usize = 2048;

/// Idle stacks of the other processors have 2^3 frames (32 KiB).
const STACK_ORDER: u8 = 3;

/// Why the machine cannot be brought up.
#[derive(Clone, Copy, Debug, Error)]
pub enum BootError {
    /// The loader's start info is unusable.
    #[error(transparent)]
    StartInfo(#[from] StartInfoError),
    /// Something the start info points to lies above 4 GiB, beyond the boot page tables.
    #[error("{what} at {address:#x}, {len} bytes, is out of reach of the boot page tables")]
    OutOfReach {
        /// What it is.
        what: &'static str,
        /// Its physical address.
        address: u64,
        /// Its length.
        len: usize,
    },
    /// The memory map is too fragmented.
    #[error(transparent)]
    Ranges(#[from] TooManyRanges),
    /// The ACPI tables are unusable.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// The kernel's page tables could not be made.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is no room for the table of frames.
    #[error("no run of {bytes} bytes for the table of {frames} frames")]
    NoFrameTable {
        /// Frames there are.
        frames: usize,
        /// Bytes the table needs.
        bytes: u64,
    },
    /// A processor did not start.
    #[error(transparent)]
    Processor(#[from] smp::StartError),
    /// The initramfs is damaged.
    #[error(transparent)]
    Initramfs(#[from] CpioError),
}

/// The machine, once it is up.
#[derive(Debug)]
pub struct Machine {
    /// The kernel's command line.
    pub command_line: CommandLine<'static>,
    /// The files handed over.
    pub initramfs: Initramfs<'static>,
    /// The archive they are in; empty when there is none.
    pub archive: &'static [u8],
    /// The kernel's own page tables.
    pub tables: KernelTables,
    /// Processors and interrupt controllers.
    pub platform: Platform,
    /// All RAM, that in use included.
    pub ram: RangeSet<MAX_RANGES>,
}

/// Physical memory through the boot page tables' direct map.
struct BootMemory;

impl PhysicalMemory for BootMemory {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let end = address.checked_add(len as u64)?;
        // SAFETY: the boot tables map the first 4 GiB, and nobody writes to what the loader and the
        // firmware left while this processor is the only one and parses it.
        (end <= BOOT_MAP_SIZE)
            .then(|| unsafe { core::slice::from_raw_parts(phys_to_virt(address), len) })
    }
}

/// As [`BootMemory`], with an error that says what was out of reach.
fn handed_over(what: &'static str, address: u64, len: usize) -> Result<&'static [u8], BootError> {
    BootMemory
        .bytes(address, len)
        // SAFETY: early memory is cut around what is kept of this (`used` below), so it outlives us.
        .map(|bytes| unsafe { core::slice::from_raw_parts(bytes.as_ptr(), len) })
        .ok_or(BootError::OutOfReach { what, address, len })
}

/// Copies the command line to where it stays.
fn command_line(address: u64) -> CommandLine<'static> {
    static LINE: Once<[u8; MAX_COMMAND_LINE]> = Once::new();
    let line = LINE.call_once(|| {
        let mut line = [0; MAX_COMMAND_LINE];
        if address != 0 {
            let len = MAX_COMMAND_LINE.min(BOOT_MAP_SIZE.saturating_sub(address) as usize);
            if let Some(bytes) = BootMemory.bytes(address, len) {
                line[..len].copy_from_slice(bytes);
            }
        }
        line
    });
    CommandLine::from_c_bytes(line)
}

/// Brings the machine up. `start_info` is the physical address the loader passed; the other
/// processors go to `others` as soon as they are up.
///
/// # Errors
///
/// [`BootError`], whatever came first.
///
/// # Safety
///
/// Called once, by the boot processor, on the boot page tables, with what the loader passed.
pub unsafe fn bring_up(start_info: u64, others: fn() -> !) -> Result<Machine, BootError> {
    // SAFETY: this is processor 0, and nothing per processor has happened yet. Its stack is not used
    // from user mode before a scheduler sets another one.
    unsafe {
        area::install(0, initial_apic_id());
        area::set_kernel_stack_top(&raw const boot_stack_top as u64);
    }
    gdt::install();
    idt::install();
    syscall::install();
    features::enable();
    legacy::silence();
    console::install();
    report::install();

    let info = handed_over("start info", start_info, pvh::START_INFO_SIZE)?;
    let info = StartInfo::parse(info)?;
    let command_line = command_line(info.command_line);
    if let Some(level) = command_line.value("log").and_then(|level| level.parse().ok()) {
        log::set_max_level(level);
    }
    let mut ram = RangeSet::default();
    let map_len = info.memory_map_entries as usize * pvh::MEMORY_MAP_ENTRY_SIZE;
    for range in pvh::ram(handed_over("memory map", info.memory_map, map_len)?) {
        ram.add(range)?;
    }
    let module = if info.modules > 0 {
        pvh::module(handed_over("module list", info.module_list, pvh::MODULE_SIZE)?)
    } else {
        None
    };
    let platform = Platform::discover(&BootMemory, info.rsdp)?;

    // SAFETY: the memory map says what is RAM; the initramfs is all that the loader left in it which
    // is still needed, and the first MiB (with the start info) is spared anyway.
    let mut early = unsafe { EarlyMemory::new(&ram, module.as_slice())? };
    let tables = load_tables(&ram, &platform, &mut early)?;
    install_frames(&ram, early)?;

    let archive = match module {
        Some(module) => handed_over("initramfs", module.start, module.len() as usize)?,
        None => &[],
    };
    let initramfs = Initramfs::parse(archive)?;

    apic::enable();
    ipi::install();
    let rates = clock::calibrate(platform.hpet.map(|_| device_page(DEVICE_HPET)));
    let (tsc, reference) = (rates.tsc / 1_000_000, rates.reference);
    log::info!("clock: TSC at {tsc} MHz by {reference:x?}");
    start_others(&platform, tables, others)?;
    drop_boot_tables();
    Ok(Machine { command_line, initramfs, archive, tables, platform, ram })
}

/// The APIC id before the APIC is mapped.
fn initial_apic_id() -> u8 {
    raw_cpuid::CpuId::new().get_feature_info().map_or(0, |info| info.initial_local_apic_id())
}

/// Order of the device pages.
const DEVICE_LOCAL_APIC: usize = 0;
const DEVICE_IO_APIC: usize = 1;
const DEVICE_HPET: usize = 2;

/// Builds the kernel's page tables and goes on with them.
fn load_tables(
    ram: &RangeSet<MAX_RANGES>,
    platform: &Platform,
    early: &mut EarlyMemory,
) -> Result<KernelTables, BootError> {
    let features = features::detect();
    // An absent device maps the local APIC a second time, which nobody will use.
    let io_apic = platform.io_apic.map(|io_apic| io_apic.address);
    let devices = [Some(platform.local_apic), io_apic, platform.hpet]
        .map(|address| address.unwrap_or(platform.local_apic) & !(PAGE_SIZE - 1));
    let plan = kernel_tables::Plan {
        ram: ram.as_slice(),
        devices: &devices,
        levels: if features.contains(Features::LA57) { 5 } else { 4 },
        huge_pages: features.contains(Features::HUGE_PAGES),
    };
    let tables = kernel_tables::build(plan, &mut || early.page())?;
    // SAFETY: the tables map the image, with its stack, and all RAM, as the boot tables did.
    unsafe { load_root(tables.root()) };
    // SAFETY: `build` mapped the devices in this order.
    unsafe {
        apic::set_registers(device_page(DEVICE_LOCAL_APIC));
        if platform.io_apic.is_some() {
            io_apic::install(device_page(DEVICE_IO_APIC));
        }
    }
    Ok(tables)
}

/// Loads CR3.
///
/// # Safety
///
/// The tables must map everything the kernel uses.
unsafe fn load_root(root: u64) {
    let frame = PhysFrame::containing_address(PhysAddr::new(root));
    // SAFETY: the caller's promise.
    unsafe { Cr3::write(frame, Cr3::read().1) };
}

/// Starts the frame allocator with all that early memory has left.
fn install_frames(ram: &RangeSet<MAX_RANGES>, mut early: EarlyMemory) -> Result<(), BootError> {
    let end = ram.as_slice().iter().map(|range| range.end).max().unwrap_or(0);
    let frames = (end >> PAGE_SHIFT) as usize;
    let links_size = (frames * size_of::<buddy::Link>()) as u64;
    let counts_size = (frames * size_of::<AtomicU32>()) as u64;
    let mut table = |bytes| early.take(bytes).ok_or(BootError::NoFrameTable { frames, bytes });
    let links = phys_to_virt(table(links_size)?);
    let counts = phys_to_virt(table(counts_size)?);
    // SAFETY: both are runs of zeroed bytes of their own, of the right size and aligned to a page;
    // zeros are valid for both types.
    let tables = unsafe {
        frames::Tables {
            links: core::slice::from_raw_parts_mut(links.cast(), frames),
            counts: core::slice::from_raw_parts(counts.cast(), frames),
        }
    };
    frames::install(tables);
    for &range in early.finish().as_slice() {
        // SAFETY: early memory had it free and is no more; the kernel's tables map all RAM.
        unsafe { frames::give(range) };
    }
    Ok(())
}

/// Starts the other processors.
fn start_others(
    platform: &Platform,
    tables: KernelTables,
    then: fn() -> !,
) -> Result<(), BootError> {
    if platform.ignored_processors > 0 {
        log::warn!("{} processors stay off: no room for them", platform.ignored_processors);
    }
    let boot_root = if tables.levels() == 5 { &raw const boot_pml5 } else { &raw const boot_pml4 };
    let plan = smp::Plan {
        apic_ids: platform.apic_ids(),
        boot_root: boot_root as u64,
        root: tables.root(),
        then,
    };
    let stack = || {
        let block = frames::alloc_block(STACK_ORDER).ok()?;
        Some(block.as_ptr() as u64 + (PAGE_SIZE << STACK_ORDER))
    };
    // SAFETY: the first MiB was never handed out; the boot tables map 4 GiB where they are, and the
    // image; the stacks are new.
    unsafe { smp::start(plan, stack)? };
    log::info!("{} processors", smp::online().count());
    Ok(())
}

/// Gives the boot code and its page tables, and with them the identity map, to the frame allocator.
fn drop_boot_tables() {
    let boot = image::boot();
    log::debug!("boot tables dropped: {} KiB", Range::len(boot) >> 10);
    // SAFETY: every processor runs on the kernel's tables now, and the boot code has run.
    unsafe { frames::give(boot) };
}
