//! The simulator at work.

mod flow;
