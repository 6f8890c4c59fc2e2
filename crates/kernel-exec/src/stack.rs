//! What a program finds at its stack pointer before its first instruction.
//!
//! ```text
//!   stack_top ->  +--------------------------------+
//!                 | one zero word                  |
//!                 | execfn string                  |
//!                 | environment strings, in order  |
//!                 | argument strings, in order     |
//!                 | platform string                |
//!                 | 16 random bytes                |
//!                 | padding                        |
//!                 | auxv pairs, ending in AT_NULL  |
//!                 | envp[], NULL                   |
//!                 | argv[], NULL                   |
//!          sp ->  | argc                           |   16-byte aligned
//!                 | zeroes                         |
//!        base ->  +--------------------------------+   page-aligned
//! ```
//!
//! The vectors are what the psABI demands (x86-64: "Initial Stack and Register State"); the order
//! of the strings is Linux's (`create_elf_tables`, `bprm_execve`): arguments run on into the
//! environment, which programs that rewrite their title rely on. All of it is built here as one run
//! of bytes that already hold final addresses, so exec copies it into fresh pages and never writes
//! to a user address.

use alloc::vec::Vec;

use crate::elf::{Class, PAGE_SIZE};

mod auxv;
mod error;

pub use auxv::AuxValues;
pub use error::{StackError, StackString};

use auxv::{AuxPairs, RANDOM_BYTES};

/// Longest argument or environment string that Linux takes, in bytes with its NUL.
pub const MAX_ARG_STRLEN: usize = 32 * PAGE_SIZE as usize;

/// What Linux allows arguments however small the stack, in bytes.
pub const ARG_MAX: usize = 128 * 1024;

/// What Linux allows arguments however large the stack, in bytes: three quarters of 8 MiB.
pub const ARG_CEILING: usize = 6 * 1024 * 1024;

const SP_ALIGN: usize = 16;

/// How much the arguments may weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackLimits {
    /// Bytes from the stack pointer to `stack_top`.
    ///
    /// Linux counts strings and the pointers to them, not the auxiliary vector; counting all of it
    /// is at most half a KiB stricter and bounds what is really mapped.
    pub max_bytes: usize,
    /// Bytes of any one string, with its NUL.
    pub max_string: usize,
}

impl StackLimits {
    /// Linux's limits for a stack that may grow to `stack_bytes`: a quarter of it, but at least
    /// [`ARG_MAX`] and at most [`ARG_CEILING`], in strings of up to [`MAX_ARG_STRLEN`].
    #[must_use]
    pub fn linux(stack_bytes: usize) -> Self {
        Self {
            max_bytes: (stack_bytes / 4).clamp(ARG_MAX, ARG_CEILING),
            max_string: MAX_ARG_STRLEN,
        }
    }
}

/// A stack about to be built.
#[derive(Debug, Clone, Copy)]
pub struct InitialStack<'a> {
    /// Word size of the program.
    pub class: Class,
    /// First address past the stack mapping, page-aligned.
    pub stack_top: u64,
    /// When to refuse.
    pub limits: StackLimits,
    /// Arguments, without NULs. If there are none the program gets one empty argument, as in Linux
    /// since 5.18: programs that skip `argv[0]` unseen would run into `envp` (CVE-2021-4034).
    pub argv: &'a [&'a [u8]],
    /// Environment, without NULs.
    pub envp: &'a [&'a [u8]],
    /// Auxiliary vector.
    pub aux: AuxValues<'a>,
}

/// The finished stack: `bytes` go to `base`, and end at `stack_top`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackImage {
    /// Stack pointer of the program's first instruction; 16-byte aligned, holds `argc`.
    pub sp: u64,
    /// Address of the first byte: `sp` rounded down to a page, so the image is whole pages.
    pub base: u64,
    /// The pages, lowest address first.
    pub bytes: Vec<u8>,
}

