//! JetStream on real nats-servers: one alone, and three that replicate.

use crate::parcels::{again, deliver, misconfigured, parcel, run, until_accepted, with_body};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conntrail_ship::sinks::Sink;
use conntrail_ship::sinks::jetstream::JetStreamSink;
use conntrail_ship::tls;
use engines::nats::Client;
use engines::{Certificates, Nats, NatsCluster, NatsOptions};
use serde_json::{Value, json};
use ship::{Answer, Parcel, config};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const STREAM: &str = "TRAILS";

fn settings(urls: Vec<String>) -> config::JetStream {
    config::JetStream {
        servers: urls,
        subject: None,
        tenant: Some("acme".to_owned()),
        shards: None,
        stream: None,
        credentials_file: None,
        user: None,
        password_file: None,
        token_file: None,
    }
}

fn sink(urls: Vec<String>) -> Rc<JetStreamSink> {
    Rc::new(JetStreamSink::new(&settings(urls), &config::Tls::default()))
}

fn with_stream(nats: &Nats, replicas: usize) -> Client {
    let mut client = nats.connect();
    let made = client.create_stream(STREAM, &["conntrail.>"], replicas);
    assert_eq!(made.unwrap()["error"], Value::Null);
    client
}

/// Makes a stream with something more than subjects.
fn make_stream(client: &mut Client, more: &Value) {
    let mut stream = json!({
        "name": STREAM, "subjects": ["conntrail.>"], "num_replicas": 1, "storage": "file",
    });
    for (name, value) in more.as_object().unwrap() {
        stream[name] = value.clone();
    }
    let subject = format!("$JS.API.STREAM.CREATE.{STREAM}");
    let made = client.request(&subject, &[], stream.to_string().as_bytes());
    assert_eq!(made.unwrap().json()["error"], Value::Null);
}

/// Headers and bytes of all messages, in the order of the stream.
fn messages(client: &mut Client) -> Vec<(String, Vec<u8>)> {
    let about = client.request(&format!("$JS.API.STREAM.INFO.{STREAM}"), &[], b"");
    let state = about.unwrap().json()["state"].clone();
    let sequences = state["first_seq"].as_u64().unwrap()..=state["last_seq"].as_u64().unwrap();
    let message = |sequence: u64| {
        let subject = format!("$JS.API.STREAM.MSG.GET.{STREAM}");
        let question = json!({ "seq": sequence }).to_string();
        let answer = client.request(&subject, &[], question.as_bytes());
        let message = answer.unwrap().json()["message"].clone();
        let bytes = |name: &str| {
            STANDARD
                .decode(message[name].as_str().unwrap_or(""))
                .unwrap()
        };
        (String::from_utf8(bytes("hdrs")).unwrap(), bytes("data"))
    };
    sequences.map(message).collect()
}

/// Checks that the bodies of the parcels are in the stream, each once.
fn check_once(client: &mut Client, parcels: impl IntoIterator<Item = Parcel>) {
    let mut found: Vec<_> = messages(client).into_iter().map(|(_, body)| body).collect();
    let mut expected: Vec<_> = parcels.into_iter().map(|parcel| parcel.body).collect();
    found.sort();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "as many, and not the same");
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_batch_is_stored_once_with_what_it_is_however_often_it_is_sent() {
    let nats = Nats::start();
    let mut client = with_stream(&nats, 1);
    run(async {
        let sink = sink(vec![nats.url()]);
        for _ in 0..2 {
            deliver(&sink, (0..50).map(parcel), 4, |_| ()).await;
        }
    });
    check_once(&mut client, (0..50).map(parcel));
    let (headers, _) = &messages(&mut client)[0];
    let endpoint = "abababab-abab-abab-abab-abababababab";
    for line in [
        "Conntrail-Format: flat",
        "Conntrail-Compression: none",
        &format!("Conntrail-Endpoint: {endpoint}"),
        "Conntrail-Source: filter",
        "Conntrail-Epoch: 5",
        "Conntrail-Records: 1",
        &format!("Nats-Msg-Id: {endpoint}.filter-5-"),
    ] {
        assert!(headers.contains(line), "{line} is not in {headers}");
    }
}

#[test]
#[ignore = "needs nats: starts three nats-servers"]
fn nothing_is_lost_or_twice_when_the_leader_of_a_cluster_is_killed() {
    let cluster = Arc::new(NatsCluster::start());
    drop(with_stream(&cluster.nodes()[0], 3));
    let leader = cluster.wait_for_leader(STREAM);
    let killer = Arc::clone(&cluster);
    let again = run(async {
        let sink = sink(cluster.urls());
        let kill = move |accepted| {
            if accepted == 200 {
                killer.nodes()[leader].kill();
            }
        };
        deliver(&sink, (0..600).map(parcel), 8, kill).await
    });
    println!("  {again} parcels were sent again");
    let next = cluster.wait_for_leader(STREAM);
    assert_ne!(next, leader);
    cluster.nodes()[leader].restart();
    cluster.wait_until_whole(STREAM);
    check_once(&mut cluster.nodes()[next].connect(), (0..600).map(parcel));
}

