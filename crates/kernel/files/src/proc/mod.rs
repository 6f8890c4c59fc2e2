//! `/proc`: what the kernel knows, as files.
//!
//! There are as many of them as `ps`, `top`, `free`, `uptime`, `mount` and the C libraries read. Names
//! that do not depend on processes stand in one static table; a process has the same names each.
//! Nothing is stored: a node is a small value, and a text is made when it is read from its start.

mod node;
mod source;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use node::ProcNode;
pub use source::{CpuTimes, Mapping, Memory, ProcSource, Process, State, System};
