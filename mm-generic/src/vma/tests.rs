//! What programs do to their address space, one call at a time. Random sequences of calls are in
//! `tests/vma_model.rs`.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Backing, Vma, VmaError, VmaFlags, VmaSet};
use crate::prot::Prot;

const R: Prot = Prot::READ;
const RW: Prot = Prot::READ.union(Prot::WRITE);
const LIMITS: Range<u64> = 0x1000..0x10_0000;

fn with(range: Range<u64>, prot: Prot, flags: VmaFlags, backing: Backing<char>) -> Vma<char> {
    Vma::new(range, prot, flags, backing).unwrap()
}

fn anonymous(range: Range<u64>, prot: Prot) -> Vma<char> {
    with(range, prot, VmaFlags::empty(), Backing::Anonymous)
}

fn stack(range: Range<u64>) -> Vma<char> {
    with(range, RW, VmaFlags::GROWS_DOWN, Backing::Anonymous)
}

/// A set with anonymous VMAs, readable and writable, over `ranges`.
fn set_of(ranges: &[(u64, u64)]) -> VmaSet<char> {
    let mut set = VmaSet::new(LIMITS);
    for &(start, end) in ranges {
        set.insert(anonymous(start..end, RW)).unwrap();
    }
    set
}

fn layout(set: &VmaSet<char>) -> Vec<(Range<u64>, Prot)> {
    set.iter().map(|vma| (vma.range(), vma.prot())).collect()
}

/// All that the set is.
fn picture(set: &VmaSet<char>) -> (Vec<Vma<char>>, u64) {
    (set.iter().cloned().collect(), set.mapped_bytes())
}

/// Runs `edit`, which must fail, and checks that the set is as it was.
#[track_caller]
fn refused<T>(
    set: &mut VmaSet<char>,
    edit: impl FnOnce(&mut VmaSet<char>) -> Result<T, VmaError>,
) -> VmaError {
    let before = picture(set);
    let Err(error) = edit(set) else { panic!("the edit was not refused") };
    assert_eq!(picture(set), before, "a refused edit left traces");
    error
}

#[test]
fn find_sees_exactly_the_bytes_that_are_mapped() {
    let set = set_of(&[(0x2000, 0x4000)]);
    assert!(set.find(0x1fff).is_none());
    assert_eq!(set.find(0x2000).unwrap().range(), 0x2000..0x4000);
    assert_eq!(set.find(0x3fff).unwrap().range(), 0x2000..0x4000);
    assert!(set.find(0x4000).is_none(), "the next VMA up is not meant");
    assert_eq!((set.len(), set.mapped_bytes()), (1, 0x2000));
}

#[test]
fn insert_never_covers_what_is_mapped() {
    let mut set = set_of(&[(0x2000, 0x4000), (0x6000, 0x7000)]);
    for range in [0x1000..0x3000, 0x3000..0x5000, 0x2000..0x4000, 0x1000..0x8000] {
        let error = refused(&mut set, |set| set.insert(anonymous(range.clone(), R)));
        let Range { start, end } = range;
        assert_eq!(error, VmaError::Overlap { start, end, existing: 0x2000..0x4000 });
    }
    set.insert(anonymous(0x4000..0x6000, R)).expect("it fits between the two");
}

#[test]
fn user_limits_hold_for_every_edit() {
    let mut set = set_of(&[(0x1000, 0x2000)]);
    let outside = |start, end| VmaError::OutsideUser { start, end, limits: LIMITS };
    let low = 0..0x1000;
    let high = 0xf_f000..0x10_1000;
    for Range { start, end } in [low, high] {
        let vma = || anonymous(start..end, R);
        assert_eq!(refused(&mut set, |set| set.insert(vma())), outside(start, end));
        assert_eq!(refused(&mut set, |set| set.replace(vma())), outside(start, end));
        assert_eq!(refused(&mut set, |set| set.remove(start..end)), outside(start, end));
        assert_eq!(refused(&mut set, |set| set.protect(start..end, R)), outside(start, end));
    }
    set.insert(anonymous(0xf_f000..0x10_0000, R)).expect("the last page is within the limits");
}

