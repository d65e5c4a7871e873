//! The ledger as a table that adds up from top to bottom, and as JSON.

use crate::words::{date_time, spaced};
use record::{RecordCounts, StageCounts, Stamp, Tally};
use serde_json::{Value, json};
use std::io::Write;
use trail::{Account, Book, End, Finding, Line, Source, Window, WindowCause};

pub(super) fn print(book: &Book, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out)?;
    writeln!(
        out,
        "The ledger: every connection that ended is recorded, dropped by policy, or declared lost."
    )?;
    for account in &book.accounts {
        print_account(account, out)?;
    }
    writeln!(out)?;
    let findings: usize = book.accounts.iter().map(|it| it.findings.len()).sum();
    let windows: usize = book.accounts.iter().map(|it| it.windows.len()).sum();
    match findings {
        0 => writeln!(out, "The ledger balances.")?,
        1 => writeln!(out, "The ledger DOES NOT BALANCE: see the line above.")?,
        lines => writeln!(
            out,
            "The ledger DOES NOT BALANCE: see the {lines} lines above."
        )?,
    }
    if windows > 0 {
        writeln!(
            out,
            "What was lost in a window marked UNKNOWN is in none of the numbers."
        )?;
    }
    Ok(())
}

fn print_account(account: &Account, out: &mut impl Write) -> anyhow::Result<()> {
    let end = match account.end {
        End::InOrder => "stopped in order",
        End::Cut => "cut off",
        End::Open => "running, or cut off",
    };
    let records = match account.sequences {
        Some((first, last)) => format!("records {first} to {last}"),
        None => "no record is there".to_owned(),
    };
    writeln!(out)?;
    writeln!(out, "epoch {}: {records}, {end}", account.epoch)?;
    match &account.tally {
        Some(tally) => print_tally(tally, out)?,
        None => writeln!(out, "  connections that ended: not told")?,
    }
    match &account.stages {
        Some((sequence, stages)) => print_stages(*sequence, stages, out)?,
        None => writeln!(out, "  stage by stage: not told")?,
    }
    print_found(account, out)?;
    for ((stage, cause, what), sum) in &account.lost {
        let unknown = match (sum.unknown, sum.count) {
            (0, _) => String::new(),
            (_, 0) => "an unknown number of".to_owned(),
            (_, _) => "and an unknown number of".to_owned(),
        };
        let count = match sum.count {
            0 => String::new(),
            count => format!("{count} "),
        };
        writeln!(
            out,
            "  declared lost at the stage {}: {count}{unknown}{}{} ({})",
            spaced(stage.name()),
            if unknown.is_empty() { "" } else { " " },
            what.name(),
            spaced(cause.name())
        )?;
    }
    if let Some((system, recorded)) = account.coverage {
        writeln!(
            out,
            "  the meter: the system counted {} outbound and {} inbound TCP connections, the \
             sensor {} and {}",
            system.outbound, system.inbound, recorded.outbound, recorded.inbound
        )?;
    }
    for window in &account.windows {
        writeln!(out, "  UNKNOWN  {}", window_words(window))?;
    }
    for finding in &account.findings {
        writeln!(out, "  DOES NOT BALANCE  {}", finding_words(finding))?;
    }
    if account.findings.is_empty() {
        writeln!(out, "  balances")?;
    }
    Ok(())
}

fn print_tally(tally: &Tally, out: &mut impl Write) -> anyhow::Result<()> {
    let Tally {
        closes_made,
        closes_recorded,
        closes_aggregated,
        closes_dropped,
        closes_lost,
        live,
    } = tally;
    for (what, count) in [
        ("  connections that ended", closes_made),
        ("    recorded", closes_recorded),
        ("    summed with others", closes_aggregated),
        ("    dropped by policy", closes_dropped),
        ("    declared lost", closes_lost),
        ("  connections still open then", live),
    ] {
        writeln!(out, "{what:<34}{count:>12}")?;
    }
    Ok(())
}

fn print_stages(sequence: u64, stages: &StageCounts, out: &mut impl Write) -> anyhow::Result<()> {
    let StageCounts {
        given,
        own,
        dropped,
        refused,
        recorded,
        ..
    } = stages;
    let heading = format!("  stage by stage, told by {sequence}");
    writeln!(out, "{heading:<34}{:>12}{:>12}", "closes", "records")?;
    row(
        out,
        "the flow table gave",
        Some(given.closes),
        Some(given.records),
    )?;
    row(out, "notices of the recorder", Some(0), Some(*own))?;
    row(
        out,
        "- dropped by policy",
        Some(dropped.closes),
        Some(dropped.records),
    )?;
    row(
        out,
        "- no room before the disk",
        Some(refused.closes),
        Some(refused.records),
    )?;
    row(
        out,
        "= recorded",
        Some(recorded.closes),
        Some(recorded.records),
    )
}

