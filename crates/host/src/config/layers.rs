//! Who set what: the layers of the configuration, and which of them is in force.
//!
//! A value of a higher layer is in force whatever the order in which the layers were added.

use super::{Config, ManagedValue, SETTINGS, SensorChoice, Setting, quoted};
use crate::preferences;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// How the source of values is named that came with the profile of the content filter, as its
/// `VendorConfig`.
pub const VENDOR_CONFIG: &str = "VendorConfig of the filter profile";

/// Where a value comes from; what comes later overrides what comes before.
///
/// Of two managed sources the one that is later in the alphabet wins, which puts managed
/// preferences above [`VENDOR_CONFIG`].
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
    /// Whoever manages the machine.
    Managed {
        /// By which way.
        source: String,
    },
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Managed { source } => f.write_str(source),
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

/// A value that would apply if a higher layer did not set another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overridden {
    /// Of which setting.
    pub key: &'static str,
    /// Who set it.
    pub origin: Origin,
    /// As it is written in a file.
    pub value: String,
}

/// One setting, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// As it is written, `section.name`.
    pub key: &'static str,
    /// The value in force, as it is written in a file.
    pub value: String,
    /// Who set it.
    pub origin: &'a Origin,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Values of lower layers, the lowest first.
    pub overridden: Vec<&'a Overridden>,
}

/// The settings in force, where each comes from, and what did not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// In force.
    pub config: Config,
    /// One for each of [`SETTINGS`], in their order.
    origins: Vec<Origin>,
    overridden: Vec<Overridden>,
    refused: Vec<Refused>,
}

/// A configuration file that was named cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("the configuration file {path} could not be read: {source}")]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// A value that did not apply. What is in force instead is known only when all layers are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    origin: Origin,
    setting: Option<usize>,
    message: String,
}

/// Longer than any configuration, short enough to be read at once.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Values of one managed source that are looked at.
const VALUES_MAX: usize = 1_000;

/// Unknown keys of one managed source that are named one by one.
const UNKNOWN_NAMED_MAX: usize = 20;

impl Default for Layers {
    fn default() -> Layers {
        Layers {
            config: Config::default(),
            origins: vec![Origin::Default; SETTINGS.len()],
            overridden: Vec::new(),
            refused: Vec::new(),
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
            None if default_path.is_file() => &default_path,
            None => return Ok(Layers::default()),
        };
        let text = read_file(path).map_err(|source| ReadError {
            path: path.to_owned(),
            source,
        })?;
        let mut layers = Layers::default();
        layers.add_file(path, &text);
        Ok(layers)
    }

    /// The defaults, the file if there is one, and what the management of this machine forces.
    ///
    /// # Errors
    /// As [`Layers::load`].
    pub fn of_this_machine(path: Option<&Path>) -> Result<Layers, ReadError> {
        let mut layers = Layers::load(path)?;
        layers.add_managed(preferences::MANAGED_PREFERENCES, preferences::managed());
        Ok(layers)
    }

