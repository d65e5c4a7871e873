//! Signs the trail now and then, with a key that is read each time it is needed.

use crate::log::say;
use host::clock;
use host::config::Config;
use host::private;
use record::Mono;
use std::path::PathBuf;
use trail::{SigningKey, TrailWriter};

/// When and with what the trail is signed.
///
/// The key is not kept in memory between two signatures: so it can be changed while the recorder
/// runs, and what can read its memory finds it for a moment only. Nothing that is wrong with the
/// key keeps anything from being recorded.
pub(crate) struct Signing {
    path: Option<PathBuf>,
    interval_ns: u64,
    due: Mono,
    /// What was said last, so that it is said once.
    trouble: Option<String>,
}

impl Signing {
    pub(crate) fn new(config: &Config) -> Signing {
        let path = Some(&config.signing_key).filter(|path| !path.is_empty());
        Signing {
            path: path.map(PathBuf::from),
            interval_ns: config.signing_interval_s.saturating_mul(1_000_000_000),
            due: Mono(0),
            trouble: None,
        }
    }

    /// Signs what was recorded since the last time, if that was long enough ago.
    pub(crate) fn sign_when_due(&mut self, trail: &mut TrailWriter, now: Mono) {
        if now < self.due || !trail.has_unsigned() {
            return;
        }
        self.due = now.plus_ns(self.interval_ns);
        let Some(key) = self.key() else { return };
        if let Err(error) = trail.sign(&key, clock::stamp().wall) {
            self.complain(format!("the trail is not signed now: {error}"));
        } else if trail.has_unsigned() {
            // Many segments were ended meanwhile; each call signs a few.
            self.due = now.plus_ns(CATCH_UP_NS.min(self.interval_ns));
        }
    }

    /// The key, where there is one that can be used.
    pub(crate) fn key(&mut self) -> Option<SigningKey> {
        let path = self.path.as_ref()?;
        let read = private::read_secret(path, KEY_BYTES_MAX).map_err(|error| error.to_string());
        let key = read.and_then(|text| text.parse().map_err(|error| format!("{error}")));
        match key {
            Ok(key) => {
                if self.trouble.take().is_some() {
                    say("the trail is signed again");
                }
                Some(key)
            }
            Err(error) => {
                let path = path.display();
                self.complain(format!(
                    "the trail is not signed, recording goes on: the key in {path} cannot be \
                     used: {error}; it must be a file of root's or of the recorder's user with \
                     mode 0600, as `conntrail key new` makes it"
                ));
                None
            }
        }
    }

    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            say(&trouble);
        }
        self.trouble = Some(trouble);
    }
}

const KEY_BYTES_MAX: u64 = 256;
const CATCH_UP_NS: u64 = 1_000_000_000;
