//! Numbers of groups, from `/etc/group`, which every process may read. A group that only a
//! directory service knows must be given by its number: asking such a service means network traffic
//! by the recorder itself, and waiting for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a group is not found.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The file could not be read.
    #[error("{FILE} could not be read to find the group \"{name}\": {source}")]
    Io {
        /// The group's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It does not have the name.
    #[error(
        "there is no group \"{name}\" in {FILE}: make it there, correct the name, or give the \
         group's number"
    )]
    Unknown {
        /// The name.
        name: String,
    },
}

/// The number of a group that is given by its name, or by the number itself.
///
/// # Errors
/// When no group of this machine has the name.
pub fn group_id(name: &str) -> Result<u32, GroupError> {
    if let Some(id) = number(name) {
        return Ok(id);
    }
    let found = in_file(Path::new(FILE), name).map_err(|source| GroupError::Io {
        name: name.to_owned(),
        source,
    })?;
    found.ok_or_else(|| GroupError::Unknown {
        name: name.to_owned(),
    })
}

const FILE: &str = "/etc/group";

/// Larger than such a file ever is.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The largest number means "no group" to the system.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id < u32::MAX)
}

/// Lines of `name:password:gid:…`; the first that fits counts.
fn in_file(path: &Path, name: &str) -> io::Result<Option<u32>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines.find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let is_it = fields.next()? == name && !name.is_empty();
        fields.nth(1).filter(|_| is_it).and_then(number)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number_and_nonsense_is_passed_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            b"\xff:x:1:\naudit\naudit:x:-1:\naudit:x:4294967295:\naudit:x:77:ana\naudit:x:78:\n";
        std::fs::write(file.path(), text).unwrap();
        let find = |name| in_file(file.path(), name).unwrap();
        assert_eq!(
            (find("audit"), find("aud"), find("")),
            (Some(77), None, None)
        );
        assert_eq!(group_id("4711").unwrap(), 4_711);
        assert_eq!(group_id("root").or_else(|_| group_id("wheel")).unwrap(), 0);
    }

    #[test]
    fn an_unknown_group_says_what_to_do() {
        for name in ["no such group", "4294967295", "-1", "+5"] {
            let error = group_id(name).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("make it there"),
                "{error}"
            );
        }
    }
}
