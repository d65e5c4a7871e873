//! Records in words, for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::OpenConnection;
use record::{
    Aggregate, AggregateCause, AggregateScope, BreakerCause, BreakerState, ByteQuality,
    CodeSignature, Confidence, Connection, Coverage, Delivery, Direction, Endpoint,
    ExtensionReplaced, NoticeKind, Origin, Outcome, Phase, PolicyChanged, PolicyCounts,
    PolicyState, PreviousEpoch, Process, Protocol, Record, SignatureValidity, StageCounts, Tally,
    TcpCounts, Traffic, Undelivered, UndeliveredCause, Wall,
};
use std::fmt::Write;
use trail::{Resumed, Source};

/// A record in one line.
pub(crate) fn line(record: &Record) -> String {
    match record {
        Record::Connection(connection) => connection_line(connection),
        Record::Notice(notice) => {
            format!(
                "{}  — {}",
                clock_time(notice.at.wall),
                notice_words(&notice.kind)
            )
        }
    }
}

/// What stands before something that is not of the recorder's trail.
pub(crate) fn whose(source: &Source) -> String {
    match source.name() {
        None => String::new(),
        Some(name) => format!("[{name}] "),
    }
}

/// A connection in one line.
pub(crate) fn connection_line(connection: &Connection) -> String {
    connection_line_as_of(connection, connection.at.wall)
}

/// A connection in one line, as old as it is at `now`.
pub(crate) fn connection_line_as_of(connection: &Connection, now: Wall) -> String {
    let moment = match connection.phase {
        Phase::Open => "open".to_owned(),
        Phase::Update => "going on".to_owned(),
        Phase::Close(ending) => spaced(ending.outcome.name()),
    };
    let since_record_ns = now.0.saturating_sub(connection.at.wall.0).max(0) as u64;
    let age_ns = age(connection).map(|age_ns| age_ns.saturating_add(since_record_ns));
    let quality = connection.traffic.quality;
    format!(
        "{}  {:<24} {:<4} {:<48} {:<12} {:>9} {:>9} {:>8}{}",
        clock_time(connection.at.wall),
        who(connection),
        protocol(connection.protocol),
        way(connection),
        moment,
        amount(connection.traffic.bytes_out, quality),
        amount(connection.traffic.bytes_in, quality),
        age_ns.map_or("?".to_owned(), duration),
        aside(connection),
    )
}

/// A connection that is open, with how much passes on it now, in one line.
pub(crate) fn live_line(row: &live::Row) -> String {
    let connection = &row.connection;
    let quality = connection.traffic.quality;
    let per_s = |it: Option<u64>| it.map_or("?".to_owned(), |it| scaled(it) + "/s");
    format!(
        "{:<24} {:<4} {:<48} {:>11} {:>11} {:>9} {:>9} {:>8}{}",
        who(connection),
        protocol(connection.protocol),
        way(connection),
        per_s(row.rate.and_then(|it| it.out_per_s)),
        per_s(row.rate.and_then(|it| it.in_per_s)),
        amount(connection.traffic.bytes_out, quality),
        amount(connection.traffic.bytes_in, quality),
        age(connection).map_or("?".to_owned(), duration),
        aside(connection),
    )
}

/// What [`live_line`] shows in which column.
pub(crate) fn live_heading() -> String {
    format!(
        "{:<24} {:<4} {:<48} {:>11} {:>11} {:>9} {:>9} {:>8}",
        "process", "", "local and remote", "sending", "receiving", "sent", "received", "for"
    )
}

/// What is live and not in the table, if anything is.
pub(crate) fn live_remarks(snapshot: &live::Snapshot) -> Option<String> {
    let live::Snapshot {
        crowded,
        withheld,
        early,
        ..
    } = snapshot;
    let parts = [
        (crowded, "less busy ones without room"),
        (withheld, "left out by the privacy policy"),
        (early, "too young to be told"),
    ];
    let parts = parts.iter().filter(|(count, _)| **count > 0);
    let words: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!words.is_empty()).then(|| format!("not shown: {}", words.join(", ")))
}

/// What few connections have, at the end of the line, where it moves no column.
fn aside(connection: &Connection) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(connection.aggregate.as_deref().map(summed));
    words.extend(connection.hostname.as_ref().map(|it| clean(&it.name)));
    words.extend(on_behalf(connection));
    if let Some(process) = connection.process.as_deref() {
        words.extend(alarm(process).map(str::to_owned));
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("  {}", words.join(", ")),
    }
}

