//! The schemes that this project is compared with, each in a file of its own.
//!
//! | scheme | who has it | file |
//! |---|---|---|
//! | `late` | this project | `arch_x86::late` |
//! | `pgd-list` | Linux since 2003; the feature off | `arch_x86::locked` |
//! | `preallocated` | Linux's vmalloc area since 2020, Asterinas, Redox, Oak, illumos | [`preallocated`] |
//! | `generation` | Lutomirski 2015, wli 2004; never merged | [`generation`] |
//! | `constructed` | NetBSD's pmap cache, Linux's `pgd_cache` of the 32-bit days | [`constructed`] |
//!
//! They are for 4-level tables, and leave out what no figure here is about: private slots, replacing
//! and reclaiming. All five are implementations of `ArchPgd`, and the task layer above them is the same.
//!
//! One of them the trait cannot express alone: the generation check happens at `switch_mm`, where `ArchPgd` has
//! no hook. A kernel would call it in `Kernel::load_pgd`; here every kernel does, see [`crate::chosen`].

pub mod constructed;
pub mod generation;
mod half;
pub mod preallocated;
