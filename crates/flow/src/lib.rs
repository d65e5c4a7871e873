//! Sans-IO flow table: sensor events in, connection records and notices out.
//!
//! The table is a state machine. It has no clock, file, thread or random number: time comes in
//! with every call, what is wanted from outside goes out as a [`Want`] and is answered by an
//! [`Event`], late, wrongly or never. The same calls give the same outputs, to the byte, which is
//! what makes a recorded stream of events ([`stream`]) a test.
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

mod event;
mod processes;
pub mod stream;
mod table;

pub use event::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
pub use table::{Config, Counters, FlowTable, Output, Want};
