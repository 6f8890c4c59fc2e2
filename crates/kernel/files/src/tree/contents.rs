//! The bytes of a regular file.
//!
//! A file of the initramfs shows the archive's own bytes until it is written to; a written page is
//! copied first, and only that page. A page that is in neither is a hole, which reads as zeros. So
//! unpacking the archive copies nothing, and a program that is only executed is never copied.
//!
//! A page that a program maps to share it becomes memory that can be mapped, and stays that.

use super::page::{self, Page, SharedPage};
use super::volume::{Charge, Volume};
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

/// Bytes that are copied and charged together.
const PAGE_SIZE: u64 = page::PAGE_SIZE as u64;

/// No file is longer: offsets are signed 64-bit numbers.
pub(crate) const MAX_LEN: u64 = i64::MAX as u64;

/// Contents, their holes, and the length.
#[derive(Debug)]
pub(super) struct Contents {
    /// Shows where `pages` has no page. Never longer than the file, so what is cut off by a
    /// truncation does not come back when the file grows again.
    archive: &'static [u8],
    /// Pages of the file's own, by offset divided by the page size.
    pages: BTreeMap<u64, Page>,
    len: u64,
    charge: Charge,
}

/// The part of one page that a transfer at `offset`, with `rest` bytes to go, touches.
struct Span {
    page: u64,
    start: usize,
    len: usize,
}

impl Span {
    fn of(offset: u64, rest: usize) -> Self {
        let start = (offset % PAGE_SIZE) as usize;
        Self { page: offset / PAGE_SIZE, start, len: rest.min(PAGE_SIZE as usize - start) }
    }
}

impl Contents {
    pub(super) fn new(volume: &Arc<Volume>, archive: &'static [u8]) -> Self {
        let len = archive.len() as u64;
        Self { archive, pages: BTreeMap::new(), len, charge: Charge::none(volume) }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the bytes of memory that the contents occupy besides the archive.
    pub(super) fn occupied(&self) -> u64 {
        self.charge.bytes()
    }

    /// Returns all bytes, if they are still those of the archive.
    pub(super) fn archive_bytes(&self) -> Option<&'static [u8]> {
        let untouched = self.pages.is_empty() && self.archive.len() as u64 == self.len;
        untouched.then_some(self.archive)
    }

