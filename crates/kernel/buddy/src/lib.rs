//! A buddy allocator over frame numbers, with its lists in a table beside the frames.
//!
//! Frames are handed out in blocks of `2^order`, aligned to their size. A block is split into two
//! buddies when only a larger one is free, and merged with its buddy when both are. Each frame has a
//! [`Link`] in a table, as Linux has a `struct page`, so finding and unlinking a buddy takes one look
//! at the table. (The `buddy_system_allocator` crate keeps its lists inside the free memory and
//! searches a list for the buddy on every free; after hours of forks that list is long.)
//!
//! Nothing here touches the frames, so there is no `unsafe`, and the tests run on the build host.
#![no_std]
#![forbid(unsafe_code)]

use core::ops::Range;
use thiserror::Error;

/// Orders there are: blocks of 1 up to 2^10 frames (4 MiB of 4 KiB frames).
pub const ORDERS: u8 = 11;

/// Stands for "no frame" in a list.
const NIL: u32 = u32::MAX;

/// What the allocator knows about one frame. All zeros means: not free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    next: u32,
    previous: u32,
    /// For the first frame of a free block: its order plus one. Otherwise 0.
    head: u8,
}

/// Why a block cannot be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FreeError {
    /// The block reaches beyond the frames there are, or is not aligned to its size.
    #[error("block {frame:#x} of order {order} is not a block of {frames} frames")]
    NotABlock {
        /// First frame of the block.
        frame: usize,
        /// Its order.
        order: u8,
        /// Frames the allocator manages.
        frames: usize,
    },
    /// The block's first frame is free already.
    #[error("frame {frame:#x} is freed twice")]
    Twice {
        /// The frame.
        frame: usize,
    },
}

/// The allocator. Frame `n` is described by `links[n]`.
#[derive(Debug)]
pub struct Buddy<'a> {
    links: &'a mut [Link],
    heads: [u32; ORDERS as usize],
    free: usize,
}

impl<'a> Buddy<'a> {
    /// Makes an allocator of `links.len()` frames, none of which is free yet.
    ///
    /// # Panics
    ///
    /// When there are 2^32 - 1 frames or more: the lists count in 32 bits.
    #[must_use]
    pub fn new(links: &'a mut [Link]) -> Self {
        assert!(links.len() < NIL as usize, "{} frames do not fit 32 bits", links.len());
        links.fill(Link::default());
        Self { links, heads: [NIL; ORDERS as usize], free: 0 }
    }

    /// Returns the number of free frames.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Frees every frame of `frames`, in the largest blocks possible.
    ///
    /// # Errors
    ///
    /// As [`Buddy::free`]; frames before the faulty one are then free.
    pub fn add(&mut self, frames: Range<usize>) -> Result<(), FreeError> {
        let mut frame = frames.start;
        while frame < frames.end {
            let fits = (frames.end - frame).ilog2();
            let order = frame.trailing_zeros().min(fits).min(u32::from(ORDERS) - 1) as u8;
            self.free(frame, order)?;
            frame += 1 << order;
        }
        Ok(())
    }

    /// Takes a block of `2^order` frames; `None` when there is none.
    pub fn alloc(&mut self, order: u8) -> Option<usize> {
        let found = (order..ORDERS).find(|&o| self.heads[usize::from(o)] != NIL)?;
        let frame = self.heads[usize::from(found)];
        self.unlink(frame);
        // Give the upper halves back until the block has the size asked for.
        for half in (order..found).rev() {
            self.link(frame + (1 << half), half);
        }
        self.free -= 1 << order;
        Some(frame as usize)
    }

    /// Gives back the block of `2^order` frames that starts at `frame`.
    ///
    /// A block need not be given back in the size it was taken in: its parts may come one by one.
    ///
    /// # Errors
    ///
    /// [`FreeError::NotABlock`] when there is no such block, [`FreeError::Twice`] when its first
    /// frame is the first of a free block. A frame inside a larger free block is not noticed.
    pub fn free(&mut self, frame: usize, order: u8) -> Result<(), FreeError> {
        let size = 1_usize << order;
        let frames = self.links.len();
        let inside = frame.checked_add(size).is_some_and(|end| end <= frames);
        if order >= ORDERS || !inside || !frame.is_multiple_of(size) {
            return Err(FreeError::NotABlock { frame, order, frames });
        }
        if self.links[frame].head != 0 {
            return Err(FreeError::Twice { frame });
        }
        self.free += size;
        // `new` checked that frame numbers fit.
        let (mut frame, mut order) = (frame as u32, order);
        while order + 1 < ORDERS {
            let buddy = frame ^ (1 << order);
            match self.links.get(buddy as usize) {
                Some(link) if link.head == order + 1 => self.unlink(buddy),
                _ => break,
            }
            frame &= buddy;
            order += 1;
        }
        self.link(frame, order);
        Ok(())
    }

