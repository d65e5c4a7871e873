//! How things stand: the extension, the filter, and above all whether flows arrive.
//!
//! Whether it works is not to be learnt from versions and states: an extension has been reported
//! as "activated enabled" that saw nothing. So health is one thing only, whether flows were seen
//! while the machine was awake, and the trail tells it.

use crate::extension::Properties;
use crate::filter::{self, Owner};
use crate::neighbours::Neighbours;
use crate::{upgrade, words};
use record::{BreakerCause, BreakerState, Mono, NoticeKind, Origin, Record, SensorKind, Stamp};
use serde_json::{Value, json};
use std::time::Duration;

/// A machine that is awake is not silent for so long.
pub const SILENCE_MAX: Duration = Duration::from_secs(600);

/// What the extension's trail tells about whether it works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// When the newest flow began that was watched from its beginning.
    newest_flow: Option<Stamp>,
    /// Sleep that was noticed since then.
    slept_ns: u64,
    /// The newest record of all.
    latest: Stamp,
    watching: Option<Watching>,
    breaker: Option<Breaker>,
}

/// Whether the sensor watches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Watching {
    Since(Stamp),
    Stopped { at: Stamp, reason: String },
}

/// The sensor stands aside, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Since when it is so.
    pub at: Stamp,
    /// How it is.
    pub state: BreakerState,
    /// Why.
    pub cause: BreakerCause,
    /// Crashes that were counted.
    pub crashes: u32,
}

/// Whether flows are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The newest began so long ago.
    FlowsArrive(Duration),
    /// None began in so much time awake; too short to say.
    TooEarly(Duration),
    /// None began in so much time awake.
    Silent(Duration),
    /// The sensor stands aside: the breaker has tripped.
    StandsAside(BreakerCause),
    /// The sensor does not watch, and why.
    NotWatching(String),
    /// Nothing was ever recorded, or it cannot be read, and why.
    NoTrail(String),
}

impl Health {
    /// Whether there is reason to worry.
    pub fn is_fine(&self) -> bool {
        matches!(self, Health::FlowsArrive(_) | Health::TooEarly(_))
    }

    /// Its name in machine-readable output.
    pub fn name(&self) -> &'static str {
        match self {
            Health::FlowsArrive(_) => "flows_arrive",
            Health::TooEarly(_) => "too_early",
            Health::Silent(_) => "silent",
            Health::StandsAside(_) => "stands_aside",
            Health::NotWatching(_) => "not_watching",
            Health::NoTrail(_) => "no_trail",
        }
    }

    fn words(&self) -> String {
        match self {
            Health::FlowsArrive(age) => {
                format!(
                    "good: the newest connection began {} ago",
                    words::duration(*age)
                )
            }
            Health::TooEarly(awake) => format!(
                "too early to say: no connection in {} awake",
                words::duration(*awake)
            ),
            Health::Silent(awake) => format!(
                "BAD: no connection was seen in {} awake. Check that the filter is on; if it is, \
                 restart the machine",
                words::duration(*awake)
            ),
            Health::StandsAside(cause) => format!(
                "BAD: the sensor stands aside and sees nothing ({})",
                cause_words(*cause)
            ),
            Health::NotWatching(reason) => {
                format!("BAD: the sensor does not watch: {}", words::clean(reason))
            }
            Health::NoTrail(reason) => format!("not known: {}", words::clean(reason)),
        }
    }
}

fn cause_words(cause: BreakerCause) -> &'static str {
    match cause {
        BreakerCause::Crashes => "it crashed too often; it tries again at the next start",
        BreakerCause::Managed => "a managed setting says so",
        BreakerCause::Boot => "the machine was started again",
    }
}

impl Evidence {
    /// Takes in the next record of the trail.
    pub fn apply(&mut self, record: &Record) {
        let at = record.at();
        if at.mono < self.latest.mono {
            // Another start of the machine: the sleep of the one before is not in its clock.
            self.slept_ns = 0;
        }
        self.latest = at;
        match record {
            Record::Connection(connection) => {
                let began = connection
                    .opened
                    .filter(|_| connection.origin == Origin::Live);
                if let Some(mono) = began {
                    self.flow_began(Stamp {
                        wall: at.wall_at(mono),
                        mono,
                    });
                }
            }
            Record::Notice(notice) => self.notice(at, &notice.kind),
        }
    }

