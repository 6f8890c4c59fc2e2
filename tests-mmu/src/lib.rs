//! Page tables of the crates, read by an MMU that nobody here wrote. All of it is in `tests/mmu`; `cargo xtask verify mmu` runs it.
