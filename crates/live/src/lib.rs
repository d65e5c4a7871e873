//! The live table: the connections that are open now, and how much passes on them, in a file in
//! memory that one recorder writes about once a second and anybody with permission reads.
//!
//! - **No reader can hold it up.** There is no lock. The file has two halves; the writer fills the
//!   one that is not shown, then shows it. A reader that is slow, stopped or gone changes nothing.
//! - **Half a snapshot is never taken for a whole one.** Each is under checksums and has a number;
//!   a reader that was overtaken sees that and begins again, a few times at most.
//! - **What is old is not live.** A snapshot says how long it may be believed, on the clock that
//!   counts since boot; after that it is [`State::Stale`].
//! - **Any file may be hostile.** A reader ends, and takes bounded memory, on every input. It
//!   copies and does not map, so that a file that shrinks under it is an error and not a signal
//!   (`docs/adr/0017-live-table.md`).
//! - **Its size is fixed** when it is made. What does not fit is counted.
//!
//! [`TableWriter`] writes, [`read`] reads; `docs/specs/live.md` specifies every byte, for readers
//! in other languages.

#![forbid(unsafe_code)]

mod format;
mod namespace;
mod reader;
mod writer;

pub use format::{Header, Rate, Row, RowError, Snapshot};
pub use reader::{Expected, ReadError, State, Table, read};
pub use writer::{Counts, Options, TableWriter, WriteError, sweep};

/// Rows of a table at most.
pub const ROWS_MAX: u32 = 100_000;

/// The name of the table in its folder.
pub const FILE_NAME: &str = "live";
