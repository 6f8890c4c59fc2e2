//! Tests of the tree as a whole: semantics of single calls, and runs of calls beside a model.

use crate::testing::{CALLER, World};
use crate::{
    DeviceNumber, Errno, FileType, Follow, OpenFlags, Ready, RenameFlags, Seals, SetTime, Timespec,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use handover::cpio::Entries;
use proptest::prelude::*;

const READ: OpenFlags = OpenFlags::empty();
const WRITE: OpenFlags = OpenFlags::WRONLY;

fn world() -> World {
    World::new(1 << 24)
}

fn names(world: &World, path: &str) -> Vec<String> {
    let entries = world.ls(path).expect("a directory");
    entries.into_iter().map(|(name, _)| String::from_utf8(name).expect("UTF-8")).collect()
}

#[test]
fn a_file_in_memory_keeps_to_what_it_has_given_up() {
    let world = World::new(1 << 20);
    let file = world.files.open_memory(b"thing", Seals::empty()).expect("room");
    let inode = file.inode().expect("a regular file");
    assert_eq!(file.path(&world.files), Ok(b"/memfd:thing (deleted)".to_vec()));
    assert_eq!(file.metadata().links, 0);
    assert_eq!(file.write(b"contents"), Ok(8));
    assert_eq!(inode.add_seals(Seals::GROW), Ok(()));
    assert_eq!(file.write(b"more"), Err(Errno::PERM));
    assert_eq!(file.set_len(9), Err(Errno::PERM));
    assert_eq!(file.set_len(4), Ok(()));
    assert_eq!(file.write_at(0, b"cont"), Ok(4));
    assert_eq!(inode.add_seals(Seals::SHRINK | Seals::WRITE | Seals::SEAL), Ok(()));
    assert_eq!(file.set_len(3), Err(Errno::PERM));
    assert_eq!(file.write_at(0, b"x"), Err(Errno::PERM));
    assert_eq!(inode.add_seals(Seals::GROW), Err(Errno::PERM));
    assert_eq!(inode.seals(), Ok(Seals::all() - Seals::FUTURE_WRITE));
    world.put("/file", b"");
    let named = world.open("/file", OpenFlags::RDWR).expect("there");
    assert_eq!(named.inode().expect("a regular file").seals(), Err(Errno::INVAL));
}

#[test]
fn a_new_tree_has_devices_proc_and_tmp() {
    let world = world();
    assert_eq!(names(&world, "/"), [".", "..", "proc", "dev", "tmp"]);
    for (name, special) in [("null", 0x103), ("zero", 0x105), ("console", 0x501), ("tty", 0x500)] {
        let metadata = world.stat(&format!("/dev/{name}")).expect("there");
        assert_eq!(metadata.special.to_dev(), special, "{name}");
        assert_eq!(metadata.file_type(), Some(FileType::Character));
    }
    assert_eq!(world.stat("/tmp").expect("there").mode, 0o041_777);
    assert_eq!(world.stat("/").expect("there").links, 5);
}

#[test]
fn devices_do_what_their_names_say() {
    let world = world();
    let open = |name: &str| world.open(name, OpenFlags::RDWR).expect("a device");
    let mut buffer = [7; 4];
    assert_eq!(open("/dev/null").read(&mut buffer), Ok(0));
    assert_eq!(open("/dev/null").write(b"gone"), Ok(4));
    assert_eq!(open("/dev/zero").read(&mut buffer), Ok(4));
    assert_eq!(buffer, [0; 4]);
    assert_eq!(open("/dev/urandom").read(&mut buffer), Ok(4));
    assert_eq!(buffer, [0x5a; 4]);
    assert_eq!(open("/dev/full").write(b"x"), Err(Errno::NOSPC));
    assert_eq!(open("/dev/null").seek(5, 0), Ok(0));
    assert_eq!(open("/dev/zero").read_at(9, &mut buffer), Ok(4));
    assert_eq!(open("/dev/null").poll(), Ready::ALWAYS);
    assert!(open("/dev/null").queue().is_none());
    let number = DeviceNumber { major: 200, minor: 1 };
    world.files.mknod(&world.root, b"odd", 0o020_600, number).expect("any number");
    assert_eq!(world.open("odd", READ).map(|_| ()), Err(Errno::NXIO));
}

#[test]
fn an_offset_is_shared_by_what_shares_the_description() {
    let world = world();
    let file = world.open("f", OpenFlags::CREAT | OpenFlags::RDWR).expect("new");
    let shared = Arc::clone(&file);
    assert_eq!(file.write(b"one "), Ok(4));
    assert_eq!(shared.write(b"two"), Ok(3));
    assert_eq!(world.cat("f").as_deref(), Ok(&b"one two"[..]));
    assert_eq!(file.seek(-3, 1), Ok(4));
    let mut buffer = [0; 9];
    assert_eq!(shared.read(&mut buffer), Ok(3));
    assert_eq!(file.read(&mut buffer), Ok(0));
    assert_eq!(file.available(), Some(0));
    // pread and pwrite leave it alone.
    assert_eq!(file.write_at(0, b"O"), Ok(1));
    assert_eq!(file.read_at(0, &mut buffer[..2]), Ok(2));
    assert_eq!(&buffer[..2], b"On");
    assert_eq!(file.seek(0, 1), Ok(7));
}

#[test]
fn a_write_of_nothing_moves_no_offset_and_changes_no_time() {
    let world = World::new(1 << 20);
    world.put("/f", b"abc");
    let then = SetTime::To(Timespec { seconds: 1, nanoseconds: 0 });
    let node = world.files.lookup(&world.root, b"/f", Follow::Yes).expect("was put there");
    node.set_times(then, then).expect("a file");
    let file = world.open("/f", OpenFlags::RDWR | OpenFlags::APPEND).expect("was put there");
    assert_eq!((file.write(b""), file.write_at(1, b"")), (Ok(0), Ok(0)));
    assert_eq!(file.seek(0, 1), Ok(0), "where it was, and not at the end");
    assert_eq!(node.metadata().modified.seconds, 1);
    assert_eq!(file.write(b"d"), Ok(1));
    assert_eq!((file.seek(0, 1), node.metadata().modified.seconds), (Ok(4), 1_000));
}

#[test]
fn appending_writes_at_the_end_wherever_the_offset_is() {
    let world = world();
    world.put("f", b"abc");
    let file = world.open("f", OpenFlags::RDWR | OpenFlags::APPEND).expect("there");
    assert_eq!(file.seek(0, 0), Ok(0));
    assert_eq!(file.write(b"d"), Ok(1));
    assert_eq!(file.seek(0, 1), Ok(4), "the offset follows");
    assert_eq!(file.write_at(0, b"e"), Ok(1));
    assert_eq!(world.cat("f").as_deref(), Ok(&b"abcde"[..]));
    file.set_flags(OpenFlags::empty());
    assert_eq!(file.flags(), OpenFlags::RDWR);
    assert_eq!(file.seek(0, 0), Ok(0));
    assert_eq!(file.write(b"X"), Ok(1));
    assert_eq!(world.cat("f").as_deref(), Ok(&b"Xbcde"[..]));
}

#[test]
fn offsets_stay_within_63_bits() {
    let world = world();
    world.put("f", b"abc");
    let file = world.open("f", OpenFlags::RDWR).expect("there");
    assert_eq!(file.seek(-1, 0), Err(Errno::INVAL));
    assert_eq!(file.seek(i64::MIN, 1), Err(Errno::INVAL));
    assert_eq!(file.seek(i64::MAX, 0), Ok(i64::MAX as u64));
    assert_eq!(file.seek(1, 1), Err(Errno::OVERFLOW));
    assert_eq!(file.write(b"x"), Err(Errno::FBIG));
    assert_eq!(file.read(&mut [0; 4]), Ok(0));
    assert_eq!(file.seek(-1, 2), Ok(2));
    assert_eq!(
        (file.seek(1, 3), file.seek(1, 4)),
        (Ok(1), Ok(3)),
        "data, then the hole at the end"
    );
    assert_eq!((file.seek(3, 3), file.seek(-1, 4)), (Err(Errno::NXIO), Err(Errno::NXIO)));
    assert_eq!(file.seek(0, 9), Err(Errno::INVAL));
    assert_eq!(file.read_at(u64::MAX, &mut [0; 4]), Err(Errno::INVAL));
    assert_eq!(file.write_at(1 << 63, b"x"), Err(Errno::INVAL));
    assert_eq!(file.set_len(u64::MAX), Err(Errno::FBIG));
    assert_eq!(file.allocate(u64::MAX, 2), Err(Errno::FBIG));
    assert_eq!(file.allocate(2, 8), Ok(()));
    assert_eq!(file.metadata().size, 10);
    assert_eq!(file.allocate(0, 5).map(|()| file.metadata().size), Ok(10), "never shorter");
}

#[test]
fn flags_of_open_do_what_the_manual_says() {
    let world = world();
    let create = OpenFlags::CREAT | WRITE;
    let open = |path, flags| world.open(path, flags).map(|_| ());
    assert_eq!(open("f", READ), Err(Errno::NOENT));
    assert_eq!(open("f", create | OpenFlags::EXCL), Ok(()));
    assert_eq!(open("f", create | OpenFlags::EXCL), Err(Errno::EXIST));
    assert_eq!(world.stat("f").expect("there").mode, 0o100_644);
    world.put("f", b"text");
    assert_eq!(open("f", create), Ok(()));
    assert_eq!(world.cat("f").as_deref(), Ok(&b"text"[..]), "no O_TRUNC, no loss");
    assert_eq!(open("f", OpenFlags::DIRECTORY), Err(Errno::NOTDIR));
    assert_eq!(open("f/", READ), Err(Errno::NOTDIR));
    assert_eq!(open("f/x", create), Err(Errno::NOTDIR));
    assert_eq!(open("none/x", create), Err(Errno::NOENT));
    assert_eq!(open("new/", create), Err(Errno::ISDIR));
    for path in ["/", "tmp", "tmp/", ".", "tmp/.."] {
        assert_eq!(open(path, WRITE), Err(Errno::ISDIR), "{path}");
        assert_eq!(open(path, OpenFlags::CREAT), Err(Errno::ISDIR), "{path}");
        assert_eq!(open(path, OpenFlags::TRUNC), Err(Errno::ISDIR), "{path}");
        assert_eq!(open(path, OpenFlags::DIRECTORY), Ok(()), "{path}");
    }
    assert_eq!(open("tmp", OpenFlags::DIRECTORY | OpenFlags::CREAT), Err(Errno::INVAL));
    let temporary = OpenFlags::TMPFILE | OpenFlags::DIRECTORY;
    assert_eq!(open("tmp", temporary | WRITE), Ok(()));
    assert_eq!(open("tmp", temporary), Err(Errno::INVAL), "nobody could ever read anything in it");
    assert_eq!(open("f", temporary | WRITE), Err(Errno::NOTDIR));
    assert_eq!(open("proc", temporary | WRITE), Err(Errno::OPNOTSUPP));
    assert_eq!(open("", READ), Err(Errno::NOENT));

    world.symlink("f", "link").expect("free");
    assert_eq!(open("link", READ), Ok(()));
    assert_eq!(open("link", OpenFlags::NOFOLLOW), Err(Errno::LOOP));
    assert_eq!(open("link", OpenFlags::NOFOLLOW | OpenFlags::DIRECTORY), Err(Errno::NOTDIR));
    assert_eq!(open("link", create | OpenFlags::EXCL), Err(Errno::EXIST));
    world.symlink("new", "dangling").expect("free");
    assert_eq!(open("dangling", create | OpenFlags::EXCL), Err(Errno::EXIST));
    assert_eq!(open("dangling", create | OpenFlags::NOFOLLOW), Err(Errno::LOOP));
    assert_eq!(open("dangling", create), Ok(()), "creates what it leads to");
    assert_eq!(open("new", READ), Ok(()));
}

#[test]
fn a_description_does_only_what_it_was_opened_for() {
    let world = world();
    world.put("f", b"text");
    let reader = world.open("f", READ).expect("there");
    assert_eq!(reader.write(b"x"), Err(Errno::BADF));
    assert_eq!(reader.write_at(0, b"x"), Err(Errno::BADF));
    assert_eq!(reader.set_len(0), Err(Errno::INVAL));
    let writer = world.open("f", WRITE).expect("there");
    assert_eq!(writer.read(&mut [0; 1]), Err(Errno::BADF));
    assert_eq!(writer.read_at(0, &mut [0; 1]), Err(Errno::BADF));
    let place =
        world.open("f", OpenFlags::PATH | OpenFlags::RDWR | OpenFlags::TRUNC).expect("there");
    assert_eq!(place.read(&mut [0; 1]), Err(Errno::BADF));
    assert_eq!(place.write(b"x"), Err(Errno::BADF));
    assert_eq!(place.seek(0, 0), Err(Errno::BADF));
    assert_eq!(place.metadata().size, 4);
    let directory = world.open("tmp", READ).expect("there");
    assert_eq!(directory.read(&mut [0; 1]), Err(Errno::ISDIR));
    assert_eq!(directory.sync(), Ok(()));
    assert_eq!(reader.read_directory(&mut [0; 100]), Err(Errno::NOTDIR));
}

#[test]
fn an_unlinked_file_lives_until_its_last_close() {
    let world = world();
    let before = world.files.statfs(&world.root).free;
    world.put("f", &[1; 100_000]);
    let file = world.open("f", READ).expect("there");
    world.unlink("f").expect("there");
    assert_eq!(world.stat("f"), Err(Errno::NOENT));
    assert_eq!(file.metadata().links, 0);
    assert_eq!(file.read(&mut [0; 8]), Ok(8));
    assert!(world.files.statfs(&world.root).free + 24 < before);
    drop(file);
    assert_eq!(world.files.statfs(&world.root).free, before);
}

#[test]
fn a_full_volume_says_so_and_recovers() {
    let world = World::new(64 << 10);
    let file = world.open("f", OpenFlags::CREAT | WRITE).expect("room");
    let written = file.write(&[1; 100_000]).expect("some room");
    assert!((4096..60_000).contains(&written), "{written}");
    assert_eq!(file.write(&[1; 4096]), Err(Errno::NOSPC));
    let created = (0..).find(|n| world.mkdir(&format!("d{n}")).is_err()).expect("a limit");
    assert_eq!(world.mkdir("another"), Err(Errno::NOSPC));
    assert_eq!(world.symlink("target", "another"), Err(Errno::NOSPC));
    assert_eq!(world.open("another", OpenFlags::CREAT).map(|_| ()), Err(Errno::NOSPC));
    file.set_len(0).expect("shorter");
    world.mkdir("another").expect("room again");
    for n in 0..created {
        world.rmdir(&format!("d{n}")).expect("empty");
    }
    assert_eq!(world.stat("/").expect("there").links, 6);
}

#[test]
fn links_count_and_share() {
    let world = world();
    let link = |old: &str, new: &str, follow| {
        world.files.link(&world.root, old.as_bytes(), &world.root, new.as_bytes(), follow)
    };
    world.put("a", b"1");
    assert_eq!(link("a", "b", Follow::No), Ok(()));
    assert_eq!(link("a", "b", Follow::No), Err(Errno::EXIST));
    assert_eq!(link("tmp", "c", Follow::No), Err(Errno::PERM));
    assert_eq!(link("none", "c", Follow::No), Err(Errno::NOENT));
    assert_eq!(link("/proc/version", "c", Follow::No), Err(Errno::XDEV));
    assert_eq!(link("a", "c/", Follow::No), Err(Errno::NOENT));
    world.put("b", b"22");
    let (a, b) = (world.stat("a").expect("there"), world.stat("b").expect("there"));
    assert_eq!((a.inode, a.links, a.size), (b.inode, 2, 2));
    world.symlink("a", "s").expect("free");
    assert_eq!(link("s", "t", Follow::No), Ok(()));
    assert_eq!(world.files.readlink(&world.root, b"t").as_deref(), Ok(&b"a"[..]));
    assert_eq!(link("s", "u", Follow::Yes), Ok(()));
    assert_eq!(world.stat("u").expect("there").links, 3);
    let open = world.open("a", READ).expect("there");
    for name in ["a", "b", "u"] {
        world.unlink(name).expect("there");
    }
    assert_eq!(open.metadata().links, 0);
}

#[test]
fn removing_names_reports_what_is_in_the_way() {
    let world = world();
    world.mkdir("d").expect("free");
    world.mkdir("d/e/").expect("slashes are allowed behind a directory");
    world.put("d/f", b"");
    assert_eq!(world.unlink("d"), Err(Errno::ISDIR));
    assert_eq!(world.unlink("d/."), Err(Errno::ISDIR));
    assert_eq!(world.unlink("/"), Err(Errno::ISDIR));
    assert_eq!(world.unlink("d/f/"), Err(Errno::NOTDIR));
    assert_eq!(world.rmdir("d/f"), Err(Errno::NOTDIR));
    assert_eq!(world.rmdir("d"), Err(Errno::NOTEMPTY));
    assert_eq!(world.rmdir("d/e/."), Err(Errno::INVAL));
    assert_eq!(world.rmdir("d/e/.."), Err(Errno::NOTEMPTY));
    assert_eq!(world.rmdir("/"), Err(Errno::BUSY));
    assert_eq!(world.rmdir("/proc"), Err(Errno::BUSY));
    assert_eq!(world.rmdir("none"), Err(Errno::NOENT));
    assert_eq!(world.unlink("/proc/version"), Err(Errno::PERM));
    assert_eq!(world.unlink("/proc/none"), Err(Errno::NOENT));
    assert_eq!(world.mkdir("/proc/new"), Err(Errno::NOENT));
    assert_eq!(world.mkdir("d"), Err(Errno::EXIST));
    assert_eq!(world.mkdir("/"), Err(Errno::EXIST));
    assert_eq!(world.mkdir("."), Err(Errno::EXIST));
    assert_eq!(world.stat("d").expect("there").links, 3);
    world.symlink("d/e", "link").expect("free");
    assert_eq!(world.rmdir("link/"), Err(Errno::NOTDIR), "the link itself, as in Linux");
    world.rmdir("d/e/").expect("empty");
    assert_eq!(world.stat("d").expect("there").links, 2);
}

#[test]
fn nothing_is_created_in_a_removed_directory() {
    let world = world();
    world.mkdir("d").expect("free");
    let here = world.files.directory(&world.root, b"d").expect("there");
    let open = world.open("d", READ).expect("there");
    world.rmdir("d").expect("empty");
    let files = &world.files;
    assert_eq!(files.mkdir(&here, b"x", 0o755), Err(Errno::NOENT));
    let created = files.open(&CALLER, &here, b"x", OpenFlags::CREAT, 0o644);
    assert_eq!(created.map(|_| ()), Err(Errno::NOENT));
    assert_eq!(
        files.rename(&world.root, b"tmp", &here, b"x", RenameFlags::default()),
        Err(Errno::NOENT)
    );
    assert_eq!(files.path_of(&here), Err(Errno::NOENT));
    assert_eq!(open.read_directory(&mut [0; 100]), Err(Errno::NOENT));
    assert_eq!(open.metadata().links, 0);
    assert!(files.directory(&here, b"..").expect("still knows").is_same(&world.root));
    assert!(files.directory(&here, b".").expect("itself").is_same(&here));
}

#[test]
fn renames_replace_and_refuse_as_linux_does() {
    let world = world();
    for directory in ["a", "a/b", "a/b/c", "full", "full/x", "empty"] {
        world.mkdir(directory).expect("free");
    }
    world.put("f", b"f");
    world.put("g", b"g");
    assert_eq!(world.rename("a", "a/b/c/d"), Err(Errno::INVAL));
    assert_eq!(world.rename("a", "a/b"), Err(Errno::INVAL));
    assert_eq!(world.rename("a/b", "a"), Err(Errno::NOTEMPTY));
    assert_eq!(world.rename("a", "full"), Err(Errno::NOTEMPTY));
    assert_eq!(world.rename("a", "f"), Err(Errno::NOTDIR));
    assert_eq!(world.rename("f", "a"), Err(Errno::ISDIR));
    assert_eq!(world.rename("f", "new/"), Err(Errno::NOTDIR));
    assert_eq!(world.rename("f/", "new"), Err(Errno::NOTDIR));
    assert_eq!(world.rename("none", "new"), Err(Errno::NOENT));
    assert_eq!(world.rename("f", "none/new"), Err(Errno::NOENT));
    for busy in [".", "..", "/", "a/.", "proc"] {
        assert_eq!(world.rename(busy, "new"), Err(Errno::BUSY), "{busy}");
        assert_eq!(world.rename("a", busy), Err(Errno::BUSY), "{busy}");
    }
    assert_eq!(world.rename("f", "/proc/f"), Err(Errno::XDEV));
    assert_eq!(world.rename("/proc/version", "f"), Err(Errno::XDEV));
    assert_eq!(world.rename("f", "f"), Ok(()));

    let g = world.open("g", READ).expect("there");
    assert_eq!(world.rename("f", "g"), Ok(()));
    assert_eq!(world.cat("g").as_deref(), Ok(&b"f"[..]));
    assert_eq!(g.metadata().links, 0);
    assert_eq!(world.stat("f"), Err(Errno::NOENT));

    let c = world.files.directory(&world.root, b"a/b/c").expect("there");
    assert_eq!(world.rename("a/b", "empty/"), Ok(()), "an empty directory is replaced");
    assert_eq!(world.files.path_of(&c).as_deref(), Ok(&b"/empty/c"[..]), "seen from below");
    assert_eq!(
        (world.stat("a").map(|m| m.links), world.stat("empty").map(|m| m.links)),
        (Ok(2), Ok(3))
    );
    assert_eq!(world.rename("empty/c", "a/c"), Ok(()));
    assert_eq!(
        (world.stat("a").map(|m| m.links), world.stat("empty").map(|m| m.links)),
        (Ok(3), Ok(2))
    );
    assert!(
        world
            .files
            .directory(&c, b"..")
            .expect("there")
            .is_same(&world.files.directory(&world.root, b"a").expect("there"))
    );
}

#[test]
fn renames_with_flags() {
    let world = world();
    let rename = |old: &str, new: &str, flags| {
        world.files.rename(&world.root, old.as_bytes(), &world.root, new.as_bytes(), flags)
    };
    world.put("f", b"f");
    world.mkdir("d").expect("free");
    world.mkdir("d/e").expect("free");
    assert_eq!(rename("f", "d", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(rename("f", "/", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(rename("f", "g", RenameFlags::NOREPLACE), Ok(()));
    assert_eq!(rename("g", "none", RenameFlags::EXCHANGE), Err(Errno::NOENT));
    assert_eq!(rename("d", "d/e", RenameFlags::EXCHANGE), Err(Errno::INVAL));
    assert_eq!(rename("d/e", "d", RenameFlags::EXCHANGE), Err(Errno::INVAL));
    assert_eq!(rename("g", "d/e", RenameFlags::all()), Err(Errno::INVAL));
    assert_eq!(rename("g", "d/e", RenameFlags::EXCHANGE), Ok(()));
    assert_eq!(world.cat("d/e").as_deref(), Ok(&b"f"[..]));
    assert_eq!(world.stat("g").map(|g| g.file_type()), Ok(Some(FileType::Directory)));
    assert_eq!(world.stat("d").map(|d| d.links), Ok(2));
    assert_eq!(rename("g", "d", RenameFlags::EXCHANGE), Ok(()));
    assert_eq!(names(&world, "g"), [".", "..", "e"]);
}

#[test]
fn links_are_followed_forty_times() {
    let world = world();
    world.put("link0", b"end");
    for n in 1..=41 {
        world.symlink(&format!("link{}", n - 1), &format!("link{n}")).expect("free");
    }
    assert_eq!(world.cat("link40").as_deref(), Ok(&b"end"[..]));
    assert_eq!(world.cat("link41"), Err(Errno::LOOP));
    world.symlink("loop", "loop").expect("free");
    assert_eq!(world.stat("loop"), Err(Errno::LOOP));
    assert_eq!(world.stat("loop/x"), Err(Errno::LOOP));
    assert_eq!(world.files.stat(&world.root, b"loop", Follow::No).map(|m| m.size), Ok(4));
    assert_eq!(world.files.stat(&world.root, b"loop/", Follow::No), Err(Errno::LOOP));
    world.symlink("/tmp/../tmp/", "t").expect("free");
    world.put("t/x", b"through");
    assert_eq!(world.cat("/tmp/x").as_deref(), Ok(&b"through"[..]));
    assert_eq!(world.files.canonical(&world.root, b"t/./x").as_deref(), Ok(&b"/tmp/x"[..]));
    assert_eq!(world.files.readlink(&world.root, b"tmp"), Err(Errno::INVAL));
    assert_eq!(world.files.readlink(&world.root, b""), Err(Errno::NOENT));
    let place = world.open("t", OpenFlags::PATH | OpenFlags::NOFOLLOW).expect("a link");
    let link = place.node().expect("a place");
    assert_eq!(world.files.readlink(link, b"").as_deref(), Ok(&b"/tmp/../tmp/"[..]));
    assert_eq!(world.symlink("", "empty"), Err(Errno::NOENT));
    assert_eq!(world.symlink(&"x".repeat(4096), "long"), Err(Errno::NAMETOOLONG));
}

#[test]
fn names_and_paths_have_limits() {
    let world = world();
    let long = "n".repeat(255);
    world.mkdir(&long).expect("255 bytes");
    assert_eq!(world.mkdir(&"n".repeat(256)), Err(Errno::NAMETOOLONG));
    assert_eq!(world.stat(&"n".repeat(256)), Err(Errno::NAMETOOLONG));
    assert_eq!(
        world.stat(&"/".repeat(4095)).map(|m| m.inode),
        Ok(world.stat("/").expect("there").inode)
    );
    assert_eq!(world.stat(&"/".repeat(4096)), Err(Errno::NAMETOOLONG));
    assert_eq!(world.stat("a\0b"), Err(Errno::INVAL));
    let mut here = world.root.clone();
    for depth in 1..=20 {
        world
            .files
            .mkdir(&here, long.as_bytes(), 0o755)
            .or_else(|error| match error {
                Errno::EXIST => Ok(()),
                error => Err(error),
            })
            .expect("free");
        here = world.files.directory(&here, long.as_bytes()).expect("there");
        let path = world.files.path_of(&here);
        match depth {
            ..16 => assert_eq!(path.map(|path| path.len()), Ok(depth * 256)),
            _ => assert_eq!(path, Err(Errno::NAMETOOLONG)),
        }
    }
}

#[test]
fn modes_owners_and_times_are_stored() {
    let world = world();
    world.put("f", b"");
    let node = world.files.lookup(&world.root, b"f", Follow::Yes).expect("there");
    node.set_mode(0o106_755).expect("a file");
    assert_eq!(node.metadata().mode, 0o106_755, "the type stays");
    node.set_owner(Some(7), None).expect("a file");
    let metadata = node.metadata();
    assert_eq!((metadata.uid, metadata.gid, metadata.mode), (7, 0, 0o100_755));
    let time = Timespec { seconds: -5, nanoseconds: 6 };
    node.set_times(SetTime::To(time), SetTime::Keep).expect("a file");
    let metadata = node.metadata();
    let now = Timespec { seconds: 1_000, nanoseconds: 5 };
    assert_eq!((metadata.accessed, metadata.modified, metadata.changed), (time, now, now));
    assert_eq!(SetTime::from_timespec(1, 1_000_000_000), Err(Errno::INVAL));
    assert_eq!(SetTime::from_timespec(1, -1), Err(Errno::INVAL));
    assert_eq!(SetTime::from_timespec(-1, SetTime::UTIME_NOW), Ok(SetTime::Now));
    let version = world.files.lookup(&world.root, b"/proc/version", Follow::Yes).expect("there");
    assert_eq!(version.set_mode(0), Err(Errno::PERM));
    assert_eq!(version.set_times(SetTime::Now, SetTime::Now), Err(Errno::PERM));
}

#[test]
fn root_may_do_all_but_execute_what_nobody_may() {
    let world = world();
    world.put("f", b"#!");
    let access =
        |path: &str, mode| world.files.access(&world.root, path.as_bytes(), mode, Follow::Yes);
    assert_eq!(access("f", 6), Ok(()));
    assert_eq!(access("f", 1), Err(Errno::ACCES));
    assert_eq!(access("f", 8), Err(Errno::INVAL));
    assert_eq!(access("tmp", 7), Ok(()));
    assert_eq!(access("/proc/version", 4), Ok(()));
    assert_eq!(access("/proc/version", 2), Err(Errno::ACCES));
    let executable = |path: &str| world.files.executable(&world.root, path.as_bytes());
    assert_eq!(executable("f").map(|_| ()), Err(Errno::ACCES));
    world
        .files
        .lookup(&world.root, b"f", Follow::Yes)
        .expect("there")
        .set_mode(0o100)
        .expect("a file");
    assert_eq!(executable("f").map(|inode| inode.len()), Ok(2));
    assert_eq!(executable("tmp").map(|_| ()), Err(Errno::ACCES));
    assert_eq!(executable("/dev/null").map(|_| ()), Err(Errno::ACCES));
}

#[test]
fn a_reader_of_a_directory_meets_each_name_once_while_others_come_and_go() {
    let world = world();
    world.mkdir("d").expect("free");
    for n in 0..20 {
        world.put(&format!("d/{n}"), b"");
    }
    let directory = world.open("d", READ).expect("there");
    let mut seen = Vec::new();
    let mut buffer = [0; 60];
    loop {
        let len = directory.read_directory(&mut buffer).expect("large enough");
        if len == 0 {
            break;
        }
        for (name, _) in crate::testing::dirents(&buffer[..len]) {
            let name = String::from_utf8(name).expect("UTF-8");
            if !name.starts_with('.') {
                world.unlink(&format!("d/{name}")).expect("there");
            }
            seen.push(name);
        }
    }
    let expected: Vec<_> =
        [".", ".."].map(String::from).into_iter().chain((0..20).map(|n| n.to_string())).collect();
    assert_eq!(seen, expected);
    world.put("d/late", b"");
    assert!(directory.read_directory(&mut buffer).is_ok_and(|len| len > 0), "behind all others");
    assert_eq!(directory.seek(0, 0), Ok(0));
    let len = directory.read_directory(&mut buffer).expect("large enough");
    assert_eq!(crate::testing::dirents(&buffer[..len])[0].0, b".");
    assert_eq!(directory.read_directory(&mut [0; 10]), Err(Errno::INVAL));
    assert_eq!(directory.seek(i64::MAX, 0), Ok(i64::MAX as u64));
    assert_eq!(directory.read_directory(&mut buffer), Ok(0));
}

#[test]
fn a_fifo_connects_whoever_opens_it() {
    let world = world();
    world.files.mknod(&world.root, b"p", 0o010_644, DeviceNumber::default()).expect("free");
    let no_reader = world.open("p", WRITE | OpenFlags::NONBLOCK);
    assert_eq!(no_reader.map(|_| ()), Err(Errno::NXIO));
    let reader = world.open("p", READ).expect("there");
    let mut buffer = [0; 8];
    assert_eq!(reader.read(&mut buffer), Err(Errno::AGAIN), "not the end: nobody wrote yet");
    assert_eq!(reader.poll(), Ready::empty());
    let writer = world.open("p", WRITE).expect("there");
    assert_eq!(writer.write(b"hello"), Ok(5));
    drop(writer);
    assert_eq!(reader.read(&mut buffer), Ok(5));
    assert_eq!(reader.read(&mut buffer), Ok(0));
    assert_eq!(reader.poll(), Ready::HUP);
    drop(reader);

    let writer = world.open("p", WRITE).expect("there");
    assert_eq!(writer.write(b"early"), Err(Errno::AGAIN), "waits for the first reader");
    assert_eq!(writer.poll(), Ready::empty());
    let before = crate::testing::rings(&writer);
    let reader = world.open("p", READ | OpenFlags::NONBLOCK).expect("there");
    assert!(crate::testing::rings(&writer) > before);
    assert_eq!(writer.write(b"early"), Ok(5));
    drop(reader);
    assert_eq!(writer.write(b"late"), Err(Errno::PIPE));
    assert_eq!(writer.metadata().file_type(), Some(FileType::Fifo));
}

/// Builds an archive in cpio's newc format: name, mode, inode, links, contents.
fn archive(entries: &[(&str, u32, u32, u32, &[u8])]) -> &'static [u8] {
    let mut archive = Vec::new();
    let trailer = [("TRAILER!!!", 0, 0, 1, &b""[..])];
    for &(name, mode, inode, links, data) in entries.iter().chain(&trailer) {
        let size = data.len() as u32;
        let fields = [inode, mode, 3, 4, links, 99, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        archive.extend(b"070701");
        for field in fields {
            archive.extend(format!("{field:08X}").bytes());
        }
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.leak()
}

#[test]
fn an_initramfs_is_unpacked_without_copying_it() {
    let world = world();
    let program = vec![0x7f; 50_000];
    let archive = archive(&[
        (".", 0o040_755, 1, 2, b""),
        ("./usr/bin/busybox", 0o104_755, 2, 1, &program),
        ("bin", 0o120_777, 3, 1, b"usr/bin"),
        ("bin/sh", 0o120_777, 4, 1, b"busybox"),
        ("proc", 0o040_555, 5, 2, b""),
        ("dev/null", 0o020_666, 6, 1, b""),
        ("dev/sda", 0o060_660, 7, 1, b""),
        ("one", 0o100_644, 8, 2, b""),
        ("two", 0o100_644, 8, 2, b"linked"),
        ("twice", 0o100_644, 9, 1, b"first"),
        ("twice", 0o100_600, 10, 1, b"second"),
        ("root", 0o040_700, 11, 2, b""),
    ]);
    let free = world.files.statfs(&world.root).free;
    let unpacked = world.files.unpack(Entries::new(archive)).expect("valid");
    assert_eq!((unpacked.entries, unpacked.skipped), (11, 1));
    assert!(free - world.files.statfs(&world.root).free < 5);
    let busybox = world.files.executable(&world.root, b"/bin/sh").expect("a program");
    let bytes = busybox.archive_bytes().expect("not written to");
    assert!(archive.as_ptr_range().contains(&bytes.as_ptr()), "the very bytes");
    assert_eq!(bytes, program);
    let metadata = world.stat("/bin/busybox").expect("there");
    assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o104_755, 3, 4));
    assert_eq!(metadata.modified, Timespec { seconds: 99, nanoseconds: 0 });
    let (one, two) = (world.stat("one").expect("there"), world.stat("two").expect("there"));
    assert_eq!((one.inode, one.links, one.size), (two.inode, 2, 6));
    assert_eq!(world.cat("twice").as_deref(), Ok(&b"second"[..]));
    assert_eq!(world.stat("root").map(|m| m.mode), Ok(0o040_700));
    assert_eq!(world.stat("twice").map(|m| m.links), Ok(1));
    assert!(world.cat("/proc/version").is_ok());

    let file = world.open("/bin/sh", OpenFlags::WRONLY).expect("there");
    assert_eq!(file.write(b"#!"), Ok(2));
    assert_eq!(busybox.archive_bytes(), None);
    assert_eq!(bytes[..2], [0x7f; 2], "who executes the old bytes keeps them");
}

#[test]
fn a_broken_initramfs_is_reported_with_the_entry() {
    let world = world();
    let bad = archive(&[("f", 0o100_644, 1, 1, b""), ("f/x", 0o100_644, 2, 1, b"")]);
    let error = world.files.unpack(Entries::new(bad)).expect_err("a file is no directory");
    assert_eq!(
        error.to_string(),
        "entry 1 of the initramfs cannot be created: ENOTDIR (20): not a directory"
    );
    let error = world.files.unpack(Entries::new(&bad[..150])).expect_err("cut off");
    assert!(error.to_string().contains("cut off"), "{error}");
}

/// Threads that create, move and remove the same few names, against each other.
#[test]
fn changes_and_walks_of_many_threads_leave_a_sound_tree() {
    extern crate std;
    let world = world();
    for name in ["t", "t/a", "t/b", "t/a/b"] {
        world.mkdir(name).expect("free");
    }
    std::thread::scope(|scope| {
        for seed in 1..=4_u32 {
            let world = &world;
            scope.spawn(move || {
                let mut state = seed;
                let mut pick = |from: &[&'static str]| {
                    // Xorshift: enough to mix calls.
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    from[state as usize % from.len()]
                };
                let paths = ["t/a", "t/b", "t/a/b", "t/b/a", "t/a/b/c", "t/b/a/c", "t/c"];
                for _ in 0..3_000 {
                    let (one, two) = (pick(&paths), pick(&paths));
                    let _ = match pick(&["mkdir", "rmdir", "put", "unlink", "rename", "list"]) {
                        "mkdir" => world.mkdir(one),
                        "rmdir" => world.rmdir(one),
                        "put" => world.open(one, OpenFlags::CREAT | WRITE).map(|_| ()),
                        "unlink" => world.unlink(one),
                        "rename" => world.rename(one, two),
                        _ => world.ls(one).map(|_| ()),
                    };
                }
            });
        }
    });
    // Checks links and paths of all that is left.
    Model::read(&world, "/t");
}

/// Between the look-up and the creation somebody else may create the file. Without O_EXCL that is
/// no error. (A new inode reads the clock, which lets this test in between.)
#[test]
fn creating_a_file_that_somebody_else_creates_opens_it() {
    extern crate std;
    static WORLD: std::sync::OnceLock<World> = std::sync::OnceLock::new();
    let world = WORLD.get_or_init(world);
    let race = |flags| {
        crate::testing::at_clock(|| WORLD.get().expect("made above").put("f", b"theirs"));
        let opened = world.open("f", flags);
        let size = opened.map(|file| file.metadata().size);
        world.unlink("f").expect("there");
        size
    };
    assert_eq!(race(OpenFlags::CREAT), Ok(6));
    assert_eq!(race(OpenFlags::CREAT | OpenFlags::EXCL), Err(Errno::EXIST));
}

/// What a name stands for in the model.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    File(Vec<u8>),
    Directory(BTreeMap<String, Model>),
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<String>, Vec<u8>),
    Mkdir(Vec<String>),
    Unlink(Vec<String>),
    Rmdir(Vec<String>),
    Rename(Vec<String>, Vec<String>),
}

fn op() -> impl Strategy<Value = Op> {
    let path = || proptest::collection::vec("[abc]", 1..4);
    let contents = proptest::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        2 => (path(), contents).prop_map(|(path, contents)| Op::Put(path, contents)),
        3 => path().prop_map(Op::Mkdir),
        1 => path().prop_map(Op::Unlink),
        1 => path().prop_map(Op::Rmdir),
        3 => (path(), path()).prop_map(|(old, new)| Op::Rename(old, new)),
    ]
}

impl Model {
    /// Returns the directory that the last name of `path` is in.
    fn parent(&mut self, path: &[String]) -> Result<&mut BTreeMap<String, Model>, Errno> {
        let mut at = self;
        for name in &path[..path.len() - 1] {
            at = match at {
                Self::File(_) => return Err(Errno::NOTDIR),
                Self::Directory(names) => names.get_mut(name).ok_or(Errno::NOENT)?,
            };
        }
        match at {
            Self::File(_) => Err(Errno::NOTDIR),
            Self::Directory(names) => Ok(names),
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), Errno> {
        let last = |path: &[String]| path.last().expect("a name").clone();
        match op {
            Op::Put(path, contents) => {
                match self.parent(path)?.entry(last(path)).or_insert(Self::File(vec![])) {
                    Self::File(file) => *file = contents.clone(),
                    Self::Directory(_) => return Err(Errno::ISDIR),
                }
                Ok(())
            }
            Op::Mkdir(path) => {
                let names = self.parent(path)?;
                if names.contains_key(&last(path)) {
                    return Err(Errno::EXIST);
                }
                names.insert(last(path), Self::Directory(BTreeMap::new()));
                Ok(())
            }
            Op::Unlink(path) => {
                let names = self.parent(path)?;
                match names.get(&last(path)).ok_or(Errno::NOENT)? {
                    Self::Directory(_) => Err(Errno::ISDIR),
                    Self::File(_) => {
                        names.remove(&last(path));
                        Ok(())
                    }
                }
            }
            Op::Rmdir(path) => {
                let names = self.parent(path)?;
                match names.get(&last(path)).ok_or(Errno::NOENT)? {
                    Self::File(_) => Err(Errno::NOTDIR),
                    Self::Directory(inner) if !inner.is_empty() => Err(Errno::NOTEMPTY),
                    Self::Directory(_) => {
                        names.remove(&last(path));
                        Ok(())
                    }
                }
            }
            Op::Rename(old, new) => {
                self.parent(old)?;
                self.parent(new)?;
                let moved = self.parent(old)?.get(&last(old)).ok_or(Errno::NOENT)?.clone();
                if new.len() > old.len() && new.starts_with(old) {
                    return Err(Errno::INVAL);
                }
                if old.len() > new.len() && old.starts_with(new) {
                    return Err(Errno::NOTEMPTY);
                }
                match (self.parent(new)?.get(&last(new)), &moved) {
                    _ if old == new => return Ok(()),
                    (Some(Self::Directory(_)), Self::File(_)) => return Err(Errno::ISDIR),
                    (Some(Self::File(_)), Self::Directory(_)) => return Err(Errno::NOTDIR),
                    (Some(Self::Directory(inner)), _) if !inner.is_empty() => {
                        return Err(Errno::NOTEMPTY);
                    }
                    _ => {}
                }
                self.parent(new)?.insert(last(new), moved);
                self.parent(old)?.remove(&last(old));
                Ok(())
            }
        }
    }

    /// Reads a tree back through the calls that programs use, and checks links on the way.
    fn read(world: &World, path: &str) -> Self {
        let metadata = world.stat(path).expect("there");
        if metadata.file_type() == Some(FileType::Regular) {
            assert_eq!(metadata.links, 1);
            return Self::File(world.cat(path).expect("a file"));
        }
        let node = world.files.directory(&world.root, path.as_bytes()).expect("a directory");
        let known = world.files.path_of(&node).expect("not removed");
        assert_eq!(String::from_utf8_lossy(&known), path);
        let mut directories = 0;
        let mut inner = BTreeMap::new();
        for name in names(world, path).into_iter().skip(2) {
            let child = Self::read(world, &format!("{path}/{name}"));
            directories += u32::from(matches!(child, Self::Directory(_)));
            inner.insert(name, child);
        }
        assert_eq!(metadata.links, 2 + directories, "{path}");
        Self::Directory(inner)
    }
}

/// Takes the model apart into paths, for the walk below.
fn all_paths(model: &Model, prefix: &str, to: &mut Vec<String>) {
    if let Model::Directory(names) = model {
        for (name, inner) in names {
            let path = format!("{prefix}/{name}");
            all_paths(inner, &path, to);
            to.push(path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_tree_behaves_as_nested_maps(ops in proptest::collection::vec(op(), 1..60)) {
        let world = World::new(1 << 20);
        let free = world.files.statfs(&world.root);
        world.mkdir("/t").expect("free");
        let mut model = Model::Directory(BTreeMap::new());
        for op in &ops {
            let path = |path: &[String]| format!("/t/{}", path.join("/"));
            let real = match op {
                Op::Put(at, contents) => world
                    .open(&path(at), OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::WRONLY)
                    .and_then(|file| file.write(contents).map(|_| ())),
                Op::Mkdir(at) => world.mkdir(&path(at)),
                Op::Unlink(at) => world.unlink(&path(at)),
                Op::Rmdir(at) => world.rmdir(&path(at)),
                Op::Rename(old, new) => world.rename(&path(old), &path(new)),
            };
            prop_assert_eq!(real, model.apply(op), "{:?}", op);
        }
        prop_assert_eq!(&Model::read(&world, "/t"), &model);
        // What is removed gives everything back.
        let mut paths = vec![];
        all_paths(&model, "/t", &mut paths);
        for path in paths {
            world.unlink(&path).or_else(|_| world.rmdir(&path)).expect("there");
        }
        world.rmdir("/t").expect("empty");
        prop_assert_eq!(world.files.statfs(&world.root), free);
    }

    /// Resolution of any path agrees with the obvious recursive one.
    #[test]
    fn paths_lead_where_a_simple_resolver_says(
        links in proptest::collection::btree_map("[l-n]", "(/|\\.\\./)?([a-cl-n.]/?){1,3}", 0..3),
        path in "(/|\\./)?(([a-cl-n]|\\.|\\.\\.)/{1,2}){0,5}([a-cl-n]|\\.|\\.\\.)?",
    ) {
        let world = World::new(1 << 20);
        for directory in ["a", "a/b", "a/b/c", "b", "b/a"] {
            world.mkdir(directory).expect("free");
        }
        world.put("c", b"");
        world.put("a/c", b"");
        for (at, (name, target)) in links.iter().enumerate() {
            world.symlink(target, &format!("{}{name}", ["", "a/", "b/"][at])).expect("free");
        }
        let expected = resolve(&world, &[], &path, &mut 0).map(|at| format!("/{}", at.join("/")));
        let real = world
            .files
            .canonical(&world.root, path.as_bytes())
            .map(|path| String::from_utf8(path).expect("UTF-8"));
        prop_assert_eq!(&real, &expected, "{}", path);
        // Looking up agrees with it, too.
        let found = world.stat(&path);
        prop_assert_eq!(found, expected.and_then(|at| world.stat(&at)), "{}", path);
    }

    #[test]
    fn no_path_and_no_flags_panic(
        path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40),
        long in any::<bool>(),
        flags: u32,
        mode: u32,
    ) {
        let world = World::new(1 << 20);
        let path = if long { path.repeat(200) } else { path };
        let root = &world.root;
        let files = &world.files;
        let flags = OpenFlags::from_bits_truncate(flags);
        if let Ok(file) = files.open(&CALLER, root, &path, flags, mode) {
            let _ = file.read(&mut [0; 64]);
            let _ = file.write(b"x");
            let _ = file.read_directory(&mut [0; 64]);
            let _ = file.path(files);
        }
        let _ = files.mkdir(root, &path, mode);
        let _ = files.mknod(root, &path, mode, DeviceNumber::default());
        let _ = files.symlink(&path, root, &path);
        let _ = files.readlink(root, &path);
        let _ = files.link(root, &path, root, b"new", Follow::Yes);
        let _ = files.rename(root, b"tmp", root, &path, RenameFlags::EXCHANGE);
        let _ = files.rename(root, &path, root, b"other", RenameFlags::empty());
        let _ = files.truncate(root, &path, u64::from(mode));
        let _ = files.stat(root, &path, Follow::No);
        let _ = files.canonical(root, &path);
        let _ = files.unlink(root, &path);
        let _ = files.rmdir(root, &path);
    }
}

/// Resolves by recursion, on the names that `ls` and `readlink` report. Returns the names from the root.
fn resolve(
    world: &World,
    from: &[String],
    path: &str,
    links: &mut usize,
) -> Result<Vec<String>, Errno> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    let mut at = if path.starts_with('/') { vec![] } else { from.to_vec() };
    let kind = |at: &[String]| {
        let path = format!("/{}", at.join("/"));
        let metadata = world.files.stat(&world.root, path.as_bytes(), Follow::No)?;
        Ok(metadata.file_type().expect("a type of file"))
    };
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if kind(&at)? != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        match name {
            "." => {}
            ".." => {
                at.pop();
            }
            name => {
                let mut child = at.clone();
                child.push(name.to_string());
                if kind(&child)? == FileType::Symlink {
                    *links += 1;
                    if *links > 40 {
                        return Err(Errno::LOOP);
                    }
                    let path = format!("/{}", child.join("/"));
                    let target = world.files.readlink(&world.root, path.as_bytes())?;
                    let target = String::from_utf8(target).expect("UTF-8");
                    child = resolve(world, &at, &target, links)?;
                }
                at = child;
            }
        }
    }
    if path.ends_with('/') && kind(&at)? != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    kind(&at)?;
    Ok(at)
}
