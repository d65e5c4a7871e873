//! Syslog over TLS to a real rsyslog.

use crate::parcels::{misconfigured, run, with_body};
use conntrail_ship::sinks::Sink;
use conntrail_ship::sinks::syslog::SyslogSink;
use engines::{Certificates, Rsyslog};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ship::{Answer, Parcel, config};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Messages in a parcel.
const MESSAGES: u64 = 20;

fn message(parcel: u64, number: u64) -> String {
    let padding = "x".repeat(700);
    format!(
        "<134>1 2026-11-23T20:41:32.000Z host conntrail 1 connection \
         [conntrail@32473 id=\"{parcel}-{number}\"] {padding} with \u{e9} and a\nline"
    )
}

fn parcel(number: u64) -> Parcel {
    let messages = (0..MESSAGES).map(|it| message(number, it));
    let framed = messages.map(|it| format!("{} {it}", it.len()));
    with_body(number, framed.collect::<String>().into_bytes())
}

fn settings(certificates: &Certificates) -> config::Tls {
    config::Tls {
        ca_file: Some(certificates.authority()),
        certificate_file: Some(certificates.client_certificate()),
        key_file: Some(certificates.client_key()),
        ..config::Tls::default()
    }
}

fn sink(port: u16, tls: &config::Tls) -> Rc<SyslogSink> {
    let config = config::Syslog {
        address: format!("localhost:{port}"),
        message_bytes_max: None,
    };
    Rc::new(SyslogSink::new(&config, tls))
}

/// How often each message of these parcels is among the received ones.
fn counts(received: &[String], parcels: impl IntoIterator<Item = u64>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for message in received {
        *found.entry(message.as_str()).or_insert(0) += 1;
    }
    let messages = parcels
        .into_iter()
        .flat_map(|number| (0..MESSAGES).map(move |it| message(number, it)));
    messages
        .map(|it| {
            let count = found.get(it.as_str()).copied().unwrap_or(0);
            (it, count)
        })
        .collect()
}

#[test]
#[ignore = "needs syslog: starts an rsyslogd"]
fn every_message_arrives_as_it_is_once() {
    let receiver = Rsyslog::start_verifying();
    run(async {
        let sink = sink(receiver.port(), &settings(receiver.certificates()));
        for number in 0..3 {
            assert_eq!(sink.deliver(&parcel(number)).await, Answer::Accepted);
        }
    });
    // What was accepted has been read: it is there without waiting for it.
    let received = receiver.received();
    assert_eq!(received.len(), 3 * MESSAGES as usize);
    assert!(counts(&received, 0..3).values().all(|count| *count == 1));
}

#[test]
#[ignore = "needs syslog: starts an rsyslogd"]
fn nothing_is_sent_to_who_does_not_want_us_or_is_not_trusted() {
    let receiver = Rsyslog::start_verifying();
    let known = settings(receiver.certificates());
    let nameless = config::Tls {
        certificate_file: None,
        key_file: None,
        ..known.clone()
    };
    let others = Certificates::make();
    let wary = config::Tls {
        ca_file: Some(others.authority()),
        ..known
    };
    run(async {
        let sender = sink(receiver.port(), &nameless);
        for _ in 0..4 {
            let reason = misconfigured(sender.deliver(&parcel(0)).await);
            assert!(reason.contains("before anything was sent"), "{reason}");
        }
        let reason = misconfigured(sink(receiver.port(), &wary).deliver(&parcel(0)).await);
        println!("  without trust: {reason}");
        assert!(reason.contains("look at the destination's tls"), "{reason}");
    });
    assert_eq!(receiver.received(), Vec::<String>::new());
}