/// What there must be by now, and what there is.
fn print_found(account: &Account, out: &mut impl Write) -> anyhow::Result<()> {
    let Account {
        stages,
        read,
        evicted,
        damaged,
        sequences,
        closes_gone,
        ..
    } = account;
    let last = sequences.map_or(0, |(_, last)| last);
    if stages.is_none() {
        writeln!(
            out,
            "{:<34}{:>12}{:>12}",
            "  on the disk", "closes", "records"
        )?;
    }
    let then = stages.map_or_else(RecordCounts::default, |(_, stages)| stages.recorded);
    let all = closes_gone.map(|gone| gone + read.closes);
    let since = all.and_then(|all| all.checked_sub(then.closes));
    let label = match stages {
        Some(_) => "+ recorded since then",
        None => "recorded",
    };
    row(out, label, since, last.checked_sub(then.records))?;
    let closes = |own: Option<u64>, other: Option<u64>| match (own, other) {
        (Some(0), _) => Some(0),
        (_, Some(0)) => *closes_gone,
        (Some(_) | None, Some(_) | None) => None,
    };
    let deleted = closes(Some(*evicted), *damaged);
    row(out, "- deleted, as declared", deleted, Some(*evicted))?;
    row(out, "- damaged", closes(*damaged, Some(*evicted)), *damaged)?;
    row(out, "= there", Some(read.closes), Some(read.records))
}

fn row(
    out: &mut impl Write,
    what: &str,
    closes: Option<u64>,
    records: Option<u64>,
) -> anyhow::Result<()> {
    let number = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
    let (closes, records) = (number(closes), number(records));
    writeln!(out, "    {what:<30}{closes:>12}{records:>12}")?;
    Ok(())
}

fn window_words(window: &Window) -> String {
    let cause = match window.cause {
        WindowCause::Cut => "the recorder was cut off".to_owned(),
        WindowCause::Declared(stage, cause, what) => format!(
            "{} lost at the stage {}: {}",
            what.name(),
            spaced(stage.name()),
            spaced(cause.name())
        ),
        WindowCause::Breaker => "the sensor stood aside".to_owned(),
    };
    let moment = |stamp: Stamp| date_time(stamp.wall);
    let since = window.since.map_or("an unknown time".to_owned(), moment);
    let until = window.until.map_or("now".to_owned(), moment);
    let estimate = match window.estimate {
        Some(missed) => format!("about {missed} TCP connections by the system's own counters"),
        None => "no meter tells how many".to_owned(),
    };
    format!("from {since} to {until}: {cause}; {estimate}")
}

fn finding_words(finding: &Finding) -> String {
    let Finding {
        sequence,
        line,
        told,
        found,
    } = finding;
    let (left, right) = sides(*line);
    let by = told.abs_diff(*found);
    format!("at record {sequence}, by {by}: {told} {left}, {found} {right}")
}

/// What both sides of a line are called.
fn sides(line: Line) -> (&'static str, &'static str) {
    match line {
        Line::Ends => ("connections ended", "recorded, dropped or declared lost"),
        Line::ClosesLost => ("closes said to be lost", "declared lost by notices"),
        Line::Sequence => ("records said to be before it", "by its sequence"),
        Line::Records => ("records made", "recorded, dropped or refused"),
        Line::Closes => ("closes made", "recorded, dropped or refused"),
        Line::ClosesRead => ("closes recorded since the last count", "there"),
        Line::RecordsRefused => ("records without room since the last count", "declared lost"),
        Line::ClosesRefused => ("closes without room since the last count", "declared lost"),
        Line::PolicyRecords => (
            "records dropped by policy since the last count",
            "counted by the policy",
        ),
        Line::PolicyCloses => ("ends dropped by policy", "closes dropped by policy"),
        Line::EndsToCloses => ("ends with those told twice", "closes made"),
        Line::Growth => ("by a count that only grows", "before"),
        Line::Gone => ("records declared to be gone", "gone"),
        Line::AfterStop => ("records may follow the stop", "there"),
    }
}