/// That one line stands for many connections.
fn summed(aggregate: &Aggregate) -> String {
    let connections = aggregate.connections;
    match aggregate.scope {
        AggregateScope::Destination => format!("sum of {connections} connections"),
        AggregateScope::Process => {
            format!("sum of {connections} connections to many destinations")
        }
    }
}

/// Why, too.
fn summed_because(aggregate: &Aggregate) -> String {
    let what = summed(aggregate);
    let limit = aggregate.limit;
    let interval = duration(aggregate.interval_ns);
    match aggregate.cause {
        AggregateCause::Burst => {
            format!("{what}: its process made more than {limit} in {interval}")
        }
    }
}

/// What is worth a second look at a process.
fn alarm(process: &Process) -> Option<&'static str> {
    if process.vanished {
        return Some("gone before it could be looked up");
    }
    match process.signature.as_ref()?.validity {
        SignatureValidity::Invalid => Some("signature invalid"),
        SignatureValidity::Unsigned => Some("unsigned"),
        SignatureValidity::Valid | SignatureValidity::Unknown => None,
    }
}

/// What [`connection_line`] shows in which column.
pub(crate) fn connection_heading() -> String {
    format!(
        "{:<12}  {:<24} {:<4} {:<48} {:<12} {:>9} {:>9} {:>8}",
        "time", "process", "", "local and remote", "state", "sent", "received", "for"
    )
}

/// What to say of a place from which reading goes on; nothing where nothing is missing.
pub(crate) fn resumed(resumed: Resumed) -> Option<String> {
    let words = match resumed {
        Resumed::Here => return None,
        Resumed::Gap(Some(1)) => "one record after the cursor is gone: evicted or lost".to_owned(),
        Resumed::Gap(Some(records)) => {
            format!("{records} records after the cursor are gone: evicted or lost")
        }
        Resumed::Gap(None) => {
            "an unknown number of records after the cursor are gone: evicted or lost".to_owned()
        }
        Resumed::Ahead => {
            "the cursor is after the last record that is published, as after a power \
                           cut until the recorder starts again; what follows it will come"
                .to_owned()
        }
        Resumed::StartedOver => {
            "the trail ends before the cursor, so it was set back or is another \
                                 one; it is read from its first record on"
                .to_owned()
        }
        Resumed::OtherEndpoint(_) => "the cursor is of another machine; this trail is read from \
                                      its first record on"
            .to_owned(),
    };
    Some(words)
}

/// A connection that ended, with all that belongs to it, in three lines; the sum of many has one
/// more.
pub(crate) fn story(connection: &Connection) -> String {
    let end = match connection.phase {
        Phase::Open => "open".to_owned(),
        Phase::Update => "going on".to_owned(),
        Phase::Close(ending) => {
            let outcome = ending_words(ending.outcome);
            let errno = ending
                .errno
                .map(|errno| format!(" (errno {errno})"))
                .unwrap_or_default();
            format!("{outcome}{errno}")
        }
    };
    story_with_end(connection, &end)
}

/// How it ended, in the words of whoever reads one connection at a time.
fn ending_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::ProcessGone => "end not reported, its process is gone".to_owned(),
        Outcome::AgedOut => "end not reported, not heard of for too long".to_owned(),
        Outcome::Superseded => "end not reported, its identifier came back".to_owned(),
        Outcome::Unwatched => "end not seen, the sensor stopped watching".to_owned(),
        Outcome::Unknown => "ended, it is not known how".to_owned(),
        Outcome::Closed
        | Outcome::Reset
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Failed
        | Outcome::Reaped
        | Outcome::Evicted
        | Outcome::Idle => spaced(outcome.name()),
    }
}

/// A connection without an end, as far as it is known.
pub(crate) fn open_story(open: &OpenConnection) -> String {
    let end = match open.cut_off_at {
        None => "still open".to_owned(),
        Some(at) => format!("end not seen, the recorder stopped ({})", date_time(at)),
    };
    story_with_end(&open.connection, &end)
}

