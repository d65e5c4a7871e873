//! The trail from outside: what is written is read, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod chain;
mod crash;
mod cursor;
mod damage;
mod eviction;
mod follow;
mod helpers;
mod ledger;
mod pruning;
mod python;
mod real;
mod refusal;
mod rewrite;
mod roundtrip;
mod side;
mod signing;
