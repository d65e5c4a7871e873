//! The folder that a bundle is made in.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder; what is written into it replaces what was there.
pub(super) struct Output {
    /// Where it is.
    pub(super) path: PathBuf,
}

impl Output {
    /// The folder, made when it is not there.
    pub(super) fn open(path: PathBuf) -> Result<Output> {
        make(&path)?;
        Ok(Output { path })
    }

    /// A folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        make(&path)?;
        Ok(path)
    }

    /// Writes a file, with the folders it lies in; returns where it is.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        make(path.parent().unwrap_or(&self.path))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Removes what another run has left under a name.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false if path.exists() => fs::remove_file(&path),
            false => Ok(()),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// Copies a folder with everything in it, modes included; entries of these names are left out.
pub(super) fn copy(from: &Path, to: &Path, without: &[&str]) -> Result<()> {
    make(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if without.iter().any(|it| name == *it) {
            continue;
        }
        let copied = to.join(&name);
        if path.is_dir() {
            copy(&path, &copied, without)?;
        } else {
            fs::copy(&path, &copied).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// Of a file, as everybody writes it.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let digest = Sha256::digest(bytes);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}
