//! From the table that a collector fills into the tables of the store.
//!
//! A collector's exporter writes attributes as texts in a map. What it inserts is taken apart as it
//! comes, by materialized views; nothing is kept twice.

use ship::flat::{Column, Kind, PROVENANCE, Table};

/// Word of the postmark for what came through a collector.
const STREAM: &str = "otlp";

/// The columns that collectors fill, of the OpenTelemetry Collector's exporter and of Rotel's; and
/// one that they leave to the server.
const LOGS: &str = "CREATE TABLE IF NOT EXISTS {{database}}.otel_logs{{cluster}}
(
    Timestamp DateTime64(9),
    TimestampTime DateTime DEFAULT toDateTime(Timestamp),
    TraceId String,
    SpanId String,
    TraceFlags UInt8,
    SeverityText LowCardinality(String),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String),
    Body String,
    ResourceSchemaUrl LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ScopeSchemaUrl LowCardinality(String),
    ScopeName String,
    ScopeVersion LowCardinality(String),
    ScopeAttributes Map(LowCardinality(String), String),
    LogAttributes Map(LowCardinality(String), String),
    EventName String,
    Arrived DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = Null;
";

/// What the relay takes from the message, told from what came together. A collector may part what
/// was sent together, so the days and the first time are those of all that came of the epoch.
const POSTMARK: &str = "    '{{stream}}' AS stream,
    toDateTime64(0, 3, 'UTC') AS stream_created,
    toUInt64(0) AS stream_sequence,
    arrived AS published,
    arrived AS received,
    nullIf(earliest, toDateTime64(0, 3, 'UTC')) AS first_time,
    nullIf(at, toDateTime64(0, 3, 'UTC')) AS last_time,
    days";

/// The statements, with what is the database's and the cluster's left open.
pub(super) fn template() -> String {
    let mut out = "-- What a collector inserts into `otel_logs` goes on into the tables of \
                   `1-tables.sql`; the\n-- table itself keeps nothing. Who has no collector needs \
                   none of it, and it does no harm.\n"
        .to_owned();
    out += LOGS;
    for table in Table::ALL {
        out.push('\n');
        out += &view(table);
    }
    out
}

fn view(table: Table) -> String {
    let name = table.name();
    let columns = table.columns().iter().enumerate();
    let mut lines: Vec<String> = columns
        .map(|(index, column)| {
            let value = value(column, index < PROVENANCE);
            format!("    {value} AS {}", column.name)
        })
        .collect();
    let from = match table {
        Table::Connections | Table::Notices => format!(
            "{}WHERE ScopeName = 'conntrail' AND mapContains(LogAttributes, '{}')",
            "FROM {{database}}.otel_logs\n",
            mark(table)
        ),
        Table::Batches => {
            lines.push(POSTMARK.replace("{{stream}}", STREAM));
            together()
        }
    };
    format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {{{{database}}}}.otel_{name}{{{{cluster}}}}\n\
         TO {{{{database}}}}.{name} AS\nSELECT\n{}\n{from};\n",
        lines.join(",\n")
    )
}

/// The manifests of what came together, with what else came of their epoch.
fn together() -> String {
    format!(
        "FROM\n(\n    SELECT *,\n        {moment} AS at,\n        Arrived AS arrived,\n        \
         minIf(at, Timestamp > 0) OVER same_epoch AS earliest,\n        \
         groupUniqArrayIf(toDate({start}),\n            \
         mapContains(LogAttributes, '{connections}')) OVER same_epoch AS days\n    \
         FROM {{{{database}}}}.otel_logs\n    WHERE ScopeName = 'conntrail'\n    \
         WINDOW same_epoch AS (PARTITION BY ResourceAttributes['service.instance.id'],\n        \
         ResourceAttributes['conntrail.source'], ResourceAttributes['conntrail.epoch'])\n)\n\
         WHERE mapContains(LogAttributes, '{mark}')",
        moment = moment(),
        start = start_time(),
        connections = mark(Table::Connections),
        mark = mark(Table::Batches),
    )
}

/// The attribute that all rows of a table have and those of no other.
fn mark(table: Table) -> &'static str {
    match table {
        Table::Connections => "conntrail.phase",
        Table::Notices => "conntrail.notice",
        Table::Batches => "conntrail.digest",
    }
}

/// The time of the log record, cut to milliseconds as everywhere.
fn moment() -> String {
    "fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Nano(Timestamp), 1000000), 'UTC')".to_owned()
}

/// When a connection began: the time of its record without how long it had lasted by then.
fn start_time() -> String {
    format!(
        "{} - toIntervalMillisecond(toInt64OrZero(LogAttributes['conntrail.duration_ms']))",
        moment()
    )
}

fn value(column: &Column, is_provenance: bool) -> String {
    let map = match is_provenance {
        true => "ResourceAttributes",
        false => "LogAttributes",
    };
    let text = format!("{map}['{}']", column.otel);
    match (column.kind, column.otel) {
        (Kind::Time, "") if column.name == "start_time" => start_time(),
        (Kind::Time, "") => moment(),
        (Kind::Text | Kind::Word, _) => text,
        (Kind::UInt16 | Kind::UInt32 | Kind::UInt64 | Kind::Int32, _) => {
            let or = if column.nullable { "OrNull" } else { "" };
            format!("to{}{or}({text})", column.kind.clickhouse_type())
        }
        (Kind::Bool, _) => format!("nullIf({text}, '') = 'true'"),
        (Kind::Time, _) => {
            format!("parseDateTime64BestEffortOrNull({text}, 3, 'UTC')")
        }
        (Kind::Address, _) => format!("toIPv6OrNull({text})"),
        (Kind::Uuid, _) => format!("toUUIDOrNull({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_mark_that_is_its_own_and_always_there() {
        for table in Table::ALL {
            for other in Table::ALL {
                let column = other.columns().iter().find(|it| it.otel == mark(table));
                assert_eq!(column.is_some(), table == other, "{table:?} {other:?}");
                let is_always = column.is_none_or(|it| !it.nullable);
                assert!(is_always, "{table:?}");
            }
        }
    }

    #[test]
    fn what_is_no_attribute_is_told_by_the_time_of_the_log_record() {
        let columns = Table::ALL.into_iter().flat_map(Table::columns);
        let without: Vec<&str> = { columns }
            .filter(|it| it.otel.is_empty())
            .map(|it| it.name)
            .collect();
        assert_eq!(without, ["start_time", "time"]);
    }
}
