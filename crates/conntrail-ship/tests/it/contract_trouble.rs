//! What can happen to any request: networks, proxies and certificates.

use crate::certificates::{Authority, Identity};
use crate::proxy::Proxy;
use crate::server::{Act, Server, reply, reply_with};
use crate::support::*;
use base64::Engine;
use conntrail_ship::sinks::{Otlp, Sink};
use ship::config::{self, Destination, ProxyUrl, Tls};
use ship::{Answer, Compression, Format, Parcel};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PROTOBUF: &str = "application/x-protobuf";

fn sink(destination: &Destination, url: String) -> Otlp {
    Otlp::new(
        destination,
        &config::Otlp {
            url,
            headers_file: None,
        },
    )
    .unwrap()
}

fn ten() -> Parcel {
    parcel(Format::OtlpProtobuf, Compression::Gzip, 10)
}

fn accepting() -> Act {
    reply(200, PROTOBUF, b"")
}

fn to(address: SocketAddr) -> Answer {
    deliver(
        &sink(&destination(), format!("http://{address}/v1/logs")),
        &ten(),
    )
}

#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let (_, reason) = again(to(Server::nowhere().address));
    assert!(reason.starts_with("no connection: "), "{reason}");
}

#[test]
fn a_connection_that_breaks_before_the_whole_answer_is_no_acceptance() {
    let broken: [fn() -> Act; 5] = [
        || Act::Close,
        || Act::WriteAndClose(b"HTTP/1.1 200".to_vec()),
        || Act::WriteAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()),
        || {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n";
            Act::WriteAndClose(format!("{head}Content-Length: 9\r\n\r\n").into_bytes())
        },
        || Act::WriteAndClose(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    ];
    for act in broken {
        let server = Server::plain(move |_| act());
        let (_, reason) = again(to(server.address));
        assert!(reason.contains("connection broke"), "{reason}");
    }
    again(to(Server::resetting()));
}

