//! What is configured, and by whom: defaults, then a file, then the command line.
//!
//! Every setting stands once, in [`SETTINGS`]: its key, what it means, how it is read and shown.
//! A wrong value or an unknown key never stops the recorder: it is named, with where it stands and
//! what would be right, and everything else still applies.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

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
    /// `sensor.poll_interval_ms`
    pub poll_interval_ms: u64,
    /// `flow.flows_max`
    pub flows_max: u64,
    /// `flow.update_interval_s`
    pub update_interval_s: u64,
    /// `flow.ledger_interval_s`
    pub ledger_interval_s: u64,
    /// `trail.quota_bytes`
    pub quota_bytes: u64,
    /// `trail.segment_bytes`
    pub segment_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sensor_kind: SensorChoice::Auto,
            ring_bytes: 4 << 20,
            command_lines: false,
            udp_idle_s: 60,
            poll_interval_ms: 1_000,
            flows_max: 100_000,
            update_interval_s: 300,
            ledger_interval_s: 600,
            quota_bytes: 1 << 30,
            segment_bytes: 8 << 20,
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

impl std::str::FromStr for SensorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<SensorChoice, String> {
        let found = SensorChoice::ALL
            .into_iter()
            .find(|choice| choice.name() == text);
        found.ok_or_else(|| format!("\"{text}\" is none of auto, kernel, sampled"))
    }
}

/// One setting: what can be said of it without knowing its type.
pub struct Setting {
    /// As it is written, `section.name`.
    pub key: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    show: fn(&Config) -> String,
    set: fn(&mut Config, &DeValue<'_>) -> Result<(), String>,
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "sensor.kind",
        about: "Which sensor watches: auto, kernel (eBPF) or sampled (polled socket tables).",
        show: |config| format!("\"{}\"", config.sensor_kind.name()),
        set: |config, value| {
            config.sensor_kind = value.as_str().ok_or("must be a text in quotes")?.parse()?;
            Ok(())
        },
    },
    Setting {
        key: "sensor.ring_bytes",
        about: "Bytes of the ring between kernel and recorder; a power of two.",
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
        set: |config, value| {
            config.command_lines = value.as_bool().ok_or("must be true or false")?;
            Ok(())
        },
    },
    Setting {
        key: "sensor.udp_idle_s",
        about: "Seconds without a packet after which a flow of an unconnected UDP socket is over.",
        show: |config| config.udp_idle_s.to_string(),
        set: |config, value| number(value, 1, 86_400).map(|it| config.udp_idle_s = it),
    },
    Setting {
        key: "sensor.poll_interval_ms",
        about: "Milliseconds between two polls of the sampled sensor.",
        show: |config| config.poll_interval_ms.to_string(),
        set: |config, value| number(value, 50, 60_000).map(|it| config.poll_interval_ms = it),
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
];

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, at a line.
    File {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A value that does not apply, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// The settings in force, where each comes from, and what did not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// In force.
    pub config: Config,
    /// One for each of [`SETTINGS`], in their order.
    pub origins: Vec<Origin>,
    /// What did not apply.
    pub problems: Vec<Problem>,
}

/// A configuration file that was named cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("the configuration file {path} could not be read: {source}")]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl Default for Layers {
    fn default() -> Layers {
        Layers {
            config: Config::default(),
            origins: vec![Origin::Default; SETTINGS.len()],
            problems: Vec::new(),
        }
    }
}

impl Layers {
    /// The defaults and the file, if there is one.
    ///
    /// # Errors
    /// When `path` is named and cannot be read. The default file may be missing.
    pub fn load(path: Option<&Path>) -> Result<Layers, ReadError> {
        let default_path = crate::paths::default_config_file();
        let path = match path {
            Some(path) => path,
            None if default_path.exists() => &default_path,
            None => return Ok(Layers::default()),
        };
        let text = fs::read_to_string(path).map_err(|source| ReadError {
            path: path.to_owned(),
            source,
        })?;
        let mut layers = Layers::default();
        layers.add_file(path, &text);
        Ok(layers)
    }

