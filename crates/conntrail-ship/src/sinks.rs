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

use record::EndpointId;
use ship::config::{self, Kind};
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

/// A sink of any kind.
#[derive(Debug)]
pub enum AnySink {
    /// Elastic's `_bulk`.
    Elastic(Elastic),
    /// Files, or standard output.
    File(file::FileSink),
    /// Splunk's HTTP event collector.
    Hec(Hec),
    /// NATS JetStream.
    JetStream(jetstream::JetStreamSink),
    /// OTLP over HTTP.
    Otlp(Otlp),
    /// Objects in an S3-compatible store.
    S3(s3::S3Sink),
    /// Syslog over TLS.
    Syslog(syslog::SyslogSink),
}

impl AnySink {
    /// The sink of a destination. `endpoint` is the machine whose records it delivers.
    ///
    /// # Errors
    /// When it cannot be made: what is wrong, in words.
    pub fn new(
        name: &str,
        destination: &config::Destination,
        endpoint: EndpointId,
    ) -> anyhow::Result<AnySink> {
        let Some(kind) = destination.kind() else {
            anyhow::bail!("it says nowhere where to");
        };
        let tls = &destination.tls;
        Ok(match kind {
            Kind::Elastic(elastic) => AnySink::Elastic(Elastic::new(destination, elastic)?),
            Kind::File(file) => {
                let (format, compression) = (destination.format(), destination.compression());
                AnySink::File(file::FileSink::new(name, file, format, compression)?)
            }
            Kind::Hec(hec) => {
                let sender = format!("{endpoint} {name}");
                AnySink::Hec(Hec::new(destination, hec, &sender)?)
            }
            Kind::JetStream(jetstream) => {
                AnySink::JetStream(jetstream::JetStreamSink::new(jetstream, tls))
            }
            Kind::Otlp(otlp) => AnySink::Otlp(Otlp::new(destination, otlp)?),
            Kind::S3(s3) => AnySink::S3(s3::S3Sink::new(s3, tls, destination.proxy.as_deref())),
            Kind::Syslog(syslog) => AnySink::Syslog(syslog::SyslogSink::new(syslog, tls)),
        })
    }
}

impl AnySink {
    /// What somebody should know though deliveries go on, since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        match self {
            AnySink::Elastic(it) => it.take_warnings(),
            AnySink::Hec(it) => it.take_warnings(),
            AnySink::Otlp(it) => it.take_warnings(),
            AnySink::File(_) | AnySink::JetStream(_) | AnySink::S3(_) | AnySink::Syslog(_) => {
                Vec::new()
            }
        }
    }

    /// The files that were deleted since the start for want of room, where it is files.
    pub fn deleted(&self) -> Option<file::Deleted> {
        match self {
            AnySink::File(it) => Some(it.deleted()),
            AnySink::Elastic(_)
            | AnySink::Hec(_)
            | AnySink::JetStream(_)
            | AnySink::Otlp(_)
            | AnySink::S3(_)
            | AnySink::Syslog(_) => None,
        }
    }
}

/// Calls the same method of whatever sink it is.
macro_rules! each {
    ($sink:expr, $it:ident => $call:expr) => {
        match $sink {
            AnySink::Elastic($it) => $call,
            AnySink::File($it) => $call,
            AnySink::Hec($it) => $call,
            AnySink::JetStream($it) => $call,
            AnySink::Otlp($it) => $call,
            AnySink::S3($it) => $call,
            AnySink::Syslog($it) => $call,
        }
    };
}

impl Sink for AnySink {
    fn guarantee(&self) -> Guarantee {
        each!(self, it => it.guarantee())
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        each!(self, it => it.deliver(parcel).await)
    }

    async fn tend(&self) {
        each!(self, it => it.tend().await);
    }
}