#[test]
fn a_server_that_does_not_answer_in_time_is_given_up_for_now() {
    let slow: [fn() -> Act; 2] = [
        || Act::Wait(Duration::from_secs(20), Box::new(accepting())),
        || Act::Trickle(Duration::from_millis(100)),
    ];
    for act in slow {
        let server = Server::plain(move |_| act());
        let started = Instant::now();
        let (_, reason) = again(to(server.address));
        assert!(reason.contains("time allowed"), "{reason}");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_server_that_takes_its_time_is_waited_for() {
    let server = Server::plain(|_| Act::Wait(Duration::from_millis(700), Box::new(accepting())));
    assert_eq!(to(server.address), Answer::Accepted);
}

#[test]
fn a_body_without_end_is_not_read_to_its_end() {
    let server = Server::plain(|_| reply(200, PROTOBUF, vec![0; 16 << 20]));
    let (_, reason) = again(to(server.address));
    assert!(reason.contains("more than"), "{reason}");
    let server = Server::plain(|_| reply(429, "text/plain", vec![b'x'; 16 << 20]));
    let (_, reason) = again(to(server.address));
    assert!(reason.len() < 400, "{}", reason.len());
}

#[test]
fn a_server_that_hangs_up_on_a_long_body_gets_shorter_ones() {
    let words = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let url = format!("http://{}/v1/logs", Server::shouting(words));
    let mut long = ten();
    long.body = vec![7; 32 << 20];
    for _ in 0..5 {
        let answer = deliver(&sink(&destination(), url.clone()), &long);
        assert!(matches!(answer, Answer::TooLarge { .. }), "{answer:?}");
    }
}

#[test]
fn an_interim_answer_is_not_the_answer() {
    let server = Server::plain(|_| {
        let Act::Write(last) = accepting() else {
            panic!()
        };
        Act::Write([b"HTTP/1.1 100 Continue\r\n\r\n", last.as_slice()].concat())
    });
    assert_eq!(to(server.address), Answer::Accepted);
}

#[test]
fn nobody_is_followed_elsewhere() {
    let elsewhere = Server::plain(|_| accepting());
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url("/v1/logs?session=hunter2");
        let server = Server::plain(move |_| reply_with(status, &[("Location", &location)], b""));
        let (_, reason) = again(to(server.address));
        assert!(reason.contains("it sends us to http://"), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }
    assert!(elsewhere.received().is_empty());
}

/// A destination that trusts an authority.
fn trusting(files: &Files, authority: &Authority) -> Destination {
    Destination {
        tls: Tls {
            ca_file: Some(files.write("ca.pem", &authority.pem())),
            ..Tls::default()
        },
        ..destination()
    }
}

fn over_tls(destination: &Destination, identity: &Identity) -> Answer {
    let server = Server::start(Some(identity.server(None)), |_| accepting());
    deliver(&sink(destination, server.https("/v1/logs")), &ten())
}

#[test]
fn over_tls_the_right_certificate_is_enough_and_a_wrong_one_is_told() {
    let (authority, files) = (Authority::new(), Files::new());
    let right = authority.issue("127.0.0.1", |_| {});
    let destination = trusting(&files, &authority);
    assert_eq!(over_tls(&destination, &right), Answer::Accepted);

    let reason = misconfigured(over_tls(&crate::support::destination(), &right));
    assert!(reason.contains("nobody whom we trust issued"), "{reason}");
    let named = authority.issue("collector.test", |_| {});
    let reason = misconfigured(over_tls(&destination, &named));
    assert!(reason.contains("not valid for name"), "{reason}");
    let old = authority.issue("127.0.0.1", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let reason = misconfigured(over_tls(&destination, &old));
    assert!(reason.contains("expired"), "{reason}");
}

#[test]
fn over_tls_a_pin_must_match() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue("127.0.0.1", |_| {});
    let mut destination = trusting(&files, &authority);
    let wrong = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    destination.tls.pins = vec![wrong.clone()];
    let reason = misconfigured(over_tls(&destination, &identity));
    let seen = reason
        .split("(its own is ")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap();
    destination.tls.pins = vec![wrong, seen.to_owned()];
    assert_eq!(over_tls(&destination, &identity), Answer::Accepted);
}

#[test]
fn a_server_that_demands_a_certificate_gets_ours_and_no_other() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue("127.0.0.1", |_| {});
    let server = Server::start(Some(identity.server(Some(&authority))), |_| accepting());
    let mut destination = trusting(&files, &authority);
    let reason = misconfigured(deliver(
        &sink(&destination, server.https("/v1/logs")),
        &ten(),
    ));
    assert!(reason.contains("tls.certificate_file"), "{reason}");

    let stranger = Authority::new().issue("laptop", |_| {});
    destination.tls.certificate_file = Some(files.write("own.pem", &stranger.certificate_pem));
    destination.tls.key_file = Some(files.write("own.key", &stranger.key_pem));
    let sink = sink(&destination, server.https("/v1/logs"));
    let reason = misconfigured(deliver(&sink, &ten()));
    assert!(reason.contains("not accept ours"), "{reason}");

    // The same sink, without a restart, once somebody put the right files there.
    let own = authority.issue("laptop", |_| {});
    files.write("own.key", &own.key_pem);
    files.write("own.pem", &format!("{}\n", own.certificate_pem));
    assert_eq!(deliver(&sink, &ten()), Answer::Accepted);

    // Half of a new pair is not used, and somebody is told.
    files.write("own.pem", &format!("{}\n\n", stranger.certificate_pem));
    assert_eq!(deliver(&sink, &ten()), Answer::Accepted);
    let warnings = sink.take_warnings();
    assert!(warnings[0].contains("does not belong"), "{warnings:?}");
}

#[test]
fn files_that_are_missing_are_told_and_may_come_later() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue("127.0.0.1", |_| {});
    let server = Server::start(Some(identity.server(None)), |_| accepting());
    let destination = trusting(&files, &authority);
    let path = destination.tls.ca_file.clone().unwrap();
    std::fs::remove_file(&path).unwrap();
    let sink = sink(&destination, server.https("/v1/logs"));
    let reason = misconfigured(deliver(&sink, &ten()));
    assert!(reason.starts_with("tls.ca_file: cannot read "), "{reason}");
    files.write("ca.pem", &authority.pem());
    assert_eq!(deliver(&sink, &ten()), Answer::Accepted);
}

