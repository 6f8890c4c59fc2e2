//! Forgets an allocation: LeakSanitizer must say so when the process ends.

fn main() {
    std::thread::spawn(|| std::mem::forget(std::hint::black_box(Box::new([7_u8; 1000]))))
        .join()
        .expect("a thread");
}
