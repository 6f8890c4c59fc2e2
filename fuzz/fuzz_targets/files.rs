//! The kernel's files: any history of paths, names and descriptors against a tree on plain maps; any bytes as an initramfs; any bytes typed at a
//! terminal against a model of what programs read; any use of pipes, counters and epoll sets, where nobody may be left asleep.
#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use files::epoll::{Event, Mode};
use files::tty::{Control, InputFlags, LocalFlags, Raised, TERMIOS2_SIZE, Termios, Tty};
use files::{
    Errno, FileSystem, FileType, Follow, Node, OpenFile, OpenFlags, Ready, RenameFlags, eventfd,
    pipe,
};
use fuzz::Input;
use fuzz::files::{CALLER, Queue, file_system};
use fuzz::names::{How, Id, Kind, Last, Names, ROOT};
use fuzz::terminal::{Settings, Terminal};
use handover::cpio::Entries;
use libfuzzer_sys::fuzz_target;

type File = Arc<OpenFile<Queue>>;

/// Steps of a history.
const STEPS: usize = 160;

/// Names, from which paths are made: few, so that the same ones come again.
fn path(input: &mut Input) -> Vec<u8> {
    let shape = input.byte();
    let mut path = if shape & 1 == 0 { Vec::new() } else { b"/".to_vec() };
    let components = 1 + usize::from(shape >> 1 & 3);
    for component in 0..components {
        if component > 0 {
            path.push(b'/');
        }
        match input.byte() % 20 {
            0..5 => path.extend(b"a"),
            5..9 => path.extend(b"b"),
            9..12 => path.extend(b"c"),
            12 => path.extend(b"d"),
            13 => path.extend(b"."),
            14 | 15 => path.extend(b".."),
            16 => path.extend([b'n'; 255]),
            17 => path.extend([b'n'; 256]),
            _ => {}
        }
    }
    if shape >> 3 & 7 == 0 {
        path.push(b'/');
    }
    path
}

/// An open file, in the kernel and in the model.
struct Open {
    file: File,
    id: Id,
    at: usize,
    flags: OpenFlags,
}

struct Tree {
    files: FileSystem<Queue>,
    names: Names,
    /// The working directory.
    directory: (Node, Id),
    open: VecDeque<Open>,
}

impl Tree {
    fn step(&mut self, input: &mut Input) {
        let (from, id) = self.directory.clone();
        let (files, names) = (&self.files, &mut self.names);
        let choice = input.byte();
        let first = path(input);
        match choice % 16 {
            0 | 1 => {
                let made = files.mkdir(&from, &first, 0o755);
                agree(made, names.mkdir(id, &first), "mkdir", &first);
            }
            2 => {
                let made = files.mknod(&from, &first, 0o100_644, Default::default());
                agree(made, names.mknod(id, &first), "mknod", &first);
            }
            3 => {
                let target = path(input);
                let made = files.symlink(&target, &from, &first);
                agree(made, names.symlink(&target, id, &first), "symlink", &first);
            }
            4 => {
                let second = path(input);
                let (follow, last) = [(Follow::Yes, Last::Follow), (Follow::No, Last::Keep)]
                    [usize::from(input.byte() & 1)];
                let linked = files.link(&from, &first, &from, &second, follow);
                agree(linked, names.link(id, &first, &second, last), "link", &first);
            }
            5 => {
                let model = names.unlink(id, &first);
                if fuzz::is_planted("name-stays") && model.is_some() {
                    return;
                }
                agree(files.unlink(&from, &first), model, "unlink", &first);
            }
            6 => {
                let removed = files.rmdir(&from, &first);
                agree(removed, names.rmdir(id, &first), "rmdir", &first);
            }
            7 | 8 => {
                let second = path(input);
                let flags = RenameFlags::from_bits_truncate(input.below(8) as u32);
                let (no_replace, exchange) =
                    (flags.contains(RenameFlags::NOREPLACE), flags.contains(RenameFlags::EXCHANGE));
                let model = if no_replace && exchange {
                    None
                } else {
                    names.rename(id, &first, &second, !no_replace, exchange)
                };
                let renamed = files.rename(&from, &first, &from, &second, flags);
                agree(renamed, model, "rename", &first);
            }
            9..=11 => self.open(input, &first),
            12 => {
                let model = names.lookup(id, &first, Last::Follow);
                let model = model.filter(|&node| names.is_directory(node));
                let found = files.directory(&from, &first);
                agree(found.clone(), model, "chdir", &first);
                if let (Ok(node), Some(id)) = (found, model) {
                    self.directory = (node, id);
                }
            }
            13 => {
                let len = usize::from(input.byte());
                let model = names.lookup(id, &first, Last::Follow);
                let model = model.filter(|&node| matches!(names.kind(node), Kind::File(_)));
                agree(files.truncate(&from, &first, len as u64), model, "truncate", &first);
                if let Some(id) = model {
                    names.bytes(id).resize(len, 0);
                }
            }
            _ => self.use_open(input),
        }
        if !self.names.is_there(self.directory.1) {
            self.directory = (self.files.root(), ROOT);
        }
    }

