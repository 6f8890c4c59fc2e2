//! PGDs that are kept and used again: what happened meanwhile, they learn before they are loaded.

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, TwoLevel};
use tests_host::machine::{Boot, CachedPgds, PgdScheme};
use tests_host::shape::Shape;

/// What an mm had in its private slot must not show up in the next one.
const PRIVATE_WORD: u64 = 1 << 6;

fn a_kept_pgd_catches_up<G: Geometry>(geometry: G, shape: Shape)
where
    CachedPgds<G>: PgdScheme<G>,
{
    let private = shape.slots / 3;
    let boot = Boot::<G, CachedPgds<G>>::new(geometry, shape).with_private(&[private]);
    boot.run(|machine| {
        let child = machine.fork();
        let root = child.mm().expect("a user task").root();
        shape.set_slot(machine.frames(), root, private, PRIVATE_WORD);
        machine.exit(&child);
        drop(child);
        machine.rcu_barrier();
        machine.rcu_barrier();

        // Nobody finds the PGD: it is on no list, and no CPU has it loaded.
        machine.grow(0..private);
        let grown = machine.grow(private + 1..shape.slots);
        assert!(machine.translate(root, grown[0].addr).is_err(), "the walk found a kept PGD");

        let next = machine.fork();
        assert_eq!(next.mm().expect("a user task").root(), root, "it is used again");
        machine.assert_shows_everything(root);
        assert_eq!(machine.slots_of(root)[private], 0, "the last mm's private slot");
        assert!(machine.user_of(root).iter().any(|&entry| entry != 0), "the next one's user half");
    });
}

#[test]
fn a_kept_pgd_catches_up_before_it_is_loaded() {
    a_kept_pgd_catches_up(TwoLevel, Shape::TWO_LEVEL);
    a_kept_pgd_catches_up(PaePrivate, Shape::PAE_PRIVATE);
    a_kept_pgd_catches_up(LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL);
    a_kept_pgd_catches_up(LongMode::FIVE_LEVEL, Shape::FIVE_LEVEL);
}

/// Frames that are kept are not frames that are gone.
#[test]
fn kept_pgds_are_given_back_when_asked_for() {
    Boot::<LongMode, CachedPgds<LongMode>>::new(LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL).run(
        |machine| {
            let before = machine.frames().allocated();
            let child = machine.fork();
            machine.exit(&child);
            drop(child);
            machine.rcu_barrier();
            machine.rcu_barrier();
            let cached = machine.init_mm().arch().inner();
            assert_eq!(machine.frames().allocated(), before + 1, "a PGD is kept");
            assert_eq!((cached.kept(), cached.shrink(), cached.kept()), (1, 1, 0));
            assert_eq!(machine.frames().allocated(), before);
        },
    );
}
