//! Read from `/etc/passwd`, which every process may read. Accounts that only a directory service
//! knows keep their number: asking such a service means network traffic by the recorder itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The accounts in a file, read again when it changes.
#[derive(Debug)]
pub(super) struct Accounts {
    path: PathBuf,
    modified: Option<SystemTime>,
    names: BTreeMap<u32, Arc<str>>,
}

impl Accounts {
    pub(super) fn of_this_machine() -> Accounts {
        Accounts::in_file(Path::new("/etc/passwd"))
    }

    fn in_file(path: &Path) -> Accounts {
        Accounts {
            path: path.to_owned(),
            modified: None,
            names: BTreeMap::new(),
        }
    }

    pub(super) fn name(&mut self, uid: u32) -> Option<Arc<str>> {
        let modified = fs::metadata(&self.path).and_then(|it| it.modified()).ok();
        if modified != self.modified {
            self.names = fs::read(&self.path)
                .map(|it| parse(&it))
                .unwrap_or_default();
            self.modified = modified;
        }
        self.names.get(&uid).cloned()
    }

    /// A file is never late.
    pub(super) fn late_names(&mut self) -> Vec<(u32, Arc<str>)> {
        Vec::new()
    }
}

/// Lines of `name:password:uid:…`; whatever is not, is passed over. The first name of an id wins.
fn parse(bytes: &[u8]) -> BTreeMap<u32, Arc<str>> {
    let mut names = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let mut fields = line.split(':');
        let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if let Ok(uid) = uid.parse()
            && !name.is_empty()
        {
            names.entry(uid).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_nonsense_is_passed_over() {
        let names =
            parse(b"root:x:0:0::/root:/bin/sh\n\xff:x:1:\nbad\nana:x:1000:\ntwin:x:1000:\n");
        assert_eq!(names.get(&0).map(|it| &**it), Some("root"));
        assert_eq!(names.get(&1_000).map(|it| &**it), Some("ana"));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_new_account_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let mut accounts = Accounts::in_file(&path);
        assert_eq!(accounts.name(7), None);
        fs::write(&path, "eve:x:7:7::/:/bin/sh\n").unwrap();
        assert_eq!(accounts.name(7).as_deref(), Some("eve"));
    }
}