#[test]
#[ignore = "needs nats: starts three nats-servers"]
fn a_cluster_without_a_majority_accepts_nothing_and_then_everything() {
    let cluster = NatsCluster::start();
    drop(with_stream(&cluster.nodes()[0], 3));
    let leader = cluster.wait_for_leader(STREAM);
    let others: Vec<_> = (0..3).filter(|number| *number != leader).collect();
    run(async {
        let sink = sink(cluster.urls());
        until_accepted(&*sink, &parcel(0)).await;
        others
            .iter()
            .for_each(|number| cluster.nodes()[*number].kill());
        for _ in 0..2 {
            again(sink.deliver(&parcel(1)).await);
        }
        others
            .iter()
            .for_each(|number| cluster.nodes()[*number].restart());
        until_accepted(&*sink, &parcel(1)).await;
    });
    let next = cluster.wait_for_leader(STREAM);
    check_once(&mut cluster.nodes()[next].connect(), (0..2).map(parcel));
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn nothing_is_lost_or_twice_when_the_server_is_paused_killed_and_restarted() {
    let nats = Arc::new(Nats::start());
    drop(with_stream(&nats, 1));
    run(async {
        let sink = sink(vec![nats.url()]);
        let breaker = Arc::clone(&nats);
        let fault = move |accepted| {
            let nats = Arc::clone(&breaker);
            match accepted {
                // Longer than an acknowledgement may take, so that what arrived comes again.
                50 => drop(thread::spawn(move || {
                    nats.pause();
                    thread::sleep(Duration::from_secs(12));
                    nats.resume();
                })),
                150 => {
                    nats.kill();
                    nats.restart();
                }
                250 => {
                    nats.stop();
                    nats.restart();
                }
                _ => {}
            }
        };
        let again = deliver(&sink, (0..400).map(parcel), 8, fault).await;
        assert!(again > 0, "nothing was broken");
    });
    check_once(&mut nats.connect(), (0..400).map(parcel));
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_broken_connection_is_noticed_at_once_and_a_silent_one_in_bounded_time() {
    let nats = Arc::new(Nats::start());
    drop(with_stream(&nats, 1));
    run(async {
        let sink = sink(vec![nats.url()]);
        until_accepted(&*sink, &parcel(0)).await;
        nats.pause();
        let (since, killer) = (Instant::now(), Arc::clone(&nats));
        let killed = thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            killer.kill();
        });
        let reason = again(sink.deliver(&parcel(1)).await);
        assert!(since.elapsed() < Duration::from_secs(4), "{reason}");
        assert!(reason.contains("before the acknowledgement"), "{reason}");
        killed.join().unwrap();
        let reason = again(sink.deliver(&parcel(1)).await);
        assert!(
            reason.contains("cannot connect to nats://127.0.0.1"),
            "{reason}"
        );
        nats.restart();
        nats.pause();
        let since = Instant::now();
        again(sink.deliver(&parcel(1)).await);
        assert!(since.elapsed() < Duration::from_secs(12));
        nats.resume();
        until_accepted(&*sink, &parcel(1)).await;
    });
}

