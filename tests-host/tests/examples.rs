//! The examples do what they say: they check themselves, and here they are run.
#![cfg(not(loom))]

#[path = "../examples/own_page_tables.rs"]
mod own_page_tables;
#[path = "../examples/own_tasks.rs"]
mod own_tasks;

#[test]
fn a_kernel_with_its_own_tasks_takes_mm_generic_and_arch_x86_alone() {
    own_tasks::main();
}

#[test]
fn a_kernel_with_its_own_page_tables_implements_arch_pgd_on_them() {
    own_page_tables::main();
}