#[test]
fn remove_cuts_a_file_mapping_and_hands_the_middle_back() {
    let file = |offset, len| Backing::Object { object: 'f', offset, len };
    let mut set = VmaSet::new(LIMITS);
    set.insert(with(0x4000..0x8000, R, VmaFlags::SHARED, file(0x1_0000, 0x3800))).unwrap();

    let removed = set.remove(0x5000..0x6000).unwrap();
    let expected = [with(0x5000..0x6000, R, VmaFlags::SHARED, file(0x1_1000, 0x1000))];
    assert_eq!(*removed, expected);
    let left: Vec<_> = set.iter().cloned().collect();
    assert_eq!(
        left,
        [
            with(0x4000..0x5000, R, VmaFlags::SHARED, file(0x1_0000, 0x1000)),
            with(0x6000..0x8000, R, VmaFlags::SHARED, file(0x1_2000, 0x1800)),
        ]
    );
    assert_eq!(set.mapped_bytes(), 0x3000);

    for piece in removed {
        set.insert(piece).unwrap();
    }
    assert_eq!(set.len(), 1, "putting the piece back makes it whole");
}

#[test]
fn remove_of_nothing_is_no_error() {
    let mut set = set_of(&[(0x2000, 0x3000)]);
    assert!(set.remove(0x8000..0x9000).unwrap().is_empty());
    assert_eq!(
        refused(&mut set, |set| set.remove(0x2001..0x3000)),
        VmaError::Unaligned { addr: 0x2001 }
    );
    let empty = Range { start: 0x3000, end: 0x2000 };
    assert_eq!(refused(&mut set, |set| set.remove(empty)), VmaError::Empty { addr: 0x3000 });
}

#[test]
fn replace_returns_every_piece_it_displaced() {
    let mut set = set_of(&[(0x2000, 0x4000), (0x5000, 0x6000), (0x7000, 0x9000)]);
    let removed = set.replace(anonymous(0x3000..0x8000, R)).unwrap();
    let ranges: Vec<_> = removed.iter().map(Vma::range).collect();
    assert_eq!(ranges, [0x3000..0x4000, 0x5000..0x6000, 0x7000..0x8000]);
    assert_eq!(layout(&set), [(0x2000..0x3000, RW), (0x3000..0x8000, R), (0x8000..0x9000, RW)]);
}

#[test]
fn protect_splits_and_restoring_the_rights_merges_again() {
    let mut set = set_of(&[(0x2000, 0x8000)]);
    let whole = picture(&set);
    let changed = set.protect(0x4000..0x5000, R).unwrap();
    assert_eq!(*changed, [anonymous(0x4000..0x5000, RW)], "pieces carry the rights they had");
    assert_eq!(layout(&set), [(0x2000..0x4000, RW), (0x4000..0x5000, R), (0x5000..0x8000, RW)]);

    let changed = set.protect(0x3000..0x6000, RW).unwrap();
    assert_eq!(*changed, [anonymous(0x4000..0x5000, R)], "the rest had these rights already");
    assert_eq!(picture(&set), whole);
}

#[test]
fn protect_across_a_hole_changes_nothing() {
    let mut set = set_of(&[(0x2000, 0x4000), (0x5000, 0x6000)]);
    for (range, addr) in
        [(0x2000..0x6000, 0x4000), (0x1000..0x3000, 0x1000), (0x5000..0x7000, 0x6000)]
    {
        let error = refused(&mut set, |set| set.protect(range, R));
        assert_eq!(error, VmaError::NotMapped { addr });
    }
}

#[test]
fn a_full_set_refuses_splits_and_takes_what_merges() {
    let mut set = VmaSet::with_max_map_count(LIMITS, 2);
    set.insert(anonymous(0x2000..0x5000, RW)).unwrap();
    set.insert(anonymous(0x7000..0x8000, RW)).unwrap();
    let full = VmaError::TooMany { limit: 2 };
    assert_eq!(refused(&mut set, |set| set.insert(anonymous(0x9000..0xa000, RW))), full);
    assert_eq!(refused(&mut set, |set| set.remove(0x3000..0x4000)), full);
    assert_eq!(refused(&mut set, |set| set.protect(0x2000..0x3000, R)), full);
    assert_eq!(refused(&mut set, |set| set.replace(anonymous(0x4000..0x5000, R))), full);
    assert_eq!(refused(&mut set, |set| set.resize_end(0x4000, 0x3000)), full);

    set.insert(anonymous(0x5000..0x7000, RW)).expect("it closes the gap");
    assert_eq!(layout(&set), [(0x2000..0x8000, RW)]);
}

