//! `conntrail plan`: what delivering would come to, which the shipper works out.
//!
//! Only the shipper knows every form in which it delivers, and all that takes stays out of the
//! tool: `docs/adr/0023-plan.md`.

use anyhow::{Context, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The program beside this one that does it.
const SHIPPER: &str = "conntrail-ship";

/// What `conntrail plan` can be told: whatever `conntrail-ship plan` can.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// For the shipper: see `conntrail plan --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Asks the shipper, whose words and whose exit code these are.
///
/// # Errors
/// When the shipper is not beside this program, or does not start.
pub(crate) fn run(named: Option<&Path>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().context("this program does not know its own path")?;
    let program = this.canonicalize().unwrap_or(this).with_file_name(SHIPPER);
    if !program.exists() {
        bail!(
            "{} is not there, which makes the plan: install {SHIPPER} beside this program, or run \
             `{SHIPPER} plan` where it is",
            program.display()
        );
    }
    let mut ask = Command::new(&program);
    ask.arg("plan");
    if let Some(folder) = named {
        ask.arg("--state-dir").arg(folder);
    }
    let status = ask
        .args(&arguments.arguments)
        .status()
        .with_context(|| format!("{} does not start", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
