//! `conntrail verify`: what of the trail is intact, damaged or missing.

use super::recorded_in;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use trail::{EpochReport, Report, Warning};

/// Reads everything and reports; the exit code is 1 when something is damaged or missing without
/// having been declared.
///
/// # Errors
/// When nothing was recorded there, or the folder cannot be read.
pub(crate) fn run(state_dir: &Path) -> anyhow::Result<ExitCode> {
    let segments = recorded_in(state_dir)?;
    let report = trail::verify(&segments)?;
    let mut out = io::stdout().lock();
    print(&report, &segments, &mut out)?;
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn print(report: &Report, segments: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let Report {
        records,
        bytes,
        epochs,
        ..
    } = report;
    let each = if *records > 0 { bytes / records } else { 0 };
    writeln!(out, "{}", segments.display())?;
    writeln!(
        out,
        "  {records} records in {} segments, {bytes} bytes, {each} a record",
        report.segments
    )?;
    for epoch in epochs {
        print_epoch(epoch, out)?;
    }
    for damaged in &report.damaged {
        writeln!(out, "  DAMAGED  {}", query::Hole::Damaged(damaged.clone()))?;
    }
    for missing in &report.undeclared {
        writeln!(out, "  MISSING  {}", query::Hole::Missing(*missing))?;
    }
    if let Some(through) = report.evicted_through {
        writeln!(
            out,
            "  evicted by quota, as declared: up to record {} of epoch {}",
            through.sequence, through.epoch
        )?;
    }
    for warning in &report.warnings {
        writeln!(out, "  passed over: {}", passed_over(warning))?;
    }
    let verdict = if report.is_complete() {
        "Every record that was synced is there and reads back as it was written."
    } else {
        "Not everything is there: see the lines above."
    };
    writeln!(out, "{verdict}")?;
    writeln!(
        out,
        "Checksums find faults, not edits: this does not show that nobody changed the files."
    )?;
    Ok(())
}

fn print_epoch(epoch: &EpochReport, out: &mut impl Write) -> anyhow::Result<()> {
    let EpochReport {
        epoch,
        first_sequence,
        last_sequence,
        records,
        stopped_in_order,
    } = epoch;
    let end = if *stopped_in_order {
        "stopped in order"
    } else {
        "running, or cut off"
    };
    writeln!(
        out,
        "  epoch {epoch}: records {first_sequence} to {last_sequence}, {records} read, {end}"
    )?;
    Ok(())
}

fn passed_over(warning: &Warning) -> String {
    match warning {
        Warning::Foreign(path) => format!("{} is no file of a trail", path.display()),
        Warning::Renamed(path) => format!("{} was another segment's name", path.display()),
        Warning::NewerFormat(path, version) => format!(
            "{} has format version {version}; a newer conntrail reads it",
            path.display()
        ),
    }
}
