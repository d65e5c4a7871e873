//! Looks now and again whether the policy is another one, on a thread of its own: a file may hang.

use crate::log::say;
use host::config::Config;
use host::private;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where the policy should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// In the configuration itself.
    Text(String),
    /// In this file.
    File {
        path: PathBuf,
        /// Somebody named it, so it must be there.
        is_named: bool,
    },
}

impl Wanted {
    /// As the configuration has it; `beside` is where a policy is that nobody names.
    pub(crate) fn of(config: &Config, beside: &Path) -> Wanted {
        if !config.policy.is_empty() {
            return Wanted::Text(config.policy.clone());
        }
        let is_named = !config.policy_file.is_empty();
        Wanted::File {
            path: match is_named {
                true => PathBuf::from(&config.policy_file),
                false => beside.to_owned(),
            },
            is_named,
        }
    }
}

/// What was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody wants a policy.
    Nothing,
    /// A text, right or wrong.
    Text { source: String, text: String },
    /// A policy is wanted, but there is no text.
    Wrong { source: String, problem: String },
}

/// What was found last, for whoever records.
#[derive(Clone)]
pub(crate) struct PolicyWatch(Arc<Shared>);

struct Shared {
    number: AtomicU64,
    found: Mutex<Found>,
}

/// Between two looks at the file.
const INTERVAL: Duration = Duration::from_secs(2);

/// Between two looks whether somebody asks for a look at once.
const NUDGE_INTERVAL: Duration = Duration::from_millis(200);

/// The longest that the first look may hold up the start.
const FIRST_MAX: Duration = Duration::from_secs(2);

impl PolicyWatch {
    /// Nobody wants a policy, ever.
    #[cfg(test)]
    pub(crate) fn none() -> PolicyWatch {
        PolicyWatch::found(Found::Nothing)
    }

    fn found(found: Found) -> PolicyWatch {
        PolicyWatch(Arc::new(Shared {
            number: AtomicU64::new(1),
            found: Mutex::new(found),
        }))
    }

    /// Looks at once, waits for that, but not for ever, and looks again every few seconds, or
    /// soon when `nudged` is set.
    pub(crate) fn begin(
        wanted: impl Fn() -> Wanted + Send + 'static,
        nudged: Arc<AtomicBool>,
    ) -> PolicyWatch {
        let watch = PolicyWatch::found(Found::Wrong {
            source: "the policy".to_owned(),
            problem: "reading it takes long".to_owned(),
        });
        let (first, is_read) = channel();
        let writer = watch.clone();
        thread::spawn(move || {
            let mut look = Look::default();
            writer.set(look.again(&wanted()));
            // Nobody waits for it any more when it took long.
            let _ = first.send(());
            loop {
                wait(&nudged);
                writer.set(look.again(&wanted()));
            }
        });
        if is_read.recv_timeout(FIRST_MAX).is_err() {
            say("privacy policy: reading it takes long; it is in force when it comes");
        }
        watch
    }

    /// Looks at once, for whoever has just learnt where the policy should be.
    #[cfg(any(target_os = "macos", test))]
    pub(crate) fn look(&self, wanted: &Wanted) {
        self.set(Some(read(wanted)));
    }

    /// Rises with everything that is found.
    pub(super) fn number(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// What was found last, and its number.
    pub(super) fn latest(&self) -> (u64, Found) {
        let found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        (self.number(), found.clone())
    }

    fn set(&self, new: Option<Found>) {
        let Some(new) = new else {
            return;
        };
        let mut found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        if *found != new {
            *found = new;
            self.0.number.fetch_add(1, Ordering::Release);
        }
    }
}

fn wait(nudged: &AtomicBool) {
    let until = Instant::now() + INTERVAL;
    while Instant::now() < until && !nudged.swap(false, Ordering::Relaxed) {
        thread::sleep(NUDGE_INTERVAL);
    }
}

/// Looks at the file, and reads it only where it may be another.
#[derive(Default)]
struct Look {
    last: Option<(Wanted, Option<Signs>)>,
    /// It was missing at the last look; who replaces a file may remove it first.
    was_missing: bool,
}

/// What changes with every change of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Signs {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds; nobody can set it back.
    changed: (i64, i64),
    rights: u32,
}

impl Look {
    /// What is there now; `None` where it is as before, or not certain yet.
    fn again(&mut self, wanted: &Wanted) -> Option<Found> {
        let signs = match wanted {
            Wanted::Text(_) => None,
            Wanted::File { path, .. } => signs(path),
        };
        let now = (wanted.clone(), signs);
        if self.last.as_ref() == Some(&now) && !self.was_missing {
            return None;
        }
        let is_first = self.last.is_none();
        let found = read(wanted);
        let is_missing = found == Found::Nothing;
        if is_missing && !is_first && !std::mem::replace(&mut self.was_missing, true) {
            return None;
        }
        self.was_missing = false;
        self.last = Some(now);
        Some(found)
    }
}

