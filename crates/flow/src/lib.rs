//! Sans-IO flow table: sensor events in, connection records and notices out.

#![forbid(unsafe_code)]

mod event;

pub use event::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
