//! Reads an initial stack as a libc does: from the stack pointer upwards, by pointers only.
//!
//! It shares no code with the builder, and `linux_oracle` holds it against stacks that Linux made.

use kernel_exec::elf::Class;

#[derive(Debug)]
pub(crate) struct Memory<'a> {
    pub(crate) class: Class,
    pub(crate) base: u64,
    pub(crate) bytes: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Address and contents of every string.
    pub(crate) argv: Vec<(u64, Vec<u8>)>,
    pub(crate) envp: Vec<(u64, Vec<u8>)>,
    /// Pairs in order, without `AT_NULL`.
    pub(crate) auxv: Vec<(u64, u64)>,
    /// First address past the vectors.
    pub(crate) vectors_end: u64,
}

impl Found {
    pub(crate) fn aux(&self, tag: u64) -> Option<u64> {
        let mut hits = self.auxv.iter().filter(|pair| pair.0 == tag);
        let first = hits.next().map(|pair| pair.1);
        assert_eq!(hits.next(), None, "tag {tag} is there twice");
        first
    }
}

impl Memory<'_> {
    fn at(&self, address: u64, len: usize) -> &[u8] {
        let offset = address.checked_sub(self.base).expect("address below the stack") as usize;
        self.bytes.get(offset..offset + len).expect("address past the stack")
    }

    pub(crate) fn word(&self, address: u64) -> u64 {
        match self.class {
            Class::Elf32 => {
                u64::from(u32::from_le_bytes(self.at(address, 4).try_into().expect("4 bytes")))
            }
            Class::Elf64 => u64::from_le_bytes(self.at(address, 8).try_into().expect("8 bytes")),
        }
    }

    pub(crate) fn string(&self, address: u64) -> Vec<u8> {
        (address..).map(|at| self.at(at, 1)[0]).take_while(|&byte| byte != 0).collect()
    }

    pub(crate) fn random(&self, address: u64) -> [u8; 16] {
        self.at(address, 16).try_into().expect("16 bytes")
    }

    pub(crate) fn read(&self, sp: u64) -> Found {
        let size = if self.class == Class::Elf64 { 8 } else { 4 };
        let mut at = sp;
        let mut next = || {
            at += size;
            self.word(at - size)
        };
        let argc = next();
        let mut strings = || {
            let mut list = Vec::new();
            loop {
                match next() {
                    0 => return list,
                    pointer => list.push((pointer, self.string(pointer))),
                }
            }
        };
        let argv = strings();
        assert_eq!(argv.len() as u64, argc, "argc counts argv");
        let envp = strings();
        let mut auxv = Vec::new();
        loop {
            let (tag, value) = (next(), next());
            if tag == 0 {
                return Found { argv, envp, auxv, vectors_end: at };
            }
            auxv.push((tag, value));
        }
    }
}
