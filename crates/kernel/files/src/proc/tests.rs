//! Tests of /proc: names, links, and texts that programs take apart.

use crate::testing::{CALLER, World};
use crate::{DeviceNumber, Errno, FileType, Follow, OpenFlags, pipe};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const READ: OpenFlags = OpenFlags::empty();

fn world() -> World {
    World::new(1 << 20)
}

fn text(world: &World, path: &str) -> String {
    String::from_utf8(world.cat(path).expect(path)).expect("UTF-8")
}

fn names(world: &World, path: &str) -> Vec<String> {
    let entries = world.ls(path).expect("a directory");
    entries.into_iter().map(|(name, _)| String::from_utf8(name).expect("UTF-8")).collect()
}

#[test]
fn every_name_that_is_listed_can_be_opened() {
    let world = world();
    world
        .machine
        .descriptors
        .insert(world.open("/tmp", READ).expect("there"), false)
        .expect("free");
    *world.machine.directory.lock() = Some(world.root.clone());
    world.mkdir("/bin").expect("free");
    world.put("/bin/sh", b"");
    let mut directories = alloc::vec![String::from("/proc")];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for (name, kind) in world.ls(&directory).expect("a directory") {
            let name = String::from_utf8(name).expect("UTF-8");
            let path = format!("{directory}/{name}");
            let metadata = world.files.stat(&world.root, path.as_bytes(), Follow::No).expect(&path);
            assert_eq!(metadata.file_type().map(FileType::dirent), Some(kind), "{path}");
            match metadata.file_type() {
                _ if name.starts_with('.') => {}
                Some(FileType::Directory) => directories.push(path),
                Some(FileType::Regular) => {
                    world.cat(&path).expect(&path);
                    assert_eq!(world.open(&path, OpenFlags::RDWR).map(|_| ()), Err(Errno::ACCES));
                    files += 1;
                }
                _ if path.starts_with("/proc/1/") => {}
                _ => {
                    world.stat(&path).expect(&path);
                    world.files.readlink(&world.root, path.as_bytes()).expect(&path);
                }
            }
        }
    }
    assert!(files > 25, "{files}");
}

#[test]
fn names_in_proc_are_found_and_no_others() {
    let world = world();
    let root = names(&world, "/proc");
    for name in ["self", "1", "10", "meminfo", "sys"] {
        assert!(root.iter().any(|known| known == name), "{name}");
    }
    for path in
        ["/proc/2", "/proc/01", "/proc/+1", "/proc/99999999999", "/proc/1/none", "/proc/sys/x"]
    {
        assert_eq!(world.stat(path), Err(Errno::NOENT), "{path}");
    }
    assert_eq!(world.stat("/proc/1/stat/x"), Err(Errno::NOTDIR));
    let path_of = |path: &str| {
        let node = world.files.directory(&world.root, path.as_bytes()).expect("a directory");
        world.files.path_of(&node)
    };
    assert_eq!(path_of("/proc/self").as_deref(), Ok(&b"/proc/10"[..]));
    assert_eq!(path_of("/proc/sys/kernel").as_deref(), Ok(&b"/proc/sys/kernel"[..]));
    assert_eq!(path_of("/proc/sys/kernel/../../..").as_deref(), Ok(&b"/"[..]));
    assert_eq!(path_of("/proc/self/fd").as_deref(), Ok(&b"/proc/10/fd"[..]));
    assert_eq!(
        world.files.statfs(&world.files.directory(&world.root, b"proc").expect("there")).kind,
        0x9fa0
    );
}

