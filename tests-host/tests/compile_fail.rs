//! The order of the protocol is enforced by types: each file of `compile-fail` breaks it in one way
//! and must not compile.
//!
//! What the compiler says is kept beside each file, so that a case cannot fail for another reason
//! than the one it is there for. The messages are those of rustc 1.95; `TRYBUILD=overwrite` writes
//! them anew after a change.
#![cfg(not(loom))]

#[test]
fn the_order_of_the_protocol_is_enforced_by_types() {
    trybuild::TestCases::new().compile_fail("tests/compile-fail/*.rs");
}
