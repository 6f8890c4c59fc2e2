//! Reads an allocation that is gone: AddressSanitizer must say so.

fn main() {
    let freed = {
        let value = Box::new(7_u64);
        &raw const *value
    };
    // SAFETY: none. That is the fault.
    println!("{}", unsafe { freed.read_volatile() });
}