#[test]
fn the_stat_line_has_its_52_fields() {
    let world = world();
    let line = text(&world, "/proc/self/stat");
    let (head, tail) = line.rsplit_once(") ").expect("a name in parentheses");
    assert_eq!(head, "10 (a (b");
    let mut fields = alloc::vec![""; 2];
    fields.extend(tail.trim_end().split(' '));
    assert_eq!(fields.len(), 52);
    // By the numbers of proc(5).
    for (number, value) in [
        (3, "S"),
        (4, "1"),
        (5, "10"),
        (6, "10"),
        (7, "1088"),
        (8, "10"),
        (10, "5"),
        (12, "6"),
        (14, "150"),
        (15, "2"),
        (16, "3"),
        (17, "4"),
        (18, "15"),
        (19, "-5"),
        (20, "3"),
        (22, "700"),
        (23, "1048576"),
        (24, "3"),
        (31, "1"),
        (34, "8"),
        (38, "17"),
        (39, "2"),
    ] {
        assert_eq!(fields[number - 1], value, "field {number} of {line}");
    }
    let without_terminal = text(&world, "/proc/1/stat");
    assert!(without_terminal.starts_with("1 (init) R 0 0 0 0 -1 "), "{without_terminal}");
}

#[test]
fn texts_say_what_the_kernel_said() {
    let world = world();
    let lines = |path: &str| text(&world, path);
    assert!(
        lines("/proc/meminfo")
            .starts_with("MemTotal:          65536 kB\nMemFree:           32768 kB\n")
    );
    assert_eq!(lines("/proc/uptime"), "12.34 6.00\n");
    assert_eq!(lines("/proc/loadavg"), "0.05 1.23 0.00 1/2 10\n");
    assert_eq!(lines("/proc/version"), "Linux version 6.1.0 #1 SMP\n");
    assert!(
        lines("/proc/stat").starts_with("cpu  200 0 400 600 0 0 0 0 0 0\ncpu0 100 0 200 300 0")
    );
    assert_eq!(lines("/proc/cpuinfo").matches("processor\t: ").count(), 2);
    assert_eq!(lines("/proc/sys/kernel/osrelease"), "6.1.0\n");
    assert_eq!(lines("/proc/sys/kernel/hostname"), "host\n");
    assert_eq!(lines("/proc/self/comm"), "a (b\n");
    assert_eq!(lines("/proc/self/cmdline"), "");
    assert_eq!(lines("/proc/1/cmdline"), "/init\0-x\0");
    assert_eq!(lines("/proc/self/statm"), "256 3 0 0 0 256 0\n");
    let status = lines("/proc/self/status");
    for line in [
        "Name:\ta (b\n",
        "State:\tS (sleeping)\n",
        "VmRSS:\t      12 kB\n",
        "SigCgt:\t0000000000000008\n",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_eq!(
        lines("/proc/self/maps"),
        "00400000-00401000 r-xp 00001000 00:00 0                                  /bin/sh\n\
         7ffff0000000-7ffff0021000 rw-p 00000000 00:00 0                          [stack]\n"
    );
}

#[test]
fn a_text_is_made_anew_when_it_is_read_from_its_start() {
    let world = world();
    let file = world.open("/proc/version", READ).expect("there");
    let mut buffer = [0; 5];
    assert_eq!(file.read(&mut buffer), Ok(5));
    assert_eq!(file.read(&mut buffer), Ok(5));
    assert_eq!(&buffer, b" vers");
    assert_eq!(file.seek(0, 0), Ok(0));
    assert_eq!(file.read(&mut buffer), Ok(5));
    assert_eq!(&buffer, b"Linux");
    assert_eq!(file.read_at(6, &mut buffer), Ok(5));
    assert_eq!(&buffer, b"versi");
    assert_eq!(file.seek(0, 2), Err(Errno::INVAL));
    assert_eq!(file.seek(1 << 40, 0), Ok(1 << 40));
    assert_eq!(file.read(&mut buffer), Ok(0));
}

#[test]
fn links_of_a_process_lead_where_it_is() {
    let world = world();
    let readlink = |path: &str| world.files.readlink(&world.root, path.as_bytes());
    assert_eq!(readlink("/proc/self").as_deref(), Ok(&b"10"[..]));
    assert_eq!(readlink("/proc/self/exe").as_deref(), Ok(&b"/bin/sh"[..]));
    assert_eq!(readlink("/proc/1/exe"), Err(Errno::NOENT));
    assert_eq!(readlink("/proc/self/cwd"), Err(Errno::NOENT));
    world.mkdir("/tmp/here").expect("free");
    *world.machine.directory.lock() = world.files.directory(&world.root, b"/tmp/here").ok();
    assert_eq!(readlink("/proc/self/cwd").as_deref(), Ok(&b"/tmp/here"[..]));
    world.put("/proc/self/cwd/f", b"x");
    assert_eq!(world.cat("/tmp/here/f").as_deref(), Ok(&b"x"[..]));
    assert_eq!(world.cat("/proc/self/root/tmp/here/f").as_deref(), Ok(&b"x"[..]));
}

#[test]
fn descriptors_can_be_opened_again_by_name() {
    let world = world();
    let fds = world.machine.descriptors.clone();
    let readlink = |fd: i32| {
        let path = format!("/proc/self/fd/{fd}");
        world
            .files
            .readlink(&world.root, path.as_bytes())
            .map(|target| String::from_utf8_lossy(&target).into_owned())
    };
    world.put("/tmp/f", b"contents");
    let file = world.open("/tmp/f", READ).expect("there");
    assert_eq!(fds.insert(file.clone(), false), Ok(0));
    assert_eq!(file.read(&mut [0; 3]), Ok(3));
    assert_eq!(world.cat("/dev/stdin").as_deref(), Ok(&b"contents"[..]), "an offset of its own");
    assert_eq!(readlink(0).as_deref(), Ok("/tmp/f"));
    world.rename("/tmp/f", "/tmp/g").expect("free");
    assert_eq!(readlink(0).as_deref(), Ok("/tmp/g"));
    world.unlink("/tmp/g").expect("there");
    assert!(readlink(0).is_ok_and(|target| target.ends_with("(deleted)")));
    assert_eq!(world.cat("/dev/stdin").as_deref(), Ok(&b"contents"[..]));

    let (reader, writer) = pipe::pair(OpenFlags::empty());
    assert_eq!(writer.write(b"piped"), Ok(5));
    let number = reader.metadata().inode;
    assert_eq!(fds.insert_pair((reader, writer), false), Ok((1, 2)));
    assert_eq!(readlink(1), Ok(format!("pipe:[{number}]")));
    assert_eq!(world.stat("/proc/self/fd/1").map(|m| m.file_type()), Ok(Some(FileType::Fifo)));
    let again = world.open("/proc/self/fd/1", READ).expect("a pipe");
    let more = world.open("/dev/stderr", OpenFlags::WRONLY).expect("its other end");
    assert_eq!(more.write(b"!"), Ok(1));
    let mut buffer = [0; 8];
    assert_eq!(again.read(&mut buffer), Ok(6));

    let event = crate::eventfd::open(0, false, OpenFlags::empty());
    assert_eq!(fds.insert(event, false), Ok(3));
    assert_eq!(readlink(3).as_deref(), Ok("anon_inode:[eventfd]"));
    assert_eq!(world.open("/proc/self/fd/3", READ).map(|_| ()), Err(Errno::NXIO));
    let directory = world.open("/dev", READ).expect("there");
    assert_eq!(fds.insert(directory, false), Ok(4));
    let null = DeviceNumber { major: 1, minor: 3 };
    assert_eq!(world.stat("/proc/self/fd/4/null").map(|m| m.special), Ok(null));
    assert_eq!(world.stat("/dev/fd/4/").map(|m| m.file_type()), Ok(Some(FileType::Directory)));
    assert_eq!(world.stat("/dev/fd/1/"), Err(Errno::NOTDIR));
    assert_eq!(world.stat("/dev/fd/1/x"), Err(Errno::NOTDIR));
    assert_eq!(names(&world, "/dev/fd/"), [".", "..", "0", "1", "2", "3", "4"]);
    assert_eq!(world.stat("/proc/self/fd/9"), Err(Errno::NOENT));
    assert_eq!(world.stat("/proc/1/fd/0"), Err(Errno::NOENT));
    let link = world.files.open(&CALLER, &world.root, b"/dev/fd/1", OpenFlags::NOFOLLOW, 0);
    assert_eq!(link.map(|_| ()), Err(Errno::LOOP));
}
