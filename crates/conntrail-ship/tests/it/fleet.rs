//! What runs on the fleet's side, on real engines.

mod ledger;
mod made;
mod queries;
mod relay;
mod tamper;
