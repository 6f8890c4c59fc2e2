//! **no-clobber**: late init writes only kernel slots, by compare-exchange, never an older value
//! over a newer one; user slots and private slots keep their bits. The same goes for attach and for
//! walks.

#[cfg(feature = "pgd-init-late")]
mod late_init;

use arch_x86::geometry::Geometry;
use hosted::mmu::MmuKind;
use mm_generic::frames::Frame;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, Machine, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(
    user_slots_keep_their_bits,
    what_the_mmu_has_marked_stays_marked,
    what_the_reference_leaves_empty_stays_empty,
);
tests_host::on_every_machine!(boots: private_slots_keep_their_bits);

/// What an MMU sets in an entry on its own, and the kernel has not set already: the dirty bit. In PAE's top level it is
/// reserved, and the MMU sets nothing.
fn mmu_mark(shape: Shape) -> u64 {
    if shape.kind == MmuKind::Pae && !shape.private_pmd { 0 } else { 1 << 6 }
}

/// The word that a kernel has in a private slot: to the protocol, bits like any others.
const PRIVATE_WORD: u64 = 0x7fff_f067;

/// The mm that is being born: the one that no task has and no walk finds yet is found by its PGD,
/// the last to be allocated.
fn youngest<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, before: &[Frame]) -> Frame {
    let roots = machine.roots();
    *roots.iter().find(|root| !before.contains(root)).expect("an mm has been published")
}

/// Late init, attach and a walk leave the entries below the boundary alone, present or not.
fn user_slots_keep_their_bits<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    let mm = task.mm().unwrap();
    machine.switch(1, &task);
    let user = machine.user_of(mm.root());
    assert!(user.iter().any(|&word| word != 0), "the program has a page");
    let slots = machine.shape().slots;
    machine.grow(0..slots);
    assert_eq!(machine.user_of(mm.root()), user, "the walk");
    drop(machine.clone_of(&task, &kernel_fork::args::CloneArgs::VFORK));
    assert_eq!(machine.user_of(mm.root()), user, "CLONE_VM");
    let kthread = machine.kthread();
    machine.attach(2, &kthread, mm.clone());
    assert_eq!(machine.user_of(mm.root()), user, "attach");
    drop(machine.detach(&kthread));
    // A forked mm brings its user half to its late init.
    let child = machine.fork();
    let root = child.mm().unwrap().root();
    let present = |words: Vec<u64>| words.iter().map(|word| word & 1).collect::<Vec<_>>();
    assert_eq!(present(machine.user_of(root)), present(user));
}

/// A slot that the kernel has given to each mm (x86's LDT remap) before it was published, or while
/// it runs.
fn private_slots_keep_their_bits<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let shape = boot.shape();
    if shape.slots == 1 {
        // The one slot is the kernel's own.
        return;
    }
    let private = shape.slots / 3;
    boot.with_private(&[private]).run(|machine| {
        let set = |root| shape.set_slot(machine.frames(), root, private, PRIVATE_WORD);
        let get = |root: Frame| machine.slots_of(root)[private];
        let running = machine.fork();
        machine.switch(1, &running);
        set(running.mm().unwrap().root());
        let (kthread, orphan) = (machine.kthread(), machine.orphan());
        set(orphan.root());

        // Late init fills a lot, and around the private slot.
        let before = machine.roots();
        let growths = || {
            machine.grow(0..private);
            machine.grow(private + 1..shape.slots);
        };
        let child = if cfg!(feature = "pgd-init-late") {
            meanwhile(Point::PgdAllocated, growths, || {
                meanwhile(Point::Published, || set(youngest(machine, &before)), || machine.fork())
            })
        } else {
            let child = meanwhile(Point::PgdAllocated, growths, || machine.fork());
            set(child.mm().unwrap().root());
            child
        };
        assert_eq!(get(child.mm().unwrap().root()), PRIVATE_WORD, "late init");
        assert_eq!(get(running.mm().unwrap().root()), PRIVATE_WORD, "the walk");
        machine.attach(2, &kthread, orphan.clone());
        assert_eq!(get(orphan.root()), PRIVATE_WORD, "attach");
        assert_eq!(get(machine.init().mm().unwrap().root()), 0, "nobody else's");
        drop(machine.detach(&kthread));
        assert_eq!(machine.reference_slots()[private], 0);
        machine.exec(1, &running);
        assert_eq!(get(running.mm().unwrap().root()), 0, "a new mm has none yet");
    });
}

/// An entry changes under a walk and under attach: the MMU marks it. What they read earlier does
/// not come back.
fn what_the_mmu_has_marked_stays_marked<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let shape = machine.shape();
    let task = machine.fork();
    let mm = task.mm().unwrap();
    machine.switch(1, &task);
    let mark = || {
        let word = machine.slots_of(mm.root())[0];
        assert_ne!(word, 0);
        shape.set_slot(machine.frames(), mm.root(), 0, word | mmu_mark(shape));
    };
    // A second growth of the slot, in the middle of the first, fills it; then the first one's walk
    // comes.
    let second = || {
        machine.grow(0..1);
        mark();
    };
    meanwhile(Point::Populated, second, || {
        machine.grow(0..1);
    });
    let marked = machine.reference_slots()[0] | mmu_mark(shape);
    assert_eq!(machine.slots_of(mm.root())[0], marked, "the walk");
    machine.grow(0..shape.slots);
    assert_eq!(machine.slots_of(mm.root())[0], marked, "a later growth");
    let kthread = machine.kthread();
    machine.attach(2, &kthread, mm.clone());
    assert_eq!(machine.slots_of(mm.root())[0], marked, "attach");
    drop(machine.detach(&kthread));
    drop(machine.clone_of(&task, &kernel_fork::args::CloneArgs::VFORK));
    assert_eq!(machine.slots_of(mm.root())[0], marked, "CLONE_VM");
}

/// Slots without an entry in the reference are zero in every mm, whatever happened.
fn what_the_reference_leaves_empty_stays_empty<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let slots = machine.shape().slots;
    let task = machine.fork();
    machine.switch(1, &task);
    machine.grow(0..1);
    machine.grow(slots - 1..slots);
    machine.exec(1, &task);
    let child = meanwhile(
        Point::PgdAllocated,
        || {
            machine.grow(slots / 2..slots / 2 + 1);
        },
        || machine.fork(),
    );
    let reference = machine.reference_slots();
    assert_eq!(reference.iter().filter(|&&word| word != 0).count(), slots.min(3));
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root), reference);
    }
    drop(child);
}
