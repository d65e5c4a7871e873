//! Destinations: each takes a parcel and says what came of it.

mod elastic;
pub mod file;
mod hec;
pub mod jetstream;
mod otlp;

pub use elastic::Elastic;
pub use hec::Hec;
pub use otlp::Otlp;

use ship::{Answer, Guarantee, Parcel};

/// A destination. One that can take several parcels at once may be asked to, so it keeps what
/// changes in cells.
#[expect(async_fn_in_trait, reason = "each is run on the thread that owns it")]
pub trait Sink {
    /// What its answers are worth.
    fn guarantee(&self) -> Guarantee;

    /// Delivers one parcel, within bounded time. What it answers is final for this attempt; it
    /// never tries again by itself.
    async fn deliver(&self, parcel: &Parcel) -> Answer;

    /// Does what is due when nothing is delivered, as a file that ends by its age. To be called
    /// every few seconds; most have nothing to do.
    async fn tend(&self) {}
}
