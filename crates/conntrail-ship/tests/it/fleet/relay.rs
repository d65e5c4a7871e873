//! The real relay between a real JetStream and a real ClickHouse.

use super::made::{Machine, an_epoch, make_tables};
use engines::{ClickHouse, ClickHouseOptions, Nats, NatsCluster, Port, http};
use ship::{Batch, Compression, Encoder, EncoderSettings, Format, Framing};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A cluster that lost a node, on a machine that has other things to do, takes its time.
const LIMIT: Duration = Duration::from_secs(150);

/// The relay as it is shipped; it ends with the value.
pub(super) struct Relay(Child);

impl Relay {
    pub(super) fn start(settings: &Path) -> Relay {
        Relay::of(env!("CARGO_BIN_EXE_conntrail-ship").as_ref(), settings)
    }

    /// Of another build.
    pub(super) fn of(program: &Path, settings: &Path) -> Relay {
        let mut command = Command::new(program);
        command.arg("relay").arg("--config").arg(settings);
        Relay(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(super) fn stop(mut self) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(status.success());
        let ended = wait_until(|| self.0.try_wait().unwrap().map(|it| it.to_string()));
        assert!(ended.contains("exit status: 0"), "{ended}");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
pub(super) fn wait_until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(started.elapsed() < LIMIT, "nothing for {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) struct Ground {
    pub(super) store: ClickHouse,
    folder: tempfile::TempDir,
}

impl Ground {
    pub(super) fn new() -> Ground {
        let store = ClickHouse::start_with(ClickHouseOptions {
            user: "relay",
            password: "over there",
        });
        make_tables(&store);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "over there\n").unwrap();
        Ground { store, folder }
    }

    /// Settings with small rounds, so that much can go wrong between them.
    pub(super) fn settings(&self, servers: &[String]) -> PathBuf {
        let path = self.folder.path().join("relay.toml");
        let text = format!(
            "[jetstream]\nservers = {servers:?}\nack_wait_s = 5\n\
             [clickhouse]\nurl = \"{}\"\nuser = \"relay\"\npassword_file = \"{}\"\ntimeout_s = 10\n\
             [round]\nrows = 1000\nage_max_ms = 300\nmessages_max = 10\n",
            self.store.url(),
            self.folder.path().join("password").display(),
        );
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn ask(&self, query: &str) -> String {
        self.store.query(query).trim_end().to_owned()
    }

    /// So many records, each once after merging, and nothing unexplained.
    fn balances(&self, records: u64) {
        let rows = "SELECT (SELECT count() FROM conntrail.connections FINAL) \
                    + (SELECT count() FROM conntrail.notices FINAL)";
        wait_until(|| {
            let found = self.store.try_query(rows).ok()?;
            (found.trim() == records.to_string()).then_some(())
        });
        let manifests = "SELECT sum(sent) FROM conntrail.manifests";
        wait_until(|| (self.ask(manifests) == records.to_string()).then_some(()));
        let books = "SELECT sum(unexplained), sum(duplicates_after_merge) FROM conntrail.ledger";
        assert_eq!(self.ask(books), "0\t0");
        assert_eq!(self.ask("SELECT * FROM conntrail.tamper"), "");
    }
}

/// Batches of machines, all of them together so many records.
pub(super) fn batches(machines: u8, records: usize, size: usize) -> Vec<Batch> {
    let machines = (1..=machines).map(|number| {
        let records = an_epoch(number.into(), records - 1);
        Machine::new(number).batches(1, &records, size)
    });
    machines.flatten().collect()
}

pub(super) fn bytes(batch: &Batch) -> Vec<u8> {
    let settings = EncoderSettings {
        format: Format::Native,
        framing: Framing::Plain,
        compression: Compression::Zstd,
        level: None,
    };
    Encoder::new(settings).unwrap().encode(batch).body
}

/// The stream as `fleet/nats/stream.json` has it, on so many nodes and smaller.
pub(super) fn make_stream(server: &Nats, replicas: u64) {
    let mut config = definition("stream.json");
    config["num_replicas"] = replicas.into();
    // No more than a machine that runs tests has.
    config["max_bytes"] = (1_u64 << 30).into();
    let mut client = server.connect();
    let payload = config.to_string();
    let answer = client.request("$JS.API.STREAM.CREATE.CONNTRAIL", &[], payload.as_bytes());
    let answer = answer.unwrap().json();
    assert!(answer["error"].is_null(), "{answer}");
    for (key, value) in config.as_object().unwrap() {
        assert_eq!(&answer["config"][key], value, "{key}");
    }
}

fn definition(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleet/nats");
    let text = fs::read_to_string(path.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(super) fn publish(server: &Nats, batches: &[Batch]) {
    let mut client = server.connect();
    for batch in batches {
        let id = batch.manifest.id.to_string();
        let stored = client
            .store("conntrail.default.0", &id, &bytes(batch))
            .unwrap();
        assert!(stored["error"].is_null(), "{stored}");
    }
}

fn rows(ground: &Ground) -> u64 {
    ground
        .ask("SELECT count() FROM conntrail.connections")
        .parse()
        .unwrap()
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn rows_arrive_and_a_relay_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    let settings = ground.settings(&[server.url()]);
    let batches = batches(4, 2_500, 50);
    publish(&server, &batches[..100]);
    let mut relay = Relay::start(&settings);
    for goal in [1_000, 2_500, 4_000] {
        wait_until(|| (rows(&ground) > goal).then_some(()));
        relay.kill();
        relay = Relay::start(&settings);
    }
    publish(&server, &batches[100..]);
    ground.balances(10_000);
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn two_relays_share_the_work_and_wait_for_a_store_that_is_gone() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    let settings = ground.settings(&[server.url()]);
    let relays = [Relay::start(&settings), Relay::start(&settings)];
    let batches = batches(4, 1_500, 50);
    publish(&server, &batches[..60]);
    wait_until(|| (rows(&ground) > 500).then_some(()));
    ground.store.stop();
    publish(&server, &batches[60..]);
    // Longer than the server waits for an acknowledgement.
    std::thread::sleep(Duration::from_secs(8));
    ground.store.restart();
    ground.store.lose_answers(2);
    ground.balances(6_000);
    relays.into_iter().for_each(Relay::stop);
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn a_leader_that_is_killed_takes_nothing_with_it() {
    let (cluster, ground) = (NatsCluster::start(), Ground::new());
    make_stream(&cluster.nodes()[0], 3);
    let settings = ground.settings(&cluster.urls());
    let relay = Relay::start(&settings);
    let batches = batches(2, 1_000, 50);
    let leader = wait_until(|| cluster.leader("CONNTRAIL"));
    let other = &cluster.nodes()[(leader + 1) % 3];
    publish(other, &batches[..20]);
    wait_until(|| (rows(&ground) > 300).then_some(()));
    cluster.nodes()[leader].kill();
    // What is not acknowledged is published again, as a shipper does.
    for batch in &batches[20..] {
        let id = batch.manifest.id.to_string();
        wait_until(|| {
            let stored = other
                .connect()
                .store("conntrail.default.0", &id, &bytes(batch))
                .ok()?;
            stored["seq"].is_u64().then_some(())
        });
    }
    let stored = || other.connect().count("CONNTRAIL").ok().flatten();
    wait_until(|| (stored() == Some(40)).then_some(()));
    ground.balances(2_000);
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn what_cannot_be_read_is_set_aside_and_declared_and_blocks_nothing() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    let batches = batches(1, 300, 100);
    publish(&server, &batches[..1]);
    let mut client = server.connect();
    let id = batches[1].manifest.id.to_string();
    let mut broken = bytes(&batches[1]);
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    client.store("conntrail.default.0", &id, &broken).unwrap();
    let mut lies = batches[2].clone();
    lies.manifest.digest[0] ^= 1;
    client
        .store("conntrail.default.0", "lies", &bytes(&lies))
        .unwrap();
    publish(&server, &batches[2..]);
    let relay = Relay::start(&ground.settings(&[server.url()]));
    wait_until(|| (rows(&ground) == 199).then_some(()));
    wait_until(|| (ground.ask("SELECT count() FROM conntrail.relay_refused") == "2").then_some(()));
    let reasons = ground.ask("SELECT reason FROM conntrail.relay_refused ORDER BY stream_sequence");
    assert!(
        reasons.contains("damaged") && reasons.contains("digest"),
        "{reasons}"
    );
    let same = "SELECT length(body) FROM conntrail.relay_refused ORDER BY stream_sequence LIMIT 1";
    assert_eq!(ground.ask(same), broken.len().to_string());
    let line = "SELECT declared_lost, unexplained FROM conntrail.ledger";
    assert_eq!(
        wait_until(|| Some(ground.ask(line)).filter(|it| !it.is_empty())),
        "100\t0"
    );
    // Neither comes again.
    let consumer = || server.stream("CONNTRAIL").unwrap()["consumer_detail"][0].clone();
    wait_until(|| (consumer()["num_ack_pending"] == 0).then_some(()));
    assert_eq!(consumer()["num_redelivered"], 0);
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn one_message_that_the_store_cannot_read_is_set_aside_and_the_others_go_in() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    let relay = Relay::start(&ground.settings(&[server.url()]));
    let batches = batches(1, 300, 50);
    publish(&server, &batches[..1]);
    // Manifests go in last.
    let manifests = "SELECT count() FROM conntrail.batches";
    wait_until(|| (ground.ask(manifests) == "1").then_some(()));
    // A round, and then the first of its messages alone.
    ground.store.refuse(33, 2);
    publish(&server, &batches[1..]);
    // A question that came earlier would be refused in their place.
    std::thread::sleep(Duration::from_secs(5));
    let aside = "SELECT count() FROM conntrail.relay_refused";
    wait_until(|| (ground.ask(aside) == "1").then_some(()));
    wait_until(|| (rows(&ground) >= 249).then_some(()));
    let books = "SELECT declared_lost, unexplained FROM conntrail.ledger";
    wait_until(|| (ground.ask(books) == "50\t0").then_some(()));
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn a_password_that_is_wrong_is_waited_for_and_read_anew() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    publish(&server, &batches(1, 100, 50));
    let settings = ground.settings(&[server.url()]);
    let port = Port::reserve();
    let listen = format!("[metrics]\nlisten = \"127.0.0.1:{}\"\n", port.number());
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text + &listen).unwrap();
    let password = ground.folder.path().join("password");
    fs::write(&password, "over here\n").unwrap();
    let relay = Relay::start(&settings);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(rows(&ground), 0);
    fs::write(&password, "over there\n").unwrap();
    ground.balances(100);
    let figures = || http::get(port.number(), "/metrics").unwrap().text();
    wait_until(|| {
        figures()
            .contains("conntrail_relay_acknowledged_total 2\n")
            .then_some(())
    });
    assert!(figures().contains("conntrail_relay_up 1\n"));
    assert!(figures().contains("conntrail_relay_rows_total{table=\"connections\"} 99\n"));
    relay.stop();
}

#[test]
#[ignore = "needs fleet: starts NATS"]
fn the_consumer_that_the_relay_makes_is_the_one_that_is_written_down() {
    let (server, ground) = (Nats::start(), Ground::new());
    make_stream(&server, 1);
    let settings = ground.settings(&[server.url()]);
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("ack_wait_s = 5\n", "")).unwrap();
    let relay = Relay::start(&settings);
    let config = wait_until(|| {
        let stream = server.stream("CONNTRAIL")?;
        let config = stream["consumer_detail"][0]["config"].clone();
        config.is_object().then_some(config)
    });
    for (key, value) in definition("consumer.json").as_object().unwrap() {
        assert_eq!(&config[key], value, "{key}: {config}");
    }
    relay.stop();
}

#[test]
#[ignore = "needs fleet: runs NATS"]
fn the_server_takes_the_configuration_that_is_written_down() {
    let program = std::env::var_os("CONNTRAIL_NATS_SERVER").expect("run by cargo xtask test");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleet/nats/server.conf");
    let tested = Command::new(program)
        .arg("-t")
        .arg("-c")
        .arg(file)
        .output()
        .unwrap();
    assert!(
        tested.status.success(),
        "{}",
        String::from_utf8_lossy(&tested.stderr)
    );
}
