//! What this kernel calls itself.

/// What uname(2) says: system, node, release, version, machine, domain. The release is one that C libraries
/// of today accept.
pub(crate) const UNAME: [&[u8]; 6] =
    [b"Linux", b"reference", b"6.1.0-reference", b"#1 SMP", b"x86_64", b"(none)"];