    /// When the newest flow began that was watched from its beginning.
    pub fn newest_flow(&self) -> Option<Stamp> {
        self.newest_flow
    }

    /// The newest notice of the breaker.
    pub fn breaker(&self) -> Option<Breaker> {
        self.breaker
    }

    /// Whether flows are seen, as of `now`. `silence_max` is how long a machine that is awake may
    /// have none.
    pub fn health(&self, now: Stamp, silence_max: Duration) -> Health {
        if let Some(breaker) = self.breaker.filter(|it| it.state == BreakerState::Tripped) {
            return Health::StandsAside(breaker.cause);
        }
        let since = match &self.watching {
            None => return Health::NoTrail("no sensor has ever watched here".to_owned()),
            Some(Watching::Stopped { at, reason }) => {
                let ago = words::duration(between(*at, now));
                return Health::NotWatching(format!("{reason} ({ago} ago)"));
            }
            Some(Watching::Since(since)) => *since,
        };
        let newest = self.newest_flow.unwrap_or(since);
        let passed = between(newest, now);
        // A clock that began at zero after `newest` counts only what came since the start.
        let awake_ns = nanoseconds(passed).min(now.mono.0);
        let awake = Duration::from_nanos(awake_ns.saturating_sub(self.slept_ns));
        match self.newest_flow {
            _ if awake >= silence_max => Health::Silent(awake),
            Some(_) => Health::FlowsArrive(passed),
            None => Health::TooEarly(awake),
        }
    }

    fn flow_began(&mut self, began: Stamp) {
        if self
            .newest_flow
            .is_none_or(|newest| newest.wall < began.wall)
        {
            self.newest_flow = Some(began);
            self.slept_ns = 0;
        }
    }

    fn notice(&mut self, at: Stamp, kind: &NoticeKind) {
        match kind {
            NoticeKind::SensorStarted { sensor, .. } if *sensor != SensorKind::Replay => {
                self.watching = Some(Watching::Since(at));
            }
            NoticeKind::SensorStopped { reason, .. } => {
                let reason = reason.clone();
                self.watching = Some(Watching::Stopped { at, reason });
            }
            NoticeKind::RecorderStopped { .. } => {
                let reason = "the recorder was stopped".to_owned();
                self.watching = Some(Watching::Stopped { at, reason });
            }
            NoticeKind::BreakerChanged {
                state,
                cause,
                crashes,
            } => {
                self.breaker = Some(Breaker {
                    at,
                    state: *state,
                    cause: *cause,
                    crashes: *crashes,
                });
            }
            NoticeKind::Slept { duration_ns } => {
                self.slept_ns = self.slept_ns.saturating_add(*duration_ns);
            }
            NoticeKind::SensorStarted { .. }
            | NoticeKind::RecorderStarted { .. }
            | NoticeKind::Lost { .. }
            | NoticeKind::SensorLimited { .. }
            | NoticeKind::Coverage(_)
            | NoticeKind::ExtensionReplaced(_)
            | NoticeKind::Sleeping
            | NoticeKind::ClockStepped { .. }
            | NoticeKind::TrailEvicted { .. }
            | NoticeKind::Ledger(_)
            | NoticeKind::PolicyChanged(_)
            | NoticeKind::PolicyCounts(_)
            | NoticeKind::StageCounts(_)
            | NoticeKind::Undelivered(_)
            | NoticeKind::Delivery(_) => {}
        }
    }
}

