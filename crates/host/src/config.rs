//! What is configured, and by whom: defaults, then a file, then management, then the command line.
//!
//! Every setting stands once, in [`SETTINGS`]: its key, what it means, how it is read and shown.
//! A wrong value or an unknown key never stops the recorder: it is named, with where it stands and
//! what would be right, and everything else still applies.

mod layers;

pub use layers::{Layers, Origin, Overridden, Problem, ReadError, Row, VENDOR_CONFIG};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `sensor.kind`
    pub sensor_kind: SensorChoice,
    /// `sensor.ring_bytes`
    pub ring_bytes: u64,
    /// `sensor.command_lines`
    pub command_lines: bool,
    /// `sensor.udp_idle_s`
    pub udp_idle_s: u64,
    /// `sensor.totals_interval_ms`
    pub totals_interval_ms: u64,
    /// `sensor.poll_interval_ms`
    pub poll_interval_ms: u64,
    /// `filter.loopback`
    pub loopback: bool,
    /// `filter.stand_aside`
    pub stand_aside: bool,
    /// `filter.upgrade_when`
    pub upgrade_when: UpgradeMoment,
    /// `flow.flows_max`
    pub flows_max: u64,
    /// `flow.update_interval_s`
    pub update_interval_s: u64,
    /// `flow.ledger_interval_s`
    pub ledger_interval_s: u64,
    /// `flow.burst_max`
    pub burst_max: u64,
    /// `flow.burst_interval_s`
    pub burst_interval_s: u64,
    /// `trail.quota_bytes`
    pub quota_bytes: u64,
    /// `trail.segment_bytes`
    pub segment_bytes: u64,
    /// `trail.age_max_s`
    pub age_max_s: u64,
    /// `trail.group`; empty where the state folder's own rights decide.
    pub group: String,
    /// `live.interval_ms`; zero for none.
    pub live_interval_ms: u64,
    /// `live.flows_max`
    pub live_flows_max: u64,
    /// `trail.signing_key`; empty where nothing is signed.
    pub signing_key: String,
    /// `trail.signing_interval_s`
    pub signing_interval_s: u64,
    /// `privacy.policy_file`; empty where none is named.
    pub policy_file: String,
    /// `privacy.policy`; empty where there is none.
    pub policy: String,
    /// `ship.config_file`; empty where none is named.
    pub ship_config_file: String,
    /// `ship.config`; empty where there is none.
    pub ship_config: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sensor_kind: SensorChoice::Auto,
            ring_bytes: 4 << 20,
            command_lines: false,
            udp_idle_s: 60,
            totals_interval_ms: 10_000,
            poll_interval_ms: 1_000,
            loopback: false,
            stand_aside: false,
            upgrade_when: UpgradeMoment::Reboot,
            flows_max: 100_000,
            update_interval_s: 300,
            ledger_interval_s: 600,
            burst_max: 10_000,
            burst_interval_s: 60,
            quota_bytes: 1 << 30,
            segment_bytes: 8 << 20,
            age_max_s: 0,
            group: String::new(),
            live_interval_ms: 1_000,
            live_flows_max: 10_000,
            signing_key: String::new(),
            signing_interval_s: 300,
            policy_file: String::new(),
            policy: String::new(),
            ship_config_file: String::new(),
            ship_config: String::new(),
        }
    }
}

/// Which sensor to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorChoice {
    /// The kernel's, and the sampled one where the kernel or the account says no.
    Auto,
    /// The kernel's or none.
    Kernel,
    /// The sampled one.
    Sampled,
}

impl SensorChoice {
    /// Every choice.
    pub const ALL: [SensorChoice; 3] = [
        SensorChoice::Auto,
        SensorChoice::Kernel,
        SensorChoice::Sampled,
    ];

    /// As it is written in the file and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            SensorChoice::Auto => "auto",
            SensorChoice::Kernel => "kernel",
            SensorChoice::Sampled => "sampled",
        }
    }
}

impl FromStr for SensorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<SensorChoice, String> {
        let found = SensorChoice::ALL
            .into_iter()
            .find(|choice| choice.name() == text);
        found.ok_or_else(|| format!("{} is none of auto, kernel, sampled", quoted(text)))
    }
}

/// When a new version of the system extension may replace the one at work, which resets the
/// connections that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeMoment {
    /// When the machine wakes up.
    Wake,
    /// When the machine starts.
    Reboot,
    /// At once.
    Now,
    /// In these hours of the day, by the local clock; the end may lie on the next day.
    Window {
        /// The first minute of the day, from 0 to 1,439.
        from_minute: u16,
        /// The minute of the day before which it must have begun, from 0 to 1,439; never
        /// `from_minute`.
        until_minute: u16,
    },
}

