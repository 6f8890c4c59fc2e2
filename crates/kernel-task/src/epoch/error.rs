//! What can go wrong with waiting for a grace period.

/// Reason why a wait for a grace period was refused: it would never have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// The caller is inside a read-side section, which the grace period would wait for.
    /// Drop the guard first.
    #[error("a wait for a grace period inside a read-side section would wait for itself")]
    InsideReadSection,
    /// The CPU is registered with another domain, whose callbacks are not counted here.
    #[error("this cpu is registered with another epoch domain")]
    OtherDomain,
}
