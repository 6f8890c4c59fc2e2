//! The entries that a walk reads, by bit arithmetic alone.

use hosted::frames::HostFrames;
use hosted::mmu::MmuKind;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};

/// The tables on the way to `addr`, top level first, each with the index of the entry in it. Ends before
/// the first table that is absent.
pub(crate) fn path(
    frames: &HostFrames,
    kind: MmuKind,
    root: Frame,
    addr: u64,
) -> Vec<(Frame, usize)> {
    let shifts: &[u32] = match kind {
        MmuKind::TwoLevel => &[22, 12],
        MmuKind::Pae => &[30, 21, 12],
        MmuKind::FourLevel => &[39, 30, 21, 12],
        MmuKind::FiveLevel => &[48, 39, 30, 21, 12],
    };
    let mut path = Vec::new();
    let mut table = root;
    for (level, shift) in shifts.iter().enumerate() {
        let mask = match (kind, level) {
            (MmuKind::TwoLevel, _) => 0x3ff,
            (MmuKind::Pae, 0) => 3,
            _ => 0x1ff,
        };
        let index = (addr >> shift & mask) as usize;
        path.push((table, index));
        let entry = if kind == MmuKind::TwoLevel {
            u64::from(frames.table32(table)[index].load(Ordering::Acquire))
        } else {
            frames.table64(table)[index].load(Ordering::Acquire)
        };
        if entry & 1 == 0 {
            break;
        }
        table = Frame::at(entry & 0x000f_ffff_ffff_f000).unwrap();
    }
    path
}