impl fmt::Display for UpgradeMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeMoment::Wake => f.write_str("wake"),
            UpgradeMoment::Reboot => f.write_str("reboot"),
            UpgradeMoment::Now => f.write_str("now"),
            UpgradeMoment::Window {
                from_minute: from,
                until_minute: until,
            } => {
                let (from_hour, until_hour) = (from / 60, until / 60);
                let (from, until) = (from % 60, until % 60);
                write!(f, "{from_hour:02}:{from:02}-{until_hour:02}:{until:02}")
            }
        }
    }
}

impl FromStr for UpgradeMoment {
    type Err = String;

    fn from_str(text: &str) -> Result<UpgradeMoment, String> {
        let wrong = || {
            let text = quoted(text);
            format!("{text} is none of wake, reboot, now, or hours such as 22:00-04:30")
        };
        match text {
            "wake" => return Ok(UpgradeMoment::Wake),
            "reboot" => return Ok(UpgradeMoment::Reboot),
            "now" => return Ok(UpgradeMoment::Now),
            _ => {}
        }
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (minute_of_day(from), minute_of_day(until));
        let (from_minute, until_minute) = from.zip(until).ok_or_else(wrong)?;
        if from_minute == until_minute {
            return Err(wrong());
        }
        Ok(UpgradeMoment::Window {
            from_minute,
            until_minute,
        })
    }
}

/// A value, in the form that a file, a profile and a property list have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManagedValue {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// What no setting takes, by its name: "a list".
    Other(&'static str),
}

impl ManagedValue {
    /// What it is, in words.
    fn kind(&self) -> &'static str {
        match self {
            ManagedValue::Boolean(_) => "true or false",
            ManagedValue::Integer(_) => "a whole number",
            ManagedValue::Text(_) => "a text",
            ManagedValue::Other(kind) => kind,
        }
    }
}