/// From one moment to a later one: by the monotonic clock where both are of one start of the
/// machine, which the wall clock cannot step; else by the wall.
fn between(earlier: Stamp, later: Stamp) -> Duration {
    let by_wall_ns = later.wall.0.saturating_sub(earlier.wall.0).max(0) as u64;
    let booted_before = by_wall_ns <= later.mono.0;
    match booted_before && earlier.mono <= later.mono {
        true => Duration::from_nanos(Mono::since_ns(later.mono, earlier.mono)),
        false => Duration::from_nanos(by_wall_ns),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is installed, or why that is not known.
    pub extension: Result<Vec<Properties>, String>,
    /// The filter's configuration, or why it is not known.
    pub filter: Result<filter::State, String>,
    /// Whether flows are seen.
    pub health: Health,
    /// The newest notice of the breaker.
    pub breaker: Option<Breaker>,
    /// Who else stands in the path.
    pub neighbours: Neighbours,
    /// As of when.
    pub now: Stamp,
}

impl Status {
    /// In plain words, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("Health     {}", self.health.words())];
        lines.extend(
            self.breaker
                .map(|it| format!("Breaker    {}", self.breaker_words(it))),
        );
        let extension = extension_words(&self.extension);
        lines.extend(extension.into_iter().map(|it| format!("Extension  {it}")));
        lines.push(format!("Filter     {}", filter_words(&self.filter)));
        let others = neighbour_words(&self.neighbours);
        lines.extend(others.into_iter().map(|it| format!("Beside us  {it}")));
        lines
    }

    /// For programs. Names and values are only ever added.
    pub fn json(&self) -> Value {
        json!({
            "health": health_json(&self.health),
            "breaker": self.breaker.map(|it| json!({
                "state": it.state.name(),
                "cause": it.cause.name(),
                "crashes": it.crashes,
                "since_ns": it.at.wall.0,
            })),
            "extension": match &self.extension {
                Ok(found) => found.iter().map(properties_json).collect(),
                Err(trouble) => json!({ "trouble": trouble }),
            },
            "filter": match &self.filter {
                Ok(state) => filter_json(state),
                Err(trouble) => json!({ "trouble": trouble }),
            },
            "beside_us": neighbours_json(&self.neighbours),
            "at_ns": self.now.wall.0,
        })
    }

    fn breaker_words(&self, breaker: Breaker) -> String {
        let ago = words::duration(between(breaker.at, self.now));
        let cause = cause_words(breaker.cause);
        let crashes = match breaker.crashes {
            0 => String::new(),
            1 => ", 1 crash".to_owned(),
            crashes => format!(", {crashes} crashes"),
        };
        match breaker.state {
            BreakerState::Tripped => format!("tripped {ago} ago: {cause}{crashes}"),
            BreakerState::Healed => format!("healed {ago} ago: {cause}"),
        }
    }
}

fn extension_words(extension: &Result<Vec<Properties>, String>) -> Vec<String> {
    match extension {
        Err(trouble) => vec![format!("not known: {trouble}")],
        Ok(found) if found.is_empty() => {
            vec!["not installed: run `conntrail activate`".to_owned()]
        }
        Ok(found) => found.iter().map(properties_words).collect(),
    }
}

fn properties_words(properties: &Properties) -> String {
    let Properties {
        version,
        enabled,
        awaiting_approval,
        uninstalling,
        ..
    } = properties;
    match (uninstalling, awaiting_approval, enabled) {
        (true, _, _) => {
            format!("version {version} is removed at the next start of the machine")
        }
        (false, true, _) => format!("version {version}. {}", upgrade::extension_approval()),
        (false, false, true) => format!("version {version} is enabled"),
        (false, false, false) => format!(
            "version {version} is DISABLED: switch it on in System Settings, General, Login Items \
             & Extensions, Network Extensions (before macOS 15: Privacy & Security)"
        ),
    }
}

fn filter_words(filter: &Result<filter::State, String>) -> String {
    let state = match filter {
        Ok(state) => state,
        Err(trouble) => return format!("not known: {trouble}"),
    };
    match (state.owner, state.enabled) {
        (Owner::Nobody, _) => {
            "there is no configuration: run `conntrail activate`, or install the profile".to_owned()
        }
        (Owner::App, true) => "on; this app saved its configuration".to_owned(),
        (Owner::App, false) => {
            "OFF; this app saved its configuration: run `conntrail activate`".to_owned()
        }
        (Owner::Profile, true) => "on; a configuration profile owns it".to_owned(),
        (Owner::Profile, false) => {
            "OFF; a configuration profile owns it, and only device management can switch it on"
                .to_owned()
        }
    }
}

