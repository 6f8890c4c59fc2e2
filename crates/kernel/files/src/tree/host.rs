//! The tree beside the build host's: the same calls in a temporary directory of Linux give the same
//! results and the same errors. This is the test that says what "as in Linux" means.

use crate::testing::World;
use crate::{Errno, FileType, Follow, Metadata, OpenFlags, RenameFlags};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

extern crate std;

/// So many directories lie above the one the calls start from, so that no path leads out: a path has
/// four `..` at most, and each of its forty links one.
const DEPTH: usize = 50;

#[derive(Clone, Debug)]
enum Op {
    Open(String, u32, Vec<u8>),
    Read(String),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String),
    Symlink(String, String),
    Link(String, String),
    Readlink(String),
    Stat(String),
    Lstat(String),
    Truncate(String, u64),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![8 => "[abc]", 1 => Just(".".into()), 1 => Just("..".into())];
    (proptest::collection::vec(name, 1..5), prop_oneof![6 => Just(""), 1 => Just("/")])
        .prop_map(|(names, end)| names.join("/") + end)
}

fn target() -> impl Strategy<Value = String> {
    (prop_oneof![2 => Just(""), 1 => Just("../"), 1 => Just("./")], "[abc](/[abc])?/?")
        .prop_map(|(start, rest)| format!("{start}{rest}"))
}

fn op() -> impl Strategy<Value = Op> {
    let flags = [
        OpenFlags::WRONLY,
        OpenFlags::CREAT,
        OpenFlags::EXCL,
        OpenFlags::TRUNC,
        OpenFlags::APPEND,
        OpenFlags::DIRECTORY,
        OpenFlags::NOFOLLOW,
        OpenFlags::PATH,
    ];
    let flags = proptest::sample::subsequence(flags.to_vec(), 0..5)
        .prop_map(|flags| flags.into_iter().fold(0, |all, flag| all | flag.bits()));
    let common = (OpenFlags::WRONLY | OpenFlags::CREAT).bits();
    let flags = prop_oneof![flags, Just(common)];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        6 => (path(), flags, bytes()).prop_map(|(path, flags, bytes)| Op::Open(path, flags, bytes)),
        1 => path().prop_map(Op::Read),
        5 => path().prop_map(Op::Mkdir),
        2 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::Unlink),
        5 => (path(), path()).prop_map(|(old, new)| Op::Rename(old, new)),
        4 => (target(), path()).prop_map(|(target, path)| Op::Symlink(target, path)),
        2 => (path(), path()).prop_map(|(old, new)| Op::Link(old, new)),
        1 => path().prop_map(Op::Readlink),
        1 => path().prop_map(Op::Stat),
        1 => path().prop_map(Op::Lstat),
        1 => (path(), 0..20_u64).prop_map(|(path, len)| Op::Truncate(path, len)),
    ]
}

/// What a call returns, as far as both sides can be compared.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Bytes(Vec<u8>),
    /// Type, and for what is no directory links and size.
    Status(FileType, Option<(u64, u64)>),
    Error(i32),
}

impl From<Errno> for Outcome {
    fn from(error: Errno) -> Self {
        Self::Error(error.number())
    }
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        Self::Error(error.raw_os_error().expect("an error of the system"))
    }
}

fn flat<E: Into<Outcome>>(result: Result<Outcome, E>) -> Outcome {
    result.unwrap_or_else(Into::into)
}

/// Does `op` here.
fn here(world: &World, base: &str, op: &Op) -> Outcome {
    let at = |path: &str| format!("{base}{path}");
    let files = &world.files;
    let root = &world.root;
    let status = |metadata: Metadata| {
        let kind = metadata.file_type().expect("a type");
        let rest = (kind != FileType::Directory).then_some((metadata.links.into(), metadata.size));
        Outcome::Status(kind, rest)
    };
    let done = |()| Outcome::Done;
    flat(match op {
        Op::Open(path, flags, bytes) => (|| {
            let flags = OpenFlags::from_bits_truncate(*flags);
            let file = world.open(&at(path), flags)?;
            // The standard library makes no call for no bytes.
            if flags.contains(OpenFlags::WRONLY) && !bytes.is_empty() {
                file.write(bytes)?;
            }
            Ok(Outcome::Done)
        })(),
        Op::Read(path) => world.cat(&at(path)).map(Outcome::Bytes),
        Op::Mkdir(path) => world.mkdir(&at(path)).map(done),
        Op::Rmdir(path) => world.rmdir(&at(path)).map(done),
        Op::Unlink(path) => world.unlink(&at(path)).map(done),
        Op::Rename(old, new) => {
            let (old, new) = (at(old), at(new));
            let flags = RenameFlags::empty();
            files.rename(root, old.as_bytes(), root, new.as_bytes(), flags).map(done)
        }
        Op::Symlink(target, path) => world.symlink(target, &at(path)).map(done),
        Op::Link(old, new) => {
            let (old, new) = (at(old), at(new));
            files.link(root, old.as_bytes(), root, new.as_bytes(), Follow::No).map(done)
        }
        Op::Readlink(path) => files.readlink(root, at(path).as_bytes()).map(Outcome::Bytes),
        Op::Stat(path) => files.stat(root, at(path).as_bytes(), Follow::Yes).map(status),
        Op::Lstat(path) => files.stat(root, at(path).as_bytes(), Follow::No).map(status),
        Op::Truncate(path, len) => files.truncate(root, at(path).as_bytes(), *len).map(done),
    })
}

