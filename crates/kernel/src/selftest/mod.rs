//! x
use crate::boot::Machine;
/// x
pub fn run(name: &str, machine: &Machine) {
    crate::println!("test {name} {:?}", machine.platform);
    if name == "panic" {
        let x = crate::mm::heap::allocated();
        // SAFETY: x
        unsafe { *((0x10 + x) as *mut u64) = 1 };
    }
}