    fn open(&mut self, input: &mut Input, path: &[u8]) {
        let bits = input.byte();
        let chosen = |bit: u8, flag: OpenFlags| {
            if bits >> bit & 1 == 0 { OpenFlags::empty() } else { flag }
        };
        let access = [OpenFlags::empty(), OpenFlags::WRONLY, OpenFlags::RDWR, OpenFlags::RDWR];
        let flags = access[usize::from(bits & 3)]
            | chosen(2, OpenFlags::CREAT)
            | chosen(3, OpenFlags::EXCL)
            | chosen(4, OpenFlags::TRUNC)
            | chosen(5, OpenFlags::APPEND)
            | chosen(6, OpenFlags::NOFOLLOW);
        let how = How {
            creates: flags.contains(OpenFlags::CREAT),
            exclusive: flags.contains(OpenFlags::EXCL),
            empties: flags.contains(OpenFlags::TRUNC),
            writes: flags.writable(),
            keeps_link: flags.contains(OpenFlags::NOFOLLOW),
        };
        let (from, id) = &self.directory;
        let opened = self.files.open(&CALLER, from, path, flags, 0o644);
        let model = self.names.open(*id, path, how);
        agree(opened.clone(), model, "open", path);
        if let (Ok(file), Some(id)) = (opened, model) {
            if self.open.len() == 4 {
                self.open.pop_front();
            }
            self.open.push_back(Open { file, id, at: 0, flags });
        }
    }

    /// Reads, writes, seeks or cuts through a description that is open, whatever has become of its name.
    fn use_open(&mut self, input: &mut Input) {
        if self.open.is_empty() {
            return;
        }
        let which = usize::from(input.byte()) % self.open.len();
        let Open { file, id, at, flags } = &mut self.open[which];
        if self.names.is_directory(*id) {
            assert_eq!(file.read(&mut [0; 4]), Err(Errno::ISDIR));
            return;
        }
        let bytes = self.names.bytes(*id);
        let len = usize::from(input.byte()) * 8;
        match input.byte() % 5 {
            0 | 1 => {
                let data: Vec<u8> = (0..len).map(|at| at as u8 ^ len as u8).collect();
                let wrote = file.write(&data);
                assert_eq!(wrote, if flags.writable() { Ok(len) } else { Err(Errno::BADF) });
                if wrote.is_ok() && len > 0 {
                    if flags.contains(OpenFlags::APPEND) {
                        *at = bytes.len();
                    }
                    bytes.resize(bytes.len().max(*at + len), 0);
                    bytes[*at..*at + len].copy_from_slice(&data);
                    *at += len;
                }
            }
            2 => {
                let mut buffer = vec![0xaa; len];
                let read = file.read(&mut buffer);
                if !flags.readable() {
                    assert_eq!(read, Err(Errno::BADF));
                    return;
                }
                let there = bytes.get(*at..).unwrap_or_default();
                let expected = &there[..there.len().min(len)];
                assert_eq!(read, Ok(expected.len()));
                assert_eq!(&buffer[..expected.len()], expected);
                *at += expected.len();
            }
            3 => {
                *at = len;
                assert_eq!(file.seek(len as i64, 0), Ok(len as u64));
            }
            _ => {
                let cut = file.set_len(len as u64);
                assert_eq!(cut.is_ok(), flags.writable(), "{cut:?}");
                if cut.is_ok() {
                    bytes.resize(len, 0);
                }
            }
        }
    }