/// One setting: what can be said of it without knowing its type.
pub struct Setting {
    /// As it is written, `section.name`.
    pub key: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    show: fn(&Config) -> String,
    set: fn(&mut Config, &ManagedValue) -> Result<(), String>,
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "sensor.kind",
        about: "Linux only. Which sensor watches: auto, kernel (eBPF) or sampled (polled tables).",
        show: |config| format!("\"{}\"", config.sensor_kind.name()),
        set: |config, value| {
            config.sensor_kind = text(value)?.parse()?;
            Ok(())
        },
    },
    Setting {
        key: "sensor.ring_bytes",
        about: "Linux only. Bytes of the ring between kernel and recorder; a power of two.",
        show: |config| config.ring_bytes.to_string(),
        set: |config, value| {
            let bytes = number(value, 65_536, 1 << 28)?;
            if !bytes.is_power_of_two() {
                return Err(format!("{bytes} is not a power of two"));
            }
            config.ring_bytes = bytes;
            Ok(())
        },
    },
    Setting {
        key: "sensor.command_lines",
        about: "Record command lines. They can hold secrets.",
        show: |config| config.command_lines.to_string(),
        set: |config, value| boolean(value).map(|it| config.command_lines = it),
    },
    Setting {
        key: "sensor.udp_idle_s",
        about: "Seconds without a packet after which a flow of datagrams is over.",
        show: |config| config.udp_idle_s.to_string(),
        set: |config, value| number(value, 1, 86_400).map(|it| config.udp_idle_s = it),
    },
    Setting {
        key: "sensor.totals_interval_ms",
        about: "Linux only. Milliseconds between two looks at what live connections have carried.",
        show: |config| config.totals_interval_ms.to_string(),
        set: |config, value| number(value, 10, 3_600_000).map(|it| config.totals_interval_ms = it),
    },
    Setting {
        key: "sensor.poll_interval_ms",
        about: "Linux only. Milliseconds between two polls of the sampled sensor.",
        show: |config| config.poll_interval_ms.to_string(),
        set: |config, value| number(value, 50, 60_000).map(|it| config.poll_interval_ms = it),
    },
    Setting {
        key: "filter.loopback",
        about: "macOS only. See connections of the machine with itself too.",
        show: |config| config.loopback.to_string(),
        set: |config, value| boolean(value).map(|it| config.loopback = it),
    },
    Setting {
        key: "filter.stand_aside",
        about: "macOS only. The kill switch: every connection passes unseen; nothing is recorded.",
        show: |config| config.stand_aside.to_string(),
        set: |config, value| boolean(value).map(|it| config.stand_aside = it),
    },
    Setting {
        key: "filter.upgrade_when",
        about: "macOS only. When an upgrade may reset connections: wake, reboot, now, 22:00-04:30.",
        show: |config| format!("\"{}\"", config.upgrade_when),
        set: |config, value| {
            config.upgrade_when = text(value)?.parse()?;
            Ok(())
        },
    },
    Setting {
        key: "flow.flows_max",
        about: "Live connections at most; beyond it the idlest are let go of, as evicted.",
        show: |config| config.flows_max.to_string(),
        set: |config, value| number(value, 1_000, 1_000_000).map(|it| config.flows_max = it),
    },
    Setting {
        key: "flow.update_interval_s",
        about: "Seconds between two updates of a connection that lives on.",
        show: |config| config.update_interval_s.to_string(),
        set: |config, value| number(value, 1, 86_400).map(|it| config.update_interval_s = it),
    },
    Setting {
        key: "flow.ledger_interval_s",
        about: "Seconds between two ledger notices.",
        show: |config| config.ledger_interval_s.to_string(),
        set: |config, value| number(value, 1, 86_400).map(|it| config.ledger_interval_s = it),
    },
    Setting {
        key: "flow.burst_max",
        about: "Connections of a process in an interval with records of their own; 0 for all.",
        show: |config| config.burst_max.to_string(),
        set: |config, value| number(value, 0, 1_000_000_000).map(|it| config.burst_max = it),
    },
    Setting {
        key: "flow.burst_interval_s",
        about: "Seconds of that interval; what a process makes beyond is summed by destination.",
        show: |config| config.burst_interval_s.to_string(),
        set: |config, value| number(value, 1, 3_600).map(|it| config.burst_interval_s = it),
    },
    Setting {
        key: "trail.quota_bytes",
        about: "Bytes of the trail at most; beyond it the oldest segments are deleted, declared.",
        show: |config| config.quota_bytes.to_string(),
        set: |config, value| number(value, 1 << 20, 1 << 50).map(|it| config.quota_bytes = it),
    },
    Setting {
        key: "trail.segment_bytes",
        about: "Bytes of one segment of the trail, after which the next begins.",
        show: |config| config.segment_bytes.to_string(),
        set: |config, value| number(value, 1 << 16, 1 << 30).map(|it| config.segment_bytes = it),
    },
    Setting {
        key: "trail.age_max_s",
        about: "Seconds after which records are deleted even where there is room; 0 for never.",
        show: |config| config.age_max_s.to_string(),
        set: |config, value| number(value, 0, CENTURY_S).map(|it| config.age_max_s = it),
    },
    Setting {
        key: "trail.group",
        about: "The one group, by name or number, that may read the trail beside the recorder.",
        show: |config| as_toml(&config.group),
        set: |config, value| {
            let group = text(value)?;
            if group.contains(|letter: char| letter.is_control() || letter == ':') {
                return Err(format!(
                    "{} is neither a group's name nor a number",
                    quoted(group)
                ));
            }
            group.clone_into(&mut config.group);
            Ok(())
        },
    },
    Setting {
        key: "trail.signing_key",
        about: "File of the key that signs the trail, by its full path; `conntrail key` makes it.",
        show: |config| as_toml(&config.signing_key),
        set: |config, value| full_path(value).map(|it| config.signing_key = it),
    },
    Setting {
        key: "trail.signing_interval_s",
        about: "Seconds between two signatures, at least; none is made while nothing is recorded.",
        show: |config| config.signing_interval_s.to_string(),
        set: |config, value| number(value, 1, 86_400).map(|it| config.signing_interval_s = it),
    },
    Setting {
        key: "live.interval_ms",
        about: "Milliseconds between two snapshots of live connections in memory; 0 for none.",
        show: |config| config.live_interval_ms.to_string(),
        set: |config, value| {
            let interval_ms = number(value, 0, 60_000)?;
            if (1..LIVE_INTERVAL_MS_MIN).contains(&interval_ms) {
                return Err(format!(
                    "must be 0 for none, or at least {LIVE_INTERVAL_MS_MIN}"
                ));
            }
            config.live_interval_ms = interval_ms;
            Ok(())
        },
    },
    Setting {
        key: "live.flows_max",
        about: "Live connections in such a snapshot at most; beyond it the busiest.",
        show: |config| config.live_flows_max.to_string(),
        set: |config, value| number(value, 100, 100_000).map(|it| config.live_flows_max = it),
    },
    Setting {
        key: "privacy.policy_file",
        about: "File of the privacy policy, by its full path; else policy.toml beside this file.",
        show: |config| as_toml(&config.policy_file),
        set: |config, value| full_path(value).map(|it| config.policy_file = it),
    },
    Setting {
        key: "privacy.policy",
        about: "Text of the privacy policy itself, in place of a file.",
        show: |config| as_toml(&config.policy),
        set: |config, value| text(value).map(|it| config.policy = it.to_owned()),
    },
    Setting {
        key: "ship.config_file",
        about: "File of the shipper's destinations, by its full path; else ship.toml beside this.",
        show: |config| as_toml(&config.ship_config_file),
        set: |config, value| full_path(value).map(|it| config.ship_config_file = it),
    },
    Setting {
        key: "ship.config",
        about: "Text of the shipper's destinations itself, in place of a file; never a secret.",
        show: |config| as_toml(&config.ship_config),
        set: |config, value| text(value).map(|it| config.ship_config = it.to_owned()),
    },
];