#[test]
fn a_child_starts_without_the_vmas_that_are_not_to_be_copied() {
    let mut set = set_of(&[(0x2000, 0x3000), (0x4000, 0x5000)]);
    set.insert(with(0x3000..0x4000, RW, VmaFlags::DONT_COPY, Backing::Anonymous)).unwrap();
    let child = set.fork_copy().unwrap();
    assert_eq!(child, set_of(&[(0x2000, 0x3000), (0x4000, 0x5000)]));
    assert_eq!(set.len(), 3, "the parent keeps it");
}

#[test]
fn gaps_are_taken_from_the_top() {
    let set = set_of(&[(0x3000, 0x4000), (0x6000, 0x7000), (0x9000, 0xa000)]);
    let gap = |len, below| set.find_gap(len, None, below);
    assert_eq!(gap(0x1000, u64::MAX), Ok(0xf_f000), "bounded by the limits");
    assert_eq!(gap(0x1000, 0xb000), Ok(0xa000));
    assert_eq!(gap(0x2000, 0xb000), Ok(0x7000));
    assert_eq!(gap(0x1000, 0x9800), Ok(0x8000), "the bound lies inside a VMA");
    assert_eq!(gap(0x1000, 0x8fff), Ok(0x7000), "the bound is rounded down");
    assert_eq!(gap(0x2000, 0x3000), Ok(0x1000), "down to the lower limit");
    assert_eq!(gap(0x3000, 0xb000), Err(VmaError::NoGap { len: 0x3000, below: 0xb000 }));
    assert_eq!(gap(0x1000, 0x1fff), Err(VmaError::NoGap { len: 0x1000, below: 0x1fff }));
    assert_eq!(gap(0x1000, 0), Err(VmaError::NoGap { len: 0x1000, below: 0 }));
    assert_eq!(gap(0, 0xb000), Err(VmaError::Empty { addr: 0xb000 }));
    assert_eq!(gap(0x1001, 0xb000), Err(VmaError::Unaligned { addr: 0x1001 }));
}

#[test]
fn a_hint_is_taken_if_it_is_free_and_no_error_if_not() {
    let set = set_of(&[(0x3000, 0x4000), (0x6000, 0x7000)]);
    let gap = |hint| set.find_gap(0x2000, Some(hint), 0x9000);
    assert_eq!(gap(0x4000), Ok(0x4000));
    assert_eq!(gap(0x3001), Ok(0x4000), "rounded up to a page");
    assert_eq!(gap(0xa000), Ok(0xa000), "also above the bound of the search");
    for useless in [0x2000, 0x5000, 0, 0xf_f000, u64::MAX - 0x1fff, u64::MAX] {
        assert_eq!(gap(useless), Ok(0x7000));
    }
}

#[test]
fn a_stack_grows_to_the_fault_and_stays_one_vma() {
    let mut set = VmaSet::new(LIMITS);
    set.insert(stack(0x8_0000..0x8_1000)).unwrap();
    assert_eq!(set.grow_down(0x7_d123, 0x1000, 0x1_0000).unwrap().range(), 0x7_d000..0x8_1000);
    let grown = picture(&set);
    set.grow_down(0x7_e000, 0x1000, 0x1_0000).expect("another thread's fault came first");
    assert_eq!(picture(&set), grown);
}

#[test]
fn stack_clash_is_refused() {
    let mut set = set_of(&[(0x7_0000, 0x7_1000)]);
    set.insert(stack(0x8_0000..0x8_1000)).unwrap();
    set.grow_down(0x7_5000, 0x4000, u64::MAX).expect("the gap is exactly as large as it must be");
    let error = refused(&mut set, |set| set.grow_down(0x7_4fff, 0x4000, u64::MAX).map(drop));
    let (start, below) = (0x7_4000, 0x7_1000);
    assert_eq!(error, VmaError::GuardGap { start, below, guard_gap: 0x4000 });

    let _ = set.protect(0x7_0000..0x7_1000, Prot::empty()).unwrap();
    set.grow_down(0x7_1000, 0x4000, u64::MAX).expect("a VMA without rights is a guard itself");
}

