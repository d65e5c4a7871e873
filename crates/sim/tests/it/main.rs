//! The simulator at work.

mod flow;
mod lives;
