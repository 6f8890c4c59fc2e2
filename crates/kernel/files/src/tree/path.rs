//! Paths: byte strings taken apart.

use crate::Errno;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;

/// The longest path, in bytes, including the NUL that the caller has removed.
pub const PATH_MAX: usize = 4096;

/// The first component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Component<'a> {
    /// Never empty, without slashes.
    pub(super) name: &'a [u8],
    /// What follows, without leading slashes.
    pub(super) rest: &'a [u8],
    /// Whether slashes follow, which makes the component a directory even if nothing follows them.
    pub(super) slash: bool,
}

/// Takes the first component off `path`; `None` if nothing but slashes is there.
pub(super) fn split_first(path: &[u8]) -> Option<Component<'_>> {
    let path = trim_slashes(path);
    if path.is_empty() {
        return None;
    }
    let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
    let (name, tail) = path.split_at(end);
    Some(Component { name, rest: trim_slashes(tail), slash: !tail.is_empty() })
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    &path[start..]
}

/// Checks what can be wrong with a path as a whole.
///
/// # Errors
///
/// [`Errno::NOENT`] for the empty path, [`Errno::NAMETOOLONG`] for one of [`PATH_MAX`] bytes or more,
/// [`Errno::INVAL`] for one with a NUL, which no program can pass.
pub(super) fn check(path: &[u8]) -> Result<(), Errno> {
    if path.is_empty() {
        Err(Errno::NOENT)
    } else if path.len() >= PATH_MAX {
        Err(Errno::NAMETOOLONG)
    } else if path.contains(&0) {
        Err(Errno::INVAL)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn components_are_taken_off_one_by_one() {
        let first = split_first(b"//usr///bin/").expect("two components");
        assert_eq!(first, Component { name: b"usr", rest: b"bin/", slash: true });
        let second = split_first(first.rest).expect("one component");
        assert_eq!(second, Component { name: b"bin", rest: b"", slash: true });
        assert_eq!(split_first(second.rest), None);
        assert_eq!(split_first(b"///"), None);
    }

    proptest! {
        #[test]
        fn splitting_agrees_with_the_standard_library(path in "[ab./]{0,20}") {
            let mut rest = path.as_bytes();
            let mut names = Vec::new();
            while let Some(component) = split_first(rest) {
                names.push(component.name);
                rest = component.rest;
            }
            let expected: Vec<_> =
                path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
            prop_assert_eq!(names, expected);
        }
    }
}
