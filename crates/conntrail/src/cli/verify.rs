//! `conntrail verify`: what of the trail is intact, damaged, missing or changed, and whether the
//! recorder's own numbers balance to what is there.

mod ledger;

use super::{key, recorded_in};
use record::RecordId;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::{
    AnchorVerdict, BreakKind, ChainBreak, ChainReport, EpochReport, Head, KeyUse, PublicKey,
    Report, SignatureReport, Trusted, Warning,
};

/// What `conntrail verify` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A head that an earlier run wrote and that was kept where nobody could change it: are the
    /// records up to there still the same?
    #[arg(long = "anchor", value_name = "EPOCH:SEQUENCE:HEX")]
    anchors: Vec<Head>,
    /// Balance the ledger: epoch by epoch, do the recorder's own numbers come to what is there?
    #[arg(long)]
    ledger: bool,
    /// The ledger as JSON, and nothing else.
    #[arg(long, requires = "ledger")]
    json: bool,
    /// The public key of this device, as `conntrail key public` printed it: did it sign what is
    /// here? Once for each key, where it was changed.
    #[arg(long = "public-key", value_name = "FILE")]
    public_keys: Vec<PathBuf>,
}

/// Something is damaged or missing without having been declared, or an anchor could not be
/// checked.
const INCOMPLETE: u8 = 1;

/// Something was changed, or taken out, by more than a fault.
const CHANGED: u8 = 3;

/// The recorder's numbers do not come to what is there.
const UNBALANCED: u8 = 4;

/// Reads everything and reports. The exit code is 0 when all is there and every anchor holds,
/// [`INCOMPLETE`] or [`CHANGED`] when not. With the ledger it is [`UNBALANCED`] where that does not
/// balance and nothing was changed.
///
/// # Errors
/// When nothing was recorded there, or the folder cannot be read.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let segments = recorded_in(state_dir)?;
    let files = arguments.public_keys.iter();
    let keys: Vec<_> = files
        .map(|file| key::read_public(file))
        .collect::<Result<_, _>>()?;
    let trusted = Trusted {
        anchors: &arguments.anchors,
        keys: &keys,
    };
    let report = trail::verify_trusting(&segments, trusted)?;
    let mut out = io::stdout().lock();
    if !arguments.json {
        print(&report, &segments, &mut out)?;
        print_signatures(&report, &keys, &mut out)?;
    }
    let mut balances = true;
    if arguments.ledger {
        let book = trail::balance(&segments)?;
        balances = book.balances();
        match arguments.json {
            true => writeln!(out, "{}", ledger::json(&book))?,
            false => ledger::print(&book, &mut out)?,
        }
    }
    let signed = keys.is_empty() || signed_throughout(&report.chain.signatures);
    Ok(if !report.looks_untouched() {
        ExitCode::from(CHANGED)
    } else if !balances {
        ExitCode::from(UNBALANCED)
    } else if report.is_complete() && report.anchors_hold() && signed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCOMPLETE)
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
    if !report.damaged.is_empty() {
        writeln!(
            out,
            "  (wrong checksums, as faults and cut off writes leave them)"
        )?;
    }
    for missing in &report.undeclared {
        writeln!(out, "  MISSING  {}", query::Hole::Missing(*missing))?;
    }
    if let Some(through) = report.evicted_through {
        writeln!(
            out,
            "  evicted by quota or age, as declared: up to record {} of epoch {}",
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
    print_chain(&report.chain, out)
}

/// What the hashes say, and no more than that.
fn print_chain(chain: &ChainReport, out: &mut impl Write) -> anyhow::Result<()> {
    for broken in &chain.breaks {
        writeln!(out, "  CHANGED  {}", broken_words(broken))?;
    }
    if chain.unchecked > 0 {
        let unchecked = chain.unchecked;
        writeln!(
            out,
            "  {unchecked} records could not be checked for changes, because what they follow is \
             damaged or gone"
        )?;
    }
    if chain.unchained > 0 {
        let unchained = chain.unchained;
        writeln!(
            out,
            "  {unchained} records are from before there were hashes; nothing shows whether \
             they were changed"
        )?;
    }
    for (head, verdict) in &chain.anchors {
        writeln!(
            out,
            "  anchor {}:{}: {}",
            head.epoch,
            head.sequence,
            anchor_words(*verdict)
        )?;
    }
    if !chain.breaks.is_empty() {
        writeln!(
            out,
            "This looks like an edit and not like a fault: the checksums are right, the hashes are \
             not."
        )?;
    } else if !chain.anchors.iter().any(|(_, verdict)| holds(*verdict)) {
        writeln!(
            out,
            "Nothing shows that anybody changed the files; but whoever may write them could have \
             made all hashes anew. Only a head that was kept elsewhere (--anchor) shows more."
        )?;
    } else {
        writeln!(
            out,
            "Records that an anchor vouches for are what they were when it was taken; of later \
             ones the hashes show only that nobody changed them carelessly."
        )?;
    }
    if let Some(last) = chain.stretches.last() {
        writeln!(out, "head {}", last.last)?;
    }
    Ok(())
}

/// Some record is vouched for, and nothing that was signed is left open.
fn signed_throughout(signatures: &SignatureReport) -> bool {
    signatures.held > 0 && signatures.beyond.is_none() && signatures.unproven == 0
}

/// What the signatures say, and no more than that.
fn print_signatures(
    report: &Report,
    keys: &[PublicKey],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let signatures = &report.chain.signatures;
    print_faults(report, out)?;
    if keys.is_empty() {
        for (key, used) in &signatures.keys {
            writeln!(out, "  signed by {key}: {}", used_words(used))?;
        }
        if !signatures.keys.is_empty() {
            writeln!(
                out,
                "There are signatures, but no key to check them with: whoever changed the records \
                 could have signed them with a key of their own. Give this device's with \
                 --public-key."
            )?;
        }
        return Ok(());
    }
    for stretch in &signatures.vouched {
        let RecordId { epoch, sequence } = stretch.first;
        writeln!(
            out,
            "  SIGNED   from record {sequence} of epoch {epoch} up to record {} of epoch {}",
            stretch.last.sequence, stretch.last.epoch
        )?;
    }
    print_keys(signatures, keys, out)?;
    writeln!(out, "{}", signatures_verdict(signatures))?;
    Ok(())
}

fn print_faults(report: &Report, out: &mut impl Write) -> anyhow::Result<()> {
    let signatures = &report.chain.signatures;
    for head in &signatures.contradicted {
        writeln!(
            out,
            "  CHANGED  what was signed up to record {} of epoch {} is not what is there",
            head.sequence, head.epoch
        )?;
    }
    if let Some(head) = &signatures.beyond {
        let (sequence, epoch) = (head.sequence, head.epoch);
        let end = match report.unpublished_bytes {
            0 => "and the trail ends before: its end was taken away".to_owned(),
            bytes => format!(
                "and no more than before it is published: start the recorder, which publishes \
                 {bytes} bytes that a power cut left, and verify again"
            ),
        };
        writeln!(
            out,
            "  CUT OFF  record {sequence} of epoch {epoch} was signed, {end}"
        )?;
    }
    for (count, words) in [
        (
            signatures.forged,
            "signatures are wrong under right checksums: somebody made them up",
        ),
        (
            signatures.damaged,
            "signatures are damaged, or were written in part",
        ),
        (
            signatures.unproven,
            "signatures cannot be checked: what they are about is damaged or gone",
        ),
    ] {
        if count > 0 {
            writeln!(out, "  {count} {words}")?;
        }
    }
    Ok(())
}

/// Keys that were given and signed nothing, and others that did.
fn print_keys(
    signatures: &SignatureReport,
    keys: &[PublicKey],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for key in keys.iter().filter(|key| !signatures.keys.contains_key(key)) {
        writeln!(out, "  the key {key} that was given signed nothing here")?;
    }
    for (key, used) in signatures.keys.iter().filter(|(_, used)| !used.trusted) {
        writeln!(
            out,
            "  ANOTHER KEY, {key}: {}; that counts for nothing. If the device's key was changed \
             then, give this one too (--public-key); if not, somebody else made these",
            used_words(used)
        )?;
    }
    Ok(())
}

fn used_words(used: &KeyUse) -> String {
    let KeyUse {
        count, first, last, ..
    } = used;
    format!(
        "{count} signatures, from record {} of epoch {} to record {} of epoch {}",
        first.0.sequence, first.0.epoch, last.0.sequence, last.0.epoch
    )
}

fn signatures_verdict(signatures: &SignatureReport) -> &'static str {
    if signatures.held > 0 {
        "Records that are SIGNED above are what they were when the device's key signed them; \
         nothing is said of others. Whoever has had the key could have signed anything."
    } else if signatures.keys.is_empty() {
        "Nothing here is signed: nothing vouches for any record, and whether signatures were taken \
         away cannot be said."
    } else {
        "No signature by a key that was given holds: nothing vouches for any record."
    }
}