fn story_with_end(connection: &Connection, end: &str) -> String {
    let began = connection
        .opened
        .map(|opened| connection.at.wall_at(opened));
    let behind = on_behalf(connection).map(|it| format!(" {it}"));
    let name = connection.hostname.as_ref();
    let name = name.map(|it| format!(" ({})", clean(&it.name)));
    let mut story = format!(
        "{}  {}{}  {} {}{}  {end}\n",
        date_time(began.unwrap_or(connection.at.wall)),
        who(connection),
        behind.unwrap_or_default(),
        protocol(connection.protocol),
        way(connection),
        name.unwrap_or_default(),
    );
    let Traffic {
        bytes_out,
        bytes_in,
        quality,
        ..
    } = connection.traffic;
    let lasted = match connection.phase {
        Phase::Close(_) => age(connection).map_or("for an unknown time".to_owned(), lasted),
        Phase::Open | Phase::Update => format!("as of {}", clock_time(connection.at.wall)),
    };
    let rtt = connection
        .rtt_us
        .map(|it| format!(", round trip {it} µs"))
        .unwrap_or_default();
    let passed = match quality {
        ByteQuality::ZeroUnverified => "0 bytes reported, unverified".to_owned(),
        ByteQuality::Unknown | ByteQuality::Exact | ByteQuality::SoFar | ByteQuality::AtLeast => {
            format!(
                "sent {}, received {}",
                amount(bytes_out, quality),
                amount(bytes_in, quality)
            )
        }
    };
    let _ = writeln!(story, "    {lasted}, {passed}{rtt}");
    if let Some(aggregate) = connection.aggregate.as_deref() {
        let _ = writeln!(story, "    {}", summed_because(aggregate));
    }
    let _ = writeln!(
        story,
        "    {}; {}",
        pedigree(connection),
        evidence(connection)
    );
    story
}

fn lasted(age_ns: u64) -> String {
    format!("for {}", duration(age_ns))
}

fn pedigree(connection: &Connection) -> String {
    let Some(process) = connection.process.as_deref() else {
        return "process not known".to_owned();
    };
    let mut words = executable(process);
    if let Some(signature) = &process.signature {
        let _ = write!(words, " ({})", signature_words(signature));
    }
    if let Some(user) = &process.user {
        let _ = match &user.name {
            Some(name) => write!(words, " by {}", clean(name)),
            None => write!(words, " by uid {}", user.uid),
        };
    }
    for (index, ancestor) in process.ancestors.iter().enumerate() {
        let name = clean(ancestor.name.as_deref().unwrap_or("?"));
        let joint = if index == 0 { ", started by" } else { " ←" };
        let _ = write!(words, "{joint} {name}[{}]", ancestor.key.pid);
    }
    if let Some(responsible) = connection.responsible.as_deref() {
        let _ = write!(words, "; for {}", executable(responsible));
        if let Some(signature) = &responsible.signature {
            let _ = write!(words, " ({})", signature_words(signature));
        }
    }
    words
}

fn executable(process: &Process) -> String {
    match &process.path {
        Some(path) => clean(path),
        None if process.vanished => "gone before it could be looked up".to_owned(),
        None => "executable not known".to_owned(),
    }
}

/// Who vouches for the code: the system, a team, or nobody.
fn signature_words(signature: &CodeSignature) -> String {
    let signer = match (signature.platform, signature.team_id.as_deref()) {
        (Some(true), _) => ", part of the system".to_owned(),
        (_, Some(team)) => format!(", team {}", clean(team)),
        (_, None) => String::new(),
    };
    let name = match signature.signing_id.as_deref() {
        Some(signing_id) => format!("signed as {}{signer}", clean(signing_id)),
        None => format!("signed{signer}"),
    };
    let status = signature
        .status
        .map(|status| format!(" ({status})"))
        .unwrap_or_default();
    match signature.validity {
        SignatureValidity::Valid => name,
        SignatureValidity::Invalid => format!("signature invalid{status}, {name}"),
        SignatureValidity::Unsigned => "unsigned".to_owned(),
        SignatureValidity::Unknown => format!("signature not checked{status}"),
    }
}

fn evidence(connection: &Connection) -> String {
    let origin = match connection.origin {
        Origin::Live => "watched from its beginning",
        Origin::Snapshot => "was there before the recorder",
        Origin::Sampled => "found by polling",
        Origin::Inferred => "its beginning was missed",
    };
    let attribution = connection.attribution;
    format!(
        "{origin}; process {} ({})",
        attribution.confidence.name(),
        spaced(attribution.source.name())
    )
}

