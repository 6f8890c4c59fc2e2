//! `struct new_utsname`.

use super::fields::Fields;

/// Bytes in each of the six strings, NUL included.
const FIELD_SIZE: usize = 65;

/// Bytes in a `struct new_utsname`.
pub const UTSNAME_SIZE: usize = 6 * FIELD_SIZE;

/// Makes what uname(2) reports, from system, node, release, version, machine and domain. What does
/// not fit its 64 bytes is cut off.
#[must_use]
pub fn uname(strings: [&[u8]; 6]) -> [u8; UTSNAME_SIZE] {
    strings
        .iter()
        .enumerate()
        .fold(Fields::new(), |fields, (index, string)| {
            let len = string.len().min(FIELD_SIZE - 1);
            fields.bytes(index * FIELD_SIZE, &string[..len])
        })
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_ended_by_nul_and_cut_to_fit() {
        let long = [b'x'; 100];
        let bytes = uname([b"Linux", &long, b"6.1", b"", b"x86_64", b"(none)"]);
        assert!(bytes.starts_with(b"Linux\0"));
        assert_eq!(&bytes[FIELD_SIZE..2 * FIELD_SIZE - 1], &long[..64]);
        assert_eq!(bytes[2 * FIELD_SIZE - 1], 0);
        assert!(bytes[4 * FIELD_SIZE..].starts_with(b"x86_64\0"));
    }
}
