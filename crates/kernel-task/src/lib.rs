//! placeholder being written in this step.
#![no_std]
