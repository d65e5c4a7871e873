//! `conntrail status`: how deliveries go, as the shipper says in its folder.

use crate::words::{clean, duration};
use anyhow::Context;
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// How to tell.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// As JSON, for programs: the shipper's own words.
    #[arg(long)]
    json: bool,
}

/// The shipper writes every two seconds: one that is silent for so long does not run.
const SILENCE_MAX_MS: i64 = 15_000;

const BYTES_MAX: u64 = 1 << 20;

/// Tells how deliveries go; 1 where one does not go well, or no shipper runs.
///
/// # Errors
/// When what the shipper wrote cannot be read.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    let Some(status) = read(state_dir)? else {
        writeln!(out, "shipper: none has run here")?;
        return Ok(ExitCode::from(1));
    };
    let now_ms = host::clock::wall().as_millis();
    if arguments.json {
        writeln!(out, "{status:#}")?;
    } else {
        for line in lines(&status, now_ms) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(ExitCode::from(u8::from(!is_well(&status, now_ms))))
}

/// The same as lines for another status, where a shipper has run at all.
#[cfg(any(target_os = "macos", test))]
pub(crate) fn lines_of(state_dir: &Path) -> Vec<String> {
    match read(state_dir) {
        Ok(Some(status)) => lines(&status, host::clock::wall().as_millis()),
        Ok(None) => Vec::new(),
        Err(error) => vec![format!("shipper: {error:#}")],
    }
}

fn read(state_dir: &Path) -> anyhow::Result<Option<Value>> {
    let path = state_dir.join("ship").join("status.json");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut text = String::new();
    let place = || path.display().to_string();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(place)?;
    let status = serde_json::from_str(&text).with_context(place)?;
    Ok(Some(status))
}

fn lines(status: &Value, now_ms: i64) -> Vec<String> {
    let mut lines = vec![match silence_ms(status, now_ms) {
        silence if silence > SILENCE_MAX_MS => {
            format!("shipper: DOES NOT RUN, silent for {} s", silence / 1_000)
        }
        _ => format!("shipper: runs as process {}", status["pid"]),
    }];
    let destinations = status["destinations"].as_object();
    for (name, destination) in destinations.into_iter().flatten() {
        let text = |key: &str| clean(destination[key].as_str().unwrap_or("unknown"));
        let wait = match destination["lag_records"].as_u64() {
            Some(0) => "nothing waits".to_owned(),
            Some(lag) => format!("{lag} records wait"),
            None => "it is not known how many wait".to_owned(),
        };
        let age = match destination["lag_ns"].as_u64() {
            Some(0) | None => String::new(),
            Some(age_ns) => format!(", the oldest for {}", duration(age_ns)),
        };
        let problem = match destination["problem"].as_str() {
            Some(problem) => format!(": {}", clean(problem)),
            None => String::new(),
        };
        lines.push(format!(
            "  {} ({}, {}): {}, {} records delivered, {wait}{age}{problem}",
            clean(name),
            text("kind"),
            text("guarantee"),
            text("state"),
            destination["records"],
        ));
        if let Some(files @ 1..) = destination["deleted_files"].as_u64() {
            lines.push(format!("    {files} files were deleted to make room"));
        }
        let warnings = destination["warnings"].as_array().into_iter().flatten();
        let warnings = warnings.filter_map(Value::as_str);
        lines.extend(warnings.map(|it| format!("    warning: {}", clean(it))));
    }
    lines
}

fn silence_ms(status: &Value, now_ms: i64) -> i64 {
    let at_ms = status["at_ms"].as_i64().unwrap_or(0);
    now_ms.saturating_sub(at_ms)
}

fn is_well(status: &Value, now_ms: i64) -> bool {
    let destinations = status["destinations"].as_object();
    let goes = |it: &Value| matches!(it["state"].as_str(), Some("delivering" | "paused"));
    silence_ms(status, now_ms) <= SILENCE_MAX_MS
        && destinations.is_some_and(|all| all.values().all(goes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shipper_that_is_silent_or_a_destination_that_waits_is_not_well() {
        let mut status = json!({
            "at_ms": 1_000_000,
            "pid": 7,
            "destinations": {
                "lake": {
                    "kind": "file", "guarantee": "deduplicated", "state": "delivering",
                    "problem": null, "records": 9, "lag_records": 0,
                },
            },
        });
        assert!(is_well(&status, 1_002_000));
        let expected = [
            "shipper: runs as process 7",
            "  lake (file, deduplicated): delivering, 9 records delivered, nothing waits",
        ];
        assert_eq!(lines(&status, 1_002_000), expected);
        assert!(!is_well(&status, 1_020_000));
        assert!(lines(&status, 1_020_000)[0].contains("DOES NOT RUN, silent for 20 s"));
        status["destinations"]["lake"]["warnings"] = json!(["the token is sent in the clear"]);
        assert_eq!(
            lines(&status, 1_002_000)[2],
            "    warning: the token is sent in the clear"
        );
        status["destinations"]["lake"]["deleted_files"] = json!(3);
        let line = &lines(&status, 1_002_000)[2];
        assert_eq!(line, "    3 files were deleted to make room");
        status["destinations"]["lake"]["state"] = json!("waiting");
        status["destinations"]["lake"]["problem"] = json!("no answer\u{1b}[2J");
        status["destinations"]["lake"]["lag_records"] = json!(40);
        status["destinations"]["lake"]["lag_ns"] = json!(120_000_000_000_u64);
        assert!(!is_well(&status, 1_002_000));
        let line = &lines(&status, 1_002_000)[1];
        assert!(
            line.contains("waiting") && line.contains("wait, the oldest for 2 min: no answer"),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn where_no_shipper_ran_nothing_is_told_of_one() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(lines_of(state.path()), Vec::<String>::new());
    }
}
