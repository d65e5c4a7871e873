//! The live table: what it knows, and how it looks. Neither touches a terminal.

pub(crate) mod state;
pub(crate) mod view;
