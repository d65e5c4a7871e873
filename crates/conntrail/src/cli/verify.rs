//! `conntrail verify`: what of the trail is intact, damaged, missing or changed, and whether the
//! recorder's own numbers balance to what is there.

mod ledger;

use super::{key, recorded_in};
use anyhow::bail;
use record::RecordId;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::{
    AnchorVerdict, Book, BreakKind, ChainBreak, ChainReport, EpochReport, Head, HeadError, KeyUse,
    PublicKey, Report, SideTrails, SignatureReport, Source, TrailError, Trusted, Warning,
    is_side_name, segments_dir, side_trails,
};

/// What `conntrail verify` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A head that an earlier run wrote and that was kept where nobody could change it: are the
    /// records up to there still the same? NAME= in front is for the side trail of that name.
    #[arg(long = "anchor", value_name = "[NAME=]EPOCH:SEQUENCE:HEX", value_parser = parse_anchor)]
    anchors: Vec<Of<Head>>,
    /// Balance the ledger: epoch by epoch, do the recorder's own numbers come to what is there?
    #[arg(long)]
    ledger: bool,
    /// The ledger as JSON, and nothing else.
    #[arg(long, requires = "ledger")]
    json: bool,
    /// The public key of this device, as `conntrail key public` printed it: did it sign what is
    /// here? Once for each key, where it was changed. NAME= in front is for a side trail.
    #[arg(long = "public-key", value_name = "[NAME=]FILE", value_parser = parse_key)]
    public_keys: Vec<Of<PathBuf>>,
}

/// What is trusted, and of which trail.
#[derive(Clone)]
struct Of<T> {
    source: Source,
    trusted: T,
}

fn parse_anchor(text: &str) -> Result<Of<Head>, HeadError> {
    let (source, head) = split(text);
    let trusted = head.parse()?;
    Ok(Of { source, trusted })
}

fn parse_key(text: &str) -> Result<Of<PathBuf>, Infallible> {
    let (source, path) = split(text);
    let trusted = PathBuf::from(path);
    Ok(Of { source, trusted })
}

/// A file whose name looks as if it were meant for a side trail can be given as `./FILE`.
fn split(text: &str) -> (Source, &str) {
    match text.split_once('=') {
        Some((name, rest)) if is_side_name(name) => (Source::Side(name.into()), rest),
        Some(_) | None => (Source::Recorder, text),
    }
}

/// Something is damaged or missing without having been declared, or an anchor could not be
/// checked.
const INCOMPLETE: u8 = 1;

/// Something was changed, or taken out, by more than a fault.
const CHANGED: u8 = 3;

/// The recorder's numbers do not come to what is there.
const UNBALANCED: u8 = 4;

/// What was found, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Complete,
    Incomplete,
    Unbalanced,
    Changed,
}

impl Verdict {
    fn code(self) -> ExitCode {
        match self {
            Verdict::Complete => ExitCode::SUCCESS,
            Verdict::Incomplete => ExitCode::from(INCOMPLETE),
            Verdict::Unbalanced => ExitCode::from(UNBALANCED),
            Verdict::Changed => ExitCode::from(CHANGED),
        }
    }
}

/// Reads everything and reports, the recorder's trail first and then each side trail. The exit code
/// is 0 when all is there and every anchor holds, [`INCOMPLETE`] or [`CHANGED`] when not. With the
/// ledger it is [`UNBALANCED`] where that does not balance and nothing was changed. Of several
/// trails the worst counts.
///
/// # Errors
/// When nothing was recorded there, the folder cannot be read, or something is trusted of a side
/// trail that is not there.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut trails = vec![(Source::Recorder, recorded_in(state_dir)?)];
    let SideTrails {
        trails: sides,
        troubles,
        left_out,
    } = side_trails(state_dir);
    let sides = sides.into_iter();
    trails.extend(sides.map(|it| (Source::Side(it.name), segments_dir(&it.state))));
    arguments.trusts_only(&trails)?;
    let mut out = io::stdout().lock();
    let mut books = Vec::new();
    let mut worst = Verdict::Complete;
    for (source, segments) in &trails {
        match read(source, segments, arguments)? {
            Ok(read) => {
                worst = worst.max(read.verdict());
                if !arguments.json {
                    read.print(&mut out)?;
                }
                books.extend(read.book.map(|book| (source, book)));
            }
            Err(error) if *source == Source::Recorder => return Err(error.into()),
            Err(error) => {
                worst = worst.max(Verdict::Incomplete);
                writeln!(io::stderr(), "conntrail: {source} is not verified: {error}")?;
            }
        }
    }
    for trouble in &troubles {
        writeln!(io::stderr(), "conntrail: side trails: {trouble}")?;
    }
    if left_out > 0 {
        writeln!(
            io::stderr(),
            "conntrail: {left_out} more side trails are not verified: state them as --state-dir"
        )?;
    }
    if !troubles.is_empty() || left_out > 0 {
        worst = worst.max(Verdict::Incomplete);
    }
    if arguments.json {
        writeln!(out, "{}", ledger::json(&books))?;
    }
    Ok(worst.code())
}

