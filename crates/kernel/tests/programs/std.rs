//! What Rust's standard library asks of a kernel: a line for each part. The same program on Linux prints the same lines.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, panic, thread};

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(7) };
    static DROPPED: Noisy = const { Noisy };
}

static DROPS: AtomicUsize = AtomicUsize::new(0);

struct Noisy;

impl Drop for Noisy {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::SeqCst);
    }
}

fn main() {
    match env::args().nth(1).as_deref() {
        Some("abort") => std::process::abort(),
        Some("panic") => panic!("as asked"),
        Some("overflow") => println!("{}", overflow(1)),
        Some("echo") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).expect("text on standard input");
            print!("{}{}", text.to_uppercase(), env::var("TONE").unwrap_or_default());
            eprint!("said");
            std::process::exit(4);
        }
        _ => all(),
    }
}

#[expect(unconditional_recursion, reason = "it is to end in a stack overflow")]
fn overflow(n: u64) -> u64 {
    let space = [n; 100];
    overflow(n + 1) + std::hint::black_box(space)[n as usize % 100]
}

fn all() {
    threads();
    channels();
    locks();
    panics();
    commands();
    files();
    times();
    println!("end of std");
}

fn threads() {
    let total = AtomicUsize::new(0);
    thread::scope(|scope| {
        let spawn = |n| {
            let total = &total;
            scope.spawn(move || {
                OWN.set(OWN.get() + n);
                DROPPED.with(|_| ());
                for _ in 0..1000 {
                    total.fetch_add(OWN.get(), Ordering::Relaxed);
                }
            })
        };
        let threads: Vec<_> = (0..8).map(spawn).collect();
        // The end of a scope waits for what threads do, and not for the drops of their thread-locals; this does.
        threads.into_iter().for_each(|thread| thread.join().expect("none of them panics"));
    });
    println!("threads: {} {}", total.into_inner(), OWN.get());
    println!("thread-locals dropped: {}", DROPS.load(Ordering::SeqCst));
    let named = thread::Builder::new().name("named".into()).stack_size(1 << 20);
    let name = named.spawn(|| thread::current().name().map(str::to_owned)).expect("a thread").join();
    println!("name: {:?}", name.expect("it ends"));
    println!("processors: {}", thread::available_parallelism().is_ok());
    let parked = thread::spawn(|| {
        thread::park();
        5
    });
    parked.thread().unpark();
    println!("parked: {:?}", parked.join().ok());
}

fn channels() {
    let (sender, receiver) = mpsc::sync_channel(3);
    let senders: Vec<_> = (0..4)
        .map(|n| {
            let sender = sender.clone();
            thread::spawn(move || (0..500).for_each(|i| sender.send(n * 500 + i).expect("a receiver")))
        })
        .collect();
    drop(sender);
    let mut all: Vec<usize> = receiver.iter().collect();
    all.sort_unstable();
    println!("channel: {} {}", all.len(), all.iter().enumerate().all(|(n, &value)| n == value));
    senders.into_iter().for_each(|sender| sender.join().expect("it ends"));
    let (sender, receiver) = mpsc::channel::<()>();
    println!("timeout: {:?}", receiver.recv_timeout(Duration::from_millis(20)));
    drop(sender);
    println!("nobody left: {:?}", receiver.recv());
}

fn locks() {
    let map = Arc::new(RwLock::new(HashMap::new()));
    let count = Arc::new((Mutex::new(0), Condvar::new()));
    let barrier = Arc::new(Barrier::new(6));
    let leaders: usize = (0..6)
        .map(|n| {
            let (map, count, barrier) = (map.clone(), count.clone(), barrier.clone());
            thread::spawn(move || {
                for i in 0..200 {
                    map.write().expect("no panics").insert(n * 1000 + i, n);
                    let _ = map.read().expect("no panics").len();
                }
                *count.0.lock().expect("no panics") += 1;
                count.1.notify_all();
                usize::from(barrier.wait().is_leader())
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().expect("it ends"))
        .sum();
    let guard = count.1.wait_while(count.0.lock().expect("no panics"), |count| *count < 6);
    println!("locks: {} {} {leaders}", map.read().expect("no panics").len(), *guard.expect("no panics"));
    static ONCE: OnceLock<usize> = OnceLock::new();
    let same = thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|n| scope.spawn(move || *ONCE.get_or_init(|| n))).collect();
        let all: Vec<_> = all.into_iter().map(|thread| thread.join().expect("it ends")).collect();
        all.windows(2).all(|two| two[0] == two[1])
    });
    println!("once: {same}");
}

