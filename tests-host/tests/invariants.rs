//! t
use arch_x86::geometry::Geometry;
use tests_host::machine::{Machine, PgdScheme};
tests_host::on_every_machine!(complete);
fn complete<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let a = machine.fork();
    machine.grow(0..1);
    machine.switch(1, &a);
    machine.exec(1, &a);
    machine.grow(0..machine.shape().slots);
    machine.assert_complete();
    machine.exit(&a);
    machine.grow(0..1);
}