fn neighbour_words(neighbours: &Neighbours) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let extensions = neighbours.extensions.iter().flat_map(|it| &it.entries);
    for extension in extensions.filter(|it| it.is_in_the_path()) {
        lines.push(format!(
            "network extension \"{}\" {} {} (a filter, a proxy or a VPN: the system does not say \
             which)",
            words::clean(&extension.name),
            words::clean(&extension.identifier),
            words::clean(&extension.version),
        ));
    }
    for vpn in neighbours.vpns.iter().flat_map(|it| &it.entries) {
        lines.push(format!(
            "VPN \"{}\" ({}): {}",
            words::clean(&vpn.name),
            words::clean(&vpn.kind),
            words::clean(&vpn.status)
        ));
    }
    let unread = neighbours
        .extensions
        .as_ref()
        .map_or(0, |it| it.unread_lines)
        + neighbours.vpns.as_ref().map_or(0, |it| it.unread_lines);
    if unread > 0 {
        lines.push(format!(
            "{unread} lines of the system's lists could not be read"
        ));
    }
    lines.extend(neighbours.troubles.iter().map(|it| words::clean(it)));
    lines
}

fn health_json(health: &Health) -> Value {
    let seconds = match health {
        Health::FlowsArrive(it) | Health::TooEarly(it) | Health::Silent(it) => {
            Some(it.as_secs_f64())
        }
        Health::StandsAside(_) | Health::NotWatching(_) | Health::NoTrail(_) => None,
    };
    let reason = match health {
        Health::StandsAside(cause) => Some(cause.name()),
        Health::NotWatching(reason) | Health::NoTrail(reason) => Some(reason.as_str()),
        Health::FlowsArrive(_) | Health::TooEarly(_) | Health::Silent(_) => None,
    };
    json!({
        "state": health.name(),
        "fine": health.is_fine(),
        "seconds": seconds,
        "reason": reason,
    })
}

fn properties_json(properties: &Properties) -> Value {
    json!({
        "identifier": properties.identifier,
        "version": properties.version.short,
        "build": properties.version.build,
        "enabled": properties.enabled,
        "awaiting_approval": properties.awaiting_approval,
        "uninstalling": properties.uninstalling,
    })
}

fn filter_json(state: &filter::State) -> Value {
    json!({
        "owner": state.owner.name(),
        "enabled": state.enabled,
        "sockets": state.sockets,
        "packets": state.packets,
        "extension": state.extension,
        "organization": state.organization,
        "description": state.description,
    })
}

