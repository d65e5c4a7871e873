//! `conntrail config`: every setting, its value, and who set it.

use super::policy;
use host::config::{Layers, Overridden};
use host::preferences;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, global = true, value_name = "FILE", help = host::paths::config_file_help())]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<policy::Command>,
}

/// Prints the settings in the form of the file, so that the output is a file.
/// The exit code is 1 when something that somebody set does not apply, the privacy policy among it.
///
/// # Errors
/// When a file that was named cannot be read.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let layers = Layers::of_this_machine(arguments.config.as_deref())?;
    let beside = host::paths::policy_file(arguments.config.as_deref());
    match &arguments.command {
        Some(policy::Command::CheckPolicy(arguments)) => {
            return policy::check(arguments, &layers.config, &beside);
        }
        Some(policy::Command::Explain(arguments)) => return policy::explain(state_dir, arguments),
        None => {}
    }
    print(&layers, &mut io::stdout().lock())?;
    let mut problems: Vec<String> = layers.problems().iter().map(ToString::to_string).collect();
    problems.extend(policy::problems(&layers.config, &beside));
    if !layers.config.group.is_empty() {
        let unknown = host::groups::group_id(&layers.config.group).err();
        problems.extend(unknown.map(|error| format!("trail.group: {error}")));
    }
    for problem in &problems {
        writeln!(io::stderr(), "conntrail: {problem}")?;
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn print(layers: &Layers, out: &mut impl Write) -> io::Result<()> {
    let mut section = "";
    for row in layers.rows() {
        let (of, name) = row.key.split_once('.').expect("every key is section.name");
        if of != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}[{of}]")?;
            section = of;
        }
        writeln!(
            out,
            "# {}\n{name} = {}  # {}",
            row.about, row.value, row.origin
        )?;
        for overridden in row.overridden {
            let Overridden { origin, value, .. } = overridden;
            writeln!(out, "#   overrides {value} of {origin}")?;
        }
    }
    if let Some(sentence) = preferences::NOT_SHOWN {
        writeln!(out, "\n# {sentence}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::config::ManagedValue;

    #[test]
    fn who_set_what_is_shown_and_the_output_is_a_file() {
        let mut layers = Layers::default();
        layers.add_file(Path::new("c.toml"), "[flow]\nflows_max = 5_000\n");
        layers.add_managed(
            preferences::MANAGED_PREFERENCES,
            [("flow.flows_max".to_owned(), ManagedValue::Integer(9_000))],
        );
        let mut out = Vec::new();
        print(&layers, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "flows_max = 9000  # managed preferences com.conntrail.agent\n\
                        #   overrides 5000 of c.toml:2\n";
        assert!(text.contains(expected), "{text}");
        let mut again = Layers::default();
        again.add_file(Path::new("printed"), &text);
        assert_eq!(again.problems(), []);
        assert_eq!(again.config, layers.config);
    }
}