    /// Copies bytes from `offset` on, up to the end of file or buffer, and returns how many.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(offset);
        let total = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < total {
            let span = Span::of(offset + done as u64, total - done);
            let to = &mut buffer[done..done + span.len];
            match self.pages.get(&span.page) {
                Some(page) => page.read(span.start, to),
                None => self.copy_archive(offset + done as u64, to),
            }
            done += span.len;
        }
        total
    }

    /// Copies what the archive has from `offset` on, and zeros behind its end.
    fn copy_archive(&self, offset: u64, to: &mut [u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.archive.len());
        let from = &self.archive[start..];
        let len = from.len().min(to.len());
        to[..len].copy_from_slice(&from[..len]);
        to[len..].fill(0);
    }

    /// Stores bytes from `offset` on and returns how many: fewer than given when memory or numbers
    /// run out on the way.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = MAX_LEN.saturating_sub(offset);
        let total = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut done = 0;
        let mut stopped = Errno::FBIG;
        while done < total {
            let span = Span::of(offset + done as u64, total - done);
            match self.page_for_write(&span) {
                Ok(page) => page.write(span.start, &bytes[done..done + span.len]),
                Err(error) => {
                    stopped = error;
                    break;
                }
            }
            done += span.len;
        }
        if done == 0 {
            return Err(stopped);
        }
        self.len = self.len.max(offset + done as u64);
        Ok(done)
    }

    /// Returns the file's own page at `span`, made from what the page shows now if there is none.
    fn page_for_write(&mut self, span: &Span) -> Result<&mut Page, Errno> {
        if !self.pages.contains_key(&span.page) {
            let mut page = Page::zeros()?;
            self.charge.grow(PAGE_SIZE)?;
            if span.len < PAGE_SIZE as usize
                && let Page::Own(bytes) = &mut page
            {
                self.copy_archive(span.page * PAGE_SIZE, bytes);
            }
            self.pages.insert(span.page, page);
        }
        self.pages.get_mut(&span.page).ok_or(Errno::NOSPC)
    }

    /// Returns the page with this number as memory that can be mapped; `make` makes such memory, with these bytes.
    pub(super) fn shared_page(
        &mut self,
        number: u64,
        make: impl FnOnce(&[u8; page::PAGE_SIZE]) -> Result<Arc<dyn SharedPage>, Errno>,
    ) -> Result<Arc<dyn SharedPage>, Errno> {
        if let Some(Page::Shared(page)) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        if number >= self.len.div_ceil(PAGE_SIZE) {
            return Err(Errno::FAULT);
        }
        let mut bytes = [0; page::PAGE_SIZE];
        match self.pages.get(&number) {
            Some(page) => page.read(0, &mut bytes),
            None => {
                self.copy_archive(number * PAGE_SIZE, &mut bytes);
                self.charge.grow(PAGE_SIZE)?;
            }
        }
        let made = make(&bytes);
        match &made {
            Ok(page) => {
                self.pages.insert(number, Page::Shared(page.clone()));
            }
            Err(_) if !self.pages.contains_key(&number) => self.charge.shrink(PAGE_SIZE),
            Err(_) => {}
        }
        made
    }

    /// Cuts the file off at `len`, or lets it grow to it by a hole.
    pub(super) fn set_len(&mut self, len: u64) -> Result<(), Errno> {
        if len > MAX_LEN {
            return Err(Errno::FBIG);
        }
        if len < self.len {
            let dropped = self.pages.split_off(&len.div_ceil(PAGE_SIZE));
            self.charge.shrink(dropped.len() as u64 * PAGE_SIZE);
            // What lies behind the new end must read as zeros if the file grows again.
            if let Some(page) = self.pages.get_mut(&(len / PAGE_SIZE)) {
                page.clear_from((len % PAGE_SIZE) as usize);
            }
            let kept = usize::try_from(len).unwrap_or(usize::MAX).min(self.archive.len());
            self.archive = &self.archive[..kept];
        }
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timespec;
    use alloc::vec;
    use alloc::vec::Vec;
    use kernel_sync::Mutex;
    use proptest::prelude::*;

    static ARCHIVE: [u8; 10_000] = {
        let mut bytes = [0; 10_000];
        let mut at = 0;
        while at < bytes.len() {
            bytes[at] = (at % 251) as u8 + 1;
            at += 1;
        }
        bytes
    };

    fn volume(limit: u64) -> Arc<Volume> {
        Arc::new(Volume::new(limit, Timespec::default))
    }

    fn all(contents: &Contents) -> Vec<u8> {
        let mut bytes = vec![0xaa; contents.len() as usize + 10];
        let len = contents.read_at(0, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn the_archive_is_shared_until_written_and_then_copied_by_page() {
        let volume = volume(1 << 20);
        let mut contents = Contents::new(&volume, &ARCHIVE);
        assert!(core::ptr::eq(contents.archive_bytes().expect("shared"), &ARCHIVE));
        contents.write_at(5000, b"x").expect("space");
        assert_eq!(volume.charged(), PAGE_SIZE, "one page of three");
        assert_eq!(contents.archive_bytes(), None);
        let mut expected = ARCHIVE.to_vec();
        expected[5000] = b'x';
        assert_eq!(all(&contents), expected);
        assert_eq!(ARCHIVE[5000], (5000 % 251) as u8 + 1);
    }

    /// Memory that somebody else stores to as well.
    #[derive(Debug)]
    struct Memory(Mutex<Vec<u8>>);

    impl SharedPage for Memory {
        fn read(&self, start: usize, to: &mut [u8]) {
            to.copy_from_slice(&self.0.lock()[start..start + to.len()]);
        }

        fn write(&self, start: usize, from: &[u8]) {
            self.0.lock()[start..start + from.len()].copy_from_slice(from);
        }
    }

    fn map(contents: &mut Contents, number: u64) -> Result<Arc<dyn SharedPage>, Errno> {
        contents.shared_page(number, |bytes| Ok(Arc::new(Memory(Mutex::new(bytes.to_vec())))))
    }

    #[test]
    fn a_mapped_page_and_the_file_are_one() {
        let volume = volume(1 << 20);
        let mut contents = Contents::new(&volume, &ARCHIVE);
        let page = map(&mut contents, 1).expect("within the file");
        let again = map(&mut contents, 1).expect("within the file");
        assert!(Arc::ptr_eq(&page, &again));
        assert_eq!(volume.charged(), 4096);
        page.write(0, b"from a program");
        let mut read = [0; 14];
        assert_eq!(contents.read_at(4096, &mut read), 14);
        assert_eq!(&read, b"from a program");
        assert_eq!(contents.write_at(4101, b"the kernel "), Ok(11));
        page.read(0, &mut read);
        assert_eq!(&read, b"from the kerne");
        // The page that the end is in can be mapped, with zeros behind the end, and none behind it.
        let last = map(&mut contents, 2).expect("the end is in it");
        let mut end = [1; 2];
        last.read(10_000 - 8192 - 1, &mut end);
        assert_eq!(end, [ARCHIVE[9999], 0]);
        assert_eq!(map(&mut contents, 3).map(|_| ()), Err(Errno::FAULT));
        assert_eq!(contents.set_len(4100), Ok(()));
        page.read(0, &mut read);
        assert_eq!(&read, b"from\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(volume.charged(), 4096);
        let failed = contents.shared_page(0, |_| Err(Errno::NOMEM)).map(|_| ());
        assert_eq!((failed, volume.charged()), (Err(Errno::NOMEM), 4096));
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut contents = Contents::new(&volume(1 << 20), &ARCHIVE);
        contents.set_len(100).expect("shorter");
        contents.set_len(9000).expect("longer");
        let mut expected = ARCHIVE[..100].to_vec();
        expected.resize(9000, 0);
        assert_eq!(all(&contents), expected);
    }

    #[test]
    fn far_offsets_make_holes_and_the_farthest_is_too_far() {
        let volume = volume(1 << 20);
        let mut contents = Contents::new(&volume, &[]);
        assert_eq!(contents.write_at(MAX_LEN - 2, b"abc"), Ok(2));
        assert_eq!(contents.len(), MAX_LEN);
        assert_eq!(contents.write_at(MAX_LEN, b"c"), Err(Errno::FBIG));
        assert_eq!(contents.write_at(u64::MAX, b"c"), Err(Errno::FBIG));
        assert_eq!(volume.charged(), PAGE_SIZE);
        let mut buffer = [1; 8];
        assert_eq!(contents.read_at(1 << 40, &mut buffer), 8);
        assert_eq!(buffer, [0; 8]);
        assert_eq!(contents.read_at(u64::MAX, &mut buffer), 0);
        assert_eq!(contents.set_len(MAX_LEN + 1), Err(Errno::FBIG));
    }

    #[test]
    fn a_full_volume_cuts_a_write_short_and_then_refuses() {
        let volume = volume(2 * PAGE_SIZE);
        let mut contents = Contents::new(&volume, &[]);
        assert_eq!(contents.write_at(0, &[7; 10_000]), Ok(8192));
        assert_eq!(contents.len(), 8192);
        assert_eq!(contents.write_at(8192, b"x"), Err(Errno::NOSPC));
        assert_eq!(contents.write_at(8191, b"x"), Ok(1), "a page that is there can be written");
        contents.set_len(0).expect("shorter");
        assert_eq!(volume.charged(), 0);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Read(u64, usize),
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let offset = prop_oneof![0..20_000_u64, Just(4095), Just(4096), Just(8192)];
        prop_oneof![
            (offset.clone(), 0..9000_usize).prop_map(|(at, len)| Op::Read(at, len)),
            (offset.clone(), proptest::collection::vec(any::<u8>(), 0..6000))
                .prop_map(|(at, bytes)| Op::Write(at, bytes)),
            offset.prop_map(Op::SetLen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn contents_behave_as_a_vector_of_bytes(ops in proptest::collection::vec(op(), 1..25)) {
            let volume = volume(1 << 24);
            let mut contents = Contents::new(&volume, &ARCHIVE);
            let mut model = ARCHIVE.to_vec();
            for op in ops {
                match op {
                    Op::Read(at, len) => {
                        let mut buffer = vec![0xaa; len];
                        let read = contents.read_at(at, &mut buffer);
                        let start = (at as usize).min(model.len());
                        let end = (start + len).min(model.len());
                        prop_assert_eq!(&buffer[..read], &model[start..end]);
                    }
                    Op::Write(at, bytes) => {
                        prop_assert_eq!(contents.write_at(at, &bytes), Ok(bytes.len()));
                        let end = at as usize + bytes.len();
                        if !bytes.is_empty() {
                            model.resize(model.len().max(end), 0);
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Op::SetLen(len) => {
                        contents.set_len(len).expect("small");
                        model.resize(len as usize, 0);
                    }
                }
                prop_assert_eq!(contents.len(), model.len() as u64);
            }
            prop_assert_eq!(all(&contents), model);
            prop_assert!(volume.charged() <= 16 * PAGE_SIZE);
            drop(contents);
            prop_assert_eq!(volume.charged(), 0);
        }
    }
}
