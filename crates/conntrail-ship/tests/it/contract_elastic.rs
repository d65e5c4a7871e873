//! Elastic's `_bulk`:
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>.

use crate::server::{Server, json, reply, reply_with};
use crate::support::*;
use conntrail_ship::sinks::Elastic;
use ship::{Answer, Compression, Format, config};
use std::time::Duration;

fn settings(url: String) -> config::Elastic {
    config::Elastic {
        url,
        index: None,
        api_key_file: None,
        user: None,
        password_file: None,
    }
}

/// What is made of one answer to two records and a manifest.
fn answer(status: u16, body: String) -> Answer {
    let server = Server::plain(move |_| json(status, &body));
    let sink = Elastic::new(&destination(), &settings(server.url(""))).unwrap();
    deliver(&sink, &parcel(Format::Ecs, Compression::Gzip, 2))
}

/// The answer to two records and a manifest, from status and error of each.
fn items(items: [(u16, &str, &str); 3]) -> String {
    let items = items.map(|(status, kind, reason)| match kind {
        "" => serde_json::json!({ "create": { "status": status } }),
        _ => serde_json::json!({ "create": {
            "status": status, "error": { "type": kind, "reason": reason }
        } }),
    });
    serde_json::json!({ "errors": true, "items": items }).to_string()
}

const MAPPING: &str = "document_parsing_exception";
const CREATED: (u16, &str, &str) = (201, "", "");

#[test]
fn a_record_that_is_created_or_there_already_is_delivered() {
    let server = Server::plain(|_| {
        let there = (
            409,
            "version_conflict_engine_exception",
            "document already exists",
        );
        json(200, &items([CREATED, there, CREATED]))
    });
    let files = Files::new();
    let settings = config::Elastic {
        api_key_file: Some(files.write("key", "hunter2==\n")),
        index: Some("logs-x".to_owned()),
        ..settings(server.url("/behind/a/prefix/"))
    };
    let sink = Elastic::new(&destination(), &settings).unwrap();
    let parcel = parcel(Format::Ecs, Compression::Gzip, 2);
    assert_eq!(deliver(&sink, &parcel), Answer::Accepted);
    let [request] = &server.received()[..] else {
        panic!()
    };
    assert!(
        request
            .target
            .starts_with("/behind/a/prefix/logs-x/_bulk?filter_path=errors")
    );
    assert_eq!(request.header("content-type"), "application/x-ndjson");
    assert_eq!(request.header("content-encoding"), "gzip");
    assert_eq!(request.header("authorization"), "ApiKey hunter2==");
    assert_eq!(request.body, parcel.body);
}

#[test]
fn a_user_has_a_name_and_a_password() {
    let server = Server::plain(|_| json(200, &items([CREATED; 3])));
    let files = Files::new();
    let settings = config::Elastic {
        user: Some("shipper".to_owned()),
        password_file: Some(files.write("password", "hunter2")),
        ..settings(server.url(""))
    };
    let sink = Elastic::new(&destination(), &settings).unwrap();
    deliver(&sink, &parcel(Format::Ecs, Compression::None, 2));
    let sent = server.received().pop().unwrap();
    assert_eq!(sent.header("authorization"), "Basic c2hpcHBlcjpodW50ZXIy");
    assert_eq!(sent.header("content-encoding"), "");
}

#[test]
fn a_record_that_does_not_fit_is_refused_alone() {
    let answer = answer(
        200,
        items([CREATED, (400, MAPPING, "failed to parse"), CREATED]),
    );
    let reason = format!("400 {MAPPING}: failed to parse");
    assert_eq!(answer, Answer::RefusedItems(vec![(1, reason)]));
}

#[test]
fn a_record_in_the_failure_store_is_refused() {
    let body = r#"{"items":[
        {"create":{"status":201,"failure_store":"used"}},
        {"create":{"status":201,"failure_store":"not_applicable_or_unknown"}}]}"#;
    let Answer::RefusedItems(refused) = answer(200, body.to_owned()) else {
        panic!()
    };
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, 0);
    assert!(refused[0].1.contains("failure store"));
}

