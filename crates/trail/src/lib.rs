//! The trail: a durable, segmented, self-healing log of records.
//!
//! # What it must do
//!
//! - **A record that was synced is never lost silently.** What a fault takes is counted and
//!   placed; what the quota takes is declared before it goes.
//! - **An id is never issued twice**, whatever was deleted or damaged before.
//! - **Wrong data is never returned.** Everything is under a checksum, and what follows damage is
//!   found again.
//! - **It starts on any disk it can write to.** Old data is no reason to refuse.
//! - **Any file may be hostile.** A reader ends, and takes bounded memory, on every input.
//! - **One writer, many readers.** Readers need no more than permission to read, and see only what
//!   was synced.
//!
//! [`TrailWriter`] writes, [`TrailReader`] reads, [`verify()`] says whether all is there.
//! All of them work on a [`Disk`], so that a simulated one can fail in every possible place.
//!
//! # On disk
//!
//! ```text
//! <state>/trail.lock                              held by the writer, names it
//! <state>/epoch                                   the latest epoch, in decimal digits
//! <state>/trail/head                              how far the trail is synced
//! <state>/trail/e00000007-s000000000001.trail     a segment: its epoch and first sequence
//! <state>/times                                   from when to when each ended segment is
//! <state>/signatures/e00000007-s000000000001.sig  signed heads of that segment
//! <state>/NAME/trail/…                            a side trail, of another program
//! ```
//!
//! `docs/specs/trail.md` specifies every byte of these, for readers in other languages too.
//!
//! # In what order
//!
//! - **Start**: lock; find the latest epoch in the epoch file, in names and in headers; make the
//!   next one durable; publish it; only then number a record.
//! - **Flush**: write frames; sync the segment, and its name if it is new; see that its path still
//!   leads to it; publish; let go of the records. A segment ends synced and published before
//!   the next one is made.
//! - **Write failed**: cut the segment back to what is synced, and keep the records.
//! - **Sync failed**: never trust the segment again, because the system may have thrown bytes away
//!   and will not say so twice. A new segment repeats what was not synced; readers skip what they
//!   have seen, by its sequence.
//! - **Quota**: name the oldest segments to the caller, who appends a notice for each; delete them
//!   when that is synced. A crash in between declares them twice, never not at all.

#![forbid(unsafe_code)]

mod batch;
mod chain;
mod check;
mod cursor;
mod disk;
mod epoch;
mod error;
mod format;
mod index;
mod ledger;
mod merge;
mod newest;
mod packing;
mod reader;
mod rewrite;
mod scan;
mod share;
mod side;
mod signing;
mod stock;
pub mod testing;
mod times;
mod verify;
mod writer;

pub use chain::{Head, HeadError};
pub use check::{
    AnchorVerdict, BreakKind, ChainBreak, ChainReport, KeyUse, SignatureReport, Stretch,
};
pub use cursor::{Cursor, Resumed};
pub use disk::{Disk, DiskFile, Entry, RealDisk};
pub use error::TrailError;
pub use format::SegmentName;
pub use index::RemoteNetwork;
pub use ledger::{
    Account, Book, End, Finding, Ledger, Line, LossKind, LossSum, Window, WindowCause, balance,
    balance_on,
};
pub use merge::{Merged, MergedReader};
pub use newest::newest;
pub use reader::{Damaged, Frames, Item, Missing, RawItem, ReadOptions, TrailReader, Warning};
pub use share::share;
pub use side::{SIDE_TRAILS_MAX, SideTrail, SideTrails, Source, is_side_name, side_trails};
pub use signing::{KeyError, PublicKey, SigningKey, signatures_dir};
pub use stock::SegmentRange;
pub use verify::{
    EpochReport, Report, Trusted, verify, verify_anchored, verify_anchored_on, verify_on,
    verify_trusting, verify_trusting_on,
};
pub use writer::{Dropped, Flushed, Rewritten, Spoilt, TrailWriter, WriterOptions, segments_dir};