impl Arguments {
    /// What is trusted of a trail that is not there would otherwise be passed over in silence.
    fn trusts_only(&self, trails: &[(Source, PathBuf)]) -> anyhow::Result<()> {
        let anchors = self.anchors.iter().map(|it| &it.source);
        let keys = self.public_keys.iter().map(|it| &it.source);
        for named in anchors.chain(keys) {
            if !trails.iter().any(|(source, _)| source == named) {
                bail!(
                    "{named} is not here, so what it should be compared with says nothing; a file \
                     whose name has a = in it is given as ./FILE"
                );
            }
        }
        Ok(())
    }
}

/// What was read of one trail.
struct Read<'a> {
    source: &'a Source,
    segments: &'a Path,
    keys: Vec<PublicKey>,
    report: Report,
    book: Option<Book>,
}

/// The outer error is of what is trusted, the inner one of the trail.
fn read<'a>(
    source: &'a Source,
    segments: &'a Path,
    arguments: &Arguments,
) -> anyhow::Result<Result<Read<'a>, TrailError>> {
    let files = arguments.public_keys.iter();
    let files = files.filter(|it| it.source == *source);
    let keys = files.map(|it| key::read_public(&it.trusted));
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    let anchors = arguments.anchors.iter();
    let anchors = anchors.filter(|it| it.source == *source);
    let anchors: Vec<Head> = anchors.map(|it| it.trusted).collect();
    let trusted = Trusted {
        anchors: &anchors,
        keys: &keys,
    };
    let report = match trail::verify_trusting(segments, trusted) {
        Ok(report) => report,
        Err(error) => return Ok(Err(error)),
    };
    let book = match arguments
        .ledger
        .then(|| trail::balance(segments))
        .transpose()
    {
        Ok(book) => book,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(Read {
        source,
        segments,
        keys,
        report,
        book,
    }))
}

impl Read<'_> {
    fn verdict(&self) -> Verdict {
        let report = &self.report;
        let signed = self.keys.is_empty() || signed_throughout(&report.chain.signatures);
        if !report.looks_untouched() {
            Verdict::Changed
        } else if self.book.as_ref().is_some_and(|book| !book.balances()) {
            Verdict::Unbalanced
        } else if report.is_complete() && report.anchors_hold() && signed {
            Verdict::Complete
        } else {
            Verdict::Incomplete
        }
    }

    fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        print(self.source, &self.report, self.segments, out)?;
        print_signatures(&self.report, &self.keys, out)?;
        match &self.book {
            Some(book) => ledger::print(book, out),
            None => Ok(()),
        }
    }
}

pub(super) fn print(
    source: &Source,
    report: &Report,
    segments: &Path,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if let Some(name) = source.name() {
        writeln!(out, "\nside trail {name}")?;
    }
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
    print_chain(source, &report.chain, out)
}

/// What the hashes say, and no more than that.
fn print_chain(source: &Source, chain: &ChainReport, out: &mut impl Write) -> anyhow::Result<()> {
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
        // As --anchor takes it.
        match source.name() {
            None => writeln!(out, "head {}", last.last)?,
            Some(name) => writeln!(out, "head {name}={}", last.last)?,
        }
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