/// Name and pid; a question mark when it is only a guess.
pub(crate) fn who(connection: &Connection) -> String {
    let Some(process) = connection.process.as_deref() else {
        return "?".to_owned();
    };
    let doubt = match connection.attribution.confidence {
        Confidence::Certain | Confidence::Likely => "",
        Confidence::Guess | Confidence::Unknown => "?",
    };
    format!("{}[{}]{doubt}", process_name(process), process.key.pid)
}

fn on_behalf(connection: &Connection) -> Option<String> {
    let responsible = connection.responsible.as_deref()?;
    let name = match &responsible.name {
        Some(name) => clean(name),
        None => format!("process {}", responsible.key.pid),
    };
    Some(format!("for {name}"))
}

fn process_name(process: &Process) -> String {
    clean(process.name.as_deref().unwrap_or("?"))
}

/// Whoever names a process or a host must not steer the reader's terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '·' } else { letter })
        .collect()
}

fn way(connection: &Connection) -> String {
    let arrow = match connection.direction {
        Direction::Outbound => "→",
        Direction::Inbound => "←",
        Direction::Unknown => "↔",
    };
    format!(
        "{} {arrow} {}",
        endpoint(connection.local),
        endpoint(connection.remote)
    )
}

fn endpoint(endpoint: Endpoint) -> String {
    let port = endpoint
        .port
        .map_or("?".to_owned(), |port| port.to_string());
    match endpoint.address {
        None => format!("?:{port}"),
        Some(address) if address.is_ipv6() => format!("[{address}]:{port}"),
        Some(address) => format!("{address}:{port}"),
    }
}

fn protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "tcp".to_owned(),
        Protocol::Udp => "udp".to_owned(),
        Protocol::Other(number) => format!("ip{number}"),
    }
}

/// Since when, in nanoseconds, a connection was there at the time of its record.
fn age(connection: &Connection) -> Option<u64> {
    connection
        .opened
        .map(|opened| connection.at.mono.since_ns(opened))
}

/// Bytes, with a sign where there may have been more, and a question mark where nobody knows or
/// nobody vouches for them.
pub(crate) fn amount(bytes: Option<u64>, quality: ByteQuality) -> String {
    let Some(bytes) = bytes else {
        return "?".to_owned();
    };
    match quality {
        ByteQuality::Exact => scaled(bytes),
        ByteQuality::SoFar | ByteQuality::AtLeast | ByteQuality::Unknown => {
            format!("≥{}", scaled(bytes))
        }
        ByteQuality::ZeroUnverified => format!("{}?", scaled(bytes)),
    }
}