#[test]
fn http_and_https_are_not_mixed_up_silently() {
    let url = format!(
        "https://{}/v1/logs",
        Server::shouting("HTTP/1.1 400 Bad Request\r\n\r\n")
    );
    let reason = misconfigured(deliver(&sink(&destination(), url), &ten()));
    assert!(reason.contains("does not speak TLS"), "{reason}");
    let words = "Client sent an HTTP request to an HTTPS server.\n";
    let server = Server::plain(move |_| reply(400, "text/plain", words));
    let reason = misconfigured(to(server.address));
    assert!(reason.contains("https://"), "{reason}");
}

#[test]
fn a_proxy_that_wants_a_password_gets_it_and_says_when_it_does_not() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue("127.0.0.1", |_| {});
    let server = Server::start(Some(identity.server(None)), |_| accepting());
    // user:hunter2
    let proxy = Proxy::connecting("Basic dXNlcjpodW50ZXIy");
    let mut destination = trusting(&files, &authority);
    for (who, passes) in [
        ("user:hunter2@", true),
        ("", false),
        ("user:hunter3@", false),
    ] {
        destination.proxy = Some(ProxyUrl::new(format!("http://{who}{}", proxy.address)));
        let sink = sink(&destination, server.https("/v1/logs"));
        let answer = deliver(&sink, &ten());
        if passes {
            assert_eq!(answer, Answer::Accepted);
            assert_eq!(proxy.tunnels(), 1);
        } else {
            let reason = misconfigured(answer);
            assert!(
                reason.contains("the proxy wants a user and a password"),
                "{reason}"
            );
            assert!(!reason.contains("hunter"), "{reason}");
        }
    }
    assert_eq!(server.received().len(), 1);
}

#[test]
fn a_socks_proxy_is_used() {
    let server = Server::plain(|_| accepting());
    let proxy = Proxy::socks("user", "hunter2");
    let mut destination = destination();
    destination.proxy = Some(ProxyUrl::new(format!(
        "socks5://user:hunter2@{}",
        proxy.address
    )));
    assert_eq!(
        deliver(&sink(&destination, server.url("/v1/logs")), &ten()),
        Answer::Accepted
    );
    assert_eq!(proxy.tunnels(), 1);

    destination.proxy = Some(ProxyUrl::new(format!(
        "socks5://user:hunter3@{}",
        proxy.address
    )));
    let answer = deliver(&sink(&destination, server.url("/v1/logs")), &ten());
    let (Answer::Misconfigured { reason } | Answer::Again { reason, .. }) = answer else {
        panic!();
    };
    assert!(!reason.contains("hunter3"), "{reason}");
    assert_eq!(proxy.tunnels(), 1);
}

#[test]
fn a_sink_shows_no_password_of_a_proxy() {
    let mut destination = destination();
    destination.proxy = Some(ProxyUrl::new("http://user:hunter2@proxy.test:3128"));
    let sink = sink(&destination, "http://collector.test/v1/logs".to_owned());
    let shown = format!("{sink:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_proxy_that_is_none_is_named() {
    for bad in ["proxy.test:3128", "ftp://proxy.test"] {
        let destination = Destination {
            proxy: Some(ProxyUrl::new(bad)),
            ..destination()
        };
        let settings = config::Otlp {
            url: "https://collector.test/v1/logs".to_owned(),
            headers_file: None,
        };
        let error = Otlp::new(&destination, &settings).unwrap_err().to_string();
        assert!(error.starts_with("proxy: "), "{error}");
    }
}

#[test]
fn several_parcels_are_under_way_at_once() {
    let server = Server::plain(|_| Act::Wait(Duration::from_millis(500), Box::new(accepting())));
    let sink = sink(&destination(), server.url("/v1/logs"));
    let parcel = ten();
    let started = Instant::now();
    run(async {
        let answers = tokio::join!(
            sink.deliver(&parcel),
            sink.deliver(&parcel),
            sink.deliver(&parcel),
        );
        assert_eq!(
            answers,
            (Answer::Accepted, Answer::Accepted, Answer::Accepted)
        );
    });
    assert!(
        started.elapsed() < Duration::from_millis(1_400),
        "{:?}",
        started.elapsed()
    );
}
