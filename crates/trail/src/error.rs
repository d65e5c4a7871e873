//! What can go wrong, as values that say what, where and what to do.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The trail could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another writer has the trail.
    #[error(
        "another recorder{} writes to this trail (it holds the lock on {}); \
         stop it first, or give this one a state directory of its own",
        .holder.as_deref().map(|holder| format!(" ({holder})")).unwrap_or_default(),
        path.display()
    )]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Who holds it, as far as that is known.
        holder: Option<String>,
    },
    /// The number of the next epoch would not fit a segment's name.
    #[error(
        "{} has reached the last epoch that a name can hold; \
         move that directory away to begin a new trail",
        path.display()
    )]
    EpochsExhausted {
        /// The directory of the segments.
        path: PathBuf,
    },
    /// A file that should hold a reader's cursor holds something else.
    #[error(
        "{} holds no cursor; delete it to read from the first record on",
        path.display()
    )]
    NoCursor {
        /// The file.
        path: PathBuf,
    },
    /// What was just written is gone again.
    #[error(
        "{} was deleted or moved while it was written; find out who does that, \
         the records are kept in memory until it stops",
        path.display()
    )]
    Vanished {
        /// The segment.
        path: PathBuf,
    },
}

/// Says what was tried, and on what, when a call of the file system fails.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, TrailError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, TrailError> {
        self.map_err(|source| TrailError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

fn advice(source: &io::Error) -> &'static str {
    let known = ADVICE.iter().find(|(kind, _)| *kind == source.kind());
    known.map_or(
        "check the file system and the device under it",
        |(_, advice)| advice,
    )
}

const ADVICE: [(ErrorKind, &str); 5] = [
    (
        ErrorKind::StorageFull,
        "free space on that file system or lower the trail's quota",
    ),
    (
        ErrorKind::QuotaExceeded,
        "raise the disk quota of the recorder's user",
    ),
    (
        ErrorKind::ReadOnlyFilesystem,
        "mount that file system for writing",
    ),
    (
        ErrorKind::PermissionDenied,
        "run as a user or in a group that may use it",
    ),
    (
        ErrorKind::NotFound,
        "check that the path is right and was not deleted",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let full = Err::<(), _>(ErrorKind::StorageFull.into());
        let error = full
            .context("write", Path::new("/state/x.trail"))
            .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot write /state/x.trail: "), "{text}");
        assert!(text.ends_with("lower the trail's quota"), "{text}");
        let locked = TrailError::Locked {
            path: "/state/trail.lock".into(),
            holder: Some("process 7".to_owned()),
        };
        assert!(
            locked
                .to_string()
                .starts_with("another recorder (process 7) writes")
        );
    }
}
