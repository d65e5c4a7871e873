//! Records in words, for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::OpenConnection;
use record::{
    ByteQuality, Confidence, Connection, Direction, Endpoint, NoticeKind, Origin, Phase,
    PreviousEpoch, Process, Protocol, Record, Tally, Traffic, Wall,
};
use std::fmt::Write;

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
        "{}  {:<24} {:<4} {:<48} {:<11} {:>9} {:>9} {:>8}",
        clock_time(connection.at.wall),
        who(connection),
        protocol(connection.protocol),
        way(connection),
        moment,
        amount(connection.traffic.bytes_out, quality),
        amount(connection.traffic.bytes_in, quality),
        age_ns.map_or("?".to_owned(), duration),
    )
}

/// What [`connection_line`] shows in which column.
pub(crate) fn connection_heading() -> String {
    format!(
        "{:<12}  {:<24} {:<4} {:<48} {:<11} {:>9} {:>9} {:>8}",
        "time", "process", "", "local and remote", "state", "sent", "received", "for"
    )
}

/// A connection that ended, with all that belongs to it, in three lines.
pub(crate) fn story(connection: &Connection) -> String {
    let end = match connection.phase {
        Phase::Open => "open".to_owned(),
        Phase::Update => "going on".to_owned(),
        Phase::Close(ending) => {
            let outcome = spaced(ending.outcome.name());
            let errno = ending
                .errno
                .map(|errno| format!(" (errno {errno})"))
                .unwrap_or_default();
            format!("{outcome}{errno}")
        }
    };
    story_with_end(connection, &end)
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
    let mut story = format!(
        "{}  {}  {} {}  {end}\n",
        date_time(began.unwrap_or(connection.at.wall)),
        who(connection),
        protocol(connection.protocol),
        way(connection),
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
    let _ = writeln!(
        story,
        "    {lasted}, sent {}, received {}{rtt}",
        amount(bytes_out, quality),
        amount(bytes_in, quality)
    );
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
    let mut words = clean(process.path.as_deref().unwrap_or("executable not known"));
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
    words
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

/// Bytes, with a sign where there may have been more, and a question mark where nobody knows.
pub(crate) fn amount(bytes: Option<u64>, quality: ByteQuality) -> String {
    let Some(bytes) = bytes else {
        return "?".to_owned();
    };
    let sign = match quality {
        ByteQuality::Exact => "",
        ByteQuality::SoFar | ByteQuality::AtLeast | ByteQuality::Unknown => "≥",
    };
    format!("{sign}{}", scaled(bytes))
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

fn date_time(wall: Wall) -> String {
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
            first_sequence,
            last_sequence,
        } => format!(
            "records {first_sequence} to {last_sequence} of epoch {epoch} were deleted to keep \
             within the quota"
        ),
        NoticeKind::Ledger(tally) => format!("so far {}", tally_words(tally)),
    }
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
        closes_lost,
        live,
    } = tally;
    format!(
        "{closes_made} connections ended, {closes_recorded} recorded and {closes_lost} declared \
         lost; {live} open"
    )
}

/// A name of ours as people read it.
fn spaced(name: &str) -> String {
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
                assert_eq!(story.lines().count(), 3, "{story}");
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
}