    /// Asserts that the two trees are the same, and the open files too.
    fn verify(&self) {
        let mut directories = vec![(self.files.root(), ROOT)];
        while let Some((node, id)) = directories.pop() {
            let mut shown = list(&self.files, &node);
            if id == ROOT {
                for name in [&b"dev"[..], b"proc", b"tmp"] {
                    assert!(shown.remove(name).is_some(), "{name:?} is gone");
                }
            }
            let names = self.names.names(id);
            assert!(shown.keys().eq(names.keys()), "names of {id}: {shown:?}, and not {names:?}");
            assert_eq!(self.files.path_of(&node), Ok(self.names.path(id)));
            for (name, &child) in names {
                let found = self.files.lookup(&node, name, Follow::No).expect("is listed");
                let metadata = found.metadata();
                let links = self.names.links(child);
                assert_eq!(metadata.links as usize, links, "links of {name:?}");
                let kind = match self.names.kind(child) {
                    Kind::Directory { .. } => {
                        directories.push((found.clone(), child));
                        FileType::Directory
                    }
                    Kind::File(bytes) => {
                        self.same_bytes(&found, bytes);
                        FileType::Regular
                    }
                    Kind::Link(target) => {
                        assert_eq!(self.files.readlink(&node, name).as_ref(), Ok(target));
                        FileType::Symlink
                    }
                };
                assert_eq!((found.kind(), shown[name]), (kind, kind as u32 >> 12));
            }
        }
        for Open { file, id, .. } in &self.open {
            if let Kind::File(bytes) = self.names.kind(*id) {
                assert_eq!(file.metadata().links as usize, self.names.links(*id));
                assert_eq!(file.inode().expect("a file").len(), bytes.len() as u64);
            }
        }
    }

    fn same_bytes(&self, node: &Node, bytes: &[u8]) {
        let inode = node.inode().expect("a file");
        assert_eq!(inode.len(), bytes.len() as u64);
        let mut shown = vec![0; bytes.len()];
        let mut at = 0;
        while at < shown.len() {
            let read = inode.read_at(at as u64, &mut shown[at..]).expect("a file");
            assert_ne!(read, 0, "before the end");
            at += read;
        }
        assert_eq!(shown, bytes);
    }
}

fn agree<T, U>(kernel: Result<T, Errno>, model: Option<U>, what: &str, path: &[u8]) {
    let path = String::from_utf8_lossy(path);
    assert_eq!(kernel.is_ok(), model.is_some(), "{what} of {path:?}: {:?}", kernel.err());
}

/// What getdents64 reports of a directory: names, and the type of each.
fn list(files: &FileSystem<Queue>, node: &Node) -> BTreeMap<Vec<u8>, u32> {
    let directory = files.open(&CALLER, node, b".", OpenFlags::DIRECTORY, 0).expect("a directory");
    let mut names = BTreeMap::new();
    let mut buffer = [0; 700];
    loop {
        let mut rest = match directory.read_directory(&mut buffer).expect("a directory") {
            0 => break,
            len => &buffer[..len],
        };
        while !rest.is_empty() {
            let (record, behind) = rest.split_at(u16::from_le_bytes([rest[16], rest[17]]).into());
            let name = record[19..].split(|&byte| byte == 0).next().expect("a name");
            let is_new = names.insert(name.to_vec(), record[18].into()).is_none();
            assert!(is_new, "{name:?} twice");
            rest = behind;
        }
    }
    assert!(names.remove(&b"."[..]).is_some() && names.remove(&b".."[..]).is_some());
    names
}

fn tree(input: &mut Input) {
    let files = file_system(1 << 24);
    let root = files.root();
    let mut tree =
        Tree { files, names: Names::default(), directory: (root, ROOT), open: VecDeque::new() };
    for step in 0..STEPS {
        if input.is_over() {
            break;
        }
        tree.step(input);
        if step % 8 == 7 {
            tree.verify();
        }
    }
    tree.verify();
}

