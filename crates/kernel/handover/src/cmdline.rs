//! The kernel command line: words separated by blanks, each a flag or `name=value`.

/// A command line. Of several words with one name, the last counts, so that a user can append.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    /// Wraps the text.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Takes the text up to the NUL, or up to the first byte that is not UTF-8.
    #[must_use]
    pub fn from_c_bytes(bytes: &'a [u8]) -> Self {
        let line = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        match core::str::from_utf8(line) {
            Ok(text) => Self(text),
            Err(error) => Self(core::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or("")),
        }
    }

    /// Returns the text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Tells whether the word `name` stands on the line, without a value.
    #[must_use]
    pub fn flag(self, name: &str) -> bool {
        self.0.split_ascii_whitespace().any(|word| word == name)
    }

    /// Returns what stands after the last `name=`.
    #[must_use]
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.0
            .split_ascii_whitespace()
            .rev()
            .filter_map(|word| word.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts() {
        let line = CommandLine::new("test=boot  log=info test=panic");
        assert_eq!(line.value("test"), Some("panic"));
        assert_eq!(line.value("log"), Some("info"));
        assert_eq!(line.value("lo"), None);
    }

    #[test]
    fn flags_are_whole_words() {
        let line = CommandLine::new("nola57x nola=57");
        assert!(!line.flag("nola57"));
        assert!(CommandLine::new("a nola57 b").flag("nola57"));
    }

    #[test]
    fn the_line_ends_at_nul_or_at_what_is_not_text() {
        assert_eq!(CommandLine::from_c_bytes(b"quiet\0junk").as_str(), "quiet");
        assert_eq!(CommandLine::from_c_bytes(b"a b\xff c").as_str(), "a b");
        assert_eq!(CommandLine::from_c_bytes(b"").as_str(), "");
    }
}
