//! `conntrail key`: the key that the recorder signs the trail with.

use anyhow::{Context, bail};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::{PublicKey, SigningKey};

/// What to do with a key.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a key in a new file that nobody else can read, and prints the public key.
    New {
        /// Where; `trail.signing_key` of the configuration must name it.
        file: PathBuf,
    },
    /// Prints the public key of a key, to be kept where `conntrail verify --public-key` runs.
    Public {
        /// The file of the key.
        file: PathBuf,
    },
}

/// Makes or reads a key.
///
/// # Errors
/// When the file is there already, cannot be written or read, or holds no key.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let key = match command {
        Command::New { file } => make(file)?,
        Command::Public { file } => read(file)?,
    };
    write!(io::stdout(), "{}", key.public().to_text())?;
    Ok(ExitCode::SUCCESS)
}

fn make(file: &Path) -> anyhow::Result<SigningKey> {
    if fs::symlink_metadata(file).is_ok() {
        bail!(
            "{} is there already: a key is never written over, because what it signed could not \
             be checked against the new one; name another file",
            file.display()
        );
    }
    let seed = host::private::random_bytes().context("the system gives no random bytes")?;
    let key = SigningKey::from_seed(seed);
    host::private::write_secret(file, &key.to_text())
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(key)
}

fn read(file: &Path) -> anyhow::Result<SigningKey> {
    let text = host::private::read_secret(file, KEY_BYTES_MAX);
    let text = text.with_context(|| format!("{} cannot be used", file.display()))?;
    text.parse()
        .with_context(|| format!("{} cannot be used", file.display()))
}

/// Reads a file of a public key.
///
/// # Errors
/// When it cannot be read or holds none.
pub(super) fn read_public(file: &Path) -> anyhow::Result<PublicKey> {
    let text = host::private::read_trusted(file, KEY_BYTES_MAX);
    let text = text.with_context(|| format!("{} cannot be used", file.display()))?;
    text.parse()
        .with_context(|| format!("{} cannot be used", file.display()))
}

const KEY_BYTES_MAX: u64 = 256;