fn scaled(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time, in the unit that needs few digits.
pub(crate) fn duration(duration_ns: u64) -> String {
    let seconds = duration_ns as f64 / 1e9;
    match duration_ns {
        0..1_000_000 => format!("{:.0} µs", seconds * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000_000..60_000_000_000 => format!("{seconds:.1} s"),
        60_000_000_000..3_600_000_000_000 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// The time of day, with milliseconds, where the user is.
pub(crate) fn clock_time(wall: Wall) -> String {
    in_zone(wall, "%H:%M:%S%.3f")
}

pub(crate) fn date_time(wall: Wall) -> String {
    in_zone(wall, "%F %T%.3f")
}

fn in_zone(wall: Wall, format: &str) -> String {
    match Timestamp::from_nanosecond(wall.0.into()) {
        Ok(moment) => moment
            .to_zoned(TimeZone::system())
            .strftime(format)
            .to_string(),
        Err(_) => format!("{} ns", wall.0),
    }
}

/// A notice in a sentence.
pub(crate) fn notice_words(kind: &NoticeKind) -> String {
    match kind {
        NoticeKind::RecorderStarted { previous } => started_words(previous.as_ref()),
        NoticeKind::RecorderStopped { reason, tally } => {
            format!(
                "the recorder stopped ({}); {}",
                spaced(reason.name()),
                tally_words(tally)
            )
        }
        NoticeKind::SensorStarted { sensor, limits } => {
            let limits: String = limits
                .iter()
                .map(|it| format!("\n              · {}", clean(it)))
                .collect();
            format!("sensor {} watches{limits}", sensor.name())
        }
        NoticeKind::SensorStopped { sensor, reason } => {
            format!("sensor {} stopped: {}", sensor.name(), clean(reason))
        }
        NoticeKind::Lost {
            stage,
            cause,
            what,
            count,
            since,
        } => format!(
            "LOST since {}: {} {} ({}, at the stage {})",
            clock_time(since.wall),
            count.map_or("an unknown number of".to_owned(), |count| count.to_string()),
            what.name(),
            spaced(cause.name()),
            spaced(stage.name())
        ),
        NoticeKind::Slept { duration_ns } => {
            format!("the machine slept for {}", duration(*duration_ns))
        }
        NoticeKind::ClockStepped { by_ns } => {
            let sign = if *by_ns < 0 { "back" } else { "forward" };
            format!(
                "the clock was set {sign} by {}",
                duration(by_ns.unsigned_abs())
            )
        }
        NoticeKind::TrailEvicted {
            epoch,
            first_sequence: first,
            last_sequence: last,
        } => evicted_words(*epoch, *first, *last),
        NoticeKind::Ledger(tally) => format!("so far {}", tally_words(tally)),
        NoticeKind::SensorLimited { sensor, limit } => {
            format!("sensor {} from now on: {}", sensor.name(), clean(limit))
        }
        NoticeKind::BreakerChanged {
            state,
            cause,
            crashes,
        } => breaker_words(*state, *cause, *crashes),
        NoticeKind::Coverage(coverage) => coverage_words(coverage),
        NoticeKind::ExtensionReplaced(replaced) => replaced_words(replaced),
        NoticeKind::Sleeping => "the machine goes to sleep".to_owned(),
        NoticeKind::PolicyChanged(changed) => policy_words(changed),
        NoticeKind::PolicyCounts(counts) => policy_counts_words(counts),
        NoticeKind::StageCounts(counts) => stage_counts_words(counts),
        NoticeKind::Undelivered(undelivered) => undelivered_words(undelivered),
        NoticeKind::Delivery(delivery) => delivery_words(delivery),
    }
}

fn evicted_words(epoch: u64, first: u64, last: u64) -> String {
    format!("records {first} to {last} of epoch {epoch} were deleted to keep within the quota")
}

fn breaker_words(state: BreakerState, cause: BreakerCause, crashes: u32) -> String {
    let why = match cause {
        BreakerCause::Crashes => format!("it crashed {crashes} times"),
        BreakerCause::Managed => "a managed setting says so".to_owned(),
        BreakerCause::Boot => "the machine was started again".to_owned(),
    };
    match state {
        BreakerState::Tripped => {
            format!("BREAKER: the sensor stands aside, connections pass unseen ({why})")
        }
        BreakerState::Healed => format!("the sensor is back and sees connections ({why})"),
    }
}

fn coverage_words(coverage: &Coverage) -> String {
    let system = match (coverage.system, &coverage.unavailable) {
        (Some(counts), _) => format!("of {} that the system counted", counts_words(counts)),
        (None, Some(reason)) => format!("no meter to compare with ({})", clean(reason)),
        (None, None) => "no meter to compare with".to_owned(),
    };
    let missed = match coverage.missed_estimate {
        Some(missed) => format!("; about {missed} missed"),
        None => String::new(),
    };
    let unseen: String = coverage
        .unseen
        .iter()
        .map(|it| format!("\n              · {}", clean(it)))
        .collect();
    format!(
        "coverage since {}: {} recorded, {system}{missed}{unseen}",
        clock_time(coverage.since.wall),
        counts_words(coverage.recorded)
    )
}

fn counts_words(counts: TcpCounts) -> String {
    format!(
        "{} outbound and {} inbound TCP connections",
        counts.outbound, counts.inbound
    )
}

fn replaced_words(replaced: &ExtensionReplaced) -> String {
    let from = replaced
        .from
        .as_deref()
        .map(|from| format!(" {}", clean(from)))
        .unwrap_or_default();
    let apps: Vec<String> = replaced
        .by_app
        .iter()
        .map(|it| format!("{} {}", clean(&it.app), it.count))
        .collect();
    let by_app = if apps.is_empty() {
        String::new()
    } else {
        format!(" ({})", apps.join(", "))
    };
    let proof = match replaced.flows_arrive {
        Some(true) => "connections are seen again",
        Some(false) => "NO CONNECTION WAS SEEN SINCE",
        None => "whether connections are seen was not waited for",
    };
    format!(
        "system extension{from} replaced by {}: about {} TCP connections reset{by_app}; {proof}",
        clean(&replaced.to),
        replaced.reset_estimate
    )
}

fn started_words(previous: Option<&PreviousEpoch>) -> String {
    let Some(previous) = previous else {
        return "the recorder started, for the first time here".to_owned();
    };
    let epoch = previous.epoch;
    match (previous.stopped_in_order, previous.last_at) {
        (true, _) => format!("the recorder started; epoch {epoch} had ended in order"),
        (false, Some(last)) => format!(
            "the recorder started; epoch {epoch} was cut off, nothing is known since {}",
            date_time(last.wall)
        ),
        (false, None) => format!("the recorder started; epoch {epoch} left no record"),
    }
}

fn tally_words(tally: &Tally) -> String {
    let Tally {
        closes_made,
        closes_recorded,
        closes_aggregated,
        closes_dropped,
        closes_lost,
        live,
    } = tally;
    let dropped = match closes_dropped {
        0 => String::new(),
        dropped => format!(", {dropped} dropped by policy"),
    };
    let aggregated = match closes_aggregated {
        0 => String::new(),
        aggregated => format!(", {aggregated} summed"),
    };
    format!(
        "{closes_made} connections ended, {closes_recorded} recorded{aggregated}{dropped} and \
         {closes_lost} declared lost; {live} open"
    )
}

fn policy_counts_words(counts: &PolicyCounts) -> String {
    let PolicyCounts {
        records,
        dropped,
        changed,
        ..
    } = counts;
    format!("of {records} records the privacy policy dropped {dropped} and changed {changed}")
}

fn stage_counts_words(counts: &StageCounts) -> String {
    let StageCounts {
        given,
        own,
        dropped,
        refused,
        recorded,
        ..
    } = counts;
    let dropped = match dropped.records {
        0 => String::new(),
        dropped => format!(", {dropped} dropped by policy"),
    };
    format!(
        "so far {} records of the flow table and {own} of the recorder itself, \
         {} recorded{dropped} and {} lost",
        given.records, recorded.records, refused.records
    )
}

fn undelivered_words(undelivered: &Undelivered) -> String {
    let Undelivered {
        destination,
        source,
        epoch,
        first_sequence,
        last_sequence,
        records,
        cause,
        reason,
    } = undelivered;
    let number = records.map_or("an unknown number".to_owned(), |records| {
        records.to_string()
    });
    let trail = source.as_deref().map_or(String::new(), |name| {
        format!(" of the side trail {}", clean(name))
    });
    let verb = match cause {
        UndeliveredCause::Unknown => "MAY NOT HAVE BEEN",
        UndeliveredCause::Refused
        | UndeliveredCause::RefusedSome
        | UndeliveredCause::TooLarge
        | UndeliveredCause::Gone
        | UndeliveredCause::Damaged
        | UndeliveredCause::Unreadable => "NOT",
    };
    format!(
        "{number} of the records {first_sequence} to {last_sequence} of epoch {epoch}{trail} \
         {verb} DELIVERED to {} ({}: {})",
        clean(destination),
        cause.name(),
        clean(reason)
    )
}

fn delivery_words(delivery: &Delivery) -> String {
    let lag = match delivery.lag_records {
        None => String::new(),
        Some(lag) => format!(", {lag} wait"),
    };
    let age = match delivery.lag_ns {
        Some(0) | None => String::new(),
        Some(age_ns) => format!(", the oldest for {}", duration(age_ns)),
    };
    let problem = match &delivery.problem {
        None => String::new(),
        Some(problem) => format!(": {}", clean(problem)),
    };
    format!(
        "deliveries to {}: {}, {} records in {} batches{lag}{age}{problem}",
        clean(&delivery.destination),
        delivery.state.name(),
        delivery.records,
        delivery.batches
    )
}

fn policy_words(changed: &PolicyChanged) -> String {
    let PolicyChanged {
        state,
        source,
        problem,
        rules,
        ..
    } = changed;
    let rules = rules.len();
    let what = match state {
        PolicyState::InForce => format!("a privacy policy of {rules} rules is in force"),
        PolicyState::Kept => "a privacy policy was refused, the one before stays".to_owned(),
        PolicyState::LastGood => {
            "the privacy policy was refused, the last one that was right is in force".to_owned()
        }
        PolicyState::Strict => {
            "the privacy policy was refused, whatever is personal is left out".to_owned()
        }
        PolicyState::Removed => "no privacy policy is in force any more".to_owned(),
    };
    let source = source
        .as_ref()
        .map(|source| format!(" ({source})"))
        .unwrap_or_default();
    let problem = problem
        .as_ref()
        .map(|problem| format!(": {problem}"))
        .unwrap_or_default();
    format!("{what}{source}{problem}")
}

/// A name of ours as people read it.
pub(crate) fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn unknown_is_not_written_as_zero() {
        assert_eq!(amount(None, ByteQuality::Unknown), "?");
        assert_eq!(amount(Some(0), ByteQuality::Exact), "0 B");
        assert_eq!(amount(Some(1_500), ByteQuality::AtLeast), "≥1.5 kB");
    }

    #[test]
    fn sizes_and_times_have_few_digits() {
        assert_eq!(scaled(999), "999 B");
        assert_eq!(scaled(999_999), "1.0 MB");
        assert_eq!(scaled(u64::MAX), "18446.7 PB");
        assert_eq!(duration(999), "1 µs");
        assert_eq!(duration(90_000_000_000), "2 min");
        assert_eq!(duration(u64::MAX), "5124095.6 h");
    }

    #[test]
    fn a_process_cannot_steer_the_terminal() {
        let Record::Connection(mut connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        let mut process = (**connection.process.as_ref().unwrap()).clone();
        process.name = Some("evil\x1b[2Jname\n".into());
        process.path = Some("/tmp/evil\x1b]0;title\x07".into());
        connection.process = Some(process.into());
        let text = story(&connection) + &connection_line(&connection);
        let controls = text
            .chars()
            .filter(|it| it.is_control() && *it != '\n')
            .count();
        assert_eq!((controls, text.lines().count()), (0, 4), "{text}");
    }

    #[test]
    fn every_record_has_a_line_and_every_connection_a_story() {
        for record in sample::records(6, 1_000) {
            assert!(!line(&record).is_empty());
            if let Record::Connection(connection) = &record {
                let story = story(connection);
                let lines = 3 + usize::from(connection.aggregate.is_some());
                assert_eq!(story.lines().count(), lines, "{story}");
            }
        }
    }

    #[test]
    fn a_story_says_who_where_how_much_and_how_we_know() {
        let Record::Connection(mut connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        connection.attribution = record::Attribution::from_source(record::IdentitySource::Snapshot);
        let story = story(&connection);
        let process = connection.process.as_deref().unwrap();
        assert!(story.contains(process.path.as_deref().unwrap()), "{story}");
        assert!(
            story.contains(&format!("[{}]?", process.key.pid)),
            "a guess is marked: {story}"
        );
        assert!(story.contains("process guess (snapshot)"), "{story}");
    }
    fn process(change: impl FnOnce(&mut Process)) -> Connection {
        let Record::Connection(mut connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        let mut process = (**connection.process.as_ref().unwrap()).clone();
        change(&mut process);
        connection.process = Some(process.into());
        connection
    }

    fn signed(validity: SignatureValidity) -> CodeSignature {
        CodeSignature {
            validity,
            status: (validity != SignatureValidity::Valid).then_some(-67_061),
            signing_id: Some("com.example.chat".into()),
            team_id: Some("ABCDE12345".into()),
            cdhash: None,
            platform: Some(false),
        }
    }

    #[test]
    fn the_app_and_the_name_stand_in_line_and_story() {
        let mut connection = process(|_| {});
        let mut app = Process::bare(connection.process.as_ref().unwrap().key);
        app.name = Some("Chat".into());
        app.path = Some("/Applications/Chat.app/Contents/MacOS/Chat".into());
        app.signature = Some(signed(SignatureValidity::Valid));
        connection.responsible = Some(app.into());
        connection.hostname = Some(record::Hostname {
            name: "www.example.com\x1b[2J".into(),
            source: record::NameSource::SystemLibrary,
        });
        let line = connection_line(&connection);
        assert!(line.ends_with("  www.example.com·[2J, for Chat"), "{line}");
        let story = story(&connection);
        assert!(story.contains(" for Chat  "), "{story}");
        assert!(story.contains(" (www.example.com·[2J)  "), "{story}");
        let app = "; for /Applications/Chat.app/Contents/MacOS/Chat \
                   (signed as com.example.chat, team ABCDE12345)";
        assert!(story.contains(app), "{story}");
    }

    #[test]
    fn who_signed_is_told_and_a_bad_signature_stands_out() {
        let words = |signature: CodeSignature| {
            let connection = process(|it| it.signature = Some(signature));
            (connection_line(&connection), story(&connection))
        };
        let (line, story) = words(signed(SignatureValidity::Valid));
        assert!(!line.contains("sign"), "{line}");
        assert!(
            story.contains("(signed as com.example.chat, team ABCDE12345)"),
            "{story}"
        );
        let (line, story) = words(signed(SignatureValidity::Invalid));
        assert!(line.ends_with("signature invalid"), "{line}");
        assert!(
            story.contains("(signature invalid (-67061), signed as"),
            "{story}"
        );
        let (line, story) = words(signed(SignatureValidity::Unsigned));
        assert!(line.ends_with("  unsigned"), "{line}");
        assert!(story.contains("(unsigned)"), "{story}");
        let (_, story) = words(CodeSignature {
            platform: Some(true),
            team_id: None,
            ..signed(SignatureValidity::Valid)
        });
        assert!(
            story.contains("com.example.chat, part of the system)"),
            "{story}"
        );
    }

    #[test]
    fn a_process_that_was_gone_says_so() {
        let connection = process(|process| {
            process.vanished = true;
            process.path = None;
        });
        let gone = "gone before it could be looked up";
        assert!(connection_line(&connection).ends_with(gone));
        assert!(story(&connection).contains(gone));
    }

    #[test]
    fn a_zero_that_nobody_vouches_for_is_not_written_as_one() {
        let mut connection = process(|_| {});
        connection.traffic = Traffic {
            bytes_out: Some(0),
            bytes_in: Some(0),
            quality: ByteQuality::ZeroUnverified,
            ..Traffic::default()
        };
        assert!(connection_line(&connection).contains(" 0 B? "));
        assert!(story(&connection).contains("0 bytes reported, unverified"));
    }

    #[test]
    fn every_end_is_in_words_and_every_notice_in_one_paragraph() {
        for outcome in Outcome::ALL {
            let words = ending_words(*outcome);
            assert!(!words.is_empty() && !words.contains('_'), "{words}");
        }
        let tripped = notice_words(&NoticeKind::BreakerChanged {
            state: BreakerState::Tripped,
            cause: BreakerCause::Crashes,
            crashes: 3,
        });
        assert_eq!(
            tripped,
            "BREAKER: the sensor stands aside, connections pass unseen (it crashed 3 times)"
        );
        for record in sample::records(7, 2_000) {
            let words = line(&record);
            assert!(!words.contains("\n\n") && !words.ends_with('\n'), "{words}");
        }
    }

    #[test]
    fn coverage_says_what_was_counted_and_what_is_never_seen() {
        let mut coverage = Coverage {
            since: record::Stamp::default(),
            system: Some(TcpCounts {
                outbound: 12,
                inbound: 3,
            }),
            unavailable: None,
            recorded: TcpCounts {
                outbound: 10,
                inbound: 3,
            },
            missed_estimate: Some(2),
            unseen: vec!["Subflows.".to_owned()],
        };
        let words = coverage_words(&coverage);
        let counts = "10 outbound and 3 inbound TCP connections recorded, of 12 outbound and 3 \
                      inbound TCP connections that the system counted; about 2 missed";
        assert!(words.contains(counts), "{words}");
        assert!(words.ends_with("· Subflows."), "{words}");
        coverage.system = None;
        coverage.unavailable = Some("its size is unknown".to_owned());
        let words = coverage_words(&coverage);
        assert!(words.contains("no meter to compare with (its size is unknown)"));
    }

    #[test]
    fn a_receipt_names_the_apps_and_whether_flows_arrive() {
        let words = replaced_words(&ExtensionReplaced {
            from: Some("1".to_owned()),
            to: "2".to_owned(),
            reset_estimate: 5,
            by_app: vec![record::AppCount {
                app: "Chat".to_owned(),
                count: 5,
            }],
            flows_arrive: Some(false),
        });
        let expected = "system extension 1 replaced by 2: about 5 TCP connections reset (Chat 5); \
                        NO CONNECTION WAS SEEN SINCE";
        assert_eq!(words, expected);
    }
}