/// Unpacks any bytes, and goes through what came of it.
fn initramfs(data: &[u8]) {
    let files = file_system(1 << 20);
    // SAFETY: the file system is dropped before this function returns, and nothing else has the bytes.
    let archive = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(data) };
    let _ = files.unpack(Entries::new(archive));
    let mut names_of = BTreeMap::<u64, (u32, u32)>::new();
    let mut directories = vec![files.root()];
    while let Some(node) = directories.pop() {
        let mut children = 2;
        for (name, kind) in list(&files, &node) {
            let path = files.path_of(&node).expect("a directory");
            if path == b"/" && name == b"proc" {
                children += 1;
                continue;
            }
            let found = files.lookup(&node, &name, Follow::No).expect("is listed");
            assert_eq!(found.kind() as u32 >> 12, kind, "{name:?}");
            let metadata = found.metadata();
            match found.kind() {
                FileType::Directory => {
                    children += 1;
                    directories.push(found);
                }
                FileType::Symlink => {
                    let target = files.readlink(&node, &name).expect("a link");
                    assert_eq!(target.len() as u64, metadata.size);
                }
                FileType::Regular => {
                    let mut bytes = vec![0; metadata.size as usize];
                    let inode = found.inode().expect("a file");
                    assert_eq!(inode.read_at(0, &mut bytes), Ok(bytes.len()));
                    let (links, seen) =
                        names_of.entry(metadata.inode).or_insert((metadata.links, 0));
                    assert_eq!(*links, metadata.links);
                    *seen += 1;
                }
                _ => {}
            }
        }
        assert_eq!(node.metadata().links, children);
    }
    for (inode, (links, seen)) in names_of {
        assert_eq!(links, seen, "names of file {inode}");
    }
}

/// Settings, in the kernel's terms.
fn termios(settings: Settings) -> Termios {
    let mut termios = Termios::default();
    termios.local.set(LocalFlags::ICANON, settings.canonical);
    termios.local.set(LocalFlags::ISIG, settings.signals);
    termios.local.set(LocalFlags::NOFLSH, settings.keeps_input);
    termios.local.set(LocalFlags::IEXTEN, settings.extended);
    termios.input.set(InputFlags::ISTRIP, settings.strips);
    termios.input.set(InputFlags::ICRNL, settings.cr_is_nl);
    termios.input.set(InputFlags::IGNCR, settings.drops_cr);
    termios.input.set(InputFlags::INLCR, settings.nl_is_cr);
    termios.input.set(InputFlags::IXON, settings.flow);
    termios.input.set(InputFlags::IUTF8, settings.utf8);
    termios.characters[Control::Least as usize] = settings.least;
    termios
}

fn settings(input: &mut Input) -> Settings {
    let bits = input.byte();
    let more = input.byte();
    Settings {
        canonical: bits & 3 != 0,
        signals: bits & 4 == 0,
        keeps_input: bits & 8 != 0,
        extended: bits & 16 == 0,
        strips: bits & 32 != 0,
        cr_is_nl: bits & 64 == 0,
        drops_cr: more & 1 != 0,
        nl_is_cr: more & 2 != 0,
        flow: more & 4 == 0,
        utf8: more & 8 != 0,
        least: more >> 4 & 3,
    }
}

/// Types, reads and changes settings.
fn terminal(input: &mut Input) {
    let tty: Arc<Tty<Queue>> = Tty::new(|_| ());
    tty.acquire(&CALLER).expect("a terminal that nobody has");
    let file: File = OpenFile::stream(Box::new(tty.clone()), OpenFlags::RDWR);
    let mut model = Terminal::default();
    let first = settings(input);
    model.set(first);
    tty.set_termios(termios(first), false);
    while !input.is_over() {
        let was_ready = Watch::of(&file);
        match input.byte() {
            0xf0..0xf8 => {
                let new = settings(input);
                model.set(new);
                tty.set_termios(termios(new), false);
            }
            0xf8..0xfc => {
                let mut buffer = vec![0; usize::from(input.byte() % 32)];
                let read = match file.read(&mut buffer) {
                    Ok(len) => Some(buffer[..len].to_vec()),
                    Err(Errno::AGAIN) => None,
                    Err(error) => panic!("{error:?}"),
                };
                assert_eq!(read, model.read(buffer.len()), "with {:?}", model.settings);
            }
            0xfc => {
                let len = usize::from(input.byte());
                let _ = file.write(&vec![b'\t'; len]);
            }
            escape => {
                let byte = if escape == 0xfd { input.byte() } else { escape };
                let raised = tty.input(byte).map(|Raised { signal, .. }| signal as u8);
                assert_eq!(raised, model.receive(byte), "{byte:#x} with {:?}", model.settings);
            }
        }
        was_ready.assert_woken(&file);
    }
}

