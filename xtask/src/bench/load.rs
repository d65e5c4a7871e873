//! The load of a measurement: connections in a network namespace of their own, so that nobody
//! else's are measured with them.

use crate::namespace::Namespace;
use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A command that runs a program in a namespace, on one processor.
pub(super) fn on_processor(namespace: &Namespace, processor: usize, program: &Path) -> Command {
    let mut command = namespace.command(Path::new("taskset"));
    command
        .args(["--cpu-list", &processor.to_string()])
        .arg(program);
    command
}

/// Processor time of a finished load, all its processes together, in microseconds a connection.
pub(super) fn cpu_us_per_connection(output: &str) -> Result<f64> {
    let mut words = output.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix("cpu_us_per_connection="));
    let value = value.with_context(|| format!("the load did not say what it cost:\n{output}"))?;
    value
        .parse()
        .with_context(|| format!("the load says it cost `{value}`"))
}

/// Connections that stay open until this is dropped.
pub(super) struct Held {
    child: Child,
    /// Kept open, since the generator has a last word too.
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Starts the generator and waits until all are open.
    pub(super) fn open(mut command: Command) -> Result<Held> {
        let shown = process::describe(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let output = child.stdout.take().context("the load has no output")?;
        let output = BufReader::new(output);
        let mut held = Held { child, output };
        let mut first = String::new();
        held.output.read_line(&mut first)?;
        if first.trim_end() != "READY" {
            bail!("`{shown}` did not open its connections: {first}");
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input tells the generator to close everything.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_says_what_it_cost() {
        let output = "mode=loop count=20000 ok=20000 cpu_us_per_connection=86.33 mean_life_us=112";
        assert_eq!(cpu_us_per_connection(output).unwrap(), 86.33);
        assert!(cpu_us_per_connection("mode=loop").is_err());
    }
}
