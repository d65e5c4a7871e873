//! Flat columns as Parquet: <https://parquet.apache.org/docs/file-format/>.
//!
//! A batch is a file. A row is a record, and `kind` says of which table it is: the columns of
//! connections and of notices stand side by side, and those of the other table are null. The
//! manifest stands in the metadata of the file, as [`MANIFEST`].
//!
//! Types are those that every reader knows. Numbers are `INT32` or `INT64` with a sign, since many
//! engines know no others: a number of 64 bits above 2^63 - 1 shows as its two's complement, and
//! nothing is lost. Addresses and ids are text. What is unknown is null, texts too.

use crate::flat::{
    CONNECTIONS, Column, Kind, Lines, NOTICES, PROVENANCE, Provenance, Put, Table, Value,
    put_connection, put_notice,
};
use crate::{Batch, Compression};
use parquet::basic::{self, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use record::Record;
use std::fmt::Write;
use std::sync::Arc;

/// Under which key the manifest stands in the metadata of a file: the object that a line of
/// [`Format::Flat`](super::Format::Flat) has for it.
pub const MANIFEST: &str = "conntrail.manifest";

/// Under which key stands when the first record was made, in milliseconds since 1970.
const FIRST_TIME: &str = "conntrail.first_time_ms";

/// Rows that are held at once, and then written: what bounds the memory.
const ROWS_MAX: usize = 16_384;

/// Every row has these.
const REQUIRED: [&str; 5] = ["kind", "endpoint", "source", "epoch", "sequence"];

/// When the first record in a file was made, in milliseconds since 1970; `None` where there is no
/// record, or this is no such file.
pub fn first_time_ms(file: &[u8]) -> Option<i64> {
    let file = bytes::Bytes::copy_from_slice(file);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).ok()?;
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let pair = pairs.iter().find(|pair| pair.key == FIRST_TIME)?;
    pair.value.as_ref()?.parse().ok()
}

/// The columns of a file: names, kinds, and in which column of a row's own table they stand.
pub fn columns() -> impl Iterator<Item = &'static Column> {
    let connections = CONNECTIONS.iter();
    connections.chain(NOTICES.iter().skip(PROVENANCE + 1))
}

/// Writes files.
pub(super) struct Parquet {
    schema: TypePtr,
    compression: basic::Compression,
    rows_max: usize,
}

impl Parquet {
    /// With this compression within, at this level.
    pub(super) fn new(compression: Compression, level: Option<i32>) -> Parquet {
        let level = level.map_or(ZstdLevel::default(), |level| {
            ZstdLevel::try_new(level).unwrap_or_default()
        });
        Parquet {
            schema: schema(),
            compression: match compression {
                Compression::Zstd => basic::Compression::ZSTD(level),
                Compression::None | Compression::Gzip => basic::Compression::UNCOMPRESSED,
            },
            rows_max: ROWS_MAX,
        }
    }

    /// The file of a batch.
    pub(super) fn encode(&self, batch: &Batch) -> Vec<u8> {
        self.write(batch)
            .expect("memory takes what fits the columns")
    }

    fn write(&self, batch: &Batch) -> Result<Vec<u8>, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_created_by("conntrail".to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(metadata(batch)))
            .build();
        let schema = Arc::clone(&self.schema);
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut rows = Rows::new();
        for items in batch.items.chunks(self.rows_max) {
            for item in items {
                rows.add(Provenance::of(batch), item.id.sequence, &item.record);
            }
            rows.write(&mut writer)?;
        }
        writer.into_inner()
    }
}

/// What the file says of itself.
fn metadata(batch: &Batch) -> Vec<KeyValue> {
    let mut line = Vec::new();
    Lines::default().manifest(&batch.device, &batch.manifest, &mut line);
    let manifest = String::from_utf8(line)
        .expect("JSON is text")
        .trim_end()
        .to_owned();
    let mut pairs = vec![KeyValue::new(MANIFEST.to_owned(), manifest)];
    if let Some(first) = batch.items.first() {
        let time_ms = first.record.at().wall.0.div_euclid(1_000_000);
        pairs.push(KeyValue::new(FIRST_TIME.to_owned(), time_ms.to_string()));
    }
    pairs
}

