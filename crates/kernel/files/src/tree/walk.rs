//! Following a path from directory to directory.
//!
//! Each step locks one directory, for one look-up, so a walk runs beside changes of the tree and
//! sees each directory as it is at its step, as in Linux. Symbolic links are followed by putting
//! their target in front of what is left of the path, so no recursion, and no path, is deeper than
//! the stack.

use super::node::{Node, Place};
use super::path::{self, NAME_MAX};
use super::{FileSystem, FileType};
use crate::proc::ProcNode;
use crate::{Errno, Follow, WaitQueue};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Symbolic links that one path may meet.
const MAX_LINKS: usize = 40;

/// What a walk does with the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Final {
    /// Looks it up, and what it links to.
    Follow,
    /// Looks it up; a link only counts as its target if slashes follow.
    Keep,
    /// Leaves it alone: the caller wants its directory and its name.
    Name,
    /// As the first two, but leaves a name alone that slashes follow: open(2) creates no directories,
    /// and says so before it looks.
    Create(Follow),
}

/// The last component as it was met, at the end of all links.
#[derive(Clone, Debug)]
pub(super) enum Last<'a> {
    /// An ordinary name.
    Name(Cow<'a, [u8]>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Nothing but slashes.
    Root,
}

/// Where a walk ended.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// The directory in which the last component was looked up.
    pub(super) parent: Node,
    pub(super) last: Last<'a>,
    /// Whether slashes follow the last component.
    pub(super) slash: bool,
    /// What the last component is; `None` if there is no such name, or with [`Final::Name`].
    pub(super) node: Option<Node>,
}

/// Where a symbolic link leads.
enum Followed {
    /// Here.
    Node(Node),
    /// To this path, from the directory that the link is in.
    Path(Vec<u8>),
}

impl<Q: WaitQueue> FileSystem<Q> {
    /// Follows `path` from `from`, or from the root if it starts with a slash.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] for an empty path or a missing directory on the way (a missing last component is no
    /// error), [`Errno::NOTDIR`], [`Errno::LOOP`] after 40 links, [`Errno::NAMETOOLONG`].
    pub(super) fn walk<'a>(
        &self,
        from: &Node,
        path: &'a [u8],
        last: Final,
    ) -> Result<Walk<'a>, Errno> {
        path::check(path)?;
        let mut at = if path.starts_with(b"/") { self.root() } else { from.clone() };
        let mut todo = Cow::Borrowed(path);
        let follows = matches!(last, Final::Follow | Final::Create(Follow::Yes));
        let mut links = 0;
        loop {
            let Some(step) = path::split_first(&todo) else {
                let node = Some(at.clone());
                return Ok(Walk { parent: at, last: Last::Root, slash: true, node });
            };
            if at.kind() != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            let (is_last, slash) = (step.rest.is_empty(), step.slash);
            let leaves_alone = last == Final::Name || (slash && matches!(last, Final::Create(_)));
            let found = match step.name {
                b"." => Some(at.clone()),
                b".." => Some(self.parent_of(&at)?),
                name if name.len() > NAME_MAX => return Err(Errno::NAMETOOLONG),
                _ if is_last && leaves_alone => None,
                name => self.child_of(&at, name)?,
            };
            let is_followed =
                |node: &Node| node.kind() == FileType::Symlink && (!is_last || slash || follows);
            let node = match found {
                Some(link) if is_followed(&link) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    match self.follow(&link, is_last)? {
                        Followed::Node(node) => Some(node),
                        Followed::Path(mut path) => {
                            if path.starts_with(b"/") {
                                at = self.root();
                            }
                            if slash {
                                path.push(b'/');
                            }
                            path.extend_from_slice(step.rest);
                            todo = Cow::Owned(path);
                            continue;
                        }
                    }
                }
                found => found,
            };
            if is_last {
                let last = match step.name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    name => Last::Name(own_name(&todo, name)),
                };
                return Ok(Walk { parent: at, last, slash, node });
            }
            at = node.ok_or(Errno::NOENT)?;
            let done = todo.len() - step.rest.len();
            advance(&mut todo, done);
        }
    }

    /// Finds out what a link stands for.
    fn follow(&self, link: &Node, is_last: bool) -> Result<Followed, Errno> {
        // Some links of /proc lead to something open, whatever its path is now. At the end of a
        // path, the caller has to choose between the file and its description.
        if is_last && link.is_descriptor() {
            return Ok(Followed::Node(link.clone()));
        }
        if let Some(node) = self.jump(link)? {
            return Ok(Followed::Node(node));
        }
        let path = self.target_of(link)?;
        if path.is_empty() { Err(Errno::NOENT) } else { Ok(Followed::Path(path)) }
    }

    /// Looks `name` up in the directory `at`.
    fn child_of(&self, at: &Node, name: &[u8]) -> Result<Option<Node>, Errno> {
        match &at.0 {
            Place::Tree(directory) => {
                let child = directory.names()?.get(name).cloned();
                Ok(child.map(|inode| self.mounted(inode)))
            }
            Place::Proc(node) => {
                Ok(node.child(&*self.source, name).map(|node| Node(Place::Proc(node))))
            }
        }
    }

    /// Returns the directory above `at`; the root is above itself.
    pub(super) fn parent_of(&self, at: &Node) -> Result<Node, Errno> {
        match &at.0 {
            Place::Tree(directory) if Arc::ptr_eq(directory, &self.root) => Ok(at.clone()),
            Place::Tree(directory) => {
                let parent = directory.names()?.parent().ok_or(Errno::NOENT)?;
                Ok(Node(Place::Tree(parent)))
            }
            Place::Proc(ProcNode::ROOT) => {
                self.parent_of(&Node(Place::Tree(self.proc_mount.clone())))
            }
            Place::Proc(node) => Ok(Node(Place::Proc(node.parent()))),
        }
    }

    /// Returns the node for an inode: the root of `/proc` if that is mounted on it.
    pub(super) fn mounted(&self, inode: Arc<super::Inode>) -> Node {
        if Arc::ptr_eq(&inode, &self.proc_mount) {
            Node(Place::Proc(ProcNode::ROOT))
        } else {
            Node(Place::Tree(inode))
        }
    }

    /// Returns where a symbolic link leads.
    pub(super) fn target_of(&self, link: &Node) -> Result<Vec<u8>, Errno> {
        match &link.0 {
            Place::Tree(inode) => inode.target().map(<[u8]>::to_vec).ok_or(Errno::INVAL),
            Place::Proc(node) => node.target(self),
        }
    }

    /// Returns the node a link of `/proc` stands for without a path, if it is such a link.
    pub(super) fn jump(&self, link: &Node) -> Result<Option<Node>, Errno> {
        match &link.0 {
            Place::Tree(_) => Ok(None),
            Place::Proc(node) => node.jump(self),
        }
    }
}

/// Takes the name of a step out of what was left of the path.
///
/// While that is a part of the caller's path, so is the name, and nothing is copied.
fn own_name<'a>(todo: &Cow<'a, [u8]>, name: &[u8]) -> Cow<'a, [u8]> {
    match todo {
        Cow::Borrowed(todo) => match path::split_first(todo) {
            Some(step) => Cow::Borrowed(step.name),
            None => Cow::Owned(name.to_vec()),
        },
        Cow::Owned(_) => Cow::Owned(name.to_vec()),
    }
}

/// Drops the first `done` bytes of what is left of the path.
fn advance(todo: &mut Cow<'_, [u8]>, done: usize) {
    match todo {
        Cow::Borrowed(todo) => *todo = &todo[done..],
        Cow::Owned(todo) => drop(todo.drain(..done)),
    }
}
