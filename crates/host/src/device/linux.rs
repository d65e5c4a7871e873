//! Files that Linux and its distributions keep.

use super::System;
use record::parse_uuid;
use std::fs;
use std::io;

pub(super) fn system() -> System {
    read_text("/etc/os-release")
        .map(|text| parse_os_release(&text))
        .unwrap_or_default()
}

pub(super) fn boot_id() -> Option<[u8; 16]> {
    parse_uuid(&read_text("/proc/sys/kernel/random/boot_id")?)
}

pub(super) fn machine_id() -> Option<String> {
    read_text("/etc/machine-id").filter(|id| !id.is_empty())
}

/// The kernel gives a fresh random UUID at each reading.
pub(super) fn random_uuid() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    parse_uuid(text.trim()).ok_or_else(|| io::Error::other("the kernel's random UUID is malformed"))
}

fn read_text(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Format: <https://www.freedesktop.org/software/systemd/man/latest/os-release.html>.
fn parse_os_release(text: &str) -> System {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key));
        let value = lines.filter_map(|rest| rest.strip_prefix('=')).next()?;
        Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    System {
        name: value("NAME"),
        version: value("VERSION_ID"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_with_and_without_quotes() {
        let os = parse_os_release("PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=12\n");
        assert_eq!(os.name.as_deref(), Some("Debian GNU/Linux"));
        assert_eq!(os.version.as_deref(), Some("12"));
    }
}
