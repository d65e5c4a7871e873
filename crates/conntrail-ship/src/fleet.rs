//! What the fleet's store is made of: tables, rollups, the ledger and the search for tampering, as
//! statements for ClickHouse.
//!
//! All of it comes from the one table of columns, [`ship::flat`], and from the texts beside this
//! file. `conntrail-ship fleet ddl` writes it; `fleet/clickhouse` is a copy, which a test compares.

mod collector;

use anyhow::{Context, Result, bail};
use ship::flat::{self, Table};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreTable {
    /// Messages that the relay could not read.
    Refused,
    /// One of flat columns.
    Flat(Table),
}

/// In which form the store is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One server.
    #[default]
    Single,
    /// One shard of several servers that replicate, of this cluster.
    Replicated {
        /// Its name in the servers' configuration.
        cluster: String,
    },
}

/// A file of statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statements {
    /// Name of the file.
    pub name: &'static str,
    /// Statements, each ended by a semicolon and a line break.
    pub text: String,
}

/// Columns that the relay adds to manifests, from the message that brought them: names and types,
/// then what they say.
const BATCH_EXTRAS: &[(&str, &str, &str)] = &[
    (
        "stream",
        "LowCardinality(String)",
        "The stream that it came through.",
    ),
    (
        "stream_created",
        "DateTime64(3, 'UTC')",
        "When that stream was made.",
    ),
    (
        "stream_sequence",
        "UInt64",
        "The place of its message in the stream.",
    ),
    (
        "published",
        "DateTime64(3, 'UTC')",
        "When the stream took it.",
    ),
    ("received", "DateTime64(3, 'UTC')", "When the relay had it."),
    (
        "first_time",
        "Nullable(DateTime64(3, 'UTC'))",
        "Time of its oldest record, if any.",
    ),
    (
        "last_time",
        "Nullable(DateTime64(3, 'UTC'))",
        "Time of its newest record, if any.",
    ),
    ("days", "Array(Date)", "Partitions of its records."),
];

/// Columns of what was set aside.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "stream",
        "LowCardinality(String)",
        "The stream that it came through.",
    ),
    (
        "stream_created",
        "DateTime64(3, 'UTC')",
        "When that stream was made.",
    ),
    (
        "stream_sequence",
        "UInt64",
        "The place of the message in the stream.",
    ),
    (
        "published",
        "DateTime64(3, 'UTC')",
        "When the stream took it.",
    ),
    ("received", "DateTime64(3, 'UTC')", "When the relay had it."),
    ("subject", "String", "Subject of the message."),
    (
        "message_id",
        "String",
        "Its Nats-Msg-Id: the name of the batch, as its sender gave it.",
    ),
    ("reason", "String", "Why it cannot be read."),
    ("body", "String", "The message as it came."),
];

/// Of every table. What came once more within these many inserts is not even written.
const SETTINGS: &str = "non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1";

impl StoreTable {
    /// All, in the order in which rows go in: manifests last.
    pub const ALL: [StoreTable; 4] = [
        StoreTable::Refused,
        StoreTable::Flat(Table::Connections),
        StoreTable::Flat(Table::Notices),
        StoreTable::Flat(Table::Batches),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            StoreTable::Refused => "relay_refused",
            StoreTable::Flat(table) => table.name(),
        }
    }

    /// Names of the columns that rows have, in their order.
    fn columns(self) -> Vec<&'static str> {
        let flat: &[flat::Column] = match self {
            StoreTable::Refused => &[],
            StoreTable::Flat(table) => table.columns(),
        };
        let flat = flat.iter().map(|column| column.name);
        flat.chain(self.extras().iter().map(|it| it.0)).collect()
    }

    fn extras(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            StoreTable::Refused => REFUSED,
            StoreTable::Flat(Table::Batches) => BATCH_EXTRAS,
            StoreTable::Flat(Table::Connections | Table::Notices) => &[],
        }
    }

    fn declarations(self) -> Vec<String> {
        let flat: &[flat::Column] = match self {
            StoreTable::Refused => &[],
            StoreTable::Flat(table) => table.columns(),
        };
        let extra = |(name, kind, meaning): &(&str, &str, &str)| {
            format!("{name} {kind} COMMENT '{meaning}'")
        };
        let flat = flat.iter().map(flat::Column::declaration);
        flat.chain(self.extras().iter().map(extra)).collect()
    }

    /// Indexes of what is looked for and is not in the key.
    fn indexes(self) -> &'static [&'static str] {
        match self {
            StoreTable::Flat(Table::Connections) => &[
                "INDEX by_remote_ip remote_ip TYPE bloom_filter(0.01) GRANULARITY 4",
                "INDEX by_remote_host remote_host TYPE bloom_filter(0.01) GRANULARITY 4",
                "INDEX by_cdhash cdhash TYPE bloom_filter(0.01) GRANULARITY 4",
            ],
            StoreTable::Flat(Table::Notices) => {
                &["INDEX by_notice notice TYPE set(100) GRANULARITY 4"]
            }
            StoreTable::Refused | StoreTable::Flat(Table::Batches) => &[],
        }
    }

    /// What stands behind the columns. A partition and a key never depend on when something came,
    /// but on what came: else what came twice would not meet.
    fn storage(self) -> &'static str {
        match self {
            StoreTable::Flat(Table::Connections) => {
                "PARTITION BY toYYYYMMDD(start_time)\n\
                 PRIMARY KEY (toStartOfHour(start_time), process_name)\n\
                 ORDER BY (toStartOfHour(start_time), process_name, endpoint, source, epoch, \
                 sequence)\n\
                 TTL toDateTime(start_time) + INTERVAL 400 DAY DELETE\n"
            }
            StoreTable::Flat(Table::Notices) => {
                "PARTITION BY toYYYYMM(time)\n\
                 ORDER BY (endpoint, source, epoch, sequence)\n"
            }
            StoreTable::Flat(Table::Batches) => {
                "PARTITION BY toYYYYMM(published)\n\
                 ORDER BY (endpoint, source, epoch, first_sequence, last_sequence, view, stream, \
                 stream_created, stream_sequence)\n"
            }
            StoreTable::Refused => {
                "PARTITION BY toYYYYMM(published)\n\
                 ORDER BY (stream, stream_created, stream_sequence)\n"
            }
        }
    }
}