fn panics() {
    panic::set_hook(Box::new(|_| ()));
    let caught = panic::catch_unwind(|| {
        let _noisy = Noisy;
        panic!("caught");
    });
    println!("unwound: {}", caught.is_err());
    let mutex = Arc::new(Mutex::new(0));
    let poisoner = mutex.clone();
    let thread = thread::spawn(move || {
        let _guard = poisoner.lock();
        panic!("with the lock held");
    });
    println!("a thread panics: {} {}", thread.join().is_err(), mutex.is_poisoned());
    println!("drops: {}", DROPS.load(Ordering::SeqCst));
}

fn commands() {
    let own = env::current_exe().expect("a path");
    for how in ["abort", "panic", "overflow"] {
        let status = Command::new(&own).arg(how).stderr(Stdio::null()).status().expect("a process");
        // Whether a core was dumped is the host's affair.
        println!("{how}: {:?} {:?}", status.code(), status.signal());
    }
    let mut child = Command::new(&own)
        .arg("echo")
        .env("TONE", "!")
        .env_remove("HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    child.stdin.take().expect("a pipe").write_all(&b"word ".repeat(30_000)).expect("a reader");
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("echo: {} {} {:?}", text.len(), text.ends_with("WORD !"), output.status.code());
    println!("stderr: {}", String::from_utf8_lossy(&output.stderr));
    println!("nothing there: {:?}", Command::new("/no/such").status().map_err(|error| error.kind()));
    let mut sleeper = Command::new(&own).arg("echo").stdin(Stdio::piped()).spawn().expect("a process");
    println!("not yet: {:?}", sleeper.try_wait().expect("a child"));
    sleeper.kill().expect("a child");
    println!("killed: {}", sleeper.wait().expect("a child"));
}

fn files() {
    let folder = env::temp_dir().join("std-files");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("a/b")).expect("folders");
    let path = folder.join("a/file");
    fs::write(&path, b"0123456789").expect("a file");
    let mut file = fs::OpenOptions::new().read(true).append(true).open(&path).expect("the file");
    file.write_all(b"abc").expect("room");
    file.seek(SeekFrom::Start(8)).expect("a seek");
    let mut rest = String::new();
    file.read_to_string(&mut rest).expect("text");
    println!("file: {rest} {}", fs::metadata(&path).expect("a file").len());
    fs::copy(&path, folder.join("copy")).expect("a copy");
    fs::rename(folder.join("copy"), folder.join("a/b/moved")).expect("a new name");
    fs::hard_link(&path, folder.join("link")).expect("a link");
    std::os::unix::fs::symlink("a/file", folder.join("soft")).expect("a link");
    println!("links: {:?} {:?}", fs::read_link(folder.join("soft")).ok(), fs::read(folder.join("soft")).ok() == fs::read(&path).ok());
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort_unstable();
    println!("folder: {names:?}");
    println!("not empty: {:?}", fs::remove_dir(&folder).map_err(|error| error.kind()));
    println!("missing: {:?}", fs::read(folder.join("none")).map_err(|error| error.kind()));
    env::set_current_dir(&folder).expect("a folder");
    println!("here: {}", fs::exists("a/b/moved").expect("an answer"));
    env::set_current_dir("/").expect("a folder");
    fs::remove_dir_all(&folder).expect("it goes");
    println!("gone: {}", !folder.exists());
}

fn times() {
    let start = Instant::now();
    thread::sleep(Duration::from_millis(30));
    let passed = start.elapsed();
    println!("slept: {}", passed >= Duration::from_millis(30) && passed < Duration::from_secs(10));
    let year = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / (365 * 86400) + 1970;
    println!("this century: {}", (2020..2100).contains(&year));
}
