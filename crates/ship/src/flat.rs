//! Flat columns: the one table of what a row is, for stores that keep columns.
//!
//! Everything that knows columns is made of these tables: DDL, rows in `RowBinary`, lines of JSON,
//! Parquet, attributes of OpenTelemetry, and the text over which a batch's digest goes.
//!
//! **Unknown is never zero.** A number that may be unknown is nullable. A text that is unknown is
//! empty: no name, path or word is ever known to be empty.
//!
//! A row is put out value by value, in the order of the columns, into a [`Put`].

mod bytes;
mod columns;
mod digest;
mod json;
mod row_binary;
mod text;
mod walk;

pub use columns::{BATCHES, CONNECTIONS, NOTICES, PROVENANCE};
pub use digest::digest;
pub use json::Lines;
pub use row_binary::Rows;
pub use text::{Texts, digest_expression, row_expression};
pub use walk::{
    Course, Knowledge, Provenance, Put, Remote, Section, put_connection, put_manifest, put_notice,
    put_section,
};

pub(crate) use bytes::{Form, Writer, table_of};
pub(crate) use json::{write_json_text, write_json_value, write_moment};
pub(crate) use text::{write_number, write_uuid};

use std::net::IpAddr;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in stores.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether its value may be unknown and then is null.
    pub nullable: bool,
    /// How ClickHouse makes it small, as in `CODEC(...)`; empty for its default.
    pub codec: &'static str,
    /// The attribute in OpenTelemetry: of the semantic conventions where they have one, else
    /// `conntrail.NAME`; empty where the time of the log record says it.
    pub otel: &'static str,
    /// The field in the Elastic Common Schema, else `conntrail.NAME`. What begins with `@local` or
    /// `@remote` is `source` for the side that began and `destination` for the other.
    pub ecs: &'static str,
    /// What it says, in a sentence.
    pub meaning: &'static str,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of 16 bits.
    UInt16,
    /// A number of 32 bits.
    UInt32,
    /// A number of 64 bits.
    UInt64,
    /// A number of 32 bits with a sign.
    Int32,
    /// Yes or no.
    Bool,
    /// Text that is seldom the same.
    Text,
    /// Text that is often the same.
    Word,
    /// A moment in milliseconds since 1970, UTC.
    Time,
    /// An address of either version; version 4 stands in version 6 as `::ffff:a.b.c.d`.
    Address,
    /// Sixteen bytes, the first written first.
    Uuid,
}

/// Which table a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Moments in the life of connections.
    Connections,
    /// What the recording says of itself.
    Notices,
    /// Manifests.
    Batches,
}

impl Table {
    /// All.
    pub const ALL: [Table; 3] = [Table::Connections, Table::Notices, Table::Batches];

    /// Its columns, in the order of a row.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Connections => CONNECTIONS,
            Table::Notices => NOTICES,
            Table::Batches => BATCHES,
        }
    }

    /// Its name in stores.
    pub fn name(self) -> &'static str {
        match self {
            Table::Connections => "connections",
            Table::Notices => "notices",
            Table::Batches => "batches",
        }
    }

    /// The word by which a line says of which table it is.
    pub fn kind(self) -> &'static str {
        match self {
            Table::Connections => "connection",
            Table::Notices => "notice",
            Table::Batches => "manifest",
        }
    }
}

impl Column {
    /// Its type in ClickHouse.
    pub fn clickhouse_type(&self) -> String {
        let bare = self.kind.clickhouse_type();
        match self.nullable {
            true => format!("Nullable({bare})"),
            false => bare.to_owned(),
        }
    }

    /// Its line in `CREATE TABLE`, without a comma.
    pub fn declaration(&self) -> String {
        let codec = match self.codec {
            "" => String::new(),
            codec => format!(" CODEC({codec})"),
        };
        format!(
            "{} {}{codec} COMMENT '{}'",
            self.name,
            self.clickhouse_type(),
            self.meaning.replace('\'', "''")
        )
    }
}