/// Types under settings that are any bytes. There is no model; nothing may break.
fn wild_terminal(input: &mut Input) {
    let tty: Arc<Tty<Queue>> = Tty::new(|_| ());
    let file: File = OpenFile::stream(Box::new(tty.clone()), OpenFlags::RDWR);
    while !input.is_over() {
        let was_ready = Watch::of(&file);
        match input.byte() {
            0xf0..0xf8 => {
                let bytes = [(); TERMIOS2_SIZE].map(|()| input.byte());
                if let Some(termios) = Termios::from_bytes(&bytes, &tty.termios()) {
                    tty.set_termios(termios, bytes[0] & 1 != 0);
                    assert_eq!(tty.termios().to_bytes(), termios.to_bytes());
                }
            }
            0xf8..0xfc => {
                let mut buffer = [0; 32];
                let available = file.available().expect("a terminal knows");
                if let Ok(len) = file.read(&mut buffer[..usize::from(input.byte() % 32)]) {
                    assert!(len <= available);
                }
            }
            0xfc => {
                let bytes = [(); 9].map(|()| input.byte());
                let _ = file.write(&bytes);
            }
            byte => {
                tty.input(byte);
            }
        }
        was_ready.assert_woken(&file);
    }
}

/// What a file was ready for, and how often those who wait for it had been woken.
struct Watch(Ready, u64);

impl Watch {
    fn of(file: &File) -> Self {
        Self(file.poll(), file.queue().map_or(0, Queue::rings))
    }

    /// Asserts that whoever waited for what has come has been woken.
    fn assert_woken(&self, file: &File) {
        let come = file.poll() - self.0;
        let rings = file.queue().map_or(0, Queue::rings);
        assert!(come.is_empty() || rings > self.1, "{come:?} has come, and nobody was woken");
    }
}

/// A file that is watched, and how.
struct Watched {
    file: usize,
    event: Event,
    seen: Option<u64>,
    is_done: bool,
}

impl Watched {
    /// Tells whether the set must report it.
    fn is_due(&self, file: &File) -> bool {
        let is_edge = self.event.events & Mode::EDGE.bits() != 0;
        let asked = Ready::from_bits_truncate(self.event.events) | Ready::UNASKED;
        !(self.is_done || is_edge && self.seen == Some(file.edges()))
            && file.poll().intersects(asked)
    }
}