fn neighbours_json(neighbours: &Neighbours) -> Value {
    let extensions = neighbours.extensions.as_ref().map(|listing| {
        let entries = listing.entries.iter().map(|it| {
            json!({
                "category": it.category,
                "identifier": it.identifier,
                "name": it.name,
                "version": it.version,
                "team": it.team,
                "enabled": it.enabled,
                "active": it.active,
                "state": it.state,
            })
        });
        entries.collect::<Vec<_>>()
    });
    let vpns = neighbours.vpns.as_ref().map(|listing| {
        let entries = listing.entries.iter().map(|it| {
            json!({
                "name": it.name,
                "kind": it.kind,
                "enabled": it.enabled,
                "status": it.status,
            })
        });
        entries.collect::<Vec<_>>()
    });
    json!({ "extensions": extensions, "vpns": vpns, "troubles": neighbours.troubles })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::Version;
    use crate::filter::Grade;
    use crate::neighbours::{parse_extensions, parse_vpns};
    use record::{Connection, Notice, StopReason, Tally, Wall, sample};

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;

    /// A moment of a machine that was started when the wall clock stood at a million seconds.
    fn at(mono_ns: u64) -> Stamp {
        Stamp {
            wall: Wall((1_000_000 * SECOND + mono_ns) as i64),
            mono: Mono(mono_ns),
        }
    }

    fn notice(mono_ns: u64, kind: NoticeKind) -> Record {
        let at = at(mono_ns);
        Record::Notice(Notice { at, kind })
    }

    fn started(mono_ns: u64) -> Record {
        let sensor = SensorKind::MacosFilter;
        let limits = Vec::new();
        notice(mono_ns, NoticeKind::SensorStarted { sensor, limits })
    }

    fn flow(opened_ns: u64, recorded_ns: u64, origin: Origin) -> Record {
        let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        Record::Connection(Connection {
            at: at(recorded_ns),
            opened: Some(Mono(opened_ns)),
            origin,
            ..connection
        })
    }

    fn evidence(records: &[Record]) -> Evidence {
        let mut evidence = Evidence::default();
        for record in records {
            evidence.apply(record);
        }
        evidence
    }

    fn health(records: &[Record], now_ns: u64) -> Health {
        evidence(records).health(at(now_ns), SILENCE_MAX)
    }

    // facts: replaced-but-no-flows, flows-missing-apple-silicon
    #[test]
    fn health_is_whether_flows_began_while_awake() {
        let hour = 60 * MINUTE;
        let records = [
            started(hour),
            flow(hour + MINUTE, hour + 2 * MINUTE, Origin::Live),
        ];
        let arrive = Health::FlowsArrive(Duration::from_secs(120));
        assert_eq!(health(&records, hour + 3 * MINUTE), arrive);
        assert_eq!(
            health(&records, hour + 11 * MINUTE),
            Health::Silent(Duration::from_secs(600))
        );
        assert_eq!(
            health(&[started(hour)], hour + MINUTE),
            Health::TooEarly(Duration::from_secs(60))
        );
        assert_eq!(
            health(&[started(hour)], hour + 20 * MINUTE),
            Health::Silent(Duration::from_secs(1_200))
        );
        assert!(matches!(health(&[], hour), Health::NoTrail(_)));
    }

    #[test]
    fn a_record_that_only_says_that_an_old_flow_lives_on_proves_nothing() {
        let hour = 60 * MINUTE;
        let old_flow = flow(hour, 2 * hour, Origin::Live);
        let found = flow(2 * hour, 2 * hour, Origin::Snapshot);
        let records = [started(MINUTE), old_flow, found];
        assert_eq!(
            health(&records, 2 * hour),
            Health::Silent(Duration::from_secs(3_600))
        );
    }

    // facts: sleep-and-wake
    #[test]
    fn sleep_is_no_silence() {
        let hour = 60 * MINUTE;
        let slept = |at_ns, duration_ns| notice(at_ns, NoticeKind::Slept { duration_ns });
        let records = [
            started(0),
            flow(MINUTE, MINUTE, Origin::Live),
            slept(hour, 55 * MINUTE),
        ];
        assert!(health(&records, hour + MINUTE).is_fine());
        assert!(!health(&records, hour + 10 * MINUTE).is_fine());
        let before = [
            started(0),
            slept(hour, 55 * MINUTE),
            flow(hour, hour, Origin::Live),
        ];
        assert!(
            !health(&before, hour + 20 * MINUTE).is_fine(),
            "the sleep was before the flow"
        );
    }

    #[test]
    fn a_machine_that_was_off_was_not_silent() {
        let newest = flow(50 * MINUTE, 50 * MINUTE, Origin::Live);
        let slept = notice(
            60 * MINUTE,
            NoticeKind::Slept {
                duration_ns: 9 * MINUTE,
            },
        );
        // It was off for a day, and is on again for five, then for twenty minutes.
        let day = 24 * 60 * MINUTE;
        let later = |mono_ns: u64| Stamp {
            wall: Wall((1_000_000 * SECOND + day + mono_ns) as i64),
            mono: Mono(mono_ns),
        };
        let again = Record::Notice(Notice {
            at: later(MINUTE),
            kind: NoticeKind::SensorStarted {
                sensor: SensorKind::MacosFilter,
                limits: Vec::new(),
            },
        });
        let evidence = evidence(&[started(0), newest, slept, again]);
        assert!(evidence.health(later(5 * MINUTE), SILENCE_MAX).is_fine());
        assert_eq!(
            evidence.health(later(20 * MINUTE), SILENCE_MAX),
            Health::Silent(Duration::from_secs(1_200))
        );
    }

    // facts: disabled-by-the-user
    #[test]
    fn a_sensor_that_stopped_or_stands_aside_says_so_whatever_was_seen_before() {
        let flow = flow(MINUTE, MINUTE, Origin::Live);
        let stopped = notice(
            2 * MINUTE,
            NoticeKind::SensorStopped {
                sensor: SensorKind::MacosFilter,
                reason: "the user switched the filter off".to_owned(),
            },
        );
        let Health::NotWatching(reason) = health(&[started(0), flow.clone(), stopped], 3 * MINUTE)
        else {
            panic!("it does not watch")
        };
        assert!(
            reason.contains("switched the filter off (60 s ago)"),
            "{reason}"
        );
        let reason = StopReason::Requested;
        let tally = Tally::default();
        let ended = notice(2 * MINUTE, NoticeKind::RecorderStopped { reason, tally });
        let records = [started(0), flow.clone(), ended];
        assert!(!health(&records, 3 * MINUTE).is_fine());
        assert_eq!(evidence(&records).newest_flow(), Some(at(MINUTE)));
        let breaker = |state, cause| {
            let crashes = 3;
            notice(
                2 * MINUTE,
                NoticeKind::BreakerChanged {
                    state,
                    cause,
                    crashes,
                },
            )
        };
        let tripped = breaker(BreakerState::Tripped, BreakerCause::Crashes);
        let aside = [started(0), flow.clone(), tripped.clone()];
        assert_eq!(
            health(&aside, 3 * MINUTE),
            Health::StandsAside(BreakerCause::Crashes)
        );
        let healed = breaker(BreakerState::Healed, BreakerCause::Boot);
        let records = [started(0), flow, tripped, healed];
        assert!(health(&records, 3 * MINUTE).is_fine());
        assert_eq!(
            evidence(&records).breaker().unwrap().state,
            BreakerState::Healed
        );
    }

    #[test]
    fn replayed_records_are_no_sensor() {
        let sensor = SensorKind::Replay;
        let limits = Vec::new();
        let replay = notice(MINUTE, NoticeKind::SensorStarted { sensor, limits });
        assert!(matches!(health(&[replay], MINUTE), Health::NoTrail(_)));
    }

    fn status() -> Status {
        let version = Version {
            short: "1.2".to_owned(),
            build: "34".to_owned(),
        };
        Status {
            extension: Ok(vec![Properties {
                identifier: "org.example.filter".to_owned(),
                version,
                enabled: true,
                awaiting_approval: false,
                uninstalling: false,
            }]),
            filter: Ok(filter::State {
                owner: Owner::Profile,
                enabled: true,
                grade: Grade::Inspector,
                sockets: true,
                packets: false,
                extension: Some("org.example.filter".to_owned()),
                organization: None,
                description: None,
            }),
            health: Health::FlowsArrive(Duration::from_secs(12)),
            breaker: None,
            neighbours: Neighbours::default(),
            now: at(100 * MINUTE),
        }
    }

    fn lines(status: &Status) -> String {
        status.lines().join("\n")
    }

    #[test]
    fn a_status_says_everything_in_plain_words() {
        let text = lines(&status());
        for words in [
            "good: the newest connection began 12 s ago",
            "version 1.2 (34) is enabled",
            "on; a configuration profile owns it",
        ] {
            assert!(text.contains(words), "no \"{words}\" in\n{text}");
        }
    }

    // facts: two-filters-no-network, vpn-twice
    #[test]
    fn other_filters_and_vpns_are_named() {
        let mut status = status();
        let extensions = "--- com.apple.system_extension.network_extension\n\
            *\t*\tTEAM\tcom.example.edr (6.1/1)\tExample\u{1b} Filter\t[activated enabled]\n\
            \t\tTEAM\tcom.example.old (1/1)\tOld\t[terminated]\nodd\n";
        status.neighbours = Neighbours {
            extensions: Some(parse_extensions(extensions)),
            vpns: Some(parse_vpns("* (Connected) X VPN (y) \"Work\" [VPN:y]\n")),
            troubles: vec!["a tool could not be run".to_owned()],
        };
        let text = lines(&status);
        for words in [
            "\"Example· Filter\" com.example.edr 6.1/1 (a filter, a proxy or a VPN",
            "VPN \"Work\" (VPN:y): Connected",
            "1 lines of the system's lists could not be read",
            "a tool could not be run",
        ] {
            assert!(text.contains(words), "no \"{words}\" in\n{text}");
        }
        assert!(!text.contains("com.example.old"), "{text}");
        let json = status.json();
        assert_eq!(json["beside_us"]["extensions"][1]["state"], "terminated");
        assert_eq!(json["beside_us"]["vpns"][0]["status"], "Connected");
        assert_eq!(json["beside_us"]["troubles"][0], "a tool could not be run");
    }

    #[test]
    fn every_state_of_the_extension_and_the_filter_has_its_words() {
        let mut status = status();
        let flags = |uninstalling, awaiting_approval, enabled| Properties {
            uninstalling,
            awaiting_approval,
            enabled,
            ..self::status().extension.unwrap().remove(0)
        };
        for (properties, words) in [
            (flags(true, false, false), "removed at the next start"),
            (flags(false, true, false), "waits for approval"),
            (flags(false, false, false), "DISABLED"),
        ] {
            status.extension = Ok(vec![properties]);
            assert!(lines(&status).contains(words), "{}", lines(&status));
        }
        status.extension = Ok(Vec::new());
        assert!(lines(&status).contains("not installed"));
        status.extension = Err("no answer".to_owned());
        assert!(lines(&status).contains("Extension  not known: no answer"));
        for (owner, enabled, words) in [
            (Owner::Nobody, false, "there is no configuration"),
            (Owner::App, true, "on; this app saved"),
            (Owner::App, false, "OFF; this app saved"),
            (
                Owner::Profile,
                false,
                "only device management can switch it on",
            ),
        ] {
            let state = filter::State {
                owner,
                enabled,
                ..self::status().filter.unwrap()
            };
            status.filter = Ok(state);
            assert!(lines(&status).contains(words), "{}", lines(&status));
            assert_eq!(status.json()["filter"]["owner"], owner.name());
        }
        status.filter = Err("no answer".to_owned());
        assert!(lines(&status).contains("Filter     not known: no answer"));
    }

    #[test]
    fn every_health_has_its_words_and_its_place_in_json() {
        let minute = Duration::from_secs(60);
        let mut status = status();
        for (health, name, fine, words) in [
            (Health::FlowsArrive(minute), "flows_arrive", true, "good"),
            (Health::TooEarly(minute), "too_early", true, "too early"),
            (
                Health::Silent(minute),
                "silent",
                false,
                "BAD: no connection",
            ),
            (
                Health::StandsAside(BreakerCause::Managed),
                "stands_aside",
                false,
                "a managed setting",
            ),
            (
                Health::StandsAside(BreakerCause::Boot),
                "stands_aside",
                false,
                "stands aside",
            ),
            (
                Health::NotWatching("off".to_owned()),
                "not_watching",
                false,
                "does not watch: off",
            ),
            (
                Health::NoTrail("none".to_owned()),
                "no_trail",
                false,
                "not known: none",
            ),
        ] {
            status.health = health;
            let json = status.json();
            assert_eq!(json["health"]["state"], name);
            assert_eq!(json["health"]["fine"], fine);
            assert!(lines(&status).contains(words), "{}", lines(&status));
        }
    }

    #[test]
    fn the_breaker_and_troubles_stand_in_json_too() {
        let mut status = status();
        let mut breaker = Breaker {
            at: at(40 * MINUTE),
            state: BreakerState::Tripped,
            cause: BreakerCause::Crashes,
            crashes: 3,
        };
        status.breaker = Some(breaker);
        assert!(
            lines(&status).contains("tripped 60 min ago"),
            "{}",
            lines(&status)
        );
        assert!(lines(&status).contains("3 crashes"));
        assert_eq!(status.json()["breaker"]["crashes"], 3);
        breaker.crashes = 1;
        status.breaker = Some(breaker);
        assert!(lines(&status).contains("1 crash"));
        breaker.state = BreakerState::Healed;
        breaker.crashes = 0;
        status.breaker = Some(breaker);
        assert!(lines(&status).contains("healed 60 min ago"));
        status.filter = Err("no answer".to_owned());
        status.extension = Err("no answer either".to_owned());
        let json = status.json();
        assert_eq!(json["filter"]["trouble"], "no answer");
        assert_eq!(json["extension"]["trouble"], "no answer either");
        let whole = self::status().json();
        assert_eq!(whole["filter"]["owner"], "profile");
        assert_eq!(whole["extension"][0]["build"], "34");
    }
}
