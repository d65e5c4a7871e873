//! Objects in a real SeaweedFS.

use crate::parcels::{again, deliver, misconfigured, run};
use conntrail_ship::sinks::Sink;
use conntrail_ship::sinks::s3::S3Sink;
use engines::Seaweed;
use parquet::file::reader::{FileReader, SerializedFileReader};
use record::{RecordId, sample};
use ship::{
    Answer, Batch, BatchId, Compression, Encoder, EncoderSettings, Format, Framing, Item, LeftOut,
    Manifest, Parcel, config,
};
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BUCKET: &str = "lake";

/// Records in a parcel.
const RECORDS: u64 = 300;

fn batch(number: u64) -> Batch {
    let device = sample::device();
    let first = number * RECORDS + 1;
    let records = sample::records(number + 1, RECORDS as usize).into_iter();
    let items: Vec<Item> = records
        .zip(first..)
        .map(|(record, sequence)| Item {
            id: RecordId { epoch: 7, sequence },
            record,
        })
        .collect();
    Batch {
        manifest: Manifest {
            id: BatchId {
                endpoint: device.endpoint,
                source: trail::Source::Recorder,
                epoch: 7,
                first,
                last: first + RECORDS - 1,
                view: 1,
            },
            sent: RECORDS,
            left_out: LeftOut::default(),
            digest: [0; 32],
            head: None,
            until: None,
        },
        device: Arc::new(device),
        items,
    }
}

fn parcel(number: u64) -> Parcel {
    let settings = EncoderSettings {
        format: Format::Parquet,
        framing: Framing::Plain,
        compression: Compression::Zstd,
        level: None,
    };
    Encoder::new(settings).unwrap().encode(&batch(number))
}

struct Place {
    store: Seaweed,
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let store = Seaweed::start();
        store.create_bucket(BUCKET);
        Place {
            store,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self, id: &str, secret: &str) -> config::S3 {
        let file = self.folder.path().join("credentials");
        fs::write(&file, format!("{id}\n{secret}\n")).unwrap();
        config::S3 {
            url: self.store.url(),
            bucket: BUCKET.to_owned(),
            prefix: None,
            region: None,
            credentials_file: file,
        }
    }

    fn known(&self) -> config::S3 {
        self.config(Seaweed::ACCESS_KEY, Seaweed::SECRET_KEY)
    }

    fn keys(&self) -> BTreeSet<String> {
        self.store.keys(BUCKET, "conntrail/").into_iter().collect()
    }
}

fn sink(config: &config::S3) -> S3Sink {
    S3Sink::new(config, &config::Tls::default(), Some(""))
}

#[test]
#[ignore = "needs s3: starts a SeaweedFS"]
fn an_object_is_made_once_under_a_key_that_follows_from_the_batch() {
    let place = Place::new();
    let parcel = parcel(0);
    run(async {
        let sink = sink(&place.known());
        for _ in 0..2 {
            assert_eq!(sink.deliver(&parcel).await, Answer::Accepted);
        }
        // Whoever has the same id has the same bytes, so that others are not looked at.
        let other = Parcel {
            body: crate::s3::parcel(1).body,
            ..parcel.clone()
        };
        assert_eq!(sink.key(&other), sink.key(&parcel));
        assert_eq!(sink.deliver(&other).await, Answer::Accepted);
    });
    let first = batch(0).items[0].record.at().wall.0 / 1_000_000;
    let day = jiff::Timestamp::from_millisecond(first)
        .unwrap()
        .strftime("%Y-%m-%d");
    let endpoint = sample::device().endpoint;
    let key = format!("conntrail/dt={day}/endpoint={endpoint}/{endpoint}-7-1-300-00000001.parquet");
    assert_eq!(place.keys(), BTreeSet::from([key.clone()]));
    assert!(place.store.get(BUCKET, &key).unwrap() == parcel.body);
}

