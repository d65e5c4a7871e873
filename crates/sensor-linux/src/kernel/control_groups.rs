//! Where the control group hierarchy of version 2 is mounted.

use crate::SensorError;
use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The top of the hierarchy, as far up as it can be seen from here.
#[derive(Debug)]
pub(super) struct ControlGroups {
    pub(super) directory: File,
    /// The part of the hierarchy that is mounted; `/` is all of it.
    pub(super) root: String,
}

impl ControlGroups {
    /// Opens the best mount that there is.
    ///
    /// `ip netns exec` and the like put another `/sys` over the mount, so each is checked for what
    /// it is. When our own view has none, the first process's may; and whoever may mount can have
    /// one that is attached nowhere.
    pub(super) fn open() -> Result<ControlGroups, SensorError> {
        let mut tried = Vec::new();
        for (table, prefix) in [
            ("/proc/self/mountinfo", ""),
            ("/proc/1/mountinfo", "/proc/1/root"),
        ] {
            let mounts = match fs::read_to_string(table) {
                Ok(mounts) => mounts,
                Err(error) => {
                    tried.push(format!("{table}: {error}"));
                    continue;
                }
            };
            for mount in mounts_of(&mounts) {
                let path = PathBuf::from(format!("{prefix}{}", mount.point));
                match open_checked(&path) {
                    Ok(directory) => {
                        return Ok(ControlGroups {
                            directory,
                            root: mount.root,
                        });
                    }
                    Err(error) => tried.push(format!("{}: {error}", path.display())),
                }
            }
        }
        match open_unattached() {
            Ok(directory) => {
                return Ok(ControlGroups {
                    directory,
                    root: "/".to_owned(),
                });
            }
            Err(error) => tried.push(format!("a mount of our own: {error}")),
        }
        Err(SensorError::NoControlGroups {
            tried: tried.join("; "),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: String,
    point: String,
}

/// The mounts of the right type, those of the whole hierarchy first. Fields:
/// proc_pid_mountinfo(5).
fn mounts_of(table: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = table.lines().filter_map(mount_in).collect();
    mounts.sort_by_key(|mount| mount.root != "/");
    mounts
}

fn mount_in(line: &str) -> Option<Mount> {
    let (about, filesystem) = line.split_once(" - ")?;
    if filesystem.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = about.split(' ').skip(3);
    let root = unescaped(fields.next()?);
    let point = unescaped(fields.next()?);
    Some(Mount { root, point })
}

/// The kernel writes a space in a path as `\040`.
fn unescaped(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

fn open_checked(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    let kind = fstatfs(&directory)?.f_type;
    if kind != CGROUP2_SUPER_MAGIC {
        return Err(io::Error::other("another filesystem is mounted over it"));
    }
    Ok(directory)
}

/// A mount that no path leads to, and which is gone when it is closed; see fsmount(2).
fn open_unattached() -> io::Result<File> {
    let filesystem = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(&filesystem, flags, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(openat(&mount, ".", flags, Mode::empty())?))
}

/// <https://elixir.bootlin.com/linux/v6.12/source/include/uapi/linux/magic.h>.
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_comes_before_a_part_of_it() {
        let table = "\
            24 30 0:22 / /proc rw,nosuid - proc proc rw\n\
            35 25 0:30 /user.slice /mnt/a\\040part rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
            36 25 0:31 / /sys/fs/cgroup/unified rw shared:10 master:2 - cgroup2 none rw\n\
            37 25 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            nonsense\n";
        let expected = [
            Mount {
                root: "/".into(),
                point: "/sys/fs/cgroup/unified".into(),
            },
            Mount {
                root: "/user.slice".into(),
                point: "/mnt/a part".into(),
            },
        ];
        assert_eq!(mounts_of(table), expected);
    }

    #[test]
    fn a_directory_of_another_filesystem_is_refused() {
        assert!(open_checked(Path::new("/proc")).is_err());
    }
}
