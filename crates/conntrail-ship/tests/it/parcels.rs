//! Parcels with bytes of their own, and somebody who delivers them as the shipper does.

use conntrail_ship::sinks::Sink;
use record::EndpointId;
use ship::{Answer, BatchId, Compression, Format, Parcel};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Longer than any fault of these tests lasts.
const PATIENCE: Duration = Duration::from_secs(90);

/// A parcel that is unlike any other.
pub(crate) fn parcel(number: u64) -> Parcel {
    let body = format!("{{\"number\":{number}}}\n");
    with_body(number, body.into_bytes())
}

/// A parcel of these bytes.
pub(crate) fn with_body(number: u64, body: Vec<u8>) -> Parcel {
    Parcel {
        id: BatchId {
            endpoint: EndpointId([0xab; 16]),
            source: trail::Source::Side("filter".into()),
            epoch: 5,
            first: number * 100,
            last: number * 100 + 99,
            view: 0xfeed,
        },
        format: Format::Flat,
        compression: Compression::None,
        records: 1,
        ends: Vec::new(),
        too_long: Vec::new(),
        body,
    }
}

/// Runs as the thread of a destination does.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// Delivers parcels, several at once, each again until it is accepted; `then` is called with how
/// many were, after each. Returns how often something was to be sent again.
pub(crate) async fn deliver<S: Sink + 'static>(
    sink: &Rc<S>,
    parcels: impl IntoIterator<Item = Parcel>,
    in_flight: usize,
    then: impl Fn(usize) + 'static,
) -> usize {
    let waiting = Rc::new(RefCell::new(parcels.into_iter().collect::<VecDeque<_>>()));
    let (accepted, again) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let then = Rc::new(then);
    let workers = (0..in_flight).map(|_| {
        let (sink, waiting, then) = (Rc::clone(sink), Rc::clone(&waiting), Rc::clone(&then));
        let (accepted, again) = (Rc::clone(&accepted), Rc::clone(&again));
        tokio::task::spawn_local(async move {
            loop {
                let Some(parcel) = waiting.borrow_mut().pop_front() else {
                    return;
                };
                again.set(again.get() + until_accepted(&*sink, &parcel).await);
                accepted.set(accepted.get() + 1);
                then(accepted.get());
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    again.get()
}

/// Delivers a parcel, again as long as that is what is asked for. Returns how often.
pub(crate) async fn until_accepted(sink: &impl Sink, parcel: &Parcel) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut again = 0;
    loop {
        let answer = sink.deliver(parcel).await;
        if answer == Answer::Accepted {
            return again;
        }
        assert!(
            matches!(answer, Answer::Again { .. }) && Instant::now() < deadline,
            "{answer:?}"
        );
        again += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The reason of an answer that says that something must be mended.
pub(crate) fn misconfigured(answer: Answer) -> String {
    let Answer::Misconfigured { reason } = answer else {
        panic!("{answer:?}");
    };
    reason
}

/// The reason of an answer that asks for the same again.
pub(crate) fn again(answer: Answer) -> String {
    let Answer::Again { reason, .. } = answer else {
        panic!("{answer:?}");
    };
    reason
}
