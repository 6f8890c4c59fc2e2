//! A host process as a kernel.
