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
//! ```
//!
//! All numbers are little-endian. All checksums are CRC-32C. A record's id is not stored: it is
//! the epoch and the frame's first sequence plus the record's place in the frame.
//!
//! ## Segment
//!
//! A header, then frames one after the other.
//! Magic, version, length and checksum have their place for ever, so that every version can tell
//! a segment of a newer one from a damaged one.
//!
//! | offset | bytes | header of a segment                                  |
//! |-------:|------:|------------------------------------------------------|
//! |      0 |     8 | magic, `89 43 54 52 41 49 4c 0a`                     |
//! |      8 |     2 | format version, 1                                    |
//! |     10 |     2 | zero                                                 |
//! |     12 |     4 | length of the header, at most 65,536                 |
//! |     16 |    16 | endpoint id                                          |
//! |     32 |     8 | epoch                                                |
//! |     40 |     8 | first sequence                                       |
//! |     48 |     8 | created, wall nanoseconds                            |
//! |     56 |     8 | created, monotonic nanoseconds                       |
//! |     64 |     4 | zero                                                 |
//! |     68 |     4 | length *n* of the device                             |
//! |     72 |   *n* | the device as [`record::codec`] encodes it           |
//! | 72+*n* |     4 | checksum of all before                               |
//!
//! ## Frame
//!
//! At most 500 records, or 256 KiB of them unless a single one is larger.
//! The payload is each record's length as a varint and its bytes, all of that compressed or not,
//! then combined with the mask by exclusive or, four bytes at a time.
//! The mask is zero unless the marker would occur in the frame a second time; so a search for the
//! next frame after damage cannot end inside of a record.
//!
//! | offset | bytes | frame                                                |
//! |-------:|------:|------------------------------------------------------|
//! |      0 |     8 | marker, `c7 1e a5 0d 93 7a 42 e8`                    |
//! |      8 |     4 | length *n* of the payload, at most the next          |
//! |     12 |     4 | its length before compression, at most 2 MiB         |
//! |     16 |     4 | epoch                                                |
//! |     20 |     2 | records                                              |
//! |     22 |     1 | packing: 0 plain, 1 zstd                             |
//! |     23 |     1 | zero                                                 |
//! |     24 |     8 | sequence of the first record                         |
//! |     32 |     8 | earliest wall nanoseconds of its records             |
//! |     40 |     8 | latest wall nanoseconds of its records               |
//! |     48 |     4 | mask                                                 |
//! |     52 |     4 | checksum of the payload as it stands there           |
//! |     56 |     4 | checksum of all before                               |
//! |     60 |   *n* | payload                                              |
//!
//! ## Head
//!
//! Written in place after every sync, and not synced itself.
//!
//! | offset | bytes | head                                                 |
//! |-------:|------:|------------------------------------------------------|
//! |      0 |     8 | magic, `89 43 54 48 45 41 44 0a`                     |
//! |      8 |     8 | epoch                                                |
//! |     16 |     8 | first sequence of the segment                        |
//! |     24 |     8 | bytes of that segment that are synced                |
//! |     32 |     8 | last synced sequence of the epoch, or zero           |
//! |     40 |    20 | zero                                                 |
//! |     60 |     4 | checksum of all before                               |
//!
//! The head speaks for its own epoch: earlier segments of it are whole, later ones not yet to be
//! read. Other epochs are whole. Without a readable head everything is, but for the last segment's
//! end, where a frame may be in the making. After a power cut the head may lag behind by as long
//! as the system keeps unsynced bytes to itself; the next writer sets it right, and until then
//! [`ReadOptions::unpublished_too`] reads what it hides.
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
mod disk;
mod epoch;
mod error;
mod format;
mod packing;
mod reader;
mod scan;
mod stock;
pub mod testing;
mod verify;
mod writer;

pub use disk::{Disk, DiskFile, Entry, RealDisk};
pub use error::TrailError;
pub use format::SegmentName;
pub use reader::{Damaged, Item, Missing, RawItem, ReadOptions, TrailReader, Warning};
pub use stock::SegmentRange;
pub use verify::{EpochReport, Report, verify, verify_on};
pub use writer::{Dropped, Flushed, TrailWriter, WriterOptions, segments_dir};