fn holds(verdict: AnchorVerdict) -> bool {
    matches!(verdict, AnchorVerdict::Holds { .. })
}

fn broken_words(broken: &ChainBreak) -> String {
    let ChainBreak {
        first: RecordId { epoch, sequence },
        last_sequence,
        kind,
    } = broken;
    let range = if sequence == last_sequence {
        format!("record {sequence} of epoch {epoch}")
    } else {
        format!("records {sequence} to {last_sequence} of epoch {epoch}")
    };
    match kind {
        BreakKind::Changed => format!("{range}, or what is right before: their hash is another"),
        BreakKind::Removed => format!("{range}: taken out, and nothing is damaged there"),
        BreakKind::CutOff => format!("{range}: cut off, as the next epoch knows of them"),
        BreakKind::Added => format!("{range}: added after the end that the next epoch knows"),
        BreakKind::OtherBefore => format!("{range}: what is before has another hash"),
        BreakKind::OtherMachine => format!("{range}: the segment names another machine"),
    }
}

fn anchor_words(verdict: AnchorVerdict) -> String {
    match verdict {
        AnchorVerdict::Holds { first } => format!(
            "holds; nothing changed from record {} of epoch {} up to it",
            first.sequence, first.epoch
        ),
        AnchorVerdict::Contradicted => "DOES NOT HOLD; what it covers was changed".to_owned(),
        AnchorVerdict::Unproven => {
            "cannot be checked, because what its record follows is damaged or gone".to_owned()
        }
        AnchorVerdict::NoHead => "is no head: none was ever taken after that record".to_owned(),
        AnchorVerdict::Beyond => {
            "DOES NOT HOLD; the trail ends before its record, which was there".to_owned()
        }
        AnchorVerdict::Gone => "cannot be checked, because its record is gone".to_owned(),
    }
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
