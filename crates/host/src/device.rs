//! Which machine this is.

use record::{Device, EndpointId, parse_uuid};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is known of this machine; the endpoint id is made and kept in `state_dir` at first use.
///
/// # Errors
/// When the id can be neither read nor made. It is never replaced silently: a new id would be a
/// new endpoint.
pub fn device(state_dir: &Path, agent_version: &str) -> Result<Device, IdentityError> {
    let endpoint = endpoint_id(state_dir)?;
    let os = read_text("/etc/os-release")
        .map(|text| parse_os_release(&text))
        .unwrap_or_default();
    let kernel = rustix::system::uname();
    Ok(Device {
        endpoint,
        hostname: kernel.nodename().to_string_lossy().into_owned(),
        os_name: os
            .name
            .unwrap_or_else(|| kernel.sysname().to_string_lossy().into_owned()),
        os_version: os.version,
        kernel_release: Some(kernel.release().to_string_lossy().into_owned()),
        boot_id: boot_id(),
        machine_id: read_text("/etc/machine-id").filter(|id| !id.is_empty()),
        agent_version: agent_version.to_owned(),
    })
}

/// The random id of this boot.
pub fn boot_id() -> Option<[u8; 16]> {
    parse_uuid(&read_text("/proc/sys/kernel/random/boot_id")?)
}

/// The endpoint id is there but cannot be used, or is missing and cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or folder could not be read or written.
    #[error("the endpoint's identity {path} could not be {action}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// `read` or `made`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path} does not hold an endpoint id ({source}); restore it, or move it away to start as a \
         new endpoint"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: record::ParseEndpointIdError,
    },
}

fn endpoint_id(state_dir: &Path) -> Result<EndpointId, IdentityError> {
    let path = state_dir.join("endpoint-id");
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|source| IdentityError::Malformed { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_endpoint_id(state_dir, path),
        Err(source) => Err(IdentityError::Io {
            path,
            action: "read",
            source,
        }),
    }
}

fn make_endpoint_id(state_dir: &Path, path: PathBuf) -> Result<EndpointId, IdentityError> {
    let made = || -> io::Result<EndpointId> {
        fs::create_dir_all(state_dir)?;
        let id = random_id()?;
        let draft = state_dir.join("endpoint-id.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&draft)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(state_dir)?.sync_all()?;
        Ok(id)
    };
    made().map_err(|source| IdentityError::Io {
        path: path.clone(),
        action: "made",
        source,
    })
}

/// The kernel gives a fresh random UUID at each reading.
fn random_id() -> io::Result<EndpointId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let bytes = parse_uuid(text.trim());
    bytes
        .map(EndpointId)
        .ok_or_else(|| io::Error::other("the kernel's random UUID is malformed"))
}

fn read_text(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[derive(Default)]
struct OsRelease {
    name: Option<String>,
    version: Option<String>,
}

/// Format: <https://www.freedesktop.org/software/systemd/man/latest/os-release.html>.
fn parse_os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key));
        let value = lines.filter_map(|rest| rest.strip_prefix('=')).next()?;
        Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    OsRelease {
        name: value("NAME"),
        version: value("VERSION_ID"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        let first = device(&state_dir, "1").unwrap();
        let second = device(&state_dir, "2").unwrap();
        assert_eq!(first.endpoint, second.endpoint);
        assert_ne!(first.endpoint, EndpointId::default());
        assert!(!first.os_name.is_empty());
    }

    #[test]
    fn a_damaged_identity_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoint-id");
        fs::write(&path, "not an id").unwrap();
        let error = device(folder.path(), "1").unwrap_err().to_string();
        assert!(
            error.contains("endpoint-id") && error.contains("not an id"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "not an id");
    }

    #[test]
    fn os_release_with_and_without_quotes() {
        let os = parse_os_release("PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=12\n");
        assert_eq!(os.name.as_deref(), Some("Debian GNU/Linux"));
        assert_eq!(os.version.as_deref(), Some("12"));
    }
}
