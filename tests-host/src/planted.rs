//! Faults that are put into the tests' own kernel, so that a check is seen to fail.
//!
//! `cargo xtask verify faults` names one in the environment and runs the test that is to find it.

/// The variable with the fault's name.
pub const VARIABLE: &str = "FAULTS_PLANT";

/// Tells whether the fault `name` is to be there.
#[must_use]
pub fn is_planted(name: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|planted| planted == name)
}
