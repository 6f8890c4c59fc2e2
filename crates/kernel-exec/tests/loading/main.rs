//! The two pure halves of exec: files become load plans, arguments become stack images.

mod elf_file;
mod hostile_files;
mod initial_stack;
mod load_plan;
mod malformed_files;
mod soundness;
mod stack_reader;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux_oracle;
