//! The serial console: `print!`, the `log` backend, and input.

use crate::cpu::area::{self, cpu_index};
use crate::cpu::trap::TrapFrame;
use crate::cpu::vectors::IO_APIC_FIRST;
use crate::cpu::{apic, clock, io_apic, trap};
use crate::sync::IrqMutex;
use core::fmt::{self, Write};
use handover::acpi::IsaWiring;
use kernel_sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use log::{LevelFilter, Log, Metadata, Record};
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::IER;
use uart_16550::{BaudRate, Config, Uart16550};

const COM1: u16 = 0x3f8;

/// The legacy interrupt of COM1.
pub const COM1_IRQ: usize = 4;

static UART: IrqMutex<Uart16550<PioBackend>> = IrqMutex::new(com1());

/// False until there is a UART that works.
static PRESENT: AtomicBool = AtomicBool::new(false);

const fn com1() -> Uart16550<PioBackend> {
    // SAFETY: the port is COM1's by convention, and this file is its only user.
    match unsafe { Uart16550::new_port(COM1) } {
        Ok(uart) => uart,
        Err(_) => panic!("eight registers from 0x3f8 fit the port space"),
    }
}

/// Initialises the UART and makes it the target of `print!` and `log`.
pub fn install() {
    let config = Config { baud_rate: BaudRate::Baud115200, ..Config::default() };
    PRESENT.store(UART.lock().init(config).is_ok(), Ordering::Relaxed);
    if log::set_logger(&KernelLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// A locked console: what is written through one of these stays together.
struct Writer<'a>(&'a mut Uart16550<PioBackend>);

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.0.send_bytes_exact(line.as_bytes());
                    self.0.send_bytes_exact(b"\r\n");
                }
                None => self.0.send_bytes_exact(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Writes formatted text, without anybody else's in between. Use `print!` and `println!`.
pub fn print(arguments: fmt::Arguments<'_>) {
    if PRESENT.load(Ordering::Relaxed) {
        // The writer itself never fails; a Display that does has nobody to complain to.
        let _ = Writer(&mut UART.lock()).write_fmt(arguments);
    }
}

/// Writes bytes as they are, as a terminal's output.
pub fn write_bytes(bytes: &[u8]) {
    if PRESENT.load(Ordering::Relaxed) {
        UART.lock().send_bytes_exact(bytes);
    }
}

/// Makes the console usable again for a processor that stopped all others, one of which may hold it.
///
/// # Safety
///
/// No other processor may run, ever again.
pub unsafe fn seize() {
    if UART.is_locked() {
        // SAFETY: the holder is stopped, or is this processor and will not come back to it.
        unsafe { UART.force_unlock() };
    }
}

/// Writes to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Writes a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", format_args!($($argument)*)) };
}

struct KernelLog;

impl Log for KernelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let microseconds = clock::now() / 1000;
            let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
            let (cpu, level, message) = (cpu_index(), record.level(), record.args());
            println!("[{seconds:5}.{fraction:06}] cpu{cpu} {level:5} {message}");
        }
    }

    fn flush(&self) {}
}

/// Takes one byte that was typed. Runs in an interrupt handler.
pub type InputHandler = fn(u8);

static INPUT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Calls `handler` for every byte received from now on, on this processor.
///
/// # Errors
///
/// [`io_apic::NoSuchInput`] when the interrupt cannot be routed. Nothing is received then.
pub fn install_input(wiring: IsaWiring, handler: InputHandler) -> Result<(), io_apic::NoSuchInput> {
    INPUT.store(handler as *mut (), Ordering::Release);
    trap::set_handler(IO_APIC_FIRST.wrapping_add(wiring.gsi as u8), receive);
    io_apic::route(wiring, area::apic_id(cpu_index()))?;
    UART.lock().enable_interrupts(IER::DATA_READY);
    Ok(())
}

fn receive(_frame: &mut TrapFrame) {
    // SAFETY: only `install_input` stores, and what it stores is an InputHandler; null is None.
    let handler = unsafe {
        core::mem::transmute::<*mut (), Option<InputHandler>>(INPUT.load(Ordering::Acquire))
    };
    // The interrupt is edge-triggered: what is left in the FIFO would not raise another.
    while let Ok(byte) = { UART.lock().try_receive_byte() } {
        if let Some(handler) = handler {
            handler(byte);
        }
    }
    apic::end_of_interrupt();
}
