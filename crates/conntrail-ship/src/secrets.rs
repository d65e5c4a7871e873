//! Secrets: from files only, read anew whenever one is needed, and never shown.

use crate::bounded;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// No secret is longer than this, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Something that nobody must see. Neither its `Debug` nor its `Display` show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself; for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Why there is no secret. It names the file and nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(
        "{setting}: cannot read {}: {source}; does it exist, and may the service's user \
         read it?",
        path.display()
    )]
    Read {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It has nothing, or nothing but white space.
    #[error("{setting}: {} is empty; write the secret into it, and nothing else", path.display())]
    Empty {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It has what cannot be part of a secret.
    #[error(
        "{setting}: {} {detail}; write the secret into it as text, and nothing \
         else",
        path.display()
    )]
    Malformed {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: &'static str,
    },
}

/// A file with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    setting: &'static str,
    path: PathBuf,
}

impl SecretFile {
    /// The file that a setting names. It is not touched yet.
    pub fn new(setting: &'static str, path: impl Into<PathBuf>) -> SecretFile {
        SecretFile {
            setting,
            path: path.into(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret as it is now, on one line, without white space around it.
    ///
    /// # Errors
    ///
    /// [`SecretError`], which says what to do.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let secret = self.read_lines()?;
        if secret.0.chars().any(char::is_control) {
            return Err(self.malformed("has several lines, or characters that cannot be printed"));
        }
        Ok(secret)
    }

    /// The secret as it is now, where it may have several lines.
    ///
    /// # Errors
    ///
    /// [`SecretError`], which says what to do.
    pub fn read_lines(&self) -> Result<Secret, SecretError> {
        let bytes = bounded::read(&self.path, SECRET_BYTES_MAX);
        let bytes = bytes.map_err(|source| SecretError::Read {
            setting: self.setting,
            path: self.path.clone(),
            source,
        })?;
        let text = String::from_utf8(bytes).map_err(|_| self.malformed("is not text"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(SecretError::Empty {
                setting: self.setting,
                path: self.path.clone(),
            });
        }
        Ok(Secret(text.to_owned()))
    }

    /// What somebody should know about the file: that others can read it too.
    pub fn warning(&self) -> Option<String> {
        others_may_read(&fs::metadata(&self.path).ok()?).then(|| {
            format!(
                "{}: every user of this machine can read {}; `chmod o-r` it, and change the secret",
                self.setting,
                self.path.display()
            )
        })
    }

    fn malformed(&self, detail: &'static str) -> SecretError {
        SecretError::Malformed {
            setting: self.setting,
            path: self.path.clone(),
            detail,
        }
    }
}

/// Whether the file may be read by users other than owner and group.
#[cfg(unix)]
fn others_may_read(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

/// Whether the file may be read by users other than owner and group; not known here.
#[cfg(not(unix))]
fn others_may_read(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        (folder, SecretFile::new("hec.token_file", path))
    }

    #[test]
    fn a_secret_is_trimmed_and_never_shown() {
        let (_folder, file) = file("\u{feff} hunter2 \r\n".as_bytes());
        let secret = file.read().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        let shown = format!("{secret} {secret:?} {secret:#?} {file:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_secret_is_read_anew_each_time() {
        let (_folder, file) = file(b"old");
        assert_eq!(file.read().unwrap().expose(), "old");
        fs::write(file.path(), "new").unwrap();
        assert_eq!(file.read().unwrap().expose(), "new");
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_showing_it() {
        let long = vec![b'x'; SECRET_BYTES_MAX + 1];
        let cases: [(&[u8], &str); 5] = [
            (b" \n", "is empty"),
            (b"hunter2\nhunter3", "several lines"),
            (b"hunter2\x00", "cannot be printed"),
            (b"hunter2\xff", "is not text"),
            (&long, "more than 65536 bytes"),
        ];
        for (content, words) in cases {
            let (_folder, file) = file(content);
            let error = file.read().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(words), "{shown}");
            assert!(shown.contains("hec.token_file"), "{shown}");
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }

    #[test]
    fn a_missing_file_is_named_with_the_setting() {
        let error = SecretFile::new("hec.token_file", "/nowhere/token")
            .read()
            .unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.starts_with("hec.token_file: cannot read /nowhere/token"),
            "{shown}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_can_read_is_warned_of() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, file) = file(b"hunter2");
        let allow = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode));
        allow(0o640).unwrap();
        assert_eq!(file.warning(), None);
        allow(0o644).unwrap();
        assert!(file.warning().unwrap().contains("every user"));
    }
}