#[test]
fn one_item_that_is_to_come_later_brings_all_again() {
    for status in [429, 500, 503] {
        let late = (status, "es_rejected_execution_exception", "queue is full");
        let (_, reason) = again(answer(200, items([(400, MAPPING, ""), late, CREATED])));
        assert!(reason.contains("queue is full"), "{reason}");
    }
}

#[test]
fn an_item_that_may_not_be_written_is_for_somebody_to_mend() {
    let missing = (404, "index_not_found_exception", "no such index [x]");
    let reason = misconfigured(answer(200, items([missing, CREATED, CREATED])));
    assert!(reason.contains("elastic.index"), "{reason}");
    let blocked = (403, "cluster_block_exception", "index read-only");
    let reason = misconfigured(answer(200, items([CREATED, blocked, CREATED])));
    assert!(reason.contains("create_doc"), "{reason}");
    let action = (
        400,
        "illegal_argument_exception",
        "only create in a data stream",
    );
    misconfigured(answer(200, items([action, CREATED, CREATED])));
}

#[test]
fn a_manifest_that_is_refused_is_no_record_and_stops_the_rest() {
    let bad = (400, MAPPING, "failed to parse");
    let reason = misconfigured(answer(200, items([CREATED, CREATED, bad])));
    assert!(reason.contains("manifest"), "{reason}");
}

#[test]
fn an_answer_for_another_number_of_items_is_not_believed() {
    let (_, reason) = again(answer(
        200,
        r#"{"items":[{"create":{"status":201}}]}"#.to_owned(),
    ));
    assert!(reason.contains("1 items"), "{reason}");
}

#[test]
fn each_status_of_the_whole_means_what_it_says() {
    let body = || r#"{"error":{"type":"security_exception","reason":"no"},"status":1}"#.to_owned();
    for status in [401, 403] {
        let reason = misconfigured(answer(status, body()));
        assert!(reason.contains(": no; the key"), "{reason}");
    }
    misconfigured(answer(404, body()));
    assert!(matches!(answer(413, body()), Answer::TooLarge { .. }));
    assert!(refused(answer(400, body())).ends_with(": no"));
    for status in [429, 500, 502, 503] {
        again(answer(status, body()));
    }
    let server = Server::plain(|_| reply_with(429, &[("Retry-After", "9")], b""));
    let sink = Elastic::new(&destination(), &settings(server.url(""))).unwrap();
    let answer = deliver(&sink, &parcel(Format::Ecs, Compression::Gzip, 2));
    assert_eq!(again(answer).0, Some(Duration::from_secs(9)));
}

#[test]
fn what_is_not_an_answer_to_bulk_is_no_acceptance() {
    for (content_type, body) in [
        ("text/html", "<html>Welcome</html>"),
        ("application/json", "{}"),
        ("application/json", r#"{"items":7}"#),
        ("", ""),
    ] {
        let server = Server::plain(move |_| reply(200, content_type, body));
        let sink = Elastic::new(&destination(), &settings(server.url(""))).unwrap();
        let (_, reason) = again(deliver(&sink, &parcel(Format::Ecs, Compression::Gzip, 2)));
        assert!(reason.contains("captive portal?"), "{reason}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let file = Some("/nowhere/secret".into());
    let url = || "https://elastic.test".to_owned();
    let error = |settings| {
        Elastic::new(&destination(), &settings)
            .unwrap_err()
            .to_string()
    };
    let both = config::Elastic {
        api_key_file: file.clone(),
        user: Some("u".to_owned()),
        ..settings(url())
    };
    assert!(error(both).contains("keep one"));
    let half = config::Elastic {
        user: Some("u".to_owned()),
        ..settings(url())
    };
    assert!(error(half).contains("elastic.password_file is missing"));
    let half = config::Elastic {
        password_file: file,
        ..settings(url())
    };
    assert!(error(half).contains("elastic.user is missing"));
    for bad in [
        "elastic.test",
        "ftp://elastic.test",
        "https://u:hunter2@elastic.test",
        "",
    ] {
        let error = error(settings(bad.to_owned()));
        assert!(error.starts_with("elastic.url: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
