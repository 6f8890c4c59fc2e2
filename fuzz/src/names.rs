//! A tree of names as Linux has it, on plain maps: what the kernel's files are compared with.

use std::collections::{BTreeMap, VecDeque};

/// A file, a directory or a link, whatever names it has.
pub type Id = usize;

/// The root directory.
pub const ROOT: Id = 0;

/// Links that a path may meet.
const MAX_LINKS: usize = 40;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory { names: BTreeMap<Vec<u8>, Id>, parent: Id },
    File(Vec<u8>),
    Link(Vec<u8>),
}

/// What is done with the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Looked up, and what it links to.
    Follow,
    /// Looked up; a link counts as its target only if a slash follows.
    Keep,
    /// Left alone.
    Name,
}

/// Where a path leads.
#[derive(Debug)]
pub struct Walked {
    pub parent: Id,
    /// None for `.`, `..` and the root.
    pub name: Option<Vec<u8>>,
    pub slash: bool,
    pub node: Option<Id>,
}

/// The tree. Nothing leaves it, so that an open file keeps its number.
#[derive(Debug)]
pub struct Names {
    nodes: Vec<Kind>,
}

impl Default for Names {
    fn default() -> Self {
        Self { nodes: vec![Kind::Directory { names: BTreeMap::new(), parent: ROOT }] }
    }
}