/// A table with the columns of the relay's rows, as `INSERT INTO` takes it.
pub fn insert_target(table: StoreTable) -> String {
    format!("{} ({})", table.name(), table.columns().join(", "))
}

/// Everything that the store is made of, file by file, in the order in which they are run.
pub fn ddl(form: &Form, database: &str) -> Vec<Statements> {
    [
        ("1-tables.sql", tables()),
        ("2-ledger.sql", include_str!("fleet/ledger.sql").to_owned()),
        ("3-tamper.sql", include_str!("fleet/tamper.sql").to_owned()),
        (
            "4-rollups.sql",
            include_str!("fleet/rollups.sql").to_owned(),
        ),
        ("5-collector.sql", collector::template()),
    ]
    .into_iter()
    .map(|(name, template)| Statements {
        name,
        text: head(form) + &fill(&template, form, database),
    })
    .collect()
}

fn head(form: &Form) -> String {
    let made = "-- Made by `conntrail-ship fleet ddl";
    match form {
        Form::Single => format!("{made}`. Run in tests.\n\n"),
        Form::Replicated { .. } => format!(
            "{made} --replicated`. NOT RUN: no test has replicated servers.\n\
             -- It differs from the single form only in what names the cluster, the engines and \
             their storage.\n\n"
        ),
    }
}

fn tables() -> String {
    let mut out = "CREATE DATABASE IF NOT EXISTS {{database}}{{cluster}};\n".to_owned();
    for table in StoreTable::ALL {
        let mut lines = table.declarations();
        lines.extend(table.indexes().iter().map(|&it| it.to_owned()));
        let name = table.name();
        let lines = lines.join(",\n    ");
        let storage = table.storage();
        let _ = write!(
            out,
            "\nCREATE TABLE IF NOT EXISTS {{{{database}}}}.{name}{{{{cluster}}}}\n\
             (\n    {lines}\n)\n\
             ENGINE = {{{{replacing}}}}\n{storage}SETTINGS {SETTINGS}{{{{storage}}}};\n",
        );
    }
    out
}

fn fill(template: &str, form: &Form, database: &str) -> String {
    let (cluster, replacing, storage) = match form {
        Form::Single => (String::new(), "ReplacingMergeTree", ""),
        Form::Replicated { cluster } => (
            format!(" ON CLUSTER '{}'", cluster.replace('\'', "''")),
            "ReplicatedReplacingMergeTree",
            ", storage_policy = 'default'",
        ),
    };
    template
        .replace(
            "{{connection_text}}",
            &flat::row_expression(Table::Connections),
        )
        .replace("{{notice_text}}", &flat::row_expression(Table::Notices))
        .replace("{{digest}}", flat::digest_expression())
        .replace("{{cluster}}", &cluster)
        .replace("{{replacing}}", replacing)
        .replace("{{storage}}", storage)
        .replace("{{database}}", database)
}

/// Writes what the fleet's store is made of.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Tables, ledger, search for tampering, rollups and the way from a collector, as statements
    /// for ClickHouse
    Ddl(DdlArguments),
}

#[derive(Clone, Debug, clap::Args)]
struct DdlArguments {
    /// Name of the database
    #[arg(long, default_value = "conntrail")]
    database: String,
    /// For servers that replicate; no test runs this form
    #[arg(long, requires = "cluster")]
    replicated: bool,
    /// Name of the cluster in the servers' configuration
    #[arg(long, value_name = "NAME", requires = "replicated")]
    cluster: Option<String>,
    /// Writes one file each into this folder, instead of all to standard output
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Arguments {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or the name of the database is none.
    pub fn run(&self) -> Result<()> {
        let Command::Ddl(arguments) = &self.command;
        let legal = |it: char| it.is_ascii_alphanumeric() || it == '_';
        if arguments.database.is_empty() || !arguments.database.chars().all(legal) {
            bail!("--database: a name has letters, digits and `_`");
        }
        let form = match &arguments.cluster {
            None => Form::Single,
            Some(cluster) => Form::Replicated {
                cluster: cluster.clone(),
            },
        };
        for statements in ddl(&form, &arguments.database) {
            match &arguments.out {
                None => std::io::stdout().write_all(statements.text.as_bytes())?,
                Some(folder) => {
                    let path = folder.join(statements.name);
                    fs::write(&path, statements.text)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}
