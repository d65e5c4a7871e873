//! What the tests have in common.

use conntrail_ship::sinks::Sink;
use ship::config::{Destination, ProxyUrl};
use ship::{Answer, BatchId, Compression, Format, Parcel};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A parcel of so many records, and a manifest, of any bytes.
pub(crate) fn parcel(format: Format, compression: Compression, records: usize) -> Parcel {
    Parcel {
        id: BatchId {
            endpoint: record::EndpointId([7; 16]),
            source: trail::Source::Recorder,
            epoch: 1,
            first: 1,
            last: records as u64,
            view: 1,
        },
        format,
        compression,
        records,
        ends: Vec::new(),
        too_long: Vec::new(),
        body: b"these bytes and no others".to_vec(),
    }
}

/// A destination that asks no proxy and waits two seconds.
pub(crate) fn destination() -> Destination {
    Destination {
        proxy: Some(ProxyUrl::new("")),
        request_timeout_ms: Some(2_000),
        ..Destination::default()
    }
}

/// Delivers one parcel.
pub(crate) fn deliver(sink: &impl Sink, parcel: &Parcel) -> Answer {
    run(sink.deliver(parcel))
}

/// Runs on one thread, as each destination does, and within bounded time. It is the same runtime
/// for all of a test: connections live in it.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    }
    let bounded = async { tokio::time::timeout(Duration::from_secs(30), future).await };
    RUNTIME.with(|runtime| runtime.block_on(bounded)).unwrap()
}

/// A folder with files.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// What is to be sent again, and after what time.
#[track_caller]
pub(crate) fn again(answer: Answer) -> (Option<Duration>, String) {
    match answer {
        Answer::Again { after, reason } => (after, reason),
        other => panic!("{other:?}"),
    }
}

/// What somebody has to mend.
#[track_caller]
pub(crate) fn misconfigured(answer: Answer) -> String {
    match answer {
        Answer::Misconfigured { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// What the destination does not want.
#[track_caller]
pub(crate) fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}
