//! OTLP over HTTP: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, status_of};
use crate::server::{Received, Server, json, reply, reply_with};
use crate::support::*;
use conntrail_ship::sinks::Otlp;
use record::UndeliveredCause;
use ship::{Answer, Compression, Format, config};
use std::time::Duration;

const PROTOBUF: &str = "application/x-protobuf";

fn sink(url: String) -> Otlp {
    Otlp::new(
        &destination(),
        &config::Otlp {
            url,
            headers_file: None,
        },
    )
    .unwrap()
}

/// What is made of one answer to a parcel of ten records.
fn answer(status: u16, content_type: &'static str, body: &'static [u8]) -> Answer {
    let server = Server::plain(move |_| reply(status, content_type, body));
    deliver(
        &sink(server.url("/v1/logs")),
        &parcel(Format::OtlpProtobuf, Compression::Gzip, 10),
    )
}

#[test]
fn a_request_says_what_the_body_is_and_the_body_is_the_parcels() {
    let cases = [
        (Format::OtlpProtobuf, Compression::Gzip, PROTOBUF, "gzip"),
        (Format::OtlpProtobuf, Compression::Zstd, PROTOBUF, "zstd"),
        (Format::OtlpJson, Compression::None, "application/json", ""),
    ];
    for (format, compression, content_type, encoding) in cases {
        let server = Server::plain(move |_| match format {
            Format::OtlpJson => json(200, "{}"),
            _ => reply(200, PROTOBUF, b""),
        });
        let parcel = parcel(format, compression, 10);
        assert_eq!(
            deliver(&sink(server.url("/v1/logs")), &parcel),
            Answer::Accepted
        );
        let [request] = &server.received()[..] else {
            panic!()
        };
        assert_eq!(request.target, "/v1/logs");
        assert_eq!(request.header("content-type"), content_type);
        assert_eq!(request.header("content-encoding"), encoding);
        assert_eq!(request.body, parcel.body);
    }
}

#[test]
fn records_that_the_collector_rejects_are_told_and_not_sent_again() {
    let rejected = answer(200, PROTOBUF, b"\x0a\x07\x08\x03\x12\x03bad");
    let expected = Answer::RefusedSome {
        count: 3,
        reason: "bad".to_owned(),
    };
    assert_eq!(rejected, expected);
    // All ten and the manifest.
    let all = answer(200, PROTOBUF, b"\x0a\x02\x08\x0b");
    assert_eq!(
        all,
        Answer::RefusedSome {
            count: 10,
            reason: String::new()
        }
    );
}

#[test]
fn a_message_without_rejected_records_is_a_warning() {
    let server = Server::plain(|_| reply(200, PROTOBUF, b"\x0a\x05\x12\x03hmm"));
    let sink = sink(server.url("/v1/logs"));
    let parcel = parcel(Format::OtlpProtobuf, Compression::Gzip, 10);
    assert_eq!(deliver(&sink, &parcel), Answer::Accepted);
    assert_eq!(
        sink.take_warnings(),
        ["the collector took everything, and says: hmm"]
    );
    assert!(sink.take_warnings().is_empty());
}

#[test]
fn each_status_means_what_the_specification_says() {
    let reason = refused(answer(400, PROTOBUF, b"\x08\x03\x12\x06broken"));
    assert_eq!(reason, "400 Bad Request: broken");
    for status in [401, 403] {
        assert!(misconfigured(answer(status, "", b"")).contains("otlp.headers_file"));
    }
    for status in [404, 405] {
        assert!(misconfigured(answer(status, "", b"")).contains("/v1/logs"));
    }
    assert!(matches!(answer(413, "", b""), Answer::TooLarge { .. }));
    for status in [408, 429, 500, 502, 503, 504, 599] {
        let (after, reason) = again(answer(status, "text/plain", b"later"));
        assert_eq!(after, None);
        assert!(reason.contains("later"), "{reason}");
    }
}

#[test]
fn a_collector_that_wants_to_be_left_alone_is_left_alone() {
    for status in ["429", "503"] {
        let server = Server::plain(move |_| {
            reply_with(status.parse().unwrap(), &[("Retry-After", "17")], b"")
        });
        let parcel = parcel(Format::OtlpProtobuf, Compression::Gzip, 10);
        let (after, _) = again(deliver(&sink(server.url("/v1/logs")), &parcel));
        assert_eq!(after, Some(Duration::from_secs(17)));
    }
}

#[test]
fn a_collector_that_does_not_take_zstd_is_named_with_the_remedy() {
    for status in [415, 400] {
        let server = Server::plain(move |_| reply(status, "", b""));
        let parcel = parcel(Format::OtlpProtobuf, Compression::Zstd, 10);
        let reason = misconfigured(deliver(&sink(server.url("/v1/logs")), &parcel));
        assert!(reason.contains("compression = \"gzip\""), "{reason}");
    }
}