/// Pipes and counters, some of which an epoll set watches.
fn waiting(input: &mut Input) {
    let set: File = files::epoll::open();
    let epoll = set.epoll().expect("a set").clone();
    // Pairs of ends; a counter is both of its own.
    let mut ends: Vec<Option<File>> = Vec::new();
    let mut piped: Vec<VecDeque<u8>> = Vec::new();
    for kind in [0, 0, 1] {
        piped.push(VecDeque::new());
        if kind == 0 {
            let (reader, writer) = pipe::pair(OpenFlags::NONBLOCK);
            ends.extend([Some(reader), Some(writer)]);
        } else {
            let counter = eventfd::open(0, input.byte() & 1 != 0, OpenFlags::NONBLOCK);
            ends.extend([Some(counter.clone()), Some(counter)]);
        }
    }
    let mut watched: BTreeMap<usize, Watched> = BTreeMap::new();
    while !input.is_over() {
        let before: Vec<Option<Watch>> =
            ends.iter().map(|end| end.as_ref().map(Watch::of)).collect();
        let (was_ready, rings) = (epoll.has_ready(), epoll.wait_queue().rings());
        let which = usize::from(input.byte()) % ends.len();
        let choice = input.byte();
        let Some(file) = ends[which].clone() else { continue };
        let event = |input: &mut Input| {
            let modes = [0, Mode::EDGE.bits(), Mode::ONESHOT.bits(), 0];
            let mode = modes[usize::from(input.byte() & 3)];
            let bits = Ready::from_bits_truncate(u32::from(input.byte()) | 0x2000);
            Event { events: bits.bits() | mode, data: which as u64 }
        };
        match choice % 8 {
            0 | 1 if which < 4 => {
                let len = usize::from(input.byte()) << (choice >> 4);
                let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
                let wrote = file.write(&bytes);
                let has_reader = ends[which & !1].is_some();
                let room = pipe::CAPACITY - piped[which / 2].len();
                let expected = match len {
                    _ if which & 1 == 0 => Err(Errno::BADF),
                    0 => Ok(0),
                    _ if !has_reader => Err(Errno::PIPE),
                    _ if len <= pipe::ATOMIC && room < len || room == 0 => Err(Errno::AGAIN),
                    _ => Ok(len.min(room)),
                };
                assert_eq!(wrote, expected, "{len} bytes into {room}");
                piped[which / 2].extend(&bytes[..wrote.unwrap_or(0)]);
            }
            2 | 3 if which < 4 => {
                let mut buffer = vec![0; usize::from(input.byte()) << (choice >> 4)];
                let read = file.read(&mut buffer);
                let there = &mut piped[which / 2];
                let expected = match buffer.len() {
                    _ if which & 1 == 1 => Err(Errno::BADF),
                    0 => Ok(0),
                    _ if there.is_empty() && ends[which | 1].is_some() => Err(Errno::AGAIN),
                    len => Ok(len.min(there.len())),
                };
                assert_eq!(read, expected);
                assert!(
                    there
                        .drain(..read.unwrap_or(0))
                        .eq(buffer[..read.unwrap_or(0)].iter().copied())
                );
            }
            0 | 1 => drop(file.write(&input.word().to_le_bytes())),
            2 | 3 => drop(file.read(&mut [0; 8])),
            4 => {
                let event = event(input);
                let added = epoll.add(which as i32, &file, event);
                assert_eq!(added.is_ok(), !watched.contains_key(&which), "{added:?}");
                watched.entry(which).or_insert(Watched {
                    file: which,
                    event,
                    seen: None,
                    is_done: false,
                });
            }
            5 => {
                let event = event(input);
                let modified = epoll.modify(which as i32, &file, event);
                assert_eq!(modified.is_ok(), watched.contains_key(&which), "{modified:?}");
                if let Some(one) = watched.get_mut(&which) {
                    *one = Watched { file: which, event, seen: None, is_done: false };
                }
            }
            6 => {
                if choice >> 3 & 3 != 0 {
                    let max = usize::from(choice >> 5);
                    report(&epoll.take_ready(max), max, &mut watched, &ends);
                    continue;
                }
                let removed = epoll.remove(which as i32, &file);
                assert_eq!(removed.is_ok(), watched.remove(&which).is_some(), "{removed:?}");
            }
            _ if choice >> 3 == 0 => {
                // The set forgets a description with its last reference; a counter has two here.
                ends[which] = None;
                if !ends.iter().flatten().any(|end| Arc::ptr_eq(end, &file)) {
                    watched.retain(|&at, _| held(at, &ends).is_some());
                }
                drop(file);
            }
            _ => {}
        }
        for (end, before) in ends.iter().zip(&before) {
            if let (Some(end), Some(before)) = (end, before) {
                before.assert_woken(end);
            }
        }
        let due =
            watched.values().any(|one| held(one.file, &ends).is_some_and(|file| one.is_due(file)));
        assert_eq!(epoll.has_ready(), due);
        assert!(
            was_ready || !due || epoll.wait_queue().rings() > rings,
            "the set has something, and nobody was woken"
        );
    }
}

/// The description behind a number; that of a counter may be held by its other one.
fn held(which: usize, ends: &[Option<File>]) -> Option<&File> {
    ends[which].as_ref().or(if which >= 4 { ends[which ^ 1].as_ref() } else { None })
}

/// Asserts that a set has reported what is due and nothing else, and notes that it has.
fn report(
    reported: &[Event],
    max: usize,
    watched: &mut BTreeMap<usize, Watched>,
    ends: &[Option<File>],
) {
    let due = |one: &Watched| held(one.file, ends).is_some_and(|file| one.is_due(file));
    let expected = watched.values().filter(|one| due(one)).count();
    assert_eq!(reported.len(), expected.min(max));
    for event in reported {
        let one = watched.get_mut(&(event.data as usize)).expect("is watched");
        assert!(due(one), "{event:?} is reported and not due");
        let file = held(one.file, ends).expect("is open");
        let asked = Ready::from_bits_truncate(one.event.events) | Ready::UNASKED;
        assert_eq!(event.events, (file.poll() & asked).bits());
        one.seen = Some(file.edges());
        one.is_done = one.event.events & Mode::ONESHOT.bits() != 0;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let mut input = Input(data);
    match which % 8 {
        0..3 => tree(&mut input),
        3 => initramfs(data),
        4 => terminal(&mut input),
        5 => wild_terminal(&mut input),
        _ => waiting(&mut input),
    }
});
