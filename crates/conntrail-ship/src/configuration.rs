//! Where the destinations stand: in a file, or in the settings that the recorder has too.

use anyhow::{Context, bail};
use host::config::Layers;
use host::paths;
use ship::config::{self, Config};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file, which somebody named.
    File(PathBuf),
    /// In the settings of this machine: `ship.config`, the file that `ship.config_file` names, or
    /// else `ship.toml` beside the configuration file of the recorder.
    Settings {
        /// That configuration file, where it is not the usual one.
        recorder: Option<PathBuf>,
    },
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text.
    pub text: String,
    /// Whence it came, for whoever must mend it.
    pub source: String,
}

/// A file that may be missing.
struct Wanted {
    path: PathBuf,
    /// Somebody named it, so it must be there.
    is_named: bool,
}

impl Place {
    /// What stands there now; nothing where nobody has configured a destination.
    ///
    /// # Errors
    /// When a file cannot be read, or somebody has set what does not apply.
    pub fn find(&self) -> anyhow::Result<Option<Found>> {
        match self {
            Place::File(path) => Wanted::named(path).find(),
            Place::Settings { recorder } => {
                let recorder = recorder.as_deref();
                let layers = Layers::of_this_machine(recorder)?;
                in_settings(&layers, paths::ship_file(recorder))
            }
        }
    }

    /// What is configured there, in words, where nothing is.
    pub fn nothing(&self) -> String {
        let file = match self {
            Place::File(path) => return format!("{} names no destination", path.display()),
            Place::Settings { recorder } => paths::ship_file(recorder.as_deref()),
        };
        format!(
            "no destination is configured, neither by the settings ship.config and \
             ship.config_file nor in {}",
            file.display()
        )
    }
}

impl Found {
    /// As destinations.
    ///
    /// # Errors
    /// What is wrong in the text.
    pub fn parse(&self) -> anyhow::Result<Config> {
        config::parse(&self.text).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|it| format!("  {it}")).collect();
            anyhow::anyhow!("{} is wrong:\n{}", self.source, lines.join("\n"))
        })
    }
}

impl Wanted {
    fn named(path: &Path) -> Wanted {
        Wanted {
            path: path.to_owned(),
            is_named: true,
        }
    }

    fn find(&self) -> anyhow::Result<Option<Found>> {
        let source = self.path.display().to_string();
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(Found { text, source })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_named => Ok(None),
            Err(error) => Err(error).context(source),
        }
    }
}

fn in_settings(layers: &Layers, beside: PathBuf) -> anyhow::Result<Option<Found>> {
    let config = &layers.config;
    if !config.ship_config.is_empty() {
        let rows = layers.rows().filter(|row| row.key == "ship.config");
        let source: String = rows
            .map(|row| format!("ship.config ({})", row.origin))
            .collect();
        let text = config.ship_config.clone();
        return Ok(Some(Found { text, source }));
    }
    let found = match config.ship_config_file.as_str() {
        "" => Wanted {
            path: beside,
            is_named: false,
        }
        .find()?,
        path => Wanted::named(Path::new(path))
            .find()
            .context("ship.config_file names a file that cannot be read")?,
    };
    let problems = problems(layers);
    if found.is_none() && !problems.is_empty() {
        bail!("no destination is configured:\n{}", problems.join("\n"));
    }
    Ok(found)
}

/// What somebody may have meant for the shipper, and does not apply.
fn problems(layers: &Layers) -> Vec<String> {
    let lines = layers.problems().into_iter().map(|it| format!("  {it}"));
    lines
        .filter(|line| line.contains("ship.") || line.contains("not TOML"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::config::ManagedValue;

    fn layers(text: &str, managed: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::default();
        layers.add_file(Path::new("/conntrail.toml"), text);
        let value = |text: &str| ManagedValue::Text(text.to_owned());
        let managed = managed.iter().map(|it| (it.0.to_owned(), value(it.1)));
        layers.add_managed("a profile", managed);
        layers
    }

    #[test]
    fn what_is_managed_stands_above_any_file() {
        let file = "[ship]\nconfig_file = \"/nowhere.toml\"";
        let layers = layers(file, &[("ship.config", "# by a profile")]);
        let found = in_settings(&layers, PathBuf::from("/beside.toml"));
        let expected = Found {
            text: "# by a profile".to_owned(),
            source: "ship.config (a profile)".to_owned(),
        };
        assert_eq!(found.unwrap(), Some(expected));
    }

    #[test]
    fn a_named_file_must_be_there_and_one_beside_need_not() {
        let beside = || PathBuf::from("/nowhere/ship.toml");
        assert_eq!(in_settings(&layers("", &[]), beside()).unwrap(), None);
        let named = layers("[ship]\nconfig_file = \"/nowhere/other.toml\"", &[]);
        let error = format!("{:#}", in_settings(&named, beside()).unwrap_err());
        assert!(error.contains("/nowhere/other.toml"), "{error}");
    }

    #[test]
    fn a_setting_that_does_not_apply_is_not_taken_for_none() {
        let beside = || PathBuf::from("/nowhere/ship.toml");
        for wrong in [
            "[ship]\nconfig_file = \"ship.toml\"",
            "[ship]\nconfg = \"\"",
            "[ship",
        ] {
            let error = in_settings(&layers(wrong, &[]), beside()).unwrap_err();
            assert!(
                format!("{error:#}").contains("/conntrail.toml"),
                "{error:#}"
            );
        }
        let other = layers("[flow]\nburst_max = \"many\"", &[]);
        assert_eq!(in_settings(&other, beside()).unwrap(), None);
    }
}
