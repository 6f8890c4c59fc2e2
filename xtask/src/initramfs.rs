//! Writing an initramfs: a cpio archive in the "newc" format.

use std::collections::BTreeMap;

/// An archive under construction.
///
/// What is added later replaces what has the same path. Paths have no slash in front.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// By path, so that a folder comes before what is in it: the kernel unpacks in order.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    contents: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

impl Archive {
    /// Adds a directory with mode 755, and the ones it is in.
    pub(crate) fn directory(&mut self, path: &str) {
        self.add(path, DIRECTORY | 0o755, Vec::new());
    }

    /// Adds a file with permissions `mode`, and the directories it is in.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        self.add(path, REGULAR | mode, contents);
    }

    /// Adds a symbolic link to `target`, and the directories it is in.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.add(path, LINK | 0o777, target.into());
    }

    /// Tells whether there is something at `path`.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    fn add(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        for (slash, _) in path.match_indices('/') {
            self.entries
                .entry(path[..slash].into())
                .or_insert(Entry { mode: DIRECTORY | 0o755, contents: Vec::new() });
        }
        self.entries.insert(path.into(), Entry { mode, contents });
    }

    /// Ends the archive and returns its bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            write(&mut bytes, inode, path, entry);
        }
        write(&mut bytes, 0, "TRAILER!!!", &Entry { mode: 0, contents: Vec::new() });
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let size = u32::try_from(entry.contents.len()).expect("files of an initramfs are below 4 GiB");
    let name_size = path.len() as u32 + 1;
    // Inode, mode, uid, gid, links, mtime, size, device, device of a node, name's size, checksum.
    let fields = [inode, entry.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08x}").bytes());
    }
    bytes.extend(path.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.contents);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
