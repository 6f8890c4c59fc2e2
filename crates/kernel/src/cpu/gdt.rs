//! Segments and the task state segment of a processor.
//!
//! The order of the descriptors is dictated by SYSCALL and SYSRET: kernel code, kernel data; user
//! data, user code. The task state segment holds nothing but the interrupt stacks.

use super::MAX_CPUS;
use super::area::cpu_index;
use core::cell::UnsafeCell;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Selector of kernel code.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of kernel data.
pub const KERNEL_DATA: u16 = 0x10;
/// Selector of user data, with privilege level 3.
pub const USER_DATA: u16 = 0x18 | 3;
/// Selector of user code, with privilege level 3.
pub const USER_CODE: u16 = 0x20 | 3;

/// Interrupt stack, numbered from 1, on which every vector enters that has none of its own.
///
/// Not because it needs its own: the entry code copies the frame to the interrupted stack, but 128
/// bytes below the stack pointer, and the processor can only be made to skip those by switching
/// stacks. See `trap.s`.
pub const IST_ENTRY: u8 = 1;
/// Interrupt stack of the non-maskable interrupt.
pub const IST_NMI: u8 = 2;
/// Interrupt stack of the double fault.
pub const IST_DOUBLE_FAULT: u8 = 3;
/// Interrupt stack of the machine check.
pub const IST_MACHINE_CHECK: u8 = 4;

const STACKS: usize = 4;

/// Enough for a report with a backtrace, in a build without optimisation.
const STACK_SIZE: usize = 16 * 1024;

#[repr(align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the processor it belongs to uses it, as a stack.
unsafe impl Sync for Stack {}

static STACK_MEMORY: [[Stack; STACKS]; MAX_CPUS] =
    [const { [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; STACKS] }; MAX_CPUS];

/// A processor's tables. They are referred to by the processor for as long as it runs.
struct Tables {
    tss: Once<TaskStateSegment>,
    gdt: Once<GlobalDescriptorTable>,
}

static TABLES: [Tables; MAX_CPUS] =
    [const { Tables { tss: Once::new(), gdt: Once::new() } }; MAX_CPUS];

/// Gives this processor its segments and interrupt stacks.
///
/// GS.base survives, although the selectors are reloaded: it is saved around that.
///
/// # Panics
///
/// When the descriptors do not come out at the selectors above, on which the entry code relies.
pub fn install() {
    let cpu = cpu_index();
    let tss = TABLES[cpu].tss.call_once(|| {
        let mut tss = TaskStateSegment::new();
        // The structure is packed, so no references to its fields.
        let mut tops = tss.interrupt_stack_table;
        for (top, stack) in tops.iter_mut().zip(&STACK_MEMORY[cpu]) {
            *top = VirtAddr::from_ptr(stack.0.get()) + STACK_SIZE as u64;
        }
        tss.interrupt_stack_table = tops;
        tss
    });
    let mut selectors = [SegmentSelector::NULL; 5];
    let gdt = TABLES[cpu].gdt.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        selectors = [
            gdt.append(Descriptor::kernel_code_segment()),
            gdt.append(Descriptor::kernel_data_segment()),
            gdt.append(Descriptor::user_data_segment()),
            gdt.append(Descriptor::user_code_segment()),
            gdt.append(Descriptor::tss_segment(tss)),
        ];
        gdt
    });
    let expected = [KERNEL_CODE, KERNEL_DATA, USER_DATA, USER_CODE, 0x28];
    assert_eq!(selectors.map(|selector| selector.0), expected, "the entry code relies on these");

    gdt.load();
    let gs = x86_64::registers::model_specific::GsBase::read();
    // SAFETY: the selectors name descriptors of the table just loaded, of the right kinds; loading a
    // null selector into GS may clear its base, which is put back.
    unsafe {
        CS::set_reg(SegmentSelector(KERNEL_CODE));
        SS::set_reg(SegmentSelector(KERNEL_DATA));
        DS::set_reg(SegmentSelector::NULL);
        ES::set_reg(SegmentSelector::NULL);
        FS::set_reg(SegmentSelector::NULL);
        GS::set_reg(SegmentSelector::NULL);
        load_tss(selectors[4]);
    }
    x86_64::registers::model_specific::GsBase::write(gs);
}