/// The recorder's book, and where there are side trails theirs in it, by name.
pub(super) fn json(books: &[(&Source, Book)]) -> Value {
    let mut all = Value::Null;
    let mut sides = serde_json::Map::new();
    for (source, book) in books {
        match source.name() {
            None => all = book_json(book),
            Some(name) => {
                sides.insert(name.to_owned(), book_json(book));
            }
        }
    }
    if !sides.is_empty() {
        all["side_trails"] = Value::Object(sides);
    }
    all
}

fn book_json(book: &Book) -> Value {
    let accounts: Vec<Value> = book.accounts.iter().map(account_json).collect();
    json!({ "balances": book.balances(), "epochs": accounts })
}

fn account_json(account: &Account) -> Value {
    let losses = account.lost.iter().map(|((stage, cause, what), sum)| {
        json!({
            "stage": stage.name(),
            "cause": cause.name(),
            "what": what.name(),
            "count": sum.count,
            "notices_without_number": sum.unknown,
        })
    });
    let losses: Vec<Value> = losses.collect();
    let windows: Vec<Value> = account.windows.iter().map(window_json).collect();
    let findings: Vec<Value> = account.findings.iter().map(finding_json).collect();
    json!({
        "epoch": account.epoch,
        "end": match account.end {
            End::InOrder => "in_order",
            End::Cut => "cut",
            End::Open => "open",
        },
        "first_sequence": account.sequences.map(|(first, _)| first),
        "last_sequence": account.sequences.map(|(_, last)| last),
        "read": both_json(account.read),
        "unreadable": account.unreadable,
        "tally": account.tally.as_ref().map(tally_json),
        "stages": account.stages.as_ref().map(|(sequence, it)| stages_json(*sequence, it)),
        "lost": losses,
        "policy_dropped": account.policy_dropped,
        "evicted": account.evicted,
        "damaged": account.damaged,
        "closes_gone": account.closes_gone,
        "coverage": account.coverage.map(|(system, recorded)| json!({
            "system": { "outbound": system.outbound, "inbound": system.inbound },
            "recorded": { "outbound": recorded.outbound, "inbound": recorded.inbound },
        })),
        "windows": windows,
        "findings": findings,
    })
}

fn both_json(counts: RecordCounts) -> Value {
    json!({ "records": counts.records, "closes": counts.closes })
}

fn tally_json(tally: &Tally) -> Value {
    json!({
        "closes_made": tally.closes_made,
        "closes_recorded": tally.closes_recorded,
        "closes_aggregated": tally.closes_aggregated,
        "closes_dropped": tally.closes_dropped,
        "closes_lost": tally.closes_lost,
        "live": tally.live,
    })
}

fn stages_json(sequence: u64, stages: &StageCounts) -> Value {
    json!({
        "told_by": sequence,
        "given": both_json(stages.given),
        "own": stages.own,
        "dropped": both_json(stages.dropped),
        "refused": both_json(stages.refused),
        "recorded": both_json(stages.recorded),
        "closes_waiting": stages.closes_waiting,
        "closes_repeated": stages.closes_repeated,
        "ends_told_before": stages.ends_told_before,
        "flows_evicted": stages.flows_evicted,
        "records_evicted": stages.records_evicted,
        "segments_rewritten": stages.segments_rewritten,
    })
}

fn window_json(window: &Window) -> Value {
    let (cause, stage) = match window.cause {
        WindowCause::Cut => ("cut", None),
        WindowCause::Declared(stage, cause, _) => (cause.name(), Some(stage.name())),
        WindowCause::Breaker => ("breaker", None),
    };
    json!({
        "cause": cause,
        "stage": stage,
        "since_ns": window.since.map(|it| it.wall.0),
        "until_ns": window.until.map(|it| it.wall.0),
        "estimate": window.estimate,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "sequence": finding.sequence,
        "line": line_name(finding.line),
        "told": finding.told,
        "found": finding.found,
    })
}

fn line_name(line: Line) -> &'static str {
    match line {
        Line::Ends => "ends",
        Line::ClosesLost => "closes_lost",
        Line::Sequence => "sequence",
        Line::Records => "records",
        Line::Closes => "closes",
        Line::ClosesRead => "closes_read",
        Line::RecordsRefused => "records_refused",
        Line::ClosesRefused => "closes_refused",
        Line::PolicyRecords => "policy_records",
        Line::PolicyCloses => "policy_closes",
        Line::EndsToCloses => "ends_to_closes",
        Line::Growth => "growth",
        Line::Gone => "gone",
        Line::AfterStop => "after_stop",
    }
}
