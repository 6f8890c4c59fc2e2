//! Tables with one thing wrong. Each must be seen, or the comparison proves nothing.

use arch_x86::geometry::Geometry;
use hosted::frames::HostFrames;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};
use tests_host::machine::{Boot, DATA, LatePgds};
use tests_host::shape::Shape;

use super::model::{Covered, Eyes};
use super::sequences::{Known, eyes};

/// Bits of an entry: writable, user.
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;

/// Page number bits of an address, by level from the top.
fn indices(shape: Shape, addr: u64) -> Vec<usize> {
    use hosted::mmu::MmuKind::{FiveLevel, FourLevel, Pae, TwoLevel};
    let shifts: &[(u32, u64)] = match shape.kind {
        TwoLevel => &[(22, 0x3ff), (12, 0x3ff)],
        Pae => &[(30, 3), (21, 0x1ff), (12, 0x1ff)],
        FourLevel => &[(39, 0x1ff), (30, 0x1ff), (21, 0x1ff), (12, 0x1ff)],
        FiveLevel => &[(48, 0x1ff), (39, 0x1ff), (30, 0x1ff), (21, 0x1ff), (12, 0x1ff)],
    };
    shifts.iter().map(|&(shift, mask)| (addr >> shift & mask) as usize).collect()
}

fn read(shape: Shape, frames: &HostFrames, table: Frame, index: usize) -> u64 {
    match shape.kind {
        hosted::mmu::MmuKind::TwoLevel => {
            u64::from(frames.table32(table)[index].load(Ordering::Acquire))
        }
        _ => frames.table64(table)[index].load(Ordering::Acquire),
    }
}

/// The tables that lead to `addr`, and the index of its entry in each.
fn path(shape: Shape, frames: &HostFrames, root: Frame, addr: u64) -> Vec<(Frame, usize)> {
    let mut table = root;
    let mut path = Vec::new();
    for index in indices(shape, addr) {
        path.push((table, index));
        match Shape::table_of(read(shape, frames, table, index)) {
            Some(next) => table = next,
            None => break,
        }
    }
    path
}

/// Changes one entry, demands that it is seen, and puts it back.
fn demand_seen<G: Geometry>(
    what: &str,
    known: &Known<'_, G>,
    eyes: &mut Eyes,
    (table, index): (Frame, usize),
    change: impl Fn(u64) -> u64,
) {
    let (shape, frames) = (known.machine.shape(), eyes.frames);
    known.look(eyes, &mut Covered::default()).expect("all is right before");
    let word = read(shape, frames, table, index);
    shape.set_top(frames, table, index, change(word));
    let seen = known.look(eyes, &mut Covered::default());
    shape.set_top(frames, table, index, word);
    assert!(seen.is_err(), "{what}: nobody has noticed");
    known.look(eyes, &mut Covered::default()).expect("all is right again");
}

/// Makes each mistake once.
pub(crate) fn run<G: Geometry>(name: &str, boot: &Boot<G, LatePgds<G>>) {
    let mut seen = 0;
    let mut eyes = eyes(boot);
    let eyes = &mut eyes;
    boot.run(|machine| {
        let (shape, frames) = (machine.shape(), machine.frames());
        let mut known = Known::new(machine);
        known.fork_init();
        let addr = known.grow_one();
        let (parent, child) = (known.root(0), known.root(1));
        // A slot that one mm lacks.
        let slot = path(shape, frames, child, addr)[usize::from(shape.private_pmd)];
        demand_seen("a slot left out in one mm", &known, eyes, slot, |_| 0);
        let kernel = path(shape, frames, child, addr);
        let leaf = *kernel.last().expect("a leaf");
        demand_seen("another frame in the leaf", &known, eyes, leaf, |word| word ^ 1 << 12);
        demand_seen("a kernel page that is read-only", &known, eyes, leaf, |word| word & !RW);
        seen += 3;
        if G::HAS_NX {
            demand_seen("a kernel page that can be executed", &known, eyes, leaf, |word| {
                word & !(1 << 63)
            });
            seen += 1;
        }
        let user = path(shape, frames, child, DATA);
        for (level, &entry) in user.iter().enumerate() {
            // PAE's four have no rights.
            if shape.kind == hosted::mmu::MmuKind::Pae && level == 0 {
                continue;
            }
            demand_seen("the user bit gone at one level", &known, eyes, entry, |word| word & !US);
            seen += 1;
        }
        let page = *user.last().expect("a leaf");
        demand_seen("a shared page that can be written", &known, eyes, page, |word| word | RW);
        seen += 1;
        // A reclaim whose walk has missed the child: its slot leads to a table that is free, and soon to one of somebody else's.
        let stale = read(shape, frames, slot.0, slot.1);
        let table = Shape::table_of(stale).expect("a table");
        known.reclaim_one();
        machine.rcu_barrier();
        known.look(eyes, &mut Covered::default()).expect("gone everywhere");
        shape.set_top(frames, slot.0, slot.1, stale);
        // Others take frames until they have that one.
        let taken: Vec<Frame> = std::iter::from_fn(|| frames.alloc().ok()).collect();
        assert!(taken.contains(&table), "the table is free after a reclaim");
        let below = indices(shape, addr)[usize::from(shape.private_pmd) + 1..].to_vec();
        for (level, &index) in below.iter().enumerate() {
            let next = if level + 1 == below.len() { parent } else { table };
            shape.set_top(frames, table, index, next.phys() | 3);
        }
        let noticed = known.look(eyes, &mut Covered::default()).is_err();
        shape.set_top(frames, slot.0, slot.1, 0);
        for frame in taken {
            // SAFETY: taken above, and in no table any more.
            unsafe { frames.put(frame) };
        }
        assert!(noticed, "a reclaim without a walk: nobody has noticed");
        seen += 1;
    });
    println!("{name}: {seen} mutants, all seen");
}