/// The columns in the words of Parquet.
fn schema() -> TypePtr {
    let mut text = "message conntrail {\n required binary kind (STRING);\n".to_owned();
    for column in columns() {
        let (kind, annotation) = match column.kind {
            Kind::UInt16 | Kind::Int32 => ("int32", ""),
            Kind::UInt32 | Kind::UInt64 => ("int64", ""),
            Kind::Bool => ("boolean", ""),
            Kind::Time => ("int64", " (TIMESTAMP(MILLIS,true))"),
            Kind::Text | Kind::Word | Kind::Address | Kind::Uuid => ("binary", " (STRING)"),
        };
        let need = match is_required(column.name) {
            true => "required",
            false => "optional",
        };
        let name = column.name;
        writeln!(text, " {need} {kind} {name}{annotation};").expect("memory can be written");
    }
    text.push('}');
    Arc::new(parse_message_type(&text).expect("the columns are well named"))
}

fn is_required(name: &str) -> bool {
    REQUIRED.contains(&name)
}

/// Rows, column by column.
struct Rows {
    /// `kind`, and then as [`columns`] says.
    columns: Vec<Cells>,
    rows: usize,
}

/// The values of a column that are known, and which are.
struct Cells {
    values: Values,
    known: Vec<i16>,
    is_required: bool,
}

enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
}

impl Rows {
    fn new() -> Rows {
        let kind = Cells::new(Kind::Word, true);
        let others = columns().map(|it| Cells::new(it.kind, is_required(it.name)));
        Rows {
            columns: std::iter::once(kind).chain(others).collect(),
            rows: 0,
        }
    }

    fn add(&mut self, provenance: Provenance<'_>, sequence: u64, record: &Record) {
        let table = match record {
            Record::Connection(_) => Table::Connections,
            Record::Notice(_) => Table::Notices,
        };
        self.columns[0].put(Value::Text(table.kind()));
        let mut row = Row {
            columns: &mut self.columns[1..],
            table,
            column: 0,
        };
        match record {
            Record::Connection(it) => put_connection(provenance, sequence, it, &mut row),
            Record::Notice(it) => put_notice(provenance, sequence, it, &mut row),
        }
        self.rows += 1;
        for column in &mut self.columns {
            column.known.resize(self.rows, 0);
        }
    }

    /// Writes all rows, and forgets them.
    fn write(&mut self, writer: &mut SerializedFileWriter<Vec<u8>>) -> Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        for cells in &mut self.columns {
            let mut column = group.next_column()?.expect("the schema has every column");
            cells.write(column.untyped())?;
            column.close()?;
            cells.clear();
        }
        self.rows = 0;
        group.close().map(drop)
    }
}

/// Puts the values of a row of a table where they stand among all columns.
struct Row<'a> {
    columns: &'a mut [Cells],
    table: Table,
    column: usize,
}

impl Put for Row<'_> {
    fn put(&mut self, value: Value<'_>) {
        let own = self.table == Table::Notices && self.column > PROVENANCE;
        let place = match own {
            true => CONNECTIONS.len() + self.column - PROVENANCE - 1,
            false => self.column,
        };
        self.columns[place].put(value);
        self.column += 1;
    }
}

impl Cells {
    fn new(kind: Kind, is_required: bool) -> Cells {
        Cells {
            values: match kind {
                Kind::UInt16 | Kind::Int32 => Values::Int32(Vec::new()),
                Kind::UInt32 | Kind::UInt64 | Kind::Time => Values::Int64(Vec::new()),
                Kind::Bool => Values::Bool(Vec::new()),
                Kind::Text | Kind::Word | Kind::Address | Kind::Uuid => Values::Text(Vec::new()),
            },
            known: Vec::new(),
            is_required,
        }
    }

