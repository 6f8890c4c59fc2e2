//! eventfd(2): a counter that can be waited for.

use crate::stream::Stream;
use crate::wait::{Level, Watched};
use crate::{Errno, FileType, OpenFile, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// The counter's largest value.
const MAX: u64 = u64::MAX - 1;

/// Makes a counter that starts at `initial`. A read takes all of it, or with `semaphore` one.
#[must_use]
pub fn open<Q: WaitQueue>(initial: u64, semaphore: bool, flags: OpenFlags) -> Arc<OpenFile<Q>> {
    let count = Count { value: initial.min(MAX), refused: false, writes: 0 };
    let counter = Counter { count: Watched::<_, Q>::new(count), semaphore };
    OpenFile::stream(Box::new(counter), flags & OpenFlags::SETTABLE | OpenFlags::RDWR)
}

struct Count {
    value: u64,
    /// A write found no room for its number. Until a read, the counter then counts as full, or the
    /// writer would wait for something that poll says is there.
    refused: bool,
    writes: u64,
}

impl Count {
    fn is_writable(&self) -> bool {
        self.value < MAX && !self.refused
    }
}

impl Level for Count {
    fn level(&self) -> u32 {
        u32::from(self.value > 0) | u32::from(self.is_writable()) << 1
    }

    fn arrivals(&self) -> u64 {
        self.writes
    }
}

struct Counter<Q> {
    count: Watched<Count, Q>,
    semaphore: bool,
}

impl<Q: WaitQueue> Stream<Q> for Counter<Q> {
    /// Regular, with a label of its own: Linux reports no type at all for these.
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn label(&self) -> &'static str {
        "eventfd"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let to = buffer.first_chunk_mut::<8>().ok_or(Errno::INVAL)?;
        self.count.change(|count| {
            if count.value == 0 {
                return Err(Errno::AGAIN);
            }
            let taken = if self.semaphore { 1 } else { count.value };
            count.value -= taken;
            count.refused = false;
            *to = taken.to_le_bytes();
            Ok(8)
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let added = u64::from_le_bytes(*bytes.first_chunk::<8>().ok_or(Errno::INVAL)?);
        if added > MAX {
            return Err(Errno::INVAL);
        }
        self.count.change(|count| match count.value.checked_add(added) {
            Some(sum) if sum <= MAX => {
                count.value = sum;
                count.writes += 1;
                Ok(8)
            }
            _ => {
                count.refused = true;
                Err(Errno::AGAIN)
            }
        })
    }

    fn poll(&self) -> Ready {
        self.count
            .look(|count| Ready::readable(count.value > 0) | Ready::writable(count.is_writable()))
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.count.queue())
    }

    fn edges(&self) -> u64 {
        self.count.edges()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bell, rings};

    fn event(initial: u64, semaphore: bool) -> Arc<OpenFile<Bell>> {
        open(initial, semaphore, OpenFlags::empty())
    }

    fn take(file: &OpenFile<Bell>) -> Result<u64, Errno> {
        let mut buffer = [0; 8];
        file.read(&mut buffer)?;
        Ok(u64::from_le_bytes(buffer))
    }

    #[test]
    fn a_read_takes_all_and_wakes_writers_that_found_no_room() {
        let file = event(0, false);
        assert_eq!(take(&file), Err(Errno::AGAIN));
        assert_eq!(file.write(&5_u64.to_le_bytes()), Ok(8));
        assert_eq!(file.write(&7_u64.to_le_bytes()), Ok(8));
        assert_eq!(rings(&file), 1, "only the first made it readable");
        assert_eq!(take(&file), Ok(12));
        assert_eq!(file.write(&MAX.to_le_bytes()), Ok(8));
        assert_eq!(file.write(&1_u64.to_le_bytes()), Err(Errno::AGAIN));
        assert_eq!(file.poll() & Ready::OUT, Ready::empty());
        let before = rings(&file);
        assert_eq!(take(&file), Ok(MAX));
        assert_eq!(rings(&file), before + 1);
    }

    #[test]
    fn a_semaphore_gives_one_at_a_time() {
        let file = event(2, true);
        assert_eq!([take(&file), take(&file), take(&file)], [Ok(1), Ok(1), Err(Errno::AGAIN)]);
    }

    #[test]
    fn short_buffers_and_the_largest_value_are_invalid() {
        let file = event(1, false);
        assert_eq!(file.read(&mut [0; 7]), Err(Errno::INVAL));
        assert_eq!(file.write(&[0; 7]), Err(Errno::INVAL));
        assert_eq!(file.write(&u64::MAX.to_le_bytes()), Err(Errno::INVAL));
        assert_eq!(file.write(&MAX.to_le_bytes()), Err(Errno::AGAIN));
        assert!(!file.poll().contains(Ready::OUT), "or the writer would not sleep");
        assert_eq!(take(&file), Ok(1));
        assert!(file.poll().contains(Ready::OUT));
    }
}
