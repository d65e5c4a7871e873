//! Sans-IO flow table: sensor events in, connection records and notices out.
//!
//! The table is a state machine. It has no clock, file, thread or random number: time comes in
//! with every call, what is wanted from outside goes out as a [`Want`] and is answered by an
//! [`Event`], late, wrongly or never. The same calls give the same outputs, to the byte, which is
//! what makes a recorded stream of events ([`stream`]) a test.
//!
//! Sensors differ, and the table evens it out:
//! - Where processes are introduced after their flows, records wait for them
//!   ([`Config::identity_wait_ns`]).
//! - Where ends are not reported, flows are given up: when their process is gone
//!   ([`Event::ProcessesGone`]), when nothing was heard of them for too long
//!   ([`Config::age_max_ns`], [`Config::datagram_idle_ns`]), when the sensor stopped watching
//!   ([`Event::Unwatched`]). What is heard of such a flow later becomes a record of what came on
//!   top, so that no byte is told twice.
//! - Where reports come late, twice or in the wrong order, the highest total counts.
//!
//! ```
//! use flow::{Config, Event, FlowTable, Output};
//! use record::{Mono, Stamp, Wall};
//!
//! let start = Stamp { wall: Wall(1_790_000_000_000_000_000), mono: Mono(5) };
//! let mut table = FlowTable::new(Config::default(), 1, start);
//! table.handle(Event::Slept { duration_ns: 60_000_000_000 }, Mono(9));
//! while let Some(output) = table.poll_output() {
//!     match output {
//!         Output::Record(record) => println!("{record:?}"),
//!         Output::Want(want) => println!("somebody should find out: {want:?}"),
//!     }
//! }
//! ```

#![forbid(unsafe_code)]

mod bursts;
pub mod coverage;
mod event;
mod live;
mod processes;
pub mod stream;
mod table;
mod tombstones;
mod totals;
mod waiting;

pub use event::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
pub use table::{Config, Counters, FlowTable, Glance, Look, Looks, Output, Want};
