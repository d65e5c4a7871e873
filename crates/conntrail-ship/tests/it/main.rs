//! The destinations against the real engines, broken in the ways in which they break.

mod nats;
mod parcels;
