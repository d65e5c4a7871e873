//! Who besides the recorder's user may read a trail.

use crate::disk::{DIR_MODE, FILE_MODE, SET_GROUP_ID, same_file_flags};
use crate::error::{Context, TrailError};
use crate::signing::signatures_dir;
use crate::writer::segments_dir;
use rustix::fs::OFlags;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Gives a trail to a group of readers: the folders, which hand the group on to whatever is made in
/// them, and the files of the trail that are there. Nobody else may read them afterwards.
///
/// The state folder must be there; it must be the caller's own and nobody else's to write to, as
/// `/tmp` is not. Files that have a second name elsewhere, links, and what belongs to other
/// accounts are left alone, and so is everything that is no file of this trail: identity, keys,
/// the lock, side trails.
///
/// # Errors
/// The first thing that could not be given. Without the state folder nothing is given; else what
/// can be is.
pub fn share(state: &Path, group: u32) -> Result<(), TrailError> {
    let whole = File::open(state).context("open", state)?;
    give_folder(&whole, group).context("give its group to", state)?;
    let mut first = Ok(());
    for name in ["epoch", "times"] {
        first = first.and(give_file_at(&state.join(name), group));
    }
    for folder in [segments_dir(state), signatures_dir(state)] {
        first = first.and(give_all(&folder, group));
    }
    first
}

/// A folder and the files in it.
fn give_all(folder: &Path, group: u32) -> Result<(), TrailError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(folder);
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.context("open", folder)?,
    };
    give_folder(&opened, group).context("give its group to", folder)?;
    let mut first = Ok(());
    for entry in fs::read_dir(folder).context("list", folder)? {
        let entry = entry.context("list", folder)?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) && is_of_trail(&entry.file_name()) {
            first = first.and(give_file_at(&entry.path(), group));
        }
    }
    first
}

fn is_of_trail(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    name == "head" || extension.is_some_and(|it| it == "trail" || it == "sig")
}

fn give_folder(folder: &File, group: u32) -> io::Result<()> {
    let metadata = folder.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another account"));
    }
    if metadata.mode() & (STICKY | OTHERS_WRITE) != 0 {
        return Err(io::Error::other("it is a folder for everybody"));
    }
    fchown(folder, None, Some(group))?;
    folder.set_permissions(Permissions::from_mode(DIR_MODE | SET_GROUP_ID))
}

fn give_file_at(path: &Path, group: u32) -> Result<(), TrailError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(same_file_flags())
        .open(path);
    match opened {
        Ok(file) => give_file(&file, group).context("give its group to", path),
        // Nobody has made it yet, or it was evicted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("open", path),
    }
}

/// A second name may be one that somebody made for a secret of ours that the group must not see.
fn give_file(file: &File, group: u32) -> io::Result<()> {
    let metadata = file.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.nlink() != 1 || !is_own {
        return Ok(());
    }
    fchown(file, None, Some(group))?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))
}

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::tempdir;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_no_file_of_the_trail_stays_as_it_is() {
        let state = tempdir().unwrap();
        let place = |name: &str| state.path().join(name);
        fs::create_dir(place("trail")).unwrap();
        let secret = place("policy.key");
        let group = rustix::process::getegid().as_raw();
        for path in [
            &secret,
            &place("trail.lock"),
            &place("epoch"),
            &place("trail/head"),
            &place("trail/note"),
        ] {
            fs::write(path, "text").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        fs::hard_link(&secret, place("trail/second-name.trail")).unwrap();
        symlink(&secret, place("trail/link.trail")).unwrap();
        symlink(&secret, place("times")).unwrap();
        assert!(share(state.path(), group).is_err(), "the link is told of");
        let modes = [
            "policy.key",
            "trail.lock",
            "trail/note",
            "epoch",
            "trail/head",
            "trail",
        ];
        let modes = modes.map(|name| mode(&place(name)));
        assert_eq!(modes, [0o600, 0o600, 0o600, 0o640, 0o640, 0o2750]);
        assert_eq!(mode(state.path()), 0o2750);
    }

    #[test]
    fn a_folder_for_everybody_is_not_taken_for_the_recorders() {
        let state = tempdir().unwrap();
        let group = rustix::process::getegid().as_raw();
        for shared in [0o1777, 0o1755, 0o757] {
            fs::set_permissions(state.path(), Permissions::from_mode(shared)).unwrap();
            let error = share(state.path(), group).unwrap_err().to_string();
            assert!(error.contains("a folder for everybody"), "{error}");
            assert_eq!(mode(state.path()), shared);
        }
    }
}