    fn link(&mut self, frame: u32, order: u8) {
        let next = self.heads[usize::from(order)];
        self.links[frame as usize] = Link { next, previous: NIL, head: order + 1 };
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = frame;
        }
        self.heads[usize::from(order)] = frame;
    }

    fn unlink(&mut self, frame: u32) {
        let Link { next, previous, head } = core::mem::take(&mut self.links[frame as usize]);
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => self.heads[usize::from(head - 1)] = next,
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    #[derive(Clone, Debug)]
    enum Step {
        Alloc(u8),
        Free(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            prop_oneof![(0_u8..6).prop_map(Step::Alloc), any::<usize>().prop_map(Step::Free),];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// No frame is ever in two blocks, blocks are aligned, and the count is right.
        #[test]
        fn blocks_are_disjoint_and_nothing_is_lost(start in 0_usize..40, len in 1_usize..300, steps in steps()) {
            let mut links = vec![Link::default(); start + len];
            let mut buddy = Buddy::new(&mut links);
            buddy.add(start..start + len).expect("all frames exist");
            let mut owner = vec![None; start + len];
            let mut blocks: Vec<(usize, u8)> = Vec::new();
            let mut free = len;
            for (id, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Alloc(order) => if let Some(frame) = buddy.alloc(order) {
                        prop_assert_eq!(frame % (1 << order), 0);
                        prop_assert!(frame >= start);
                        for owner in &mut owner[frame..frame + (1 << order)] {
                            prop_assert_eq!(owner.replace(id), None);
                        }
                        blocks.push((frame, order));
                        free -= 1 << order;
                    },
                    Step::Free(index) => if !blocks.is_empty() {
                        let (frame, order) = blocks.swap_remove(index % blocks.len());
                        owner[frame..frame + (1 << order)].fill(None);
                        buddy.free(frame, order).expect("allocated above");
                        free += 1 << order;
                    },
                }
                prop_assert_eq!(buddy.free_frames(), free);
            }
            // Everything comes back as one frame each, and merges: all can be taken again.
            for (frame, order) in blocks {
                for part in frame..frame + (1 << order) {
                    buddy.free(part, 0).expect("allocated above");
                }
            }
            let mut taken = 0;
            for order in (0..ORDERS).rev() {
                while buddy.alloc(order).is_some() {
                    taken += 1 << order;
                }
            }
            prop_assert_eq!(taken, len);
        }
    }

    #[test]
    fn merged_buddies_make_the_largest_block_again() {
        let mut links = vec![Link::default(); 1024];
        let mut buddy = Buddy::new(&mut links);
        buddy.add(0..1024).expect("all frames exist");
        let frames: Vec<_> = core::iter::from_fn(|| buddy.alloc(0)).collect();
        assert_eq!(frames.len(), 1024);
        for frame in frames {
            buddy.free(frame, 0).expect("allocated above");
        }
        assert_eq!(buddy.alloc(10), Some(0));
    }

    #[test]
    fn misuse_is_reported() {
        let mut links = vec![Link::default(); 8];
        let mut buddy = Buddy::new(&mut links);
        assert_eq!(buddy.alloc(0), None);
        let frames = 8;
        assert_eq!(buddy.free(8, 0), Err(FreeError::NotABlock { frame: 8, order: 0, frames }));
        assert_eq!(buddy.free(1, 1), Err(FreeError::NotABlock { frame: 1, order: 1, frames }));
        assert_eq!(buddy.free(0, 11), Err(FreeError::NotABlock { frame: 0, order: 11, frames }));
        assert_eq!(buddy.free(0, 0), Ok(()));
        assert_eq!(buddy.free(0, 0), Err(FreeError::Twice { frame: 0 }));
    }
}
