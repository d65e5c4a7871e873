//! Which field each platform can fill: read off the records of two recorded streams.
//!
//! One stream is the office on the Linux kernel, the other a day on a Mac as the doubles play it.
//! Both go through the same flow table, and the fields of the JSON that comes out are counted.

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use flow::{FlowTable, stream};
use record::{Phase, Record, RecordId, ocsf};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The page, relative to the root.
const PAGE: &str = "docs/parity.md";

/// The streams, relative to the root, each with the head of its column.
const STREAMS: [(&str, &str); 2] = [
    ("demo/office.events", "Linux kernel"),
    ("demo/mac.events", "macOS filter"),
];

/// How many of the closes of a stream have each field.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filled {
    closes: usize,
    by_field: BTreeMap<String, usize>,
}

/// `cargo xtask parity`.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let page = page(&workspace.root)?;
    let path = workspace.root.join(PAGE);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

fn page(root: &Path) -> Result<String> {
    let mut columns = Vec::new();
    for (stream, _) in STREAMS {
        let bytes = fs::read(root.join(stream)).with_context(|| format!("cannot read {stream}"))?;
        columns.push(replay(&bytes).with_context(|| format!("in {stream}"))?);
    }
    let heads: Vec<&str> = STREAMS.iter().map(|(_, head)| *head).collect();
    Ok(table(&heads, &columns))
}

fn replay(bytes: &[u8]) -> Result<Filled> {
    let mut calls = bytes;
    let header = stream::decode_header(&mut calls)?;
    let mut table = FlowTable::new(header.config, header.epoch, header.start);
    let mut filled = Filled::default();
    let mut sequence = 0;
    stream::replay(&mut calls, &mut table, |record| {
        sequence += 1;
        let id = RecordId {
            epoch: header.epoch,
            sequence,
        };
        filled.count(record, &ocsf::to_json(id, record, &header.device))
    })?;
    Ok(filled)
}

impl Filled {
    /// Only closes count: they tell the whole story.
    fn count(&mut self, record: &Record, json: &str) -> Result<()> {
        let is_close = match record {
            Record::Connection(connection) => matches!(connection.phase, Phase::Close(_)),
            Record::Notice(_) => false,
        };
        if !is_close {
            return Ok(());
        }
        self.closes += 1;
        let mut fields = BTreeSet::new();
        walk(&serde_json::from_str(json)?, "", &mut fields);
        for field in fields {
            *self.by_field.entry(field).or_default() += 1;
        }
        Ok(())
    }

    fn in_words(&self, field: &str) -> &'static str {
        match self.by_field.get(field) {
            None => "–",
            Some(count) if *count == self.closes => "always",
            Some(_) => "sometimes",
        }
    }
}

fn walk(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                walk(value, &path, fields);
            }
        }
        Value::Array(array) => {
            for value in array {
                walk(value, &format!("{path}[]"), fields);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.insert(path.to_owned());
        }
    }
}

fn table(heads: &[&str], columns: &[Filled]) -> String {
    let mut page = String::from(
        "# Which field each platform can fill\n\n\
         Made by `cargo xtask parity` from the two recorded streams that come with the project; do \
         not edit.\nA field is in a close always, sometimes or, where there is a dash, never. The \
         column for macOS comes\nfrom the adapter's run against doubles of the system: built and \
         tested off-Mac.\n\n",
    );
    page.push_str(&format!("| field | {} |\n", heads.join(" | ")));
    page.push_str(&format!("|---{}|\n", "|---".repeat(heads.len())));
    let fields: BTreeSet<&String> = columns.iter().flat_map(|it| it.by_field.keys()).collect();
    for field in fields {
        let cells: Vec<&str> = columns.iter().map(|it| it.in_words(field)).collect();
        page.push_str(&format!("| `{field}` | {} |\n", cells.join(" | ")));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: &[&str]) -> Filled {
        let mut filled = Filled::default();
        for json in rows {
            filled.closes += 1;
            let mut fields = BTreeSet::new();
            walk(&serde_json::from_str(json).unwrap(), "", &mut fields);
            for field in fields {
                *filled.by_field.entry(field).or_default() += 1;
            }
        }
        filled
    }

    #[test]
    fn a_field_is_always_there_sometimes_or_never() {
        let one = filled(&[
            r#"{"a":{"b":1},"c":[{"d":2},{"d":3}]}"#,
            r#"{"a":{"b":null},"c":[]}"#,
        ]);
        let other = filled(&[r#"{"a":{"b":0}}"#]);
        let table = table(&["one", "other"], &[one, other]);
        assert!(
            table.contains("| `a.b` | sometimes | always |\n"),
            "{table}"
        );
        assert!(table.contains("| `c[].d` | sometimes | – |\n"), "{table}");
    }

    #[test]
    fn the_page_is_what_the_streams_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let committed = fs::read_to_string(root.join(PAGE)).unwrap();
        assert!(
            committed == page(root).unwrap(),
            "{PAGE} is not what `cargo xtask parity` writes; run it and commit the page"
        );
    }
}