impl Kind {
    /// The type in ClickHouse of values that are known.
    pub fn clickhouse_type(self) -> &'static str {
        match self {
            Kind::UInt16 => "UInt16",
            Kind::UInt32 => "UInt32",
            Kind::UInt64 => "UInt64",
            Kind::Int32 => "Int32",
            Kind::Bool => "Bool",
            Kind::Text => "String",
            Kind::Word => "LowCardinality(String)",
            Kind::Time => "DateTime64(3, 'UTC')",
            Kind::Address => "IPv6",
            Kind::Uuid => "UUID",
        }
    }
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// It is not known, in a nullable column.
    Unknown,
    /// A number.
    Uint(u64),
    /// A number with a sign.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Text; empty where it is not known.
    Text(&'a str),
    /// A moment, in milliseconds since 1970.
    Time(i64),
    /// An address.
    Address(IpAddr),
    /// Sixteen bytes.
    Uuid([u8; 16]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Item;
    use record::{
        Attribution, Connection, ConnectionId, Device, Direction, Endpoint, IdentitySource, Mono,
        Phase, Protocol, Record, RecordId, Stamp, Traffic, Wall, sample,
    };
    use serde_json::Value as Json;
    use std::collections::BTreeSet;
    use trail::Source;

    fn items(seed: u64, count: usize) -> Vec<Item> {
        let numbered = sample::records(seed, count).into_iter().zip(1..);
        let item = |(record, sequence)| Item {
            id: RecordId { epoch: 7, sequence },
            record,
        };
        numbered.map(item).collect()
    }

    /// Checks that each value fits its column.
    struct Check {
        table: Table,
        values: usize,
    }

    impl Put for Check {
        fn put(&mut self, value: Value<'_>) {
            let column = &self.table.columns()[self.values];
            self.values += 1;
            let fits = match value {
                Value::Unknown => column.nullable,
                Value::Uint(number) => [
                    (Kind::UInt16, u16::MAX.into()),
                    (Kind::UInt32, u32::MAX.into()),
                    (Kind::UInt64, u64::MAX),
                ]
                .iter()
                .any(|(kind, most)| *kind == column.kind && number <= *most),
                Value::Int(_) => column.kind == Kind::Int32,
                Value::Bool(_) => column.kind == Kind::Bool,
                Value::Text(_) => matches!(column.kind, Kind::Text | Kind::Word),
                Value::Time(_) => column.kind == Kind::Time,
                Value::Address(_) => column.kind == Kind::Address,
                Value::Uuid(_) => column.kind == Kind::Uuid,
            };
            assert!(fits, "{value:?} in {column:?}");
        }
    }

    #[test]
    fn every_value_fits_its_column_and_every_column_has_one() {
        let device = sample::device();
        let provenance = Provenance {
            device: &device,
            source: &Source::Recorder,
            epoch: 7,
        };
        for item in items(3, 5_000) {
            let table = bytes::table_of(&item.record);
            let mut check = Check { table, values: 0 };
            match &item.record {
                Record::Connection(it) => put_connection(provenance, 1, it, &mut check),
                Record::Notice(it) => put_notice(provenance, 1, it, &mut check),
            }
            assert_eq!(check.values, table.columns().len());
        }
    }

    #[test]
    fn names_are_given_once_and_all_tables_begin_the_same() {
        for table in Table::ALL {
            let columns = table.columns();
            for name in [
                |it: &Column| it.name,
                |it: &Column| it.otel,
                |it: &Column| it.ecs,
            ] {
                let names: BTreeSet<&str> = columns.iter().map(name).collect();
                assert_eq!(names.len(), columns.len(), "{table:?}");
            }
            assert_eq!(columns[..PROVENANCE], CONNECTIONS[..PROVENANCE]);
        }
    }

    fn line(source: &Source, device: &Device, item: &Item) -> Json {
        let provenance = Provenance {
            device,
            source,
            epoch: item.id.epoch,
        };
        let mut out = Vec::new();
        Lines::default().item(provenance, item, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn connections() -> Vec<(Item, Connection)> {
        let connection = |item: Item| match item.record.clone() {
            Record::Connection(it) => Some((item, it)),
            Record::Notice(_) => None,
        };
        items(4, 3_000).into_iter().filter_map(connection).collect()
    }

    #[test]
    fn a_connection_stands_in_its_columns_datum_by_datum() {
        let device = sample::device();
        for (item, it) in connections() {
            let row = line(&Source::Side("filter".into()), &device, &item);
            let process = it.process.as_deref();
            let known = it.traffic.quality != record::ByteQuality::ZeroUnverified;
            let number = |value: Option<u64>| value.map_or(Json::Null, Json::from);
            let expected = [
                ("endpoint", device.endpoint.to_string().into()),
                ("source", "filter".into()),
                ("sequence", item.id.sequence.into()),
                ("connection", it.id.ordinal.into()),
                ("local_port", number(it.local.port.map(u64::from))),
                ("remote_port", number(it.remote.port.map(u64::from))),
                ("bytes_out", number(it.traffic.bytes_out.filter(|_| known))),
                ("bytes_in", number(it.traffic.bytes_in.filter(|_| known))),
                ("packets_out", number(it.traffic.packets_out)),
                ("packets_in", number(it.traffic.packets_in)),
                ("rtt_us", number(it.rtt_us.map(u64::from))),
                ("retransmits", number(it.retransmits.map(u64::from))),
                ("closer_pid", number(it.closer_pid.map(u64::from))),
                ("pid", number(process.map(|it| it.key.pid.into()))),
                ("cgroup", number(process.and_then(|it| it.cgroup))),
                ("connections", it.connections().into()),
                ("confidence", it.attribution.confidence.name().into()),
                ("identity_source", it.attribution.source.name().into()),
                ("origin", it.origin.name().into()),
                ("byte_quality", it.traffic.quality.name().into()),
                ("direction", it.direction.name().into()),
            ];
            for (name, expected) in expected {
                assert_eq!(row[name], expected, "{name} of {it:?}");
            }
            let address =
                |side: Endpoint| side.address.map_or(Json::Null, |it| it.to_string().into());
            assert_eq!(row["local_ip"], address(it.local));
            assert_eq!(row["remote_ip"], address(it.remote));
            let path = process.and_then(|it| it.path.as_deref());
            assert_eq!(row["process_path"], path.map_or(Json::Null, Json::from));
        }
    }

    #[test]
    fn of_a_connection_of_which_nothing_is_known_no_column_is_zero() {
        let record = Record::Connection(Connection {
            id: ConnectionId {
                epoch: 7,
                ordinal: 9,
            },
            phase: Phase::Open,
            at: Stamp {
                wall: Wall(1_700_000_000_123_456_789),
                mono: Mono(5),
            },
            process: None,
            attribution: Attribution::from_source(IdentitySource::None),
            responsible: None,
            protocol: Protocol::Other(132),
            direction: Direction::Unknown,
            local: Endpoint::default(),
            remote: Endpoint::default(),
            hostname: None,
            network_namespace: None,
            opened: None,
            established: None,
            traffic: Traffic::default(),
            rtt_us: None,
            retransmits: None,
            closer_pid: None,
            origin: record::Origin::Live,
            treated: None,
            aggregate: None,
        });
        let item = Item {
            id: RecordId {
                epoch: 7,
                sequence: 1,
            },
            record,
        };
        let device = Device::default();
        let row = line(&Source::Recorder, &device, &item);
        let expected = serde_json::json!({
            "kind": "connection",
            "endpoint": "00000000-0000-0000-0000-000000000000",
            "epoch": 7,
            "sequence": 1,
            "connection_epoch": 7,
            "connection": 9,
            "phase": "open",
            "start_time": "2023-11-14 22:13:20.123",
            "direction": "unknown",
            "transport": "132",
            "byte_quality": "unknown",
            "origin": "live",
            "identity_source": "none",
            "confidence": "unknown",
            "connections": 1,
        });
        assert_eq!(row, expected);
    }

    #[test]
    fn kept_bytes_never_show() {
        let device = sample::device();
        let provenance = Provenance {
            device: &device,
            source: &Source::Recorder,
            epoch: 7,
        };
        let (mut lines, mut texts, mut rows) =
            (Lines::default(), Texts::default(), Rows::default());
        for item in items(5, 2_000) {
            let mut all = [const { Vec::new() }; 6];
            lines.item(provenance, &item, &mut all[0]);
            Lines::default().item(provenance, &item, &mut all[1]);
            texts.item(provenance, &item, &mut all[2]);
            Texts::default().item(provenance, &item, &mut all[3]);
            rows.item(provenance, &item, &mut all[4]);
            Rows::default().item(provenance, &item, &mut all[5]);
            let [line, line_new, text, text_new, row, row_new] = all;
            assert!(line == line_new && text == text_new && row == row_new);
        }
    }
}