    /// Adds the text of a file, which stands above the defaults.
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
                self.refuse(origin(error.span().unwrap_or(0..0)), None, message);
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
                self.set_key(&key, &plain(value.get_ref()), origin(name.span()));
            }
        }
    }

    /// Adds what whoever manages the machine set, which stands above a file; `source` says by
    /// which way it came. Keys are written `section.name`.
    pub fn add_managed(
        &mut self,
        source: &str,
        values: impl IntoIterator<Item = (String, ManagedValue)>,
    ) {
        let origin = Origin::Managed {
            source: source.to_owned(),
        };
        let mut values: Vec<_> = values.into_iter().take(VALUES_MAX).collect();
        // A dictionary has no order of its own, and what it means must not depend on one.
        values.sort();
        let (known, unknown): (Vec<_>, Vec<_>) =
            values.iter().partition(|(key, _)| position(key).is_some());
        for (key, value) in known {
            self.set_key(key, value, origin.clone());
        }
        for (key, _) in unknown.iter().take(UNKNOWN_NAMED_MAX) {
            self.unknown(key, origin.clone());
        }
        let more = unknown.len().saturating_sub(UNKNOWN_NAMED_MAX);
        if more > 0 {
            self.refuse(origin, None, format!("{more} more keys name no setting"));
        }
    }

    /// Adds a choice of the command line, which stands above everything.
    pub fn choose_sensor(&mut self, choice: SensorChoice) {
        let value = ManagedValue::Text(choice.name().to_owned());
        self.set_key("sensor.kind", &value, Origin::CommandLine);
    }

    /// Every setting.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let settings = SETTINGS.iter().zip(&self.origins);
        settings.map(|(setting, origin)| Row {
            key: setting.key,
            value: (setting.show)(&self.config),
            origin,
            about: setting.about,
            overridden: self
                .overridden
                .iter()
                .filter(|it| it.key == setting.key)
                .collect(),
        })
    }

    /// What did not apply, by origin.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |refused: &Refused| {
            let in_force = |index: usize| {
                let value = (SETTINGS[index].show)(&self.config);
                format!("; {value} stays in force")
            };
            let ending = refused.setting.map(in_force).unwrap_or_default();
            Problem {
                origin: refused.origin.clone(),
                message: format!("{}{ending}", refused.message),
            }
        };
        self.refused.iter().map(problem).collect()
    }

    fn set_key(&mut self, key: &str, value: &ManagedValue, origin: Origin) {
        match position(key) {
            Some(index) => self.set(index, value, origin),
            None => self.unknown(key, origin),
        }
    }

    fn set(&mut self, index: usize, value: &ManagedValue, origin: Origin) {
        let setting = &SETTINGS[index];
        let mut changed = self.config.clone();
        if let Err(message) = (setting.set)(&mut changed, value) {
            self.refuse(origin, Some(index), format!("{}: {message}", setting.key));
        } else if origin >= self.origins[index] {
            let before = std::mem::replace(&mut self.origins[index], origin);
            let below = std::mem::replace(&mut self.config, changed);
            self.overrides(setting, &below, before);
        } else {
            self.overrides(setting, &changed, origin);
        }
    }

    /// Keeps the value that `config` has but that is not in force.
    fn overrides(&mut self, setting: &Setting, config: &Config, origin: Origin) {
        if origin == Origin::Default {
            return;
        }
        self.overridden.push(Overridden {
            key: setting.key,
            origin,
            value: (setting.show)(config),
        });
        self.overridden.sort();
    }

    fn unknown(&mut self, key: &str, origin: Origin) {
        let short: String = key.chars().take(KEY_MAX_CHARS).collect();
        let nearest = SETTINGS
            .iter()
            .min_by_key(|setting| strsim::levenshtein(setting.key, &short))
            .expect("there is at least one setting");
        let key = quoted(key);
        let key = key.trim_matches('"');
        let message = format!("there is no setting {key}; the nearest is {}", nearest.key);
        self.refuse(origin, None, message);
    }

    fn refuse(&mut self, origin: Origin, setting: Option<usize>, message: String) {
        self.refused.push(Refused {
            origin,
            setting,
            message,
        });
        self.refused
            .sort_by(|one, other| one.origin.cmp(&other.origin));
    }
}

/// Of a longer key only the beginning is compared: it is wrong anyway.
const KEY_MAX_CHARS: usize = 60;

