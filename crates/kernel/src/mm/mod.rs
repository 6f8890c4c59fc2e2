//! Memory: frames, the heap, the kernel's first page tables, user copies; and on top of the PGD
//! crates, kernel mappings that grow.

pub mod early;
pub mod frames;
pub mod heap;
pub mod kernel_tables;
mod memory_functions;
pub mod page_cache;
pub mod page_frames;
#[cfg(feature = "storm")]
pub mod poison;
pub mod pte;
pub mod resident;
pub mod shared_page;
pub mod user;
pub mod vmalloc;
