//! Links the kernel image: a freestanding, statically placed ELF laid out by `kernel.ld`.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("{folder}/kernel.ld");
    println!("cargo::rerun-if-changed={script}");
    let arguments = [
        // No C runtime and no libraries: entry.s is the first code to run.
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        &format!("-Wl,-T{script}"),
        // The only note a PVH loader should find is ours.
        "-Wl,--build-id=none",
        // Nothing unwinds, so the script discards .eh_frame and there is nothing to index.
        "-Wl,--no-eh-frame-hdr",
        // Segments differ in permissions from one 4 KiB page to the next.
        "-Wl,-z,max-page-size=0x1000",
        "-Wl,--gc-sections",
    ];
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
