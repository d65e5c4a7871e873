//! What runs on the fleet's side, on real engines.

mod collector;
mod end_to_end;
mod kafka;
mod laptop;
mod ledger;
mod made;
mod queries;
mod relay;
mod several;
mod simulation;
mod tamper;
