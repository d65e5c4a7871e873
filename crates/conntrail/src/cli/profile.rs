//! `conntrail profile`: the configuration profiles that device management installs.

mod check;
mod write;

use host::config::{Layers, ManagedValue};
use mdm::value::{Dictionary, Value};
use std::process::ExitCode;

/// What to do with profiles.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Writes the profiles that Conntrail needs: one for each payload, and one with all.
    Write(write::Arguments),
    /// Says what is wrong with a set of profiles: mistakes, gaps, contradictions, other filters.
    Check(check::Arguments),
}

/// Does it.
///
/// # Errors
/// When a folder or file cannot be written, or nobody reads the output.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Write(arguments) => write::run(arguments),
        Command::Check(arguments) => check::run(arguments),
    }
}

/// The settings of a dictionary as the agent reads them: `section.name`, or a section as a
/// dictionary.
fn flattened(settings: &Dictionary) -> Vec<(String, ManagedValue)> {
    let mut values = Vec::new();
    for (key, value) in settings {
        match value.as_dictionary().filter(|_| !key.contains('.')) {
            Some(section) => {
                let entries = section.iter();
                values.extend(entries.map(|(name, value)| (format!("{key}.{name}"), plain(value))));
            }
            None => values.push((key.clone(), plain(value))),
        }
    }
    values
}

fn plain(value: &Value) -> ManagedValue {
    match value {
        Value::Boolean(value) => ManagedValue::Boolean(*value),
        Value::Integer(value) => ManagedValue::Integer(*value),
        Value::Text(text) => ManagedValue::Text(text.clone()),
        Value::Real(_)
        | Value::Date(_)
        | Value::Data(_)
        | Value::List(_)
        | Value::Dictionary(_) => ManagedValue::Other(value.kind()),
    }
}

/// What the agent would say of these settings, a sentence each.
fn problems(settings: &Dictionary) -> Vec<String> {
    let mut layers = Layers::default();
    layers.add_managed("profile", flattened(settings));
    let problems = layers.problems().into_iter();
    problems.map(|problem| problem.message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdm::value::dictionary;

    fn settings(value: Value) -> Dictionary {
        value.as_dictionary().unwrap().clone()
    }

    #[test]
    fn settings_are_understood_alone_and_in_sections() {
        let of = |value: Value| {
            let mut layers = Layers::default();
            layers.add_managed("profile", flattened(&settings(value)));
            assert_eq!(layers.problems(), []);
            layers.config
        };
        let alone = of(dictionary([
            ("filter.loopback", true.into()),
            ("flow.flows_max", 5_000.into()),
        ]));
        let in_sections = of(dictionary([
            ("filter", dictionary([("loopback", true.into())])),
            ("flow", dictionary([("flows_max", 5_000.into())])),
        ]));
        assert_eq!(alone, in_sections);
        assert!(alone.loopback && alone.flows_max == 5_000);
    }

    #[test]
    fn wrong_settings_are_named_with_what_would_be_right() {
        let problems = problems(&settings(dictionary([
            ("filter.loopbak", true.into()),
            ("flow", dictionary([("flows_max", "many".into())])),
            ("trail.quota_bytes", Value::List(vec![])),
        ])));
        assert_eq!(problems.len(), 3, "{problems:?}");
        let all = problems.join("\n");
        for part in ["nearest is filter.loopback", "not a text", "not a list"] {
            assert!(all.contains(part), "{all}");
        }
    }
}
