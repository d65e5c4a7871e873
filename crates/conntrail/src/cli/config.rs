//! `conntrail config`: every setting, its value, and who set it.

use host::config::Layers;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Configuration file [default: /etc/conntrail/conntrail.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints the settings in the form of the file, so that the output is a file.
/// The exit code is 1 when something in the file does not apply.
///
/// # Errors
/// When a file that was named cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let layers = Layers::load(arguments.config.as_deref())?;
    let mut out = io::stdout().lock();
    let mut section = "";
    for (key, value, origin, about) in layers.rows() {
        let (of, name) = key.split_once('.').expect("every key is section.name");
        if of != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}[{of}]")?;
            section = of;
        }
        writeln!(out, "# {about}\n{name} = {value}  # {origin}")?;
    }
    for problem in &layers.problems {
        writeln!(io::stderr(), "conntrail: {problem}")?;
    }
    Ok(if layers.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