#[test]
#[ignore = "needs s3: starts a SeaweedFS"]
fn every_record_is_there_once_when_the_store_is_killed_and_restarted() {
    let place = Rc::new(Place::new());
    let breaker = Rc::clone(&place);
    let again = run(async {
        let sink = Rc::new(sink(&place.known()));
        let fault = move |accepted| match accepted {
            10 => {
                breaker.store.kill();
                breaker.store.restart();
            }
            20 => {
                breaker.store.stop();
                breaker.store.restart();
            }
            _ => {}
        };
        // What was accepted comes again at the end, as after a crash of ours.
        let parcels = (0..30).chain(0..30).map(parcel);
        deliver(&sink, parcels, 4, fault).await
    });
    println!("  {again} parcels were sent again");
    let keys = place.keys();
    assert_eq!(keys.len(), 30);
    let mut sequences = Vec::new();
    for key in keys {
        let file = place.store.get(BUCKET, &key).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let mut columns = row.get_column_iter();
            let (_, field) = columns.find(|(name, _)| *name == "sequence").unwrap();
            sequences.push(field.to_string().parse::<u64>().unwrap());
        }
    }
    sequences.sort_unstable();
    assert!(sequences == (1..=30 * RECORDS).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs s3: starts a SeaweedFS"]
fn a_wrong_key_or_secret_is_said_with_what_to_do() {
    let place = Place::new();
    run(async {
        let known = place.known();
        for (id, secret, words) in [
            ("AKIANOBODY", "not so secret", "first line of"),
            (Seaweed::ACCESS_KEY, "not so secret", "second line of"),
            (Seaweed::ACCESS_KEY, "", "two lines"),
        ] {
            let config = place.config(id, secret);
            let reason = misconfigured(sink(&config).deliver(&parcel(0)).await);
            assert!(reason.contains(words), "{reason}");
            assert!(!reason.contains("not so secret"), "{reason}");
        }
        // The file is read anew.
        let sink = sink(&known);
        misconfigured(sink.deliver(&parcel(0)).await);
        place.known();
        assert_eq!(sink.deliver(&parcel(0)).await, Answer::Accepted);
    });
    assert_eq!(place.keys().len(), 1);
}

/// Passes everything on, with one byte of what is sent another.
async fn damage(listener: TcpListener, port: u16) {
    let (near, _) = listener.accept().await.unwrap();
    let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let forth = async {
        let (mut passed, mut bytes) = (0, vec![0; 4_096]);
        while let Ok(count @ 1..) = near_read.read(&mut bytes).await {
            // Far behind the headers.
            if let Some(byte) = 9_000_usize
                .checked_sub(passed)
                .and_then(|at| bytes.get_mut(at))
            {
                *byte ^= 1;
            }
            passed += count;
            far_write.write_all(&bytes[..count]).await.unwrap();
        }
    };
    let back = tokio::io::copy(&mut far_read, &mut near_write);
    let _ = tokio::join!(forth, back);
}

#[test]
#[ignore = "needs s3: starts a SeaweedFS"]
fn what_is_damaged_on_the_way_is_refused_and_sent_again() {
    let place = Place::new();
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = config::S3 {
            url,
            ..place.known()
        };
        let (damaged, parcel) = (sink(&config), parcel(0));
        assert!(parcel.body.len() > 12_000);
        tokio::select! {
            answer = damaged.deliver(&parcel) => {
                let reason = again(answer);
                assert!(reason.contains("damaged on the way"), "{reason}");
            }
            () = damage(listener, place.store.port()) => panic!("it ended first"),
        }
        assert_eq!(place.keys(), BTreeSet::new());
        assert_eq!(
            sink(&place.known()).deliver(&parcel).await,
            Answer::Accepted
        );
    });
    assert_eq!(place.keys().len(), 1);
}

mod clickhouse {
    use super::*;
    use engines::ClickHouse;

    /// The second reader, which is nobody's of ours.
    #[test]
    #[ignore = "needs clickhouse: reads a file with the embedded engine"]
    fn another_engine_reads_the_files_that_are_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("batch.parquet");
        fs::write(&file, parcel(0).body).unwrap();
        let engine = ClickHouse::start();
        let table = format!("file('{}', Parquet)", file.display());
        let counted = format!(
            "SELECT count(), uniqExact(sequence), min(sequence), max(sequence), \
             uniqExact(endpoint), countIf(kind = 'connection') > 100, countIf(start_time > \
             toDateTime64('2020-01-01 00:00:00', 3)) > 100 FROM {table} FORMAT TSV"
        );
        assert_eq!(engine.query(&counted).trim(), "300\t300\t1\t300\t1\t1\t1");
        let grouped = format!(
            "SELECT process_name, remote_ip, sum(bytes_out) FROM {table} WHERE phase = 'close' \
             GROUP BY ALL ORDER BY 3 DESC LIMIT 3 FORMAT TSV"
        );
        let rows = engine.query(&grouped);
        println!("{rows}");
        assert_eq!(rows.lines().count(), 3);
    }
}