fn signs(path: &Path) -> Option<Signs> {
    let metadata = fs::metadata(path).ok()?;
    Some(Signs {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        rights: metadata.mode(),
    })
}

fn read(wanted: &Wanted) -> Found {
    let (path, is_named) = match wanted {
        Wanted::Text(text) => {
            return Found::Text {
                source: "the setting privacy.policy".to_owned(),
                text: text.clone(),
            };
        }
        Wanted::File { path, is_named } => (path, *is_named),
    };
    let source = path.display().to_string();
    match private::read_trusted(path, policy::TEXT_BYTES_MAX as u64) {
        Ok(text) => Found::Text { source, text },
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Found::Nothing,
        Err(error) => Found::Wrong {
            source,
            problem: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn text(found: Option<Found>) -> Option<String> {
        match found {
            Some(Found::Text { text, .. }) => Some(text),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn every_change_of_a_file_is_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let wanted = Wanted::File {
            path: path.clone(),
            is_named: false,
        };
        let mut look = Look::default();
        assert_eq!(look.again(&wanted), Some(Found::Nothing));
        assert_eq!(look.again(&wanted), None);
        for content in ["one", "two", "six"] {
            // The clock by which files change has ticks.
            thread::sleep(Duration::from_millis(20));
            fs::write(&path, content).unwrap();
            assert_eq!(text(look.again(&wanted)).as_deref(), Some(content));
            assert_eq!(look.again(&wanted), None);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(look.again(&wanted), None, "an editor may be at work");
        assert_eq!(look.again(&wanted), Some(Found::Nothing));
        assert_eq!(look.again(&wanted), None);
    }

    #[test]
    fn a_file_that_is_replaced_in_two_steps_is_never_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let wanted = Wanted::File {
            path: path.clone(),
            is_named: false,
        };
        fs::write(&path, "one").unwrap();
        let mut look = Look::default();
        assert!(look.again(&wanted).is_some());
        fs::remove_file(&path).unwrap();
        assert_eq!(look.again(&wanted), None);
        fs::write(&path, "two").unwrap();
        assert_eq!(text(look.again(&wanted)).as_deref(), Some("two"));
    }

    #[test]
    fn a_file_that_was_named_or_that_others_can_write_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let named = Wanted::File {
            path: path.clone(),
            is_named: true,
        };
        assert!(matches!(
            Look::default().again(&named),
            Some(Found::Wrong { .. })
        ));
        fs::write(&path, "x").unwrap();
        let mut look = Look::default();
        assert_eq!(text(look.again(&named)).as_deref(), Some("x"));
        thread::sleep(Duration::from_millis(20));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let Some(Found::Wrong { problem, .. }) = look.again(&named) else {
            panic!("others can write it")
        };
        assert!(problem.contains("chmod go-w"), "{problem}");
    }

    #[test]
    fn the_configuration_may_hold_the_policy_or_name_it() {
        let mut config = Config::default();
        let beside = Path::new("/etc/policy.toml");
        let file = |path: &str, is_named| Wanted::File {
            path: path.into(),
            is_named,
        };
        assert_eq!(Wanted::of(&config, beside), file("/etc/policy.toml", false));
        config.policy_file = "/srv/p.toml".to_owned();
        assert_eq!(Wanted::of(&config, beside), file("/srv/p.toml", true));
        config.policy = "version = 1".to_owned();
        assert_eq!(
            Wanted::of(&config, beside),
            Wanted::Text("version = 1".to_owned())
        );
        let watch = PolicyWatch::none();
        watch.look(&Wanted::of(&config, beside));
        assert_eq!(text(Some(watch.latest().1)).as_deref(), Some("version = 1"));
    }

    #[test]
    fn a_nudge_is_obeyed_before_the_next_look_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let nudged = Arc::new(AtomicBool::new(false));
        let watch = {
            let path = path.clone();
            let wanted = move || Wanted::File {
                path: path.clone(),
                is_named: false,
            };
            PolicyWatch::begin(wanted, Arc::clone(&nudged))
        };
        let (number, found) = watch.latest();
        assert_eq!(found, Found::Nothing);
        fs::write(&path, "new").unwrap();
        nudged.store(true, Ordering::Relaxed);
        let began = Instant::now();
        while watch.number() == number && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(text(Some(watch.latest().1)).as_deref(), Some("new"));
    }
}