/// Does `op` in Linux.
fn there(base: &str, op: &Op) -> Outcome {
    let at = |path: &str| format!("{base}{path}");
    let status = |metadata: fs::Metadata| {
        let kind = FileType::of(metadata.mode()).expect("a type");
        let rest = (kind != FileType::Directory).then(|| (metadata.nlink(), metadata.size()));
        Outcome::Status(kind, rest)
    };
    let done = |()| Outcome::Done;
    flat(match op {
        Op::Open(path, flags, bytes) => (|| {
            let write = flags & OpenFlags::WRONLY.bits() != 0;
            let mut options = OpenOptions::new();
            options.read(!write).write(write).custom_flags(*flags as i32);
            let mut file = options.open(at(path))?;
            if write {
                file.write_all(bytes)?;
            }
            Ok(Outcome::Done)
        })(),
        Op::Read(path) => (|| {
            let mut bytes = vec![];
            fs::File::open(at(path))?.read_to_end(&mut bytes)?;
            Ok(Outcome::Bytes(bytes))
        })(),
        Op::Mkdir(path) => fs::create_dir(at(path)).map(done),
        Op::Rmdir(path) => fs::remove_dir(at(path)).map(done),
        Op::Unlink(path) => fs::remove_file(at(path)).map(done),
        Op::Rename(old, new) => fs::rename(at(old), at(new)).map(done),
        Op::Symlink(target, path) => std::os::unix::fs::symlink(target, at(path)).map(done),
        Op::Link(old, new) => fs::hard_link(at(old), at(new)).map(done),
        Op::Readlink(path) => fs::read_link(at(path))
            .map(|target| Outcome::Bytes(target.into_os_string().into_encoded_bytes())),
        Op::Stat(path) => fs::metadata(at(path)).map(status),
        Op::Lstat(path) => fs::symlink_metadata(at(path)).map(status),
        Op::Truncate(path, len) => OpenOptions::new()
            .write(true)
            .open(at(path))
            .and_then(|file| file.set_len(*len))
            .map(done),
    })
}

/// Returns all names below a directory, with type and contents.
fn tree_here(world: &World, path: &str, to: &mut BTreeMap<String, Outcome>, prefix: &str) {
    for (name, _) in world.ls(path).expect("a directory").into_iter().skip(2) {
        let name = String::from_utf8(name).expect("UTF-8");
        let (below, shown) = (format!("{path}/{name}"), format!("{prefix}/{name}"));
        if let Outcome::Status(FileType::Directory, _) = here(world, "", &Op::Lstat(below.clone()))
        {
            tree_here(world, &below, to, &shown);
        }
        to.insert(format!("{shown} status"), here(world, "", &Op::Lstat(below.clone())));
        to.insert(shown, here(world, "", &Op::Read(below)));
    }
}

fn tree_there(path: &str, to: &mut BTreeMap<String, Outcome>, prefix: &str) {
    for entry in fs::read_dir(path).expect("a directory") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        let (below, shown) = (format!("{path}/{name}"), format!("{prefix}/{name}"));
        if let Outcome::Status(FileType::Directory, _) = there("", &Op::Lstat(below.clone())) {
            tree_there(&below, to, &shown);
        }
        to.insert(format!("{shown} status"), there("", &Op::Lstat(below.clone())));
        to.insert(shown, there("", &Op::Read(below)));
    }
}

/// A directory that is gone when the test is over, passed or not.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_host_gives_the_same_results(ops in proptest::collection::vec(op(), 1..60)) {
        let name = format!("files-test-{}-{:?}", std::process::id(), std::thread::current().id());
        let temporary = Temporary(std::env::temp_dir().join(name));
        let nested = "/d".repeat(DEPTH);
        let base_there = format!("{}{nested}/", temporary.0.display());
        fs::create_dir_all(&base_there).expect("a place for temporary files");
        let world = World::new(1 << 20);
        for depth in 1..=DEPTH {
            world.mkdir(&"/d".repeat(depth)).expect("free");
        }
        let base_here = format!("{nested}/");
        for (at, op) in ops.iter().enumerate() {
            let (ours, theirs) = (here(&world, &base_here, op), there(&base_there, op));
            prop_assert_eq!(ours, theirs, "call {}: {:?}", at, op);
        }
        let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        tree_here(&world, &base_here, &mut ours, "");
        tree_there(&base_there, &mut theirs, "");
        prop_assert_eq!(ours, theirs);
    }
}
