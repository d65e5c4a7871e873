//! Which machine this is.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use record::{Device, EndpointId};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is known of this machine; the endpoint id is made and kept in `state_dir` at first use.
///
/// # Errors
/// When the id can be neither read nor made. It is never replaced silently: a new id would be a
/// new endpoint.
pub fn device(state_dir: &Path, agent_version: &str) -> Result<Device, IdentityError> {
    let endpoint = endpoint_id(state_dir)?;
    let system = platform::system();
    let kernel = rustix::system::uname();
    Ok(Device {
        endpoint,
        hostname: kernel.nodename().to_string_lossy().into_owned(),
        os_name: system
            .name
            .unwrap_or_else(|| kernel.sysname().to_string_lossy().into_owned()),
        os_version: system.version,
        kernel_release: Some(kernel.release().to_string_lossy().into_owned()),
        boot_id: boot_id(),
        machine_id: platform::machine_id(),
        agent_version: agent_version.to_owned(),
    })
}

/// The random id of this boot.
pub fn boot_id() -> Option<[u8; 16]> {
    platform::boot_id()
}

/// What the operating system calls itself.
#[derive(Default)]
struct System {
    name: Option<String>,
    version: Option<String>,
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
    match read_id(&path) {
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

/// Reads a short file. One that is a link is not followed, and a pipe is not waited for.
fn read_id(path: &Path) -> io::Result<String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(ID_FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn make_endpoint_id(state_dir: &Path, path: PathBuf) -> Result<EndpointId, IdentityError> {
    let made = || -> io::Result<EndpointId> {
        fs::create_dir_all(state_dir)?;
        let id = EndpointId(platform::random_uuid()?);
        let draft = state_dir.join("endpoint-id.new");
        // What an earlier try left, or a link to something else.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
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

/// More than an id in any spelling.
const ID_FILE_MAX: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use darwin_double::machine;

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
    fn every_endpoint_has_a_random_id_of_its_own() {
        for random in [linux::random_uuid, macos::random_uuid] {
            let (one, other) = (random().unwrap(), random().unwrap());
            assert_ne!(one, other);
            assert_eq!((one[6] >> 4, one[8] >> 6), (4, 0b10), "RFC 9562, version 4");
        }
    }

    #[test]
    fn a_mac_says_what_it_is() {
        let _machine = machine::lock();
        machine::set_text_variable("kern.osproductversion", "26.1");
        machine::set_text_variable(
            "kern.bootsessionuuid",
            "0F0E0D0C-0B0A-0908-0706-050403020100",
        );
        let system = macos::system();
        assert_eq!(system.name.as_deref(), Some("macOS"));
        assert_eq!(system.version.as_deref(), Some("26.1"));
        assert_eq!(macos::boot_id().map(|id| (id[0], id[15])), Some((15, 0)));
        assert_eq!(
            macos::machine_id().as_deref(),
            Some("ABABABAB-ABAB-ABAB-ABAB-ABABABABABAB")
        );
        machine::remove_variable("kern.bootsessionuuid");
        assert_eq!(macos::boot_id(), None);
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
}