/// A time as people write it: a whole number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// When it is written in another way, or is longer than a century.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a time such as 30s, 5m, 2h or 7d");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds_each = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(seconds_each)
        .filter(|it| *it <= CENTURY_S);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// Live connections are not looked at more often.
const LIVE_INTERVAL_MS_MIN: u64 = 100;

const CENTURY_S: u64 = 100 * 366 * 86_400;

fn number(value: &ManagedValue, min: u64, max: u64) -> Result<u64, String> {
    let range = format!("must be a whole number from {min} to {max}");
    let ManagedValue::Integer(integer) = value else {
        return Err(format!("{range}, not {}", value.kind()));
    };
    let number = u64::try_from(*integer).ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or(range)
}

fn boolean(value: &ManagedValue) -> Result<bool, String> {
    match value {
        ManagedValue::Boolean(value) => Ok(*value),
        ManagedValue::Integer(_) | ManagedValue::Text(_) | ManagedValue::Other(_) => {
            Err(format!("must be true or false, not {}", value.kind()))
        }
    }
}

fn text(value: &ManagedValue) -> Result<&str, String> {
    match value {
        ManagedValue::Text(text) => Ok(text),
        ManagedValue::Boolean(_) | ManagedValue::Integer(_) | ManagedValue::Other(_) => {
            Err(format!("must be a text, not {}", value.kind()))
        }
    }
}

fn full_path(value: &ManagedValue) -> Result<String, String> {
    let path = text(value)?;
    if !path.is_empty() && !path.starts_with('/') {
        return Err(format!("{} is not a full path", quoted(path)));
    }
    Ok(path.to_owned())
}

/// A text in one line, as a file has it.
fn as_toml(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 2);
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => line.extend(['\\', letter]),
            '\n' => line.push_str("\\n"),
            letter if letter.is_control() => line += &format!("\\u{:04X}", u32::from(letter)),
            letter => line.push(letter),
        }
    }
    line.push('"');
    line
}

/// Two digits, a colon, two digits: the minutes since midnight.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str, max: u16| -> Option<u16> {
        let digits = text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits)?;
        (number < max).then_some(number)
    };
    Some(two_digits(hour, 24)? * 60 + two_digits(minute, 60)?)
}

/// What somebody else wrote, fit to be shown: short, and without anything that a terminal obeys.
fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in [
            "",
            "5",
            "m",
            "-1s",
            "1.5h",
            "5 m",
            "99999999999999999999s",
            "999999d",
            "3µ",
        ] {
            assert!(
                parse_duration(wrong).unwrap_err().contains(wrong),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_upgrade_may_wait_for_an_event_or_for_hours_of_the_day() {
        for text in ["wake", "reboot", "now", "00:00-23:59", "22:00-04:30"] {
            assert_eq!(text.parse::<UpgradeMoment>().unwrap().to_string(), text);
        }
        assert_eq!(
            "22:00-04:30".parse(),
            Ok(UpgradeMoment::Window {
                from_minute: 22 * 60,
                until_minute: 4 * 60 + 30,
            })
        );
        for wrong in [
            "",
            "Wake",
            "never",
            "22:00",
            "22:00-",
            "24:00-01:00",
            "01:60-02:00",
            "1:00-2:00",
            "+1:00-02:00",
            "01:00-01:00",
            "01:00-02:00-03:00",
        ] {
            let error = wrong.parse::<UpgradeMoment>().unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_text_of_many_lines_is_shown_so_that_it_reads_back() {
        let policy = "version = 1\n[[rule]]\tname = \"a\\b\" # \u{7f}\u{1}é\r\n";
        let file = format!("[privacy]\npolicy = {}\n", as_toml(policy));
        let mut layers = Layers::default();
        layers.add_file(std::path::Path::new("c"), &file);
        assert_eq!(layers.problems(), []);
        assert_eq!(layers.config.policy, policy);
        layers.add_file(
            std::path::Path::new("c"),
            "[privacy]\npolicy_file = \"here\"\n",
        );
        assert_eq!(
            layers.problems().len(),
            1,
            "only a full path is the same everywhere"
        );
    }

    #[test]
    fn what_others_wrote_is_shown_short_and_harmless() {
        assert_eq!(quoted("a\u{1b}[2J\n"), "\"a\\u{1b}[2J\\n\"");
        assert!(quoted(&"x".repeat(100_000)).chars().count() < 70);
    }
}