fn protected(configuration: &str) -> Nats {
    Nats::start_with(NatsOptions {
        configuration,
        ..NatsOptions::default()
    })
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_wrong_password_is_said_without_showing_it_and_the_right_one_is_read_anew() {
    let nats = protected("authorization { user: shipper, password: secret }");
    let user = json!({"user": "shipper", "pass": "secret"});
    let mut client = Client::connect(nats.port(), &user).unwrap();
    make_stream(&mut client, &json!({}));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let config = config::JetStream {
        user: Some("shipper".to_owned()),
        password_file: Some(file.clone()),
        ..settings(vec![nats.url()])
    };
    run(async {
        let sink = JetStreamSink::new(&config, &config::Tls::default());
        let reason = misconfigured(sink.deliver(&parcel(0)).await);
        assert!(reason.contains("cannot read"), "{reason}");
        fs::write(&file, "not-so-secret\n").unwrap();
        let reason = misconfigured(sink.deliver(&parcel(0)).await);
        assert!(reason.contains("does not let us in"), "{reason}");
        assert!(!reason.contains("not-so-secret"), "{reason}");
        fs::write(&file, "secret\n").unwrap();
        assert_eq!(sink.deliver(&parcel(0)).await, Answer::Accepted);
    });
    check_once(&mut client, [parcel(0)]);
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_subject_that_the_user_may_not_publish_to_is_said_at_once() {
    let nats = protected(
        "accounts { A { jetstream: enabled, users: [\
         { user: shipper, password: secret, permissions: { publish: [\"other.>\"] } } ] } }",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "secret").unwrap();
    let config = config::JetStream {
        user: Some("shipper".to_owned()),
        password_file: Some(file),
        ..settings(vec![nats.url()])
    };
    run(async {
        let sink = JetStreamSink::new(&config, &config::Tls::default());
        for _ in 0..2 {
            let since = Instant::now();
            let reason = misconfigured(sink.deliver(&parcel(0)).await);
            assert!(reason.contains("permissions violation"), "{reason}");
            assert!(since.elapsed() < Duration::from_secs(3), "{reason}");
        }
    });
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_stream_that_is_not_there_is_said_with_the_command_that_makes_it() {
    let nats = Nats::start();
    run(async {
        let sink = sink(vec![nats.url()]);
        let reason = misconfigured(sink.deliver(&parcel(0)).await);
        let subject = settings(Vec::new()).subject(&parcel(0).id.endpoint);
        assert!(reason.contains(&format!("subject {subject}")), "{reason}");
        assert!(reason.contains("nats stream add"), "{reason}");
        let _client = with_stream(&nats, 1);
        assert_eq!(sink.deliver(&parcel(0)).await, Answer::Accepted);
    });
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn another_stream_than_the_expected_one_gets_nothing() {
    let nats = Nats::start();
    let mut client = with_stream(&nats, 1);
    let config = config::JetStream {
        stream: Some("ANOTHER".to_owned()),
        ..settings(vec![nats.url()])
    };
    run(async {
        let sink = JetStreamSink::new(&config, &config::Tls::default());
        let reason = misconfigured(sink.deliver(&parcel(0)).await);
        assert!(reason.contains("jetstream.stream"), "{reason}");
    });
    assert_eq!(client.count(STREAM).unwrap(), Some(0));
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_full_stream_is_waited_for() {
    let nats = Nats::start();
    let mut client = nats.connect();
    make_stream(&mut client, &json!({ "max_msgs": 3, "discard": "new" }));
    run(async {
        let sink = sink(vec![nats.url()]);
        deliver(&sink, (0..3).map(parcel), 1, |_| ()).await;
        let reason = again(sink.deliver(&parcel(3)).await);
        assert!(reason.contains("the stream is full"), "{reason}");
        // What it has it takes again.
        assert_eq!(sink.deliver(&parcel(2)).await, Answer::Accepted);
        let purged = client.request(&format!("$JS.API.STREAM.PURGE.{STREAM}"), &[], b"");
        assert_eq!(purged.unwrap().json()["success"], true);
        assert_eq!(sink.deliver(&parcel(3)).await, Answer::Accepted);
    });
    check_once(&mut client, [parcel(3)]);
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn what_is_larger_than_server_or_stream_take_is_not_sent() {
    let nats = Nats::start();
    let mut client = nats.connect();
    make_stream(&mut client, &json!({ "max_msg_size": 4_000 }));
    run(async {
        let sink = sink(vec![nats.url()]);
        for (bytes, limit) in [(1 << 20, "max_payload"), (4_000, "max_msg_size")] {
            let answer = sink.deliver(&with_body(0, vec![b'x'; bytes])).await;
            let Answer::TooLarge { reason } = answer else {
                panic!("{answer:?}");
            };
            assert!(reason.contains(limit), "{reason}");
        }
        let accepted = sink.deliver(&with_body(0, vec![b'x'; 3_000])).await;
        assert_eq!(accepted, Answer::Accepted);
    });
    assert_eq!(client.count(STREAM).unwrap(), Some(1));
}

fn trusting(authority: &Path) -> config::Tls {
    config::Tls {
        ca_file: Some(authority.to_owned()),
        ..config::Tls::default()
    }
}

async fn make_stream_over_tls(nats: &Nats, settings: &config::Tls) {
    let options = async_nats::ConnectOptions::new();
    let options = options.tls_client_config(tls::client_config(settings).unwrap());
    let client = options.connect(nats.url()).await.unwrap();
    let stream = async_nats::jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["conntrail.>".to_owned()],
        ..Default::default()
    };
    let made = async_nats::jetstream::new(client)
        .create_stream(stream)
        .await;
    made.unwrap();
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn over_tls_only_who_has_a_certificate_gets_in_and_only_who_is_trusted_gets_records() {
    let certificates = Certificates::make();
    let nats = Nats::start_with(NatsOptions {
        tls: Some(&certificates),
        verifies_clients: true,
        ..NatsOptions::default()
    });
    let known = config::Tls {
        certificate_file: Some(certificates.client_certificate()),
        key_file: Some(certificates.client_key()),
        ..trusting(&certificates.authority())
    };
    run(async {
        make_stream_over_tls(&nats, &known).await;
        let config = settings(vec![nats.url()]);
        let sink = JetStreamSink::new(&config, &known);
        assert_eq!(sink.deliver(&parcel(0)).await, Answer::Accepted);
        let stranger = JetStreamSink::new(&config, &trusting(&certificates.authority()));
        let reason = misconfigured(stranger.deliver(&parcel(1)).await);
        println!("  without a certificate: {reason}");
        assert!(reason.to_lowercase().contains("certificate"), "{reason}");
        let others = Certificates::make();
        let wary = JetStreamSink::new(&config, &trusting(&others.authority()));
        let reason = misconfigured(wary.deliver(&parcel(2)).await);
        println!("  without trust: {reason}");
        assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    });
    let stored = nats.stream(STREAM).unwrap()["state"]["messages"].clone();
    assert_eq!(stored, 1);
}
