//! A network namespace of our own, with nothing in it but loopback.

use crate::process;
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A network namespace; gone when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; needs root and `ip`.
    pub(crate) fn make(label: &str) -> Result<Namespace> {
        let name = format!("conntrail-{label}-{}", std::process::id());
        process::run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Namespace { name };
        let up = ["-n", &namespace.name, "link", "set", "lo", "up"];
        process::run(Command::new("ip").args(up))?;
        Ok(namespace)
    }

    /// Gives it an address of its own.
    pub(crate) fn add_address(&self, address: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "address", "add", address, "dev", "lo"]);
        if address.contains(':') {
            // Nobody else is there who could have the address, so there is nothing to wait for.
            command.arg("nodad");
        }
        process::run(&mut command)
    }

    /// What tells its connections from all others.
    pub(crate) fn inode(&self) -> Result<u32> {
        let path = format!("/run/netns/{}", self.name);
        let metadata = std::fs::metadata(&path).with_context(|| format!("cannot read {path}"))?;
        u32::try_from(metadata.ino()).context("the kernel numbers namespaces with 32 bits")
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A namespace that stays behind disturbs nobody.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}
