//! Tests of pipes and socket pairs: order, atomicity, ends, and wake-ups.

use super::{ATOMIC, CAPACITY, pair};
use crate::testing::{Bell, rings};
use crate::{Errno, FileType, OpenFile, OpenFlags, Ready};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn pipe() -> (Arc<OpenFile<Bell>>, Arc<OpenFile<Bell>>) {
    pair(OpenFlags::empty())
}

#[test]
fn ends_have_one_direction_each() {
    let (reader, writer) = pipe();
    assert_eq!(reader.write(b"x"), Err(Errno::BADF));
    assert_eq!(writer.read(&mut [0; 1]), Err(Errno::BADF));
    assert_eq!(reader.seek(0, 0), Err(Errno::SPIPE));
    assert_eq!(reader.read_at(0, &mut [0; 1]), Err(Errno::SPIPE));
    assert_eq!(writer.write_at(0, b"x"), Err(Errno::SPIPE));
    assert_eq!(writer.set_len(0), Err(Errno::INVAL));
    assert_eq!(reader.sync(), Err(Errno::INVAL));
    assert_eq!(reader.metadata().file_type(), Some(FileType::Fifo));
    assert_eq!(reader.metadata().inode, writer.metadata().inode, "one pipe");
    assert_ne!(reader.metadata().inode, pipe().0.metadata().inode);
    assert_eq!(writer.flags(), OpenFlags::WRONLY);
    let (reader, writer) = pair::<Bell>(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC);
    assert_eq!(reader.flags(), OpenFlags::NONBLOCK);
    assert_eq!(writer.flags(), OpenFlags::NONBLOCK | OpenFlags::WRONLY);
}

#[test]
fn an_empty_pipe_blocks_and_one_without_writers_ends() {
    let (reader, writer) = pipe();
    let mut buffer = [0; 8];
    assert_eq!(reader.read(&mut buffer), Err(Errno::AGAIN));
    assert_eq!(reader.read(&mut []), Ok(0));
    assert_eq!(reader.poll(), Ready::empty());
    assert_eq!(writer.write(b""), Ok(0));
    assert_eq!(writer.write(b"last"), Ok(4));
    assert_eq!(reader.available(), Some(4));
    drop(writer);
    assert_eq!(reader.poll(), Ready::IN | Ready::RDNORM | Ready::HUP);
    assert_eq!(reader.read(&mut buffer), Ok(4));
    assert_eq!(reader.read(&mut buffer), Ok(0));
    assert_eq!(reader.poll(), Ready::HUP);
}

#[test]
fn a_pipe_without_readers_is_broken() {
    let (reader, writer) = pipe();
    assert_eq!(writer.write(b"unread"), Ok(6));
    let before = rings(&writer);
    drop(reader);
    assert_eq!(rings(&writer), before + 1, "a writer that waits must learn it");
    assert_eq!(writer.write(b"x"), Err(Errno::PIPE));
    assert!(writer.poll().contains(Ready::ERR));
}

#[test]
fn up_to_pipe_buf_goes_in_as_a_whole_or_not_at_all() {
    let (reader, writer) = pipe();
    let mut buffer = vec![0; CAPACITY];
    assert_eq!(writer.write(&[1; CAPACITY + 1]), Ok(CAPACITY), "more is cut");
    assert_eq!(writer.write(b"x"), Err(Errno::AGAIN));
    assert_eq!(reader.read(&mut buffer[..ATOMIC - 1]), Ok(ATOMIC - 1));
    assert_eq!(writer.poll(), Ready::empty(), "a write of PIPE_BUF would wait");
    assert_eq!(writer.write(&[2; ATOMIC]), Err(Errno::AGAIN));
    assert_eq!(reader.read(&mut buffer[..1]), Ok(1));
    assert_eq!(writer.poll(), Ready::OUT | Ready::WRNORM);
    assert_eq!(writer.write(&[2; ATOMIC]), Ok(ATOMIC));
    assert_eq!(reader.read(&mut buffer[..100]), Ok(100));
    assert_eq!(writer.write(&[3; ATOMIC + 1]), Ok(100), "what is longer may be split");
}

#[test]
fn waiters_are_woken_for_every_bit_that_comes_up_and_for_nothing_else() {
    let (reader, writer) = pipe();
    let birth = rings(&reader);
    let rings = |file| rings(file) - birth;
    assert_eq!(writer.write(b"a"), Ok(1));
    assert_eq!(rings(&reader), 1, "from empty to not");
    assert_eq!(writer.write(b"b"), Ok(1));
    assert_eq!(rings(&reader), 1, "more of the same");
    assert_eq!(reader.read(&mut [0; 1]), Ok(1));
    assert_eq!(rings(&reader), 1);
    assert_eq!(writer.write(&[0; CAPACITY]), Ok(CAPACITY - 1));
    assert_eq!(reader.read(&mut [0; ATOMIC - 1]), Ok(ATOMIC - 1));
    assert_eq!(rings(&reader), 1, "not enough room for a writer");
    assert_eq!(reader.read(&mut [0; 1]), Ok(1));
    assert_eq!(rings(&reader), 2, "now there is");
    drop(writer);
    assert_eq!(rings(&reader), 3, "the end");
}

