//! Destinations: each takes a parcel and says what came of it.

mod elastic;
pub mod file;
mod hec;
pub mod jetstream;
mod otlp;
pub mod s3;
pub mod syslog;

pub use elastic::Elastic;
pub use hec::Hec;
pub use otlp::Otlp;

use ship::{Answer, Guarantee, Parcel, config};

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

/// A sink of any kind.
#[derive(Debug)]
pub enum AnySink {
    /// Files, or standard output.
    File(file::FileSink),
}

impl AnySink {
    /// The sink of a destination.
    ///
    /// # Errors
    /// When it cannot be made: what is wrong, in words.
    pub fn new(name: &str, destination: &config::Destination) -> anyhow::Result<AnySink> {
        let (format, compression) = (destination.format(), destination.compression());
        match destination.kind() {
            Some(config::Kind::File(file)) => {
                let sink = file::FileSink::new(name, file, format, compression)?;
                Ok(AnySink::File(sink))
            }
            Some(
                kind @ (config::Kind::Otlp(_)
                | config::Kind::JetStream(_)
                | config::Kind::Hec(_)
                | config::Kind::Elastic(_)
                | config::Kind::Syslog(_)
                | config::Kind::S3(_)),
            ) => anyhow::bail!("this build cannot deliver to {}", kind.name()),
            None => anyhow::bail!("it says nowhere where to"),
        }
    }
}

impl Sink for AnySink {
    fn guarantee(&self) -> Guarantee {
        match self {
            AnySink::File(sink) => sink.guarantee(),
        }
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        match self {
            AnySink::File(sink) => sink.deliver(parcel).await,
        }
    }

    async fn tend(&self) {
        match self {
            AnySink::File(sink) => sink.tend().await,
        }
    }
}
