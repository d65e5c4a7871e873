//! What readers of the published form rely on.

mod golden;
mod schema;