#[test]
fn only_stacks_grow_and_only_within_their_limits() {
    let mut set = VmaSet::new(LIMITS);
    let grow = |set: &mut VmaSet<char>, addr| set.grow_down(addr, 0x1000, 0x4000).map(drop);
    assert_eq!(refused(&mut set, |set| grow(set, 0x5000)), VmaError::NotMapped { addr: 0x5000 });
    set.insert(anonymous(0x4000..0x5000, RW)).unwrap();
    assert_eq!(refused(&mut set, |set| grow(set, 0x3001)), VmaError::NotMapped { addr: 0x3001 });
    let file = Backing::Object { object: 'f', offset: 0, len: 0x1000 };
    set.insert(with(0x6000..0x7000, RW, VmaFlags::GROWS_DOWN, file)).unwrap();
    assert_eq!(refused(&mut set, |set| grow(set, 0x5000)), VmaError::NotMapped { addr: 0x5000 });

    let mut set = VmaSet::new(LIMITS);
    set.insert(stack(0x3000..0x4000)).unwrap();
    let limits = VmaError::OutsideUser { start: 0, end: 0x3000, limits: LIMITS };
    assert_eq!(refused(&mut set, |set| grow(set, 0xfff)), limits);
    let _ = set.remove(0x3000..0x4000).unwrap();
    set.insert(stack(0x8000..0x9000)).unwrap();
    grow(&mut set, 0x5000).expect("four pages are allowed");
    let too_long = VmaError::StackLimit { len: 0x5000, max_len: 0x4000 };
    assert_eq!(refused(&mut set, |set| grow(set, 0x4000)), too_long);
}

#[test]
fn brk_extends_and_shrinks_in_place() {
    let mut set = set_of(&[(0x5000, 0x6000)]);
    assert!(set.resize_end(0x6000, 0x9000).unwrap().is_empty());
    assert_eq!(layout(&set), [(0x5000..0x9000, RW)]);
    assert!(set.resize_end(0x9000, 0x9000).unwrap().is_empty());
    assert_eq!(*set.resize_end(0x9000, 0x7000).unwrap(), [anonymous(0x7000..0x9000, RW)]);
    assert_eq!(layout(&set), [(0x5000..0x7000, RW)]);
    assert_eq!(*set.resize_end(0x7000, 0x5000).unwrap(), [anonymous(0x5000..0x7000, RW)]);
    assert!(set.is_empty());
}

#[test]
fn brk_shrinks_a_heap_that_merged_with_its_neighbour() {
    let mut set = set_of(&[(0x5000, 0x7000), (0x7000, 0x9000)]);
    assert_eq!(set.len(), 1);
    assert_eq!(*set.resize_end(0x7000, 0x6000).unwrap(), [anonymous(0x6000..0x7000, RW)]);
    assert_eq!(layout(&set), [(0x5000..0x6000, RW), (0x7000..0x9000, RW)]);
}

#[test]
fn brk_is_refused_where_it_would_hit_something() {
    let mut set = set_of(&[(0x5000, 0x6000), (0x8000, 0x9000)]);
    let mut resize = |old, new| refused(&mut set, |set| set.resize_end(old, new));
    let existing = 0x8000..0x9000;
    assert_eq!(resize(0x6000, 0xa000), VmaError::Overlap { start: 0x6000, end: 0xa000, existing });
    assert_eq!(resize(0x6000, 0x4000), VmaError::NotMapped { addr: 0x4000 });
    assert_eq!(resize(0x7000, 0x8000), VmaError::NotMapped { addr: 0x6000 });
    assert_eq!(resize(0, 0x1000), VmaError::NotMapped { addr: 0 });
    assert_eq!(resize(0x6001, 0x7000), VmaError::Unaligned { addr: 0x6001 });
    assert_eq!(resize(0x6000, 0x7001), VmaError::Unaligned { addr: 0x7001 });
    assert_eq!(
        resize(0x9000, 0x10_1000),
        VmaError::OutsideUser { start: 0x9000, end: 0x10_1000, limits: LIMITS }
    );
}

#[test]
fn a_heap_does_not_merge_with_the_segment_before_it() {
    let data = Backing::Object { object: 'f', offset: 0x2000, len: 0x800 };
    let mut set = VmaSet::new(LIMITS);
    set.insert(with(0x3000..0x5000, RW, VmaFlags::empty(), data)).unwrap();
    let error = refused(&mut set, |set| set.resize_end(0x5000, 0x6000));
    assert_eq!(error, VmaError::NotMapped { addr: 0x4000 }, "a .bss is no heap");
    set.insert(anonymous(0x5000..0x6000, RW)).unwrap();
    assert_eq!(set.len(), 2);
}

#[test]
#[should_panic(expected = "not whole pages")]
fn limits_that_are_not_whole_pages_are_a_bug() {
    let _ = VmaSet::<char>::new(0x1000..0x7fff_ffff_ffff);
}