/// Two threads, one pipe, a queue that really sleeps: nothing is lost, nothing sleeps for ever.
#[test]
fn a_reader_that_sleeps_is_woken() {
    extern crate std;
    use std::sync::{Condvar, Mutex};

    struct Sleepers {
        generation: Mutex<u64>,
        woken: Condvar,
    }
    impl crate::WaitQueue for Sleepers {
        fn new() -> Self {
            Self { generation: Mutex::new(0), woken: Condvar::new() }
        }
        fn wake_all(&self) {
            *self.generation.lock().expect("no panics") += 1;
            self.woken.notify_all();
        }

        // No set of files watches the pipe of this test.
        fn add_listener(&self, _listener: &Arc<Self>) {
            unreachable!("nobody listens")
        }

        fn remove_listener(&self, _listener: &Arc<Self>) {
            unreachable!("nobody listens")
        }

        fn wake_listeners(&self) {}
    }
    fn wait(file: &OpenFile<Sleepers>, bits: Ready) {
        let queue = file.queue().expect("a pipe blocks");
        // "Enqueue": wake-ups from here on are seen. Then check again.
        let start = *queue.generation.lock().expect("no panics");
        if file.poll().intersects(bits | Ready::UNASKED) {
            return;
        }
        let mut now = queue.generation.lock().expect("no panics");
        while *now == start {
            now = queue.woken.wait(now).expect("no panics");
        }
    }

    const TOTAL: usize = 300_000;
    let (reader, writer) = pair::<Sleepers>(OpenFlags::empty());
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        let mut chunk = 1;
        while sent < TOTAL {
            let end = TOTAL.min(sent + chunk);
            let bytes: Vec<u8> = (sent..end).map(|at| (at % 251) as u8).collect();
            match writer.write(&bytes) {
                Ok(len) => sent += len,
                Err(Errno::AGAIN) => wait(&writer, Ready::OUT),
                Err(error) => panic!("{error}"),
            }
            chunk = chunk % 9000 + 997;
        }
    });
    let mut received = 0;
    let mut buffer = [0; 3000];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                for (at, &byte) in (received..).zip(&buffer[..len]) {
                    assert_eq!(byte, (at % 251) as u8);
                }
                received += len;
            }
            Err(Errno::AGAIN) => wait(&reader, Ready::IN),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(received, TOTAL);
    sender.join().expect("no panics");
}

#[derive(Clone, Debug)]
enum Op {
    Read(usize),
    Write(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_come_out_in_the_order_they_went_in(
        ops in proptest::collection::vec(
            prop_oneof![
                (0..9000_usize).prop_map(Op::Read),
                (0..12_000_usize).prop_map(Op::Write),
            ],
            1..40,
        ),
    ) {
        let (reader, writer) = pipe();
        let (mut sent, mut received) = (0_usize, 0_usize);
        for op in ops {
            let (was_in, was_out) =
                (reader.poll().contains(Ready::IN), writer.poll().contains(Ready::OUT));
            let before = rings(&reader);
            match op {
                Op::Write(len) => {
                    let bytes: Vec<u8> = (sent..sent + len).map(|at| (at % 253) as u8).collect();
                    let room = CAPACITY - (sent - received);
                    let expected = match len {
                        0 => Ok(0),
                        ..=ATOMIC if room < len => Err(Errno::AGAIN),
                        _ if room == 0 => Err(Errno::AGAIN),
                        _ => Ok(len.min(room)),
                    };
                    prop_assert_eq!(writer.write(&bytes), expected);
                    sent += expected.unwrap_or(0);
                }
                Op::Read(len) => {
                    let mut buffer = vec![0; len];
                    let expected = match sent - received {
                        _ if len == 0 => Ok(0),
                        0 => Err(Errno::AGAIN),
                        there => Ok(there.min(len)),
                    };
                    prop_assert_eq!(reader.read(&mut buffer), expected);
                    for &byte in &buffer[..expected.unwrap_or(0)] {
                        prop_assert_eq!(byte, (received % 253) as u8);
                        received += 1;
                    }
                }
            }
            let risen = (reader.poll().contains(Ready::IN) && !was_in)
                || (writer.poll().contains(Ready::OUT) && !was_out);
            prop_assert_eq!(rings(&reader) - before, usize::from(risen));
        }
    }
}