    fn put(&mut self, value: Value<'_>) {
        let is_known = match value {
            Value::Unknown => false,
            Value::Text(text) => self.is_required || !text.is_empty(),
            Value::Uint(_)
            | Value::Int(_)
            | Value::Bool(_)
            | Value::Time(_)
            | Value::Address(_)
            | Value::Uuid(_) => true,
        };
        if is_known {
            self.values.put(value);
        }
        self.known.push(i16::from(is_known));
    }

    fn write(&self, column: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let known = (!self.is_required).then_some(&self.known[..]);
        match (&self.values, column) {
            (Values::Int32(values), ColumnWriter::Int32ColumnWriter(column)) => {
                column.write_batch(values, known, None)
            }
            (Values::Int64(values), ColumnWriter::Int64ColumnWriter(column)) => {
                column.write_batch(values, known, None)
            }
            (Values::Bool(values), ColumnWriter::BoolColumnWriter(column)) => {
                column.write_batch(values, known, None)
            }
            (Values::Text(values), ColumnWriter::ByteArrayColumnWriter(column)) => {
                column.write_batch(values, known, None)
            }
            (_, _) => unreachable!("the schema is made of the same columns"),
        }
        .map(drop)
    }

    fn clear(&mut self) {
        self.known.clear();
        match &mut self.values {
            Values::Int32(values) => values.clear(),
            Values::Int64(values) => values.clear(),
            Values::Bool(values) => values.clear(),
            Values::Text(values) => values.clear(),
        }
    }
}

impl Values {
    fn put(&mut self, value: Value<'_>) {
        match self {
            Values::Int32(values) => values.push(number(value) as i32),
            Values::Int64(values) => values.push(number(value)),
            Values::Bool(values) => values.push(value == Value::Bool(true)),
            Values::Text(values) => match value {
                Value::Text(text) => push_text(values, text),
                Value::Address(address) => push_text(values, &address.to_string()),
                Value::Uuid(uuid) => push_text(values, &uuid_text(uuid)),
                Value::Unknown
                | Value::Uint(_)
                | Value::Int(_)
                | Value::Bool(_)
                | Value::Time(_) => unreachable!("a value fits its column"),
            },
        }
    }
}

/// Numbers of 64 bits keep their bits.
fn number(value: Value<'_>) -> i64 {
    match value {
        Value::Uint(number) => number.cast_signed(),
        Value::Int(number) | Value::Time(number) => number,
        Value::Unknown | Value::Bool(_) | Value::Text(_) | Value::Address(_) | Value::Uuid(_) => {
            unreachable!("a value fits its column")
        }
    }
}

/// What is the same in many rows is kept once for those that follow each other.
fn push_text(values: &mut Vec<ByteArray>, text: &str) {
    let same = values.last().filter(|last| last.data() == text.as_bytes());
    values.push(match same {
        Some(last) => last.clone(),
        None => ByteArray::from(text.as_bytes().to_vec()),
    });
}