impl InitialStack<'_> {
    /// Lays out the stack.
    ///
    /// # Errors
    ///
    /// See [`StackError`]. Nothing is allocated before all of the sizes are known to be allowed.
    pub fn build(&self) -> Result<StackImage, StackError> {
        let in_class = self.class.address_limit().is_none_or(|limit| self.stack_top <= limit);
        if !in_class || !self.stack_top.is_multiple_of(PAGE_SIZE) {
            return Err(StackError::BadTop { stack_top: self.stack_top });
        }
        let argv: &[&[u8]] = if self.argv.is_empty() { &[b""] } else { self.argv };
        self.check_strings(argv)?;

        let layout = Layout::of(self, argv)?;
        let aux = self.aux.pairs(&layout);
        self.check_words(&aux)?;

        let base = layout.sp - layout.sp % PAGE_SIZE;
        let mut image = Image::with_room(self.class, (self.stack_top - base) as usize)?;

        image.zeroes_to((layout.sp - base) as usize);
        image.word(argv.len() as u64);
        image.pointers(layout.argv, argv);
        image.pointers(layout.envp, self.envp);
        for (tag, value) in aux.into_iter().flatten() {
            image.word(tag);
            image.word(value);
        }

        image.zeroes_to((layout.random - base) as usize);
        image.bytes.extend_from_slice(&self.aux.random);
        image.string(self.aux.platform);
        for string in argv.iter().chain(self.envp) {
            image.string(string);
        }
        image.string(self.aux.execfn);
        image.word(0);

        Ok(StackImage { sp: layout.sp, base, bytes: image.bytes })
    }

    fn check_strings(&self, argv: &[&[u8]]) -> Result<(), StackError> {
        let limit = self.limits.max_string;
        let check = |which, string: &[u8]| {
            let len = string.len().saturating_add(1);
            if len > limit {
                return Err(StackError::StringTooLong { which, len, limit });
            }
            match string.iter().position(|&byte| byte == 0) {
                Some(position) => Err(StackError::InteriorNul { which, position }),
                None => Ok(()),
            }
        };
        for (index, arg) in argv.iter().enumerate() {
            check(StackString::Arg(index), arg)?;
        }
        for (index, variable) in self.envp.iter().enumerate() {
            check(StackString::Env(index), variable)?;
        }
        check(StackString::ExecFn, self.aux.execfn)?;
        check(StackString::Platform, self.aux.platform)
    }

    /// Refuses values that a word cannot hold. The other words need no check: `stack_top` bounds
    /// every pointer, and the size of the image bounds `argc`.
    fn check_words(&self, aux: &AuxPairs) -> Result<(), StackError> {
        let fits = |value| self.class.address_limit().is_none_or(|limit| value < limit);
        match aux.iter().flatten().find(|&&(_, value)| !fits(value)) {
            Some(&(tag, value)) => Err(StackError::ValueTooWide { tag, value }),
            None => Ok(()),
        }
    }
}

/// Addresses of the parts, fixed before the first byte is written because pointers come first.
struct Layout {
    sp: u64,
    random: u64,
    platform: u64,
    argv: u64,
    envp: u64,
    execfn: u64,
}

impl Layout {
    fn of(stack: &InitialStack<'_>, argv: &[&[u8]]) -> Result<Self, StackError> {
        let word = stack.class.word();
        let platform = with_nul(stack.aux.platform);
        let args = sum(argv.iter().map(|string| with_nul(string)));
        let env = sum(stack.envp.iter().map(|string| with_nul(string)));
        let execfn = with_nul(stack.aux.execfn);
        let strings = sum([RANDOM_BYTES, platform, args, env, execfn, word]);

        // argc and the two NULLs that end argv and envp.
        let words = 3 + argv.len() + stack.envp.len() + 2 * stack.aux.count();
        let need = words.saturating_mul(word).saturating_add(strings);

        let below_top = usize::try_from(stack.stack_top).unwrap_or(usize::MAX);
        let limit = stack.limits.max_bytes.min(below_top);
        let need = need.checked_next_multiple_of(SP_ALIGN).unwrap_or(usize::MAX);
        if need > limit {
            return Err(StackError::TooBig { need, limit });
        }

        let random = stack.stack_top - strings as u64;
        let platform_at = random + RANDOM_BYTES as u64;
        let argv_at = platform_at + platform as u64;
        let envp_at = argv_at + args as u64;
        Ok(Self {
            // `stack_top` is page-aligned, so this is 16-byte aligned.
            sp: stack.stack_top - need as u64,
            random,
            platform: platform_at,
            argv: argv_at,
            envp: envp_at,
            execfn: envp_at + env as u64,
        })
    }
}

/// Sizes that overflow are too big for any limit.
fn sum(sizes: impl IntoIterator<Item = usize>) -> usize {
    sizes.into_iter().fold(0, usize::saturating_add)
}

fn with_nul(string: &[u8]) -> usize {
    string.len().saturating_add(1)
}

/// The bytes so far, of a buffer that never grows.
struct Image {
    class: Class,
    bytes: Vec<u8>,
}

impl Image {
    fn with_room(class: Class, bytes: usize) -> Result<Self, StackError> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(bytes).map_err(|_| StackError::OutOfMemory { bytes })?;
        Ok(Self { class, bytes: buffer })
    }

    fn zeroes_to(&mut self, offset: usize) {
        self.bytes.resize(offset, 0);
    }

    /// Little-endian: the low bytes come first, and the high ones that an Elf32 word drops are 0.
    fn word(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes()[..self.class.word()]);
    }

    fn string(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
    }

    /// Pointers to `strings` that lie back to back from address `at` on, and the NULL after them.
    fn pointers(&mut self, mut at: u64, strings: &[&[u8]]) {
        for string in strings {
            self.word(at);
            at += string.len() as u64 + 1;
        }
        self.word(0);
    }
}