impl Names {
    pub fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id]
    }

    /// The bytes of a file, to be changed.
    pub fn bytes(&mut self, id: Id) -> &mut Vec<u8> {
        match &mut self.nodes[id] {
            Kind::File(bytes) => bytes,
            other => panic!("{id} is no file: {other:?}"),
        }
    }

    pub fn is_directory(&self, id: Id) -> bool {
        matches!(self.nodes[id], Kind::Directory { .. })
    }

    /// The names in a directory.
    pub fn names(&self, id: Id) -> &BTreeMap<Vec<u8>, Id> {
        match &self.nodes[id] {
            Kind::Directory { names, .. } => names,
            other => panic!("{id} is no directory: {other:?}"),
        }
    }

    fn names_mut(&mut self, id: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        match &mut self.nodes[id] {
            Kind::Directory { names, .. } => names,
            other => panic!("{id} is no directory: {other:?}"),
        }
    }

    fn parent(&self, id: Id) -> Id {
        match &self.nodes[id] {
            Kind::Directory { parent, .. } => *parent,
            other => panic!("{id} is no directory: {other:?}"),
        }
    }

    /// How often names lead to `id`, counted below the root; of a directory, with `.` and its children's `..`.
    pub fn links(&self, id: Id) -> usize {
        let children = |of: Id| self.names(of).values().filter(|&&child| self.is_directory(child));
        if self.is_directory(id) {
            return 2 + children(id).count();
        }
        let mut links = 0;
        let mut directories = vec![ROOT];
        while let Some(directory) = directories.pop() {
            links += self.names(directory).values().filter(|&&child| child == id).count();
            directories.extend(children(directory).copied());
        }
        links
    }

    /// Tells whether a directory can be reached from the root.
    pub fn is_there(&self, id: Id) -> bool {
        id == ROOT || {
            let parent = self.parent(id);
            self.is_there(parent) && self.names(parent).values().any(|&child| child == id)
        }
    }

    /// The absolute path of a directory.
    pub fn path(&self, id: Id) -> Vec<u8> {
        if id == ROOT {
            return b"/".to_vec();
        }
        let parent = self.parent(id);
        let mut path = if parent == ROOT { Vec::new() } else { self.path(parent) };
        let (name, _) =
            self.names(parent).iter().find(|&(_, &child)| child == id).expect("is there");
        path.push(b'/');
        path.extend(name);
        path
    }

    /// Follows a path; `None` where there is no way.
    pub fn walk(&self, from: Id, path: &[u8], last: Last) -> Option<Walked> {
        if path.is_empty() || path.len() >= 4096 {
            return None;
        }
        let mut at = if path[0] == b'/' { ROOT } else { from };
        let mut todo: VecDeque<Vec<u8>> = components(path);
        let mut slash = path.ends_with(b"/");
        let mut links = 0;
        loop {
            let Some(name) = todo.pop_front() else {
                return Some(Walked { parent: at, name: None, slash: true, node: Some(at) });
            };
            if !self.is_directory(at) || name.len() > 255 {
                return None;
            }
            let is_last = todo.is_empty();
            let (child, named) = match &name[..] {
                b"." => (Some(at), false),
                b".." => (Some(self.parent(at)), false),
                _ if is_last && last == Last::Name => (None, true),
                _ => (self.names(at).get(&name).copied(), true),
            };
            if let Some(Kind::Link(target)) = child.map(|child| &self.nodes[child])
                && (!is_last || slash || last == Last::Follow)
            {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target[0] == b'/' {
                    at = ROOT;
                }
                slash |= is_last && target.ends_with(b"/");
                components(target).into_iter().rev().for_each(|name| todo.push_front(name));
                continue;
            }
            if is_last {
                return Some(Walked {
                    parent: at,
                    name: named.then_some(name),
                    slash,
                    node: child,
                });
            }
            at = child?;
        }
    }

    /// What a path leads to.
    pub fn lookup(&self, from: Id, path: &[u8], last: Last) -> Option<Id> {
        let walked = self.walk(from, path, last)?;
        walked.node.filter(|&node| !walked.slash || self.is_directory(node))
    }

    /// Where a new name goes that is not there yet.
    fn slot(&self, from: Id, path: &[u8], directory: bool) -> Option<(Id, Vec<u8>)> {
        let walked = self.walk(from, path, Last::Name)?;
        let slot = (walked.parent, walked.name?);
        let is_free = self.is_directory(slot.0) && !self.names(slot.0).contains_key(&slot.1);
        (is_free && (directory || !walked.slash)).then_some(slot)
    }

    fn add(&mut self, (directory, name): (Id, Vec<u8>), kind: Kind) -> Id {
        self.nodes.push(kind);
        let id = self.nodes.len() - 1;
        self.names_mut(directory).insert(name, id);
        id
    }

    pub fn mkdir(&mut self, from: Id, path: &[u8]) -> Option<Id> {
        let slot = self.slot(from, path, true)?;
        let parent = slot.0;
        Some(self.add(slot, Kind::Directory { names: BTreeMap::new(), parent }))
    }

    pub fn mknod(&mut self, from: Id, path: &[u8]) -> Option<Id> {
        let slot = self.slot(from, path, false)?;
        Some(self.add(slot, Kind::File(Vec::new())))
    }

    pub fn symlink(&mut self, target: &[u8], from: Id, path: &[u8]) -> Option<Id> {
        let slot = self.slot(from, path, false).filter(|_| !target.is_empty())?;
        Some(self.add(slot, Kind::Link(target.to_vec())))
    }

    pub fn link(&mut self, from: Id, old: &[u8], new: &[u8], last: Last) -> Option<()> {
        let node = self.lookup(from, old, last).filter(|&node| !self.is_directory(node))?;
        let (directory, name) = self.slot(from, new, false)?;
        self.names_mut(directory).insert(name, node);
        Some(())
    }

    /// The file that open(2) opens or, with `creates`, creates.
    pub fn open(&mut self, from: Id, path: &[u8], how: How) -> Option<Id> {
        let keep = how.creates && how.exclusive || how.keeps_link;
        let walked = self.walk(from, path, if keep { Last::Keep } else { Last::Follow });
        if how.creates {
            // A slash behind a name is an error before anything is looked up, unless it is behind a link's target.
            let named = self.walk(from, path, Last::Name)?;
            if named.name.is_none() || named.slash {
                return None;
            }
        }
        let walked = walked?;
        if how.creates && (walked.name.is_none() || walked.slash) {
            return None;
        }
        match walked.node {
            None if how.creates => {
                let slot = (walked.parent, walked.name?);
                Some(self.add(slot, Kind::File(Vec::new())))
            }
            None => None,
            Some(_) if how.creates && how.exclusive => None,
            Some(node) => match &mut self.nodes[node] {
                Kind::File(bytes) if !walked.slash => {
                    if how.empties {
                        bytes.clear();
                    }
                    Some(node)
                }
                Kind::Directory { .. } if !(how.writes || how.creates || how.empties) => Some(node),
                _ => None,
            },
        }
    }

    pub fn unlink(&mut self, from: Id, path: &[u8]) -> Option<()> {
        let walked = self.walk(from, path, Last::Name)?;
        let name = walked.name.filter(|_| !walked.slash && self.is_directory(walked.parent))?;
        let &node = self.names(walked.parent).get(&name)?;
        if self.is_directory(node) {
            return None;
        }
        self.names_mut(walked.parent).remove(&name);
        Some(())
    }

    pub fn rmdir(&mut self, from: Id, path: &[u8]) -> Option<()> {
        let walked = self.walk(from, path, Last::Name)?;
        let name = walked.name.filter(|_| self.is_directory(walked.parent))?;
        let &node = self.names(walked.parent).get(&name)?;
        if !self.is_directory(node) || !self.names(node).is_empty() {
            return None;
        }
        self.names_mut(walked.parent).remove(&name);
        Some(())
    }

    pub fn rename(
        &mut self,
        from: Id,
        old: &[u8],
        new: &[u8],
        replaces: bool,
        exchanges: bool,
    ) -> Option<()> {
        let (old, new) = (self.walk(from, old, Last::Name)?, self.walk(from, new, Last::Name)?);
        let (old_name, new_name) = (old.name?, new.name?);
        if !self.is_directory(old.parent) || !self.is_directory(new.parent) {
            return None;
        }
        let &moved = self.names(old.parent).get(&old_name)?;
        let target = self.names(new.parent).get(&new_name).copied();
        let refused = match target {
            Some(target) => {
                !replaces
                    || self.is_above(target, old.parent)
                    || exchanges && new.slash && !self.is_directory(target)
            }
            None => exchanges,
        };
        let needs_directory = old.slash || new.slash && !exchanges;
        if refused
            || needs_directory && !self.is_directory(moved)
            || self.is_above(moved, new.parent)
        {
            return None;
        }
        if target == Some(moved) {
            return Some(());
        }
        if let Some(target) = target.filter(|_| !exchanges) {
            let (is, becomes) = (self.is_directory(target), self.is_directory(moved));
            if is != becomes || is && !self.names(target).is_empty() {
                return None;
            }
        }
        self.names_mut(old.parent).remove(&old_name);
        self.names_mut(new.parent).insert(new_name, moved);
        self.moved_to(moved, new.parent);
        if let Some(target) = target.filter(|_| exchanges) {
            self.names_mut(old.parent).insert(old_name, target);
            self.moved_to(target, old.parent);
        }
        Some(())
    }

    fn moved_to(&mut self, id: Id, directory: Id) {
        if let Kind::Directory { parent, .. } = &mut self.nodes[id] {
            *parent = directory;
        }
    }

    fn is_above(&self, id: Id, directory: Id) -> bool {
        id == directory || directory != ROOT && self.is_above(id, self.parent(directory))
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub creates: bool,
    pub exclusive: bool,
    pub empties: bool,
    pub writes: bool,
    pub keeps_link: bool,
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}
