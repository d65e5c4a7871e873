//! From a trail that is being recorded to the rows of a store, with the programs as they are
//! shipped, and everything between them killed on the way.

use super::laptop::Laptop;
use super::relay::{Ground, Relay, make_stream, wait_until};
use engines::NatsCluster;
use record::{RecordId, UndeliveredCause};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use trail::{AnchorVerdict, Head, segments_dir, verify_anchored};

const ROOM_BYTES: u64 = 64 << 20;

/// About two thousand records.
const LITTLE_ROOM_BYTES: u64 = 192 << 10;

fn configure(laptop: &Laptop, servers: &[String]) -> PathBuf {
    let text = format!(
        "[destination.store]\nbatch_records_max = 50\nbatch_age_max_ms = 100\n\
         retry_max_ms = 500\n[destination.store.jetstream]\nservers = {servers:?}\n"
    );
    laptop.file("ship.toml", &text)
}

/// The records of the recorder's trail that are there.
fn arrived(ground: &Ground) -> BTreeSet<RecordId> {
    let query = "SELECT epoch, sequence FROM conntrail.connections FINAL WHERE source = '' \
                 UNION ALL SELECT epoch, sequence FROM conntrail.notices FINAL WHERE source = ''";
    let answer = ground.ask(query);
    let ids = answer.lines().map(|line| {
        let (epoch, sequence) = line.split_once('\t').unwrap();
        RecordId {
            epoch: epoch.parse().unwrap(),
            sequence: sequence.parse().unwrap(),
        }
    });
    let all: Vec<RecordId> = ids.collect();
    let each: BTreeSet<RecordId> = all.iter().copied().collect();
    assert_eq!(each.len(), all.len(), "a record is there twice");
    each
}

/// Everything that was recorded is there, or was left out, or was declared; and nothing else.
fn balances(laptop: &Laptop, ground: &Ground) {
    let declared = || laptop.declared("store");
    wait_until(|| {
        let there = arrived(ground);
        laptop
            .unexplained(&there, &declared())
            .is_empty()
            .then_some(())
    });
    let there = arrived(ground);
    let is_recorded = |id: &RecordId| laptop.recorded.get(id) == Some(&false);
    assert!(there.iter().all(is_recorded), "nobody recorded this");
    let gone = declared();
    let opens = laptop.recorded.values().filter(|it| **it).count();
    println!(
        "  {} recorded, {} opens, {} arrived, {} ranges declared",
        laptop.recorded.len(),
        opens,
        there.len(),
        gone.len()
    );
    let books = "SELECT sum(unexplained), sum(duplicates_after_merge) FROM conntrail.ledger";
    wait_until(|| (ground.ask(books) == "0\t0").then_some(()));
    wait_until(|| {
        ground
            .ask("SELECT * FROM conntrail.tamper")
            .is_empty()
            .then_some(())
    });
}

/// The store's heads are those of the trail, as far as it still has their records.
fn heads_hold(laptop: &Laptop, ground: &Ground) {
    let answer = ground.ask("SELECT head FROM conntrail.heads WHERE source = ''");
    let heads: Vec<Head> = answer.lines().map(|it| it.parse().unwrap()).collect();
    let report = verify_anchored(&segments_dir(&laptop.state()), &heads).unwrap();
    let mut holding = 0;
    for (head, verdict) in &report.chain.anchors {
        match verdict {
            AnchorVerdict::Holds { .. } => holding += 1,
            AnchorVerdict::Gone => {}
            other => panic!("{head}: {other:?}"),
        }
    }
    assert!(holding > 0, "{:?}", report.chain.anchors);
    // Of another trail they would not be accepted.
    let mut other = heads;
    other.iter_mut().for_each(|head| head.hash[0] ^= 1);
    let report = verify_anchored(&segments_dir(&laptop.state()), &other).unwrap();
    assert!(!report.anchors_hold());
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn a_trail_is_in_the_store_to_the_record_whatever_is_killed_on_the_way() {
    let (cluster, ground) = (NatsCluster::start(), Ground::new());
    make_stream(&cluster.nodes()[0], 3);
    let settings = ground.settings(&cluster.urls());
    let relay = Relay::start(&settings);
    let mut laptop = Laptop::new();
    let config = configure(&laptop, &cluster.urls());
    laptop.begin(ROOM_BYTES);
    let shipper = laptop.ship(&config);
    laptop.record(800);
    wait_until(|| (arrived(&ground).len() > 100).then_some(()));
    shipper.kill();
    laptop.record(400);
    let shipper = laptop.ship(&config);
    let leader = wait_until(|| cluster.leader("CONNTRAIL"));
    cluster.nodes()[leader].kill();
    laptop.record(400);
    relay.kill();
    let relay = Relay::start(&settings);
    wait_until(|| (arrived(&ground).len() > 800).then_some(()));
    ground.store.stop();
    laptop.record(400);
    cluster.nodes()[leader].start_again();
    // Another epoch, while nobody takes anything.
    laptop.begin(ROOM_BYTES);
    laptop.record(400);
    thread::sleep(Duration::from_secs(1));
    ground.store.restart();
    balances(&laptop, &ground);
    assert_eq!(laptop.declared("store"), []);
    heads_hold(&laptop, &ground);
    shipper.stop();
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn what_a_small_trail_lost_while_nobody_shipped_is_declared_and_balances() {
    let (cluster, ground) = (NatsCluster::start(), Ground::new());
    make_stream(&cluster.nodes()[0], 3);
    let relay = Relay::start(&ground.settings(&cluster.urls()));
    let mut laptop = Laptop::new();
    let config = configure(&laptop, &cluster.urls());
    laptop.begin(LITTLE_ROOM_BYTES);
    let shipper = laptop.ship(&config);
    laptop.record(500);
    wait_until(|| (arrived(&ground).len() > 100).then_some(()));
    shipper.kill();
    laptop.record(8_000);
    let shipper = laptop.ship(&config);
    laptop.record(300);
    balances(&laptop, &ground);
    let declared = laptop.declared("store");
    assert!(!declared.is_empty());
    assert!(declared.iter().all(|it| it.cause == UndeliveredCause::Gone));
    let lost = "SELECT sum(declared_lost) > 1000 FROM conntrail.ledger WHERE source = ''";
    assert_eq!(ground.ask(lost), "1");
    heads_hold(&laptop, &ground);
    shipper.stop();
    relay.stop();
}
