use crate::tls;
use engines::nats::Client;
use engines::{Certificates, Nats, NatsCluster, NatsOptions};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::Duration;

const STREAM: &str = "TRAIL";

fn with_stream(nats: &Nats, replicas: usize) -> Client {
    let mut client = nats.connect();
    let made = client.create_stream(STREAM, &["trail.>"], replicas);
    let made = made.expect("a server that runs answers");
    assert_eq!(made["error"], Value::Null, "{made}");
    client
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_message_is_stored_once_however_often_it_is_sent() {
    let nats = Nats::start();
    let mut client = with_stream(&nats, 1);
    let first = client.store("trail.a", "1", b"x").unwrap();
    let second = client.store("trail.a", "1", b"x").unwrap();
    assert_eq!(
        (&first["seq"], &first["duplicate"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(
        (&second["seq"], &second["duplicate"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(client.count(STREAM).unwrap(), Some(1));
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn what_was_acknowledged_is_there_after_a_kill_and_a_restart() {
    let nats = Nats::start();
    let mut client = with_stream(&nats, 1);
    for number in 0..50 {
        let stored = client.store("trail.a", &number.to_string(), b"x").unwrap();
        assert_eq!(stored["seq"], number + 1);
    }
    nats.kill();
    assert!(!nats.is_running());
    assert!(TcpStream::connect(("127.0.0.1", nats.port())).is_err());
    nats.restart();
    let mut client = nats.connect();
    assert_eq!(client.count(STREAM).unwrap(), Some(50));
    assert_eq!(
        client.store("trail.a", "49", b"x").unwrap()["duplicate"],
        true
    );
    assert!(nats.stop().success());
    nats.restart();
    assert_eq!(nats.connect().count(STREAM).unwrap(), Some(50));
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let nats = Nats::start();
    let mut client = with_stream(&nats, 1);
    nats.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.store("trail.a", "1", b"x").unwrap());
        std::thread::sleep(Duration::from_millis(500));
        assert!(!answer.is_finished());
        nats.resume();
        assert_eq!(answer.join().unwrap()["seq"], 1);
    });
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn only_who_knows_the_password_is_let_in() {
    let configuration = "authorization { user: shipper, password: secret }";
    let nats = Nats::start_with(NatsOptions {
        configuration,
        ..NatsOptions::default()
    });
    let refused = Client::connect(nats.port(), &json!({"user": "shipper", "pass": "wrong"}));
    let refused = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(refused.contains("Authorization Violation"), "{refused}");
    let mut client =
        Client::connect(nats.port(), &json!({"user": "shipper", "pass": "secret"})).unwrap();
    client.create_stream(STREAM, &["trail.>"], 1).unwrap();
    assert_eq!(client.store("trail.a", "1", b"x").unwrap()["seq"], 1);
}

#[test]
#[ignore = "needs nats: starts three nats-servers"]
fn a_cluster_survives_the_death_of_its_leader() {
    let cluster = NatsCluster::start();
    let mut client = with_stream(&cluster.nodes()[0], 3);
    let leader = cluster.wait_for_leader(STREAM);
    let mut stored = 0;
    for number in 0..20 {
        client.store("trail.a", &number.to_string(), b"x").unwrap();
        stored += 1;
    }
    cluster.nodes()[leader].kill();
    let next = cluster.wait_for_leader(STREAM);
    assert_ne!(next, leader);
    let mut client = cluster.nodes()[next].connect();
    for number in 20..40 {
        let answer = client.store("trail.a", &number.to_string(), b"x").unwrap();
        assert_eq!(answer["error"], Value::Null, "{answer}");
        stored += 1;
    }
    cluster.nodes()[leader].restart();
    cluster.wait_until_whole(STREAM);
    assert_eq!(client.count(STREAM).unwrap(), Some(stored));
}

#[test]
#[ignore = "needs nats: starts three nats-servers"]
fn one_node_of_three_acknowledges_nothing() {
    let cluster = NatsCluster::start();
    let _ = with_stream(&cluster.nodes()[0], 3);
    let leader = cluster.wait_for_leader(STREAM);
    let mut client = cluster.nodes()[leader].connect();
    client.store("trail.a", "1", b"x").unwrap();
    for (number, node) in cluster.nodes().iter().enumerate() {
        if number != leader {
            node.kill();
        }
    }
    client.answer_within(Duration::from_secs(3)).unwrap();
    let answer = client.store("trail.a", "2", b"x");
    let is_refused = answer.as_ref().map_or(true, |it| it["seq"].is_null());
    assert!(is_refused, "{answer:?}");
}

#[test]
#[ignore = "needs nats: starts a nats-server"]
fn only_who_has_a_certificate_is_greeted() {
    let certificates = Certificates::make();
    let nats = Nats::start_with(NatsOptions {
        tls: Some(&certificates),
        verifies_clients: true,
        shakes_hands_first: true,
        configuration: "",
    });
    let wanted = "\"tls_required\":true";
    let greeting =
        |with_client| tls::converse(nats.port(), &certificates, with_client, b"", wanted);
    let greeted = greeting(true);
    assert!(greeted.contains(wanted), "{greeted}");
    let refused = greeting(false);
    assert!(!refused.contains(wanted), "{refused}");
    assert_eq!(nats.url(), format!("tls://127.0.0.1:{}", nats.port()));
}
