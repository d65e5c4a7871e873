//! The key of the pseudonyms: one for each period, and none is kept longer.

use crate::log::say;
use host::private;
use policy::{KEY_BYTES, PseudonymKey};
use record::Wall;
use std::fmt::Write;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file that holds the key, and how long the key is good for.
pub(super) struct KeyFile {
    path: PathBuf,
    /// Nanoseconds since 1970; empty before the first key.
    good_for: Range<i64>,
    rotate_s: u64,
    /// Said once, not every minute.
    in_trouble: bool,
    /// When the file may hold a key whose period is over, in nanoseconds since 1970.
    expires: i64,
}

/// After trouble with the file, in nanoseconds.
const TRY_AGAIN_NS: i64 = 60_000_000_000;

const FILE_BYTES_MAX: u64 = 1_024;

impl KeyFile {
    pub(super) fn new(state_dir: &Path) -> KeyFile {
        KeyFile {
            path: state_dir.join("pseudonym-key"),
            good_for: 0..0,
            rotate_s: 0,
            in_trouble: false,
            expires: i64::MIN,
        }
    }

    /// The key from now on, where it is another than before. `Some(None)` is no key: it can be
    /// neither read nor made now.
    pub(super) fn due(&mut self, rotate_s: u64, now: Wall) -> Option<Option<PseudonymKey>> {
        if rotate_s == self.rotate_s && self.good_for.contains(&now.0) {
            return None;
        }
        let length_ns = i64::try_from(rotate_s.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
        let period = now.0.div_euclid(length_ns);
        self.rotate_s = rotate_s;
        match self.of_period(rotate_s, period) {
            Ok(key) => {
                self.in_trouble = false;
                let start = period.saturating_mul(length_ns);
                self.good_for = start..start.saturating_add(length_ns);
                self.expires = self.good_for.end;
                Some(Some(key))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    say(&format!(
                        "privacy policy: the key {} can be neither read nor made, and what should \
                         get a pseudonym is left out: {error}",
                        self.path.display()
                    ));
                }
                self.good_for = now.0..now.0.saturating_add(TRY_AGAIN_NS);
                Some(None)
            }
        }
    }

    /// Removes the key when its period is over, where no policy asks for the next.
    pub(super) fn expire(&mut self, now: Wall) {
        if now.0 < self.expires {
            return;
        }
        let text = private::read_secret(&self.path, FILE_BYTES_MAX).unwrap_or_default();
        self.expires = match end_of_period(&text) {
            Some(end) if now.0 < end => end,
            Some(_) | None => {
                // It is not there, or it is no secret any more.
                let _ = std::fs::remove_file(&self.path);
                i64::MAX
            }
        };
    }

    /// The key in the file, if it is of this period, else a new one in its place: nobody can make
    /// the pseudonyms of a past period again, nor find out what they stood for.
    fn of_period(&self, rotate_s: u64, period: i64) -> io::Result<PseudonymKey> {
        let head = format!("rotate_s {rotate_s}\nperiod {period}\nkey ");
        let text = private::read_secret(&self.path, FILE_BYTES_MAX).unwrap_or_default();
        if let Some(key) = text.strip_prefix(&head).and_then(from_hex) {
            return Ok(PseudonymKey::new(key));
        }
        let key = private::random_bytes::<KEY_BYTES>()?;
        let mut text = head;
        for byte in key {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        private::write_secret(&self.path, &(text + "\n"))?;
        Ok(PseudonymKey::new(key))
    }
}

/// When the period of the key in a file is over, in nanoseconds since 1970.
fn end_of_period(text: &str) -> Option<i64> {
    let number = |key: &str| -> Option<i64> {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key))?.parse().ok()
    };
    let length_ns = number("rotate_s ")?.checked_mul(1_000_000_000)?;
    number("period ")?.checked_add(1)?.checked_mul(length_ns)
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.trim_end();
    if digits.len() != KEY_BYTES * 2 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, at) in key.iter_mut().zip((0..digits.len()).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const DAY_S: u64 = 86_400;
    const DAY_NS: i64 = 86_400_000_000_000;

    fn key(folder: &Path, rotate_s: u64, now: i64) -> PseudonymKey {
        KeyFile::new(folder)
            .due(rotate_s, Wall(now))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_key_lives_for_its_period_through_restarts_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let first = key(folder.path(), DAY_S, 5 * DAY_NS);
        assert_eq!(key(folder.path(), DAY_S, 6 * DAY_NS - 1), first);
        let mut file = KeyFile::new(folder.path());
        assert_eq!(file.due(DAY_S, Wall(5 * DAY_NS)), Some(Some(first.clone())));
        assert_eq!(
            file.due(DAY_S, Wall(6 * DAY_NS - 1)),
            None,
            "nothing is due"
        );
        let second = file.due(DAY_S, Wall(6 * DAY_NS)).unwrap().unwrap();
        assert_ne!(second, first);
        let again = key(folder.path(), DAY_S, 5 * DAY_NS);
        assert_ne!(
            again, first,
            "what is gone does not come back with the clock"
        );
        assert_ne!(key(folder.path(), DAY_S * 2, 5 * DAY_NS), again);
    }

    #[test]
    fn a_key_that_others_could_read_or_that_is_damaged_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pseudonym-key");
        let first = key(folder.path(), DAY_S, 0);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second = key(folder.path(), DAY_S, 0);
        assert_ne!(second, first);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            &text[..text.len() - 5],
            "",
            "rotate_s 86400\nperiod 0\nkey é",
        ] {
            private::write_secret(&path, damaged).unwrap();
            assert_ne!(key(folder.path(), DAY_S, 0), second);
        }
    }

    #[test]
    fn a_key_that_nobody_asks_for_any_more_goes_when_its_period_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pseudonym-key");
        key(folder.path(), DAY_S, 5 * DAY_NS);
        let mut file = KeyFile::new(folder.path());
        file.expire(Wall(5 * DAY_NS));
        file.expire(Wall(6 * DAY_NS - 1));
        assert!(path.exists());
        file.expire(Wall(6 * DAY_NS));
        assert!(!path.exists());
        fs::write(&path, "others can read it").unwrap();
        KeyFile::new(folder.path()).expire(Wall(0));
        assert!(!path.exists());
    }

    #[test]
    fn without_a_folder_there_is_no_key_and_it_is_tried_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = KeyFile::new(&folder.path().join("later"));
        assert_eq!(file.due(DAY_S, Wall(0)), Some(None));
        assert_eq!(file.due(DAY_S, Wall(TRY_AGAIN_NS - 1)), None);
        fs::create_dir(folder.path().join("later")).unwrap();
        assert!(matches!(file.due(DAY_S, Wall(TRY_AGAIN_NS)), Some(Some(_))));
    }
}
