//! Splunk's event collector, as its documentation describes it:
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck> and
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector>.

use crate::server::{Act, Received, Server, json, reply};
use crate::support::*;
use conntrail_ship::sinks::{Hec, Sink};
use ship::{Answer, Compression, Format, Guarantee, Parcel, config};
use std::sync::atomic::{AtomicUsize, Ordering};

const TAKEN: &str = r#"{"text":"Success","code":0,"ackId":5}"#;

fn ten() -> Parcel {
    parcel(Format::Ocsf, Compression::Gzip, 10)
}

fn sink(files: &Files, server: &Server, acknowledge: bool) -> Hec {
    let settings = config::Hec {
        url: server.url(""),
        token_file: files.write("token", "hunter2-token\n"),
        acknowledge: Some(acknowledge),
        acknowledge_timeout_s: Some(2),
        index: None,
        sourcetype: None,
    };
    Hec::new(&destination(), &settings, "endpoint/splunk").unwrap()
}

/// A collector that acknowledges what it is asked about, and does this with events.
fn acknowledging(events: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Server {
    Server::plain(move |request| {
        if is_question(request) {
            json(200, r#"{"acks":{"5":true}}"#)
        } else {
            events(request)
        }
    })
}

fn is_question(request: &Received) -> bool {
    request.target.starts_with("/services/collector/ack")
}

/// What is made of one answer to events.
fn answer(status: u16, body: &'static str) -> Answer {
    let server = acknowledging(move |_| json(status, body));
    deliver(&sink(&Files::new(), &server, false), &ten())
}

#[test]
fn a_batch_is_delivered_when_an_indexer_has_it() {
    let asked = AtomicUsize::new(0);
    let server = Server::plain(move |request| {
        if !is_question(request) {
            return json(200, TAKEN);
        }
        // The first question is whether the token acknowledges at all.
        let done = asked.fetch_add(1, Ordering::Relaxed) > 2;
        json(200, &format!(r#"{{"acks":{{"5":{done},"0":false}}}}"#))
    });
    let files = Files::new();
    let sink = sink(&files, &server, true);
    assert_eq!(sink.guarantee(), Guarantee::Acknowledged);
    assert_eq!(deliver(&sink, &ten()), Answer::Accepted);

    let received = server.received();
    assert_eq!(received.len(), 5);
    let events = &received[1];
    assert_eq!(events.target, "/services/collector/event");
    assert_eq!(events.header("authorization"), "Splunk hunter2-token");
    assert_eq!(events.header("content-encoding"), "gzip");
    assert_eq!(events.body, ten().body);
    let channel = events.header("x-splunk-request-channel");
    for question in &received[2..] {
        assert_eq!(
            question.target,
            format!("/services/collector/ack?channel={channel}")
        );
        assert_eq!(question.body, br#"{"acks":[5]}"#);
    }
}

#[test]
fn a_batch_that_no_indexer_acknowledges_is_to_be_sent_again() {
    let server = Server::plain(|request| {
        if is_question(request) {
            json(200, r#"{"acks":{"5":false,"0":false}}"#)
        } else {
            json(200, TAKEN)
        }
    });
    let (_, reason) = again(deliver(&sink(&Files::new(), &server, true), &ten()));
    assert_eq!(reason, "no indexer acknowledged the batch within 2 s");
}

#[test]
fn trouble_while_asking_does_not_make_us_send_again_at_once() {
    let asked = AtomicUsize::new(0);
    let server = Server::plain(move |request| {
        if !is_question(request) {
            return json(200, TAKEN);
        }
        match asked.fetch_add(1, Ordering::Relaxed) {
            1 => json(503, r#"{"text":"Server is busy","code":9}"#),
            2 => Act::Close,
            _ => json(200, r#"{"acks":{"5":true}}"#),
        }
    });
    assert_eq!(
        deliver(&sink(&Files::new(), &server, true), &ten()),
        Answer::Accepted
    );
    let events = server
        .received()
        .into_iter()
        .filter(|request| !is_question(request));
    assert_eq!(events.count(), 1);
}

#[test]
fn a_token_that_does_not_acknowledge_gets_no_events_and_somebody_is_told() {
    let server = Server::plain(|request| {
        if is_question(request) {
            json(400, r#"{"text":"ACK is disabled","code":14}"#)
        } else {
            json(200, r#"{"text":"Success","code":0}"#)
        }
    });
    let reason = misconfigured(deliver(&sink(&Files::new(), &server, true), &ten()));
    assert!(reason.contains("hec.acknowledge = false"), "{reason}");
    assert!(server.received().iter().all(is_question));
}

#[test]
fn without_acknowledgement_a_success_is_enough_and_a_break_is_unknown() {
    let files = Files::new();
    let server = Server::plain(|_| json(200, r#"{"text":"Success","code":0}"#));
    let sink = |server: &Server| sink(&files, server, false);
    assert_eq!(sink(&server).guarantee(), Guarantee::Unacknowledged);
    assert_eq!(deliver(&sink(&server), &ten()), Answer::Accepted);

    let server = Server::plain(|_| Act::Close);
    assert!(matches!(
        deliver(&sink(&server), &ten()),
        Answer::Unknown { .. }
    ));

    // Nothing was written where there is nobody.
    let nobody = Server::nowhere();
    again(deliver(&sink(&nobody), &ten()));
}

#[test]
fn a_token_that_acknowledges_though_nobody_asks_is_told() {
    let server = acknowledging(|_| json(200, TAKEN));
    let files = Files::new();
    let sink = sink(&files, &server, false);
    assert_eq!(deliver(&sink, &ten()), Answer::Accepted);
    let warnings = sink.take_warnings();
    assert!(
        warnings.iter().any(|text| text.contains("hec.acknowledge")),
        "{warnings:?}"
    );
}

#[test]
fn each_documented_code_means_what_it_says() {
    for (status, code, words) in [
        (403, 1, "disabled"),
        (401, 2, "without the word Splunk"),
        (401, 3, "without the word Splunk"),
        (403, 4, "does not know the token"),
        (400, 7, "hec.index"),
        (400, 10, "channel"),
        (400, 11, "channel"),
        (400, 14, "hec.acknowledge"),
        (400, 16, "URL"),
    ] {
        let reason = misconfigured(code_answer(status, code));
        assert!(reason.contains(words), "{code}: {reason}");
    }
    for (status, code) in [(400, 5), (400, 12), (400, 13), (400, 15)] {
        refused(code_answer(status, code));
    }
    for (status, code) in [
        (500, 8),
        (503, 9),
        (503, 18),
        (503, 19),
        (503, 20),
        (503, 23),
    ] {
        again(code_answer(status, code));
    }
    again(code_answer(429, 26));
}

fn code_answer(status: u16, code: u64) -> Answer {
    let server =
        acknowledging(move |_| json(status, &format!(r#"{{"text":"Words","code":{code}}}"#)));
    deliver(&sink(&Files::new(), &server, false), &ten())
}

#[test]
fn a_bad_event_refuses_the_batch_and_its_number_is_told() {
    let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#;
    let reason = refused(answer(400, body));
    assert!(
        reason.ends_with("the first bad event is number 3"),
        "{reason}"
    );
}

#[test]
fn a_batch_that_is_too_long_is_to_be_cut() {
    let server = acknowledging(|_| reply(413, "text/html", "<html>too long</html>"));
    let answer = deliver(&sink(&Files::new(), &server, false), &ten());
    assert!(matches!(answer, Answer::TooLarge { .. }));
}

#[test]
fn what_is_not_the_collectors_answer_is_no_acceptance() {
    for (content_type, body) in [
        ("text/html", "<html>Welcome</html>"),
        ("application/json", "{}"),
        ("application/json", "<html>"),
        ("text/plain", r#"{"text":"Success","code":0,"ackId":5}"#),
    ] {
        for acknowledge in [false, true] {
            let server = acknowledging(move |_| reply(200, content_type, body));
            let answer = deliver(&sink(&Files::new(), &server, acknowledge), &ten());
            let (_, reason) = again(answer);
            assert!(reason.contains("captive portal?"), "{reason}");
        }
    }
    // Nor is it an acknowledgement.
    let server = Server::plain(|request| {
        if is_question(request) {
            reply(200, "text/html", "<html>true</html>")
        } else {
            json(200, TAKEN)
        }
    });
    again(deliver(&sink(&Files::new(), &server, true), &ten()));
}

#[test]
fn the_token_shows_nowhere() {
    let server = acknowledging(|request| reply(403, "text/plain", request.header("authorization")));
    let files = Files::new();
    let sink = sink(&files, &server, false);
    let answer = deliver(&sink, &ten());
    let shown = format!("{answer:?} {sink:?} {:?}", sink.take_warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("(not shown)"), "{shown}");
}

#[test]
fn zstd_is_not_sent_to_splunk() {
    let server = acknowledging(|_| json(200, TAKEN));
    let parcel = parcel(Format::Ocsf, Compression::Zstd, 10);
    let reason = misconfigured(deliver(&sink(&Files::new(), &server, false), &parcel));
    assert!(reason.contains("gzip"), "{reason}");
}
