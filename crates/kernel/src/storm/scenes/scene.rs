//! What a scene is.

/// An interleaving that is made to happen.
pub(super) struct Scene {
    /// On the command line.
    pub(super) name: &'static str,
    /// Processors that it needs.
    pub(super) actors: usize,
    /// What actor 0 or 1 does, on the processor of the second number.
    pub(super) play: fn(usize, usize),
}
