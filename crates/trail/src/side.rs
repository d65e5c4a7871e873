//! Side trails: what programs other than the recorder keep beside its trail.

use crate::error::{Context, TrailError};
use crate::format::SegmentName;
use crate::writer::segments_dir;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which of the trails in a state folder something is from. The recorder's comes first, then the
/// others by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The recorder's own.
    Recorder,
    /// The side trail of this name.
    Side(Arc<str>),
}

impl Source {
    /// The name of a side trail; the recorder's has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Source::Recorder => None,
            Source::Side(name) => Some(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Recorder => f.write_str("the recorder's trail"),
            Source::Side(name) => write!(f, "the side trail {name}"),
        }
    }
}

/// A trail beside the recorder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideTrail {
    /// The name of its state folder, of `a` to `z`, digits, `-` and `_`, 64 at most.
    pub name: Arc<str>,
    /// Its state folder.
    pub state: PathBuf,
}

/// The side trails in a state folder, and what kept others from being found.
#[derive(Debug, Default)]
pub struct SideTrails {
    /// By name, [`SIDE_TRAILS_MAX`] at most.
    pub trails: Vec<SideTrail>,
    /// What could not be looked into. Nothing of it is reason not to read the rest.
    pub troubles: Vec<TrailError>,
    /// Beyond [`SIDE_TRAILS_MAX`], and so not read.
    pub left_out: usize,
}

/// Side trails that are read, at most: each takes memory and open files.
pub const SIDE_TRAILS_MAX: usize = 16;

/// Names of folders, and troubles, that are kept at most while looking for side trails.
const CANDIDATES_MAX: usize = 1_024;

/// Looks for side trails in the recorder's state folder: in a folder right in it, no link, whose
/// name is that of a side trail, stands a folder `trail`, no link, with a segment.
pub fn side_trails(state: &Path) -> SideTrails {
    let mut found = SideTrails::default();
    let names = match candidates(state) {
        Ok(names) => names,
        Err(error) => {
            found.troubles.push(error);
            return found;
        }
    };
    for name in names {
        let folder = state.join(&name);
        match has_segments(&folder) {
            Ok(true) if found.trails.len() == SIDE_TRAILS_MAX => found.left_out += 1,
            Ok(true) => found.trails.push(SideTrail {
                name: name.into(),
                state: folder,
            }),
            Ok(false) => {}
            Err(error) => found.troubles.push(error),
        }
    }
    found
}

/// Whether this can be the name of a side trail: letters that no terminal and no file system takes
/// for something else, and not the name of the recorder's own folders.
pub fn is_side_name(name: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(fits) && !OWN_FOLDERS.contains(&name)
}

const OWN_FOLDERS: [&str; 3] = ["trail", "signatures", "live-tables"];

fn candidates(state: &Path) -> Result<Vec<String>, TrailError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(state).context("list", state)? {
        let entry = entry.context("list", state)?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().into_string().ok();
        if let Some(name) = name.filter(|name| is_folder && is_side_name(name)) {
            names.push(name);
        }
        if names.len() == CANDIDATES_MAX {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn has_segments(folder: &Path) -> Result<bool, TrailError> {
    let segments = segments_dir(folder);
    match fs::symlink_metadata(&segments) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(false),
        Err(error) if is_nothing(&error) => return Ok(false),
        Err(error) => return Err(error).context("look into", &segments),
    }
    for entry in fs::read_dir(&segments).context("list", &segments)? {
        let name = entry.context("list", &segments)?.file_name();
        if name.to_str().and_then(SegmentName::parse).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::tempdir;

    const SEGMENT: &str = "trail/e00000001-s000000000001.trail";

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn side_trails_are_folders_with_segments_and_nothing_else_is() {
        let state = tempdir().unwrap();
        let place = |name: &str| state.path().join(name);
        put(&place(SEGMENT));
        put(&place("upgrades").join(SEGMENT));
        put(&place("ship").join(SEGMENT));
        put(&place("Ship").join(SEGMENT));
        put(&place("signatures").join(SEGMENT));
        put(&place("two words").join(SEGMENT));
        put(&place("empty/trail/head"));
        put(&place("file"));
        put(&place("folder/trail"));
        symlink(place("ship"), place("link")).unwrap();
        fs::create_dir(place("inner-link")).unwrap();
        symlink(place("ship/trail"), place("inner-link/trail")).unwrap();
        let found = side_trails(state.path());
        let names: Vec<&str> = found.trails.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["ship", "upgrades"]);
        assert_eq!((found.troubles.len(), found.left_out), (0, 0));
    }

    #[test]
    fn side_trails_are_bounded_and_a_folder_that_is_not_there_has_none() {
        let state = tempdir().unwrap();
        for number in 0..SIDE_TRAILS_MAX + 3 {
            put(&state.path().join(format!("side-{number:02}")).join(SEGMENT));
        }
        let found = side_trails(state.path());
        assert_eq!((found.trails.len(), found.left_out), (SIDE_TRAILS_MAX, 3));
        let found = side_trails(&state.path().join("nowhere"));
        assert_eq!((found.trails.len(), found.troubles.len()), (0, 1));
    }
}
