//! One trail to a destination of each kind that has a real engine, all at once, beside one that is
//! dead.

use super::laptop::Laptop;
use super::relay::{make_stream, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engines::{Nats, Port, Rotel, Rsyslog, Seaweed};
use parquet::file::reader::{FileReader, SerializedFileReader};
use record::RecordId;
use serde_json::json;
use ship::native;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const BUCKET: &str = "lake";

struct Engines {
    stream: Nats,
    collector: Rotel,
    store: Seaweed,
    syslog: Rsyslog,
    /// Where nobody listens.
    dead: Port,
}

impl Engines {
    fn start() -> Engines {
        let engines = Engines {
            stream: Nats::start(),
            collector: Rotel::start(),
            store: Seaweed::start(),
            syslog: Rsyslog::start(),
            dead: Port::reserve(),
        };
        make_stream(&engines.stream, 1);
        engines.store.create_bucket(BUCKET);
        engines
    }

    fn configure(&self, laptop: &Laptop) -> PathBuf {
        let credentials = format!("{}\n{}\n", Seaweed::ACCESS_KEY, Seaweed::SECRET_KEY);
        let credentials = laptop.file("credentials", &credentials);
        let fast = "batch_records_max = 50\nbatch_age_max_ms = 100\nretry_max_ms = 500\nproxy = ''";
        let text = format!(
            "[destination.stream]\n{fast}\njetstream.servers = [{:?}]\n\
             [destination.collector]\n{fast}\notlp.url = {:?}\n\
             [destination.lake]\n{fast}\ns3 = {{ url = {:?}, bucket = \"{BUCKET}\", \
             credentials_file = {credentials:?} }}\n\
             [destination.siem]\n{fast}\nsyslog.address = \"localhost:{}\"\ntls.ca_file = {:?}\n\
             [destination.files]\n{fast}\nfile.folder = {:?}\n\
             [destination.dead]\n{fast}\nelastic.url = \"http://127.0.0.1:{}\"\n",
            self.stream.url(),
            self.collector.logs_url(),
            self.store.url(),
            self.syslog.port(),
            self.syslog.certificates().authority(),
            files(laptop),
            self.dead.number(),
        );
        laptop.file("ship.toml", &text)
    }

    fn arrived(&self, destination: &str, laptop: &Laptop) -> BTreeSet<RecordId> {
        match destination {
            "stream" => in_stream(&self.stream),
            "collector" => named_in(&json!(self.collector.records()).to_string()),
            "lake" => in_store(&self.store),
            "siem" => named_in(&self.syslog.received().join("\n")),
            "files" => named_in(&read_all(&files(laptop))),
            other => panic!("{other}"),
        }
    }
}

fn files(laptop: &Laptop) -> PathBuf {
    laptop.state().with_file_name("files")
}

fn read_all(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return String::new();
    };
    let texts = entries.map(|it| fs::read_to_string(it.unwrap().path()).unwrap_or_default());
    texts.collect()
}

/// Records of the recorder's trail by the names that stand in a text, `ENDPOINT-EPOCH-SEQUENCE`;
/// those of batches are longer.
fn named_in(text: &str) -> BTreeSet<RecordId> {
    let prefix = format!("\"{}-", Laptop::ENDPOINT);
    let names = text.split(&prefix).skip(1);
    let ids = names.filter_map(|rest| {
        let (name, _) = rest.split_once('"')?;
        let (epoch, sequence) = name.trim_end_matches('\\').split_once('-')?;
        Some(RecordId {
            epoch: epoch.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    });
    ids.collect()
}

fn in_stream(server: &Nats) -> BTreeSet<RecordId> {
    let mut client = server.connect();
    let last = client.count("CONNTRAIL").unwrap().unwrap_or(0);
    let mut ids = BTreeSet::new();
    for sequence in 1..=last {
        let ask = json!({ "seq": sequence }).to_string();
        let answer = client.request("$JS.API.STREAM.MSG.GET.CONNTRAIL", &[], ask.as_bytes());
        let data = answer.unwrap().json()["message"]["data"].clone();
        let body = STANDARD.decode(data.as_str().unwrap()).unwrap();
        let batch = native::decode(&body).unwrap();
        if batch.manifest.id.source.name().is_none() {
            ids.extend(batch.items.iter().map(|it| it.id));
        }
    }
    ids
}

fn in_store(store: &Seaweed) -> BTreeSet<RecordId> {
    let mut ids = BTreeSet::new();
    for key in store.keys(BUCKET, "conntrail/") {
        let body = store.get(BUCKET, &key).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(body)).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let columns = row.get_column_iter();
            let columns: BTreeMap<_, _> = columns.map(|(name, it)| (&name[..], it)).collect();
            let number = |name: &str| columns[name].to_string().parse().unwrap();
            if columns["source"].to_string() == "\"\"" {
                ids.insert(RecordId {
                    epoch: number("epoch"),
                    sequence: number("sequence"),
                });
            }
        }
    }
    ids
}

#[test]
#[ignore = "needs fleet: starts NATS, rotel, SeaweedFS and rsyslog"]
fn one_trail_is_everywhere_though_one_destination_is_dead_and_the_shipper_is_killed() {
    let engines = Engines::start();
    let mut laptop = Laptop::new();
    let config = engines.configure(&laptop);
    laptop.begin(64 << 20);
    for _ in 0..3 {
        let shipper = laptop.ship(&config);
        laptop.record(400);
        wait_until(|| (!engines.arrived("siem", &laptop).is_empty()).then_some(()));
        shipper.kill();
    }
    let shipper = laptop.ship(&config);
    for destination in ["stream", "collector", "lake", "siem", "files"] {
        wait_until(|| {
            let there = engines.arrived(destination, &laptop);
            let declared = laptop.declared(destination);
            laptop
                .unexplained(&there, &declared)
                .is_empty()
                .then_some(())
        });
        let there = engines.arrived(destination, &laptop);
        let declared = laptop.declared(destination);
        println!(
            "  {destination}: {} arrived, {} ranges declared",
            there.len(),
            declared.len()
        );
        let is_recorded = |id: &RecordId| laptop.recorded.get(id) == Some(&false);
        assert!(there.iter().all(is_recorded), "{destination}");
        // Only where nobody answers can it be unknown what arrived.
        assert!(
            declared.is_empty() || destination == "siem",
            "{destination}"
        );
    }
    let status = conntrail_ship::status::read(&laptop.state()).unwrap();
    let dead = &status.destinations["dead"];
    assert_eq!((dead.state.as_str(), dead.records), ("waiting", 0));
    assert_ne!(dead.lag_records, Some(0));
    assert_eq!(laptop.declared("dead"), []);
    shipper.stop();
}
