//! What readers of the published form rely on.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod golden;
mod schema;
