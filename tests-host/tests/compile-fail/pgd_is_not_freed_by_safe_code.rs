//! Freeing a PGD is a promise that no walker and no CPU has it, and safe code cannot make it.
use mm_generic::arch::ArchPgd;

fn free<A: ArchPgd>(arch: &A, pgd: A::Pgd) {
    arch.pgd_free(pgd);
}

fn main() {}