    /// Puts the text of a file above what is there.
    pub fn add_file(&mut self, path: &Path, text: &str) {
        let origin = |span: Range<usize>| Origin::File {
            path: path.to_owned(),
            line: text[..span.start.min(text.len())].matches('\n').count() + 1,
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let message = format!(
                    "the file is not TOML, nothing in it applies: {}",
                    error.message()
                );
                let span = error.span().unwrap_or(0..0);
                self.problems.push(Problem {
                    origin: origin(span),
                    message,
                });
                return;
            }
        };
        for (section, value) in table.get_ref() {
            let Some(entries) = value.get_ref().as_table() else {
                self.unknown(section.get_ref(), origin(section.span()));
                continue;
            };
            for (name, value) in entries {
                let key = format!("{}.{}", section.get_ref(), name.get_ref());
                self.set(&key, value.get_ref(), origin(name.span()));
            }
        }
        self.problems
            .sort_by(|one, other| one.origin.cmp(&other.origin));
    }

    /// Puts a choice of the command line above what is there.
    pub fn choose_sensor(&mut self, choice: SensorChoice) {
        self.set(
            "sensor.kind",
            &DeValue::String(choice.name().into()),
            Origin::CommandLine,
        );
    }

    /// Key, value, origin and meaning of every setting.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, String, &Origin, &'static str)> {
        let settings = SETTINGS.iter().zip(&self.origins);
        settings.map(|(it, origin)| (it.key, (it.show)(&self.config), origin, it.about))
    }

    fn set(&mut self, key: &str, value: &DeValue<'_>, origin: Origin) {
        let Some(index) = SETTINGS.iter().position(|setting| setting.key == key) else {
            self.unknown(key, origin);
            return;
        };
        match (SETTINGS[index].set)(&mut self.config, value) {
            Ok(()) => self.origins[index] = origin,
            Err(message) => {
                let in_force = (SETTINGS[index].show)(&self.config);
                let message = format!("{key}: {message}; {in_force} stays in force");
                self.problems.push(Problem { origin, message });
            }
        }
    }

    fn unknown(&mut self, key: &str, origin: Origin) {
        let nearest = SETTINGS
            .iter()
            .min_by_key(|setting| distance(setting.key, key))
            .expect("there is at least one setting");
        let message = format!("there is no setting {key}; the nearest is {}", nearest.key);
        self.problems.push(Problem { origin, message });
    }
}

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

const CENTURY_S: u64 = 100 * 366 * 86_400;

fn number(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("must be a whole number from {min} to {max}");
    let integer = value.as_integer().ok_or_else(range)?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| range())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(range())
    }
}

/// Levenshtein's: how many letters must be added, dropped or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..other.len() {
            let changed = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::default();
        layers.add_file(Path::new("c.toml"), text);
        layers
    }

    fn problems(text: &str) -> Vec<String> {
        layers(text)
            .problems
            .iter()
            .map(Problem::to_string)
            .collect()
    }

    #[test]
    fn a_file_is_above_the_defaults_and_the_command_line_above_it() {
        let mut layers = layers("[sensor]\nkind = \"kernel\"\n[flow]\nflows_max = 5_000\n");
        assert_eq!(layers.problems, []);
        assert_eq!(layers.config.flows_max, 5_000);
        layers.choose_sensor(SensorChoice::Sampled);
        assert_eq!(layers.config.sensor_kind, SensorChoice::Sampled);
        let origins: Vec<_> = layers
            .rows()
            .map(|(key, _, origin, _)| (key, origin.to_string()))
            .collect();
        assert!(origins.contains(&("sensor.kind", "command line".into())));
        assert!(origins.contains(&("flow.flows_max", "c.toml:4".into())));
        assert!(origins.contains(&("trail.quota_bytes", "default".into())));
    }

    #[test]
    fn wrong_values_and_keys_are_named_and_the_rest_applies() {
        let text =
            "[sensor]\nkind = \"magic\"\nring_byte = 1\nudp_idle_s = 5\n\n[flow]\nflows_max = 3\n";
        assert_eq!(
            problems(text),
            [
                "c.toml:2: sensor.kind: \"magic\" is none of auto, kernel, sampled; \"auto\" stays \
                 in force",
                "c.toml:3: there is no setting sensor.ring_byte; the nearest is sensor.ring_bytes",
                "c.toml:7: flow.flows_max: must be a whole number from 1000 to 1000000; 100000 \
                 stays in force",
            ]
        );
        assert_eq!(layers(text).config.udp_idle_s, 5);
    }

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
    fn what_is_not_toml_is_named_with_its_line() {
        let problems = problems("[sensor]\nkind = \n");
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("c.toml:2: the file is not TOML"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error() {
        let error = Layers::load(Some(Path::new("/nowhere/c.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/c.toml"));
    }

    #[test]
    fn every_default_is_a_value_its_own_setting_accepts() {
        for (key, value, _, _) in Layers::default().rows() {
            let (section, name) = key.split_once('.').unwrap();
            assert_eq!(
                problems(&format!("[{section}]\n{name} = {value}\n")),
                [""; 0]
            );
        }
    }
}
