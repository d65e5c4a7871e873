//! A deterministic simulator of machine, clocks, disk, recorder and readers, with a reference
//! model: the main test of `flow` and `trail`.

#![forbid(unsafe_code)]

pub mod dice;