#[test]
fn a_collector_that_takes_zstd_is_believed_when_it_refuses_a_record() {
    for (format, content_type, empty) in [
        (Format::OtlpProtobuf, PROTOBUF, ""),
        (Format::OtlpJson, "application/json", "{}"),
    ] {
        let server = Server::plain(move |request: &Received| {
            if request.body.starts_with(b"\x28\xb5\x2f\xfd") {
                reply(200, content_type, empty)
            } else {
                reply(400, "text/plain", "bad record")
            }
        });
        let sink = sink(server.url("/v1/logs"));
        let parcel = parcel(format, Compression::Zstd, 10);
        for _ in 0..2 {
            assert_eq!(
                refused(deliver(&sink, &parcel)),
                "400 Bad Request: bad record"
            );
        }
        // The question is asked once.
        assert_eq!(server.received().len(), 3);
    }
}

#[test]
fn what_is_not_an_export_response_is_no_acceptance() {
    let page: &[u8] = b"<html>Welcome to the hotel</html>";
    for (status, content_type, body) in [
        (200, "text/html", page),
        (200, PROTOBUF, page),
        (200, "application/json", page),
        (200, "text/plain", b"OK"),
        (200, "", b""),
        (204, "", b""),
        (202, "application/json", b"{}"),
        (400, "text/html", page),
        (511, "text/html", page),
    ] {
        let (_, reason) = again(answer(status, content_type, body));
        assert!(reason.contains("captive portal?"), "{reason}");
        assert!(!reason.contains("hotel"), "{reason}");
    }
}

#[test]
fn headers_come_from_a_file_that_is_read_each_time_and_are_never_told() {
    // It repeats what it was sent, as some servers do in their errors.
    let server = Server::plain(|request: &Received| {
        reply(
            403,
            "text/plain",
            format!("no {}", request.header("authorization")),
        )
    });
    let files = Files::new();
    let headers = files.write("headers", "Authorization: Bearer hunter2-old\n");
    let settings = config::Otlp {
        url: server.url("/v1/logs"),
        headers_file: Some(headers),
    };
    let sink = Otlp::new(&destination(), &settings).unwrap();
    let parcel = parcel(Format::OtlpProtobuf, Compression::Gzip, 10);
    for word in ["hunter2-old", "hunter2-new"] {
        files.write("headers", &format!("Authorization: Bearer {word}\n"));
        let reason = misconfigured(deliver(&sink, &parcel));
        assert_eq!(
            reason,
            "403 Forbidden: no (not shown); look at the token in otlp.headers_file"
        );
        let sent = server.received().pop().unwrap();
        assert_eq!(sent.header("authorization"), format!("Bearer {word}"));
    }
    let shown = format!("{sink:?} {:?}", sink.take_warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_format_that_is_not_otlp_is_not_sent() {
    let server = Server::plain(|_| reply(200, PROTOBUF, b""));
    let parcel = parcel(Format::Ocsf, Compression::Gzip, 10);
    let reason = misconfigured(deliver(&sink(server.url("/v1/logs")), &parcel));
    assert!(reason.contains("otlp-protobuf"), "{reason}");
    assert!(server.received().is_empty());
}

#[test]
fn a_connection_is_used_again() {
    let server = Server::plain(|_| reply(200, PROTOBUF, b""));
    let sink = sink(server.url("/v1/logs"));
    let parcel = parcel(Format::OtlpProtobuf, Compression::Gzip, 10);
    run(async {
        use conntrail_ship::sinks::Sink;
        for _ in 0..3 {
            assert_eq!(sink.deliver(&parcel).await, Answer::Accepted);
        }
    });
    let connections: Vec<usize> = server.received().iter().map(|one| one.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
}

#[test]
fn what_a_collector_rejects_of_a_real_trail_is_declared_and_not_sent_again() {
    let (place, collector) = (Place::new(), Collector::new(Mood::Rejects(2)));
    configure(&place, &[&collector.destination("choosy", "")]);
    write(&mut place.writer(), 1, 199);
    let (code, log) = Shipper::once(&place, &["--timeout-s", "30"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(collector.rows().values().all(|it| *it == 1), "sent again");
    let mut declared = place.declared();
    declared.sort_by_key(|it| it.first_sequence);
    assert_eq!(declared.len(), 4, "a batch of 50 each: {declared:?}");
    for (index, it) in (0..).zip(&declared) {
        let range = (50 * index + 1, 50 * index + 50);
        assert_eq!((it.first_sequence, it.last_sequence), range);
        assert_eq!(it.cause, UndeliveredCause::RefusedSome);
        assert_eq!((it.records, it.reason.as_str()), (Some(2), "too old"));
    }
    let status = status_of(&place, "choosy").unwrap();
    assert_eq!(status.retries, 0);
}