fn position(key: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.key == key)
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// A value of a file without its notation.
fn plain(value: &DeValue<'_>) -> ManagedValue {
    match value {
        DeValue::String(text) => ManagedValue::Text(text.as_ref().to_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).map_or(
            ManagedValue::Other("a number of more than 64 bits"),
            ManagedValue::Integer,
        ),
        DeValue::Boolean(boolean) => ManagedValue::Boolean(*boolean),
        DeValue::Float(_) => ManagedValue::Other("a fraction"),
        DeValue::Datetime(_) => ManagedValue::Other("a date"),
        DeValue::Array(_) => ManagedValue::Other("a list"),
        DeValue::Table(_) => ManagedValue::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preferences::MANAGED_PREFERENCES as PREFERENCES;

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::default();
        layers.add_file(Path::new("c.toml"), text);
        layers
    }

    fn shown(layers: &Layers) -> Vec<String> {
        layers.problems().iter().map(Problem::to_string).collect()
    }

    fn managed(layers: &mut Layers, source: &str, values: &[(&str, ManagedValue)]) {
        let values = values.iter();
        layers.add_managed(
            source,
            values.map(|(key, it)| (key.to_string(), it.clone())),
        );
    }

    fn origin_of(layers: &Layers, key: &str) -> String {
        let row = layers.rows().find(|row| row.key == key);
        row.unwrap().origin.to_string()
    }

    #[test]
    fn a_file_is_above_the_defaults_and_the_command_line_above_it() {
        let mut layers = layers("[sensor]\nkind = \"kernel\"\n[flow]\nflows_max = 5_000\n");
        assert_eq!(layers.problems(), []);
        assert_eq!(layers.config.flows_max, 5_000);
        layers.choose_sensor(SensorChoice::Sampled);
        assert_eq!(layers.config.sensor_kind, SensorChoice::Sampled);
        assert_eq!(origin_of(&layers, "sensor.kind"), "command line");
        assert_eq!(origin_of(&layers, "flow.flows_max"), "c.toml:4");
        assert_eq!(origin_of(&layers, "trail.quota_bytes"), "default");
    }

    #[test]
    fn wrong_values_and_keys_are_named_and_the_rest_applies() {
        let text =
            "[sensor]\nkind = \"magic\"\nring_byte = 1\nudp_idle_s = 5\n\n[flow]\nflows_max = 3\n";
        assert_eq!(
            shown(&layers(text)),
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

    // facts: vendor-configuration
    #[test]
    fn what_management_sets_overrides_the_file_and_says_so() {
        let mut layers =
            layers("[flow]\nflows_max = 5_000\nupdate_interval_s = 7\nburst_max = 0\n");
        managed(
            &mut layers,
            PREFERENCES,
            &[("flow.flows_max", ManagedValue::Integer(9_000))],
        );
        assert_eq!(layers.problems(), []);
        assert_eq!(layers.config.flows_max, 9_000);
        assert_eq!(layers.config.update_interval_s, 7);
        assert_eq!(layers.config.burst_max, 0);
        let row = layers.rows().find(|row| row.key == "flow.flows_max");
        let row = row.unwrap();
        assert_eq!(row.origin.to_string(), PREFERENCES);
        assert_eq!(row.overridden.len(), 1);
        assert_eq!(row.overridden[0].value, "5000");
        assert_eq!(row.overridden[0].origin.to_string(), "c.toml:2");
    }

    #[test]
    fn the_order_in_which_layers_are_added_changes_nothing() {
        type Step = fn(&mut Layers);
        let steps: [Step; 4] = [
            |it| {
                it.add_file(
                    Path::new("c"),
                    "[sensor]\nkind = \"auto\"\nudp_idle_s = 0\n",
                )
            },
            |it| {
                let kernel = ManagedValue::Text("kernel".to_owned());
                let values = [
                    ("sensor.kind", kernel),
                    ("sensor.udp_idle_s", ManagedValue::Integer(9)),
                    ("filter.stand_aside", ManagedValue::Boolean(true)),
                ];
                managed(it, PREFERENCES, &values);
            },
            |it| {
                let values = [
                    ("filter.stand_aside", ManagedValue::Boolean(false)),
                    ("filter.loopback", ManagedValue::Boolean(true)),
                    ("sensor.udp_idle_s", ManagedValue::Boolean(true)),
                ];
                managed(it, VENDOR_CONFIG, &values);
            },
            |it| it.choose_sensor(SensorChoice::Sampled),
        ];
        let run = |order: [usize; 4]| {
            let mut layers = Layers::default();
            order.into_iter().for_each(|step| steps[step](&mut layers));
            layers
        };
        let expected = run([0, 1, 2, 3]);
        assert_eq!(expected.config.sensor_kind, SensorChoice::Sampled);
        assert!(expected.config.stand_aside && expected.config.loopback);
        assert_eq!(origin_of(&expected, "filter.loopback"), VENDOR_CONFIG);
        let row = expected.rows().find(|row| row.key == "sensor.kind");
        assert_eq!(row.unwrap().overridden.len(), 2);
        assert_eq!(
            shown(&expected),
            [
                "c:3: sensor.udp_idle_s: must be a whole number from 1 to 86400; 9 stays in force",
                "VendorConfig of the filter profile: sensor.udp_idle_s: must be a whole number \
                 from 1 to 86400, not true or false; 9 stays in force",
            ]
        );
        for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [1, 2, 0, 3]] {
            assert_eq!(run(order), expected, "{order:?}");
        }
    }

    #[test]
    fn wrong_managed_keys_and_types_are_named_and_the_rest_applies() {
        let mut layers = Layers::default();
        managed(
            &mut layers,
            PREFERENCES,
            &[
                ("filter.loopbak", ManagedValue::Boolean(true)),
                ("filter.loopback", ManagedValue::Text("yes".to_owned())),
                ("filter.upgrade_when", ManagedValue::Other("a list")),
                ("flow.flows_max", ManagedValue::Integer(-1)),
                ("sensor.command_lines", ManagedValue::Boolean(true)),
            ],
        );
        assert!(layers.config.command_lines);
        assert_eq!(
            shown(&layers),
            [
                format!(
                    "{PREFERENCES}: filter.loopback: must be true or false, not a text; false \
                     stays in force"
                ),
                format!(
                    "{PREFERENCES}: filter.upgrade_when: must be a text, not a list; \"reboot\" \
                     stays in force"
                ),
                format!(
                    "{PREFERENCES}: flow.flows_max: must be a whole number from 1000 to 1000000; \
                     100000 stays in force"
                ),
                format!(
                    "{PREFERENCES}: there is no setting filter.loopbak; the nearest is \
                     filter.loopback"
                ),
            ]
        );
    }

    #[test]
    fn a_dictionary_full_of_nonsense_stays_small() {
        let mut layers = Layers::default();
        let nonsense = (0..100_000).map(|number| {
            let key = format!("{number}\n{}", "k".repeat(10_000));
            (key, ManagedValue::Other("a list"))
        });
        layers.add_managed(VENDOR_CONFIG, nonsense);
        let problems = shown(&layers);
        assert_eq!(problems.len(), UNKNOWN_NAMED_MAX + 1);
        assert!(
            problems
                .iter()
                .all(|it| it.len() < 300 && !it.contains('\n'))
        );
        assert!(problems.last().unwrap().contains("980 more keys"));
    }

    #[test]
    fn what_is_not_toml_is_named_with_its_line() {
        let problems = shown(&layers("[sensor]\nkind = \n"));
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("c.toml:2: the file is not TOML"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_named_file_that_is_missing_or_endless_is_an_error() {
        let error = Layers::load(Some(Path::new("/nowhere/c.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/c.toml"));
        let error = Layers::load(Some(Path::new("/dev/zero"))).unwrap_err();
        assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn every_default_is_a_value_its_own_setting_accepts() {
        for row in Layers::default().rows() {
            let (section, name) = row.key.split_once('.').unwrap();
            let layers = layers(&format!("[{section}]\n{name} = {}\n", row.value));
            assert_eq!(layers.problems(), [], "{}", row.key);
            assert_eq!(origin_of(&layers, row.key), "c.toml:2");
        }
    }
}