fn uuid_text(bytes: [u8; 16]) -> String {
    record::EndpointId(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchId, Item, LeftOut, Manifest};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use record::{RecordId, sample};
    use serde_json::{Value as Json, json};
    use std::collections::BTreeSet;
    use trail::Source;

    fn batch(count: usize) -> Batch {
        let device = sample::device();
        let numbered = sample::records(3, count).into_iter().zip(1..);
        let items = numbered.map(|(record, sequence)| Item {
            id: RecordId { epoch: 7, sequence },
            record,
        });
        let items: Vec<Item> = items.collect();
        Batch {
            manifest: Manifest {
                id: BatchId {
                    endpoint: device.endpoint,
                    source: Source::Recorder,
                    epoch: 7,
                    first: 1,
                    last: count.max(1) as u64,
                    view: 1,
                },
                sent: count as u64,
                left_out: LeftOut::default(),
                digest: [9; 32],
                head: None,
                until: items.last().map(|item| item.record.at().wall),
            },
            device: Arc::new(device),
            items,
        }
    }

    fn encode(batch: &Batch) -> Vec<u8> {
        Parquet::new(Compression::Zstd, None).encode(batch)
    }

    fn reader(file: Vec<u8>) -> SerializedFileReader<bytes::Bytes> {
        SerializedFileReader::new(bytes::Bytes::from(file)).unwrap()
    }

    /// A cell as the line of the flat format has it.
    fn cell(field: &Field) -> Json {
        if let Field::TimestampMillis(time_ms) = field {
            let mut text = Vec::new();
            crate::flat::write_moment(*time_ms, b' ', &mut text);
            return json!(String::from_utf8(text).unwrap());
        }
        if let Field::Str(text) = field {
            return json!(text);
        }
        // Numbers, yes and no, and null are written alike.
        serde_json::from_str(&field.to_string()).unwrap()
    }

    #[test]
    fn names_are_given_once() {
        let names: BTreeSet<&str> = columns().map(|it| it.name).collect();
        assert_eq!(names.len(), columns().count());
        assert!(!names.contains("kind"));
    }

    /// Over more than one group of rows.
    #[test]
    fn every_row_says_what_its_flat_line_says_and_is_null_elsewhere() {
        let batch = batch(1_500);
        let parquet = Parquet {
            rows_max: 1_000,
            ..Parquet::new(Compression::Zstd, None)
        };
        let reader = reader(parquet.encode(&batch));
        assert_eq!(reader.num_row_groups(), 2);
        let mut rows = 0;
        for (row, item) in reader.get_row_iter(None).unwrap().zip(&batch.items) {
            let row = row.unwrap();
            let mut line = Vec::new();
            Lines::default().item(Provenance::of(&batch), item, &mut line);
            let mut expected: Json = serde_json::from_slice(&line).unwrap();
            for (name, field) in row.get_column_iter() {
                let expected = expected[name].take();
                // Lines leave out what is empty, and numbers keep their bits.
                match (expected, field) {
                    (Json::Null, Field::Str(text)) => {
                        assert_eq!((name.as_str(), text.as_str()), ("source", ""))
                    }
                    (Json::Number(number), Field::Long(cell)) if number.is_u64() => {
                        assert_eq!(number.as_u64().unwrap().cast_signed(), *cell, "{name}");
                    }
                    (expected, field) => assert_eq!(expected, cell(field), "{name}"),
                }
            }
            let rest = expected.as_object().unwrap().iter();
            let left: Vec<_> = rest.filter(|(_, value)| !value.is_null()).collect();
            assert!(left.is_empty(), "in no column: {left:?}");
            rows += 1;
        }
        assert_eq!(rows, batch.items.len());
    }

    #[test]
    fn the_same_batch_is_the_same_bytes() {
        assert!(encode(&batch(2_000)) == encode(&batch(2_000)));
    }

    #[test]
    fn the_file_tells_its_manifest_and_when_it_begins() {
        let batch = batch(10);
        let file = encode(&batch);
        let first = batch.items[0].record.at().wall.0 / 1_000_000;
        assert_eq!(first_time_ms(&file), Some(first));
        let reader = reader(file);
        let pairs = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap();
        let manifest = pairs.iter().find(|it| it.key == MANIFEST).unwrap();
        let manifest: Json = serde_json::from_str(manifest.value.as_ref().unwrap()).unwrap();
        assert_eq!(manifest["kind"], "manifest");
        assert_eq!(manifest["sent"], 10);
        assert_eq!(manifest["last_sequence"], 10);
    }

    #[test]
    fn a_batch_without_records_is_a_file_without_rows() {
        let file = encode(&batch(0));
        assert_eq!(first_time_ms(&file), None);
        assert_eq!(reader(file).metadata().file_metadata().num_rows(), 0);
        assert_eq!(first_time_ms(b"PAR1 and nothing"), None);
    }
}