#[test]
#[ignore = "needs syslog: starts an rsyslogd"]
fn what_arrived_and_what_is_declared_unknown_is_everything_whatever_breaks() {
    let receiver = Rsyslog::start_verifying();
    let unknown = Rc::new(RefCell::new(Vec::new()));
    let (next, accepted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    const PARCELS: u64 = 80;
    let receiver = Rc::new(receiver);
    run(async {
        let sink = sink(receiver.port(), &settings(receiver.certificates()));
        let workers = (0..8).map(|_| {
            let (sink, unknown, receiver) =
                (Rc::clone(&sink), Rc::clone(&unknown), Rc::clone(&receiver));
            let (next, accepted) = (Rc::clone(&next), Rc::clone(&accepted));
            tokio::task::spawn_local(async move {
                while next.get() < PARCELS {
                    let number = next.replace(next.get() + 1);
                    if is_accepted(&sink, &parcel(number)).await {
                        accepted.set(accepted.get() + 1);
                        break_at(&receiver, accepted.get());
                    } else {
                        unknown.borrow_mut().push(number);
                    }
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
    });
    let unknown = unknown.borrow();
    println!("  {} of {PARCELS} parcels are unknown", unknown.len());
    assert!(!unknown.is_empty() && accepted.get() > PARCELS / 2);
    let received = receiver.received();
    let known = (0..PARCELS).filter(|number| !unknown.contains(number));
    let missing = counts(&received, known).into_values().filter(|it| *it != 1);
    assert_eq!(
        missing.count(),
        0,
        "messages that were accepted and are not there once"
    );
    let twice = counts(&received, 0..PARCELS)
        .into_values()
        .filter(|it| *it > 1);
    assert_eq!(twice.count(), 0);
}

fn break_at(receiver: &Rsyslog, accepted: u64) {
    match accepted {
        15 => {
            receiver.kill();
            receiver.restart();
        }
        35 => {
            receiver.stop();
            receiver.restart();
        }
        _ => {}
    }
}

/// Sends it until it is known what became of it.
async fn is_accepted(sink: &SyslogSink, parcel: &Parcel) -> bool {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let answer = sink.deliver(parcel).await;
        if answer == Answer::Accepted {
            return true;
        }
        if matches!(answer, Answer::Unknown { .. }) {
            return false;
        }
        // Nobody lets us in while the receiver is down.
        assert!(
            matches!(answer, Answer::Again { .. } | Answer::Misconfigured { .. })
                && Instant::now() < deadline,
            "{answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
#[ignore = "needs syslog: starts an rsyslogd"]
fn a_receiver_that_reads_nothing_is_unknown_in_bounded_time() {
    let receiver = Rsyslog::start_verifying();
    run(async {
        let sink = sink(receiver.port(), &settings(receiver.certificates()));
        assert_eq!(sink.deliver(&parcel(0)).await, Answer::Accepted);
        let pausing = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            receiver.pause();
        };
        let (since, next) = (Instant::now(), parcel(1));
        let (answer, ()) = tokio::join!(sink.deliver(&next), pausing);
        assert!(
            matches!(&answer, Answer::Unknown { reason } if reason.contains("close")),
            "{answer:?}"
        );
        assert!(since.elapsed() < Duration::from_secs(15));
        receiver.resume();
        assert_eq!(sink.deliver(&parcel(2)).await, Answer::Accepted);
    });
}

#[test]
#[ignore = "needs syslog: starts an rsyslogd"]
fn messages_longer_than_the_receiver_takes_are_refused_and_nothing_is_sent() {
    let receiver = Rsyslog::start();
    run(async {
        let sink = sink(receiver.port(), &settings(receiver.certificates()));
        let long = format!("9000 {}", "x".repeat(9_000)).into_bytes();
        let answer = sink.deliver(&with_body(0, long)).await;
        assert!(
            matches!(&answer, Answer::Refused { reason } if reason.contains("9000")),
            "{answer:?}"
        );
    });
    assert_eq!(receiver.received(), Vec::<String>::new());
}

/// A receiver that lets everybody in, and then leaves.
async fn leave_everybody(listener: TcpListener, certificates: &Certificates) {
    let chain = CertificateDer::from_pem_file(certificates.server_certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.server_key()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(stream);
    }
}

#[test]
#[ignore = "needs syslog: plays a receiver that leaves, and starts none"]
fn a_receiver_that_always_breaks_off_does_not_get_the_whole_trail() {
    let certificates = Certificates::make();
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = sink(
            listener.local_addr().unwrap().port(),
            &settings(&certificates),
        );
        let sending = async {
            for number in 0..3 {
                let answer = sink.deliver(&parcel(number)).await;
                assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
            }
            for _ in 0..5 {
                let reason = misconfigured(sink.deliver(&parcel(3)).await);
                assert!(reason.contains("one after the other"), "{reason}");
            }
        };
        tokio::select! {
            () = sending => {}
            () = leave_everybody(listener, &certificates) => {}
        }
    });
}
