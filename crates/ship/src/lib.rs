//! Deliveries: what is sent where, in which form and in which order.
//!
//! Everything here is pure: it reads no file, no clock and no socket. The program `conntrail-ship`
//! reads the trail, asks what is next, sends, and tells the answer.
//!
//! - [`config`]: the destinations, as they are written down.
//! - [`Batch`]: records that go together, and the [`Manifest`] that says what they are of.
//! - [`flat`]: the one table of columns.
//! - [`Format`]: a batch as bytes, in the words of the destination: a [`Parcel`].
//! - [`Cutter`]: cuts what is read into batches.
//! - [`courier`]: what is read and sent when.
//! - [`Planner`]: what would have been sent of a trail that is there already.
//! - [`Answer`]: what came of a delivery.

#![forbid(unsafe_code)]

mod answer;
mod batch;
pub mod config;
pub mod courier;
mod cutter;
pub mod flat;
mod format;
mod plan;

pub use answer::{Answer, Guarantee};
pub use batch::{Batch, BatchId, Item, LeftOut, Manifest};
pub use cutter::{Cut, Cutter, Found, FoundMissing, FoundRecord, Limits, Taken};
pub use format::{
    Compression, Encoder, EncoderError, EncoderSettings, Format, Framing, Parcel, native, parquet,
};
pub use plan::{Planned, Planner};
