//! A deterministic simulator of machine, clocks, disk, recorder and readers, with a reference
//! model: the main test of `flow` and `trail`.

#![forbid(unsafe_code)]

pub mod alone;
pub mod books;
pub mod dice;
pub mod disk;
pub mod frames;
pub mod log;
pub mod machine;
pub mod many;
pub mod model;
pub mod reading;
mod recorder;
pub mod run;
/// The recorder's own, because a copy of it would be another's.
#[path = "../../conntraild/src/books.rs"]
#[expect(dead_code, reason = "no policy drops anything here")]
mod stages;
mod told;
