//! What the files of `/proc/<pid>` say, as text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// What `/proc/<pid>/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Name of the main thread.
    pub(super) thread_name: Arc<str>,
    /// Process id of the parent; zero when it is outside this pid namespace.
    pub(super) parent_pid: u32,
    /// When it was forked, in clock ticks since boot.
    pub(super) start_ticks: u64,
}

impl Stat {
    /// Reads the file. The name may hold anything, a parenthesis too, so its end is the last one.
    pub(super) fn parse(text: &str) -> Option<Stat> {
        let (_, after) = text.split_once('(')?;
        let (thread_name, after) = after.rsplit_once(')')?;
        let mut words = after.split_ascii_whitespace();
        let parent_pid = words.nth(1)?.parse().ok()?;
        let start_ticks = words.nth(17)?.parse().ok()?;
        Some(Stat {
            thread_name: thread_name.into(),
            parent_pid,
            start_ticks,
        })
    }
}

/// What `/proc/<pid>/status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Real user id, which is what the kernel's own events carry.
    pub(super) uid: u32,
    /// Process id in the innermost pid namespace it is in.
    pub(super) innermost_pid: Option<u32>,
    /// Effective capabilities, one bit each.
    pub(super) capabilities: u64,
}

impl Status {
    /// Reads the file.
    pub(super) fn parse(text: &str) -> Option<Status> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        Some(Status {
            uid: value("Uid")?
                .split_ascii_whitespace()
                .next()?
                .parse()
                .ok()?,
            innermost_pid: value("NSpid")
                .and_then(|pids| pids.split_ascii_whitespace().last()?.parse().ok()),
            capabilities: u64::from_str_radix(value("CapEff")?.trim(), 16).ok()?,
        })
    }
}

/// Reads `/proc/<pid>/loginuid`, where the highest number stands for "nobody logged in".
pub(super) fn parse_login_uid(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// Path of the executable from the link `/proc/<pid>/exe`, whose file may be deleted.
pub(super) fn executable_path(link: &[u8]) -> Arc<str> {
    let path = link.strip_suffix(b" (deleted)").unwrap_or(link);
    String::from_utf8_lossy(path).into()
}

/// Name of the file at the end of a path.
pub(super) fn file_name(path: &str) -> Option<Arc<str>> {
    Some(Path::new(path).file_name()?.to_str()?.into())
}

/// Inode from a link such as `socket:[4242]` or `pid:[4026531836]`.
pub(super) fn inode_of_link(link: &[u8], kind: &str) -> Option<u64> {
    let number = link
        .strip_prefix(kind.as_bytes())?
        .strip_prefix(b":[")?
        .strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Path of the control group in the unified hierarchy, from `/proc/<pid>/cgroup`, without the
/// slash that it begins with.
pub(super) fn unified_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// Where the unified control group hierarchy is mounted, from `/proc/self/mountinfo`.
///
/// Only a mount of the whole hierarchy counts, because paths are relative to its root.
pub(super) fn unified_cgroup_mount(text: &[u8]) -> Option<&Path> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let is_whole = words.nth(3)? == b"/";
        let mount = words.next()?;
        let is_unified = words.skip_while(|word| *word != b"-").nth(1)? == b"cgroup2";
        (is_whole && is_unified).then(|| Path::new(OsStr::from_bytes(mount)))
    })
}

/// Clock ticks a second from `/proc/self/auxv`, where `sysconf` has them from too.
pub(super) fn ticks_per_second(auxiliary_vector: &[u8]) -> Option<u64> {
    const WORD_BYTES: usize = size_of::<usize>();
    const AT_CLKTCK: usize = 17;
    let word = |bytes: &[u8]| bytes.first_chunk().copied().map(usize::from_ne_bytes);
    auxiliary_vector
        .chunks_exact(2 * WORD_BYTES)
        .find_map(|entry| {
            let (kind, value) = entry.split_at(WORD_BYTES);
            (word(kind)? == AT_CLKTCK)
                .then(|| word(value))?
                .map(|ticks| ticks as u64)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "12936 (py) (t hon) S 11946 12936 11945 0 -1 4194304 1190 0 0 0 2 0 0 0 20 \
                        0 1 0 236210 17936384 2432 18446744073709551615 4194304 4194305";
    const STATUS: &str = "Name:\tpython3\nTgid:\t12936\nNgid:\t0\nUid:\t1000\t0\t0\t0\n\
                          Gid:\t0\t0\t0\t0\nNSpid:\t12936\t17\nCapEff:\t000001fffeffffff\n";

    #[test]
    fn a_name_may_hold_parentheses() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(&*stat.thread_name, "py) (t hon");
        assert_eq!((stat.parent_pid, stat.start_ticks), (11_946, 236_210));
    }

    #[test]
    fn a_cut_stat_is_refused_until_its_start() {
        let start_at = STAT.find("236210").unwrap();
        for length in 0..STAT.len() {
            assert_eq!(
                Stat::parse(&STAT[..length]).is_some(),
                length > start_at,
                "{length}"
            );
        }
    }

    #[test]
    fn a_status_tells_the_real_user_and_the_innermost_pid() {
        let status = Status::parse(STATUS).unwrap();
        assert_eq!((status.uid, status.innermost_pid), (1000, Some(17)));
        assert_eq!(status.capabilities, 0x1ff_feff_ffff);
        for length in 0..STATUS.len() {
            let _ = Status::parse(&STATUS[..length]);
        }
        let old = STATUS.replace("NSpid", "Other");
        assert_eq!(Status::parse(&old).unwrap().innermost_pid, None);
    }

    #[test]
    fn nobody_logged_in_is_no_user() {
        assert_eq!(parse_login_uid("1000"), Some(1000));
        assert_eq!(parse_login_uid("4294967295"), None);
        assert_eq!(parse_login_uid(""), None);
    }

    #[test]
    fn a_deleted_executable_keeps_its_path() {
        assert_eq!(
            &*executable_path(b"/usr/bin/curl (deleted)"),
            "/usr/bin/curl"
        );
        assert_eq!(
            &*executable_path(b"/opt/a (deleted) b"),
            "/opt/a (deleted) b"
        );
        assert_eq!(file_name("/usr/bin/curl").as_deref(), Some("curl"));
        assert_eq!(file_name("/"), None);
    }

    #[test]
    fn links_name_inodes() {
        assert_eq!(inode_of_link(b"socket:[4242]", "socket"), Some(4242));
        assert_eq!(
            inode_of_link(b"pid:[4026531836]", "pid"),
            Some(4_026_531_836)
        );
        for link in [
            "socket:[]",
            "socket:[42",
            "pipe:[42]",
            "/dev/null",
            "",
            "socket:[-1]",
        ] {
            assert_eq!(inode_of_link(link.as_bytes(), "socket"), None, "{link}");
        }
    }

    #[test]
    fn finds_the_unified_control_group() {
        let hybrid = "2:cpu:/a\n1:name=systemd:/b\n0::/system.slice/ssh.service\n";
        assert_eq!(unified_cgroup(hybrid), Some("system.slice/ssh.service"));
        assert_eq!(unified_cgroup("1:cpu:/\n"), None);
        assert_eq!(unified_cgroup("0::/\n"), Some(""));
    }

    #[test]
    fn finds_the_mount_of_the_whole_hierarchy() {
        let part = "30 23 0:26 /user.slice /part rw,nosuid - cgroup2 cgroup2 rw\n";
        let whole = "31 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 none rw\n";
        let other = "32 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup none rw,cgroup2\n";
        let text = [part, other, whole].concat();
        let expected = Some(Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(unified_cgroup_mount(text.as_bytes()), expected);
        assert_eq!(
            unified_cgroup_mount([part, other].concat().as_bytes()),
            None
        );
        for length in 0..text.len() {
            let _ = unified_cgroup_mount(&text.as_bytes()[..length]);
        }
    }

    #[test]
    fn the_auxiliary_vector_tells_the_ticks() {
        let vector: Vec<u8> = [6, 4096, 17, 250, 0, 0_usize]
            .map(usize::to_ne_bytes)
            .concat();
        assert_eq!(ticks_per_second(&vector), Some(250));
        assert_eq!(ticks_per_second(&vector[..2 * size_of::<usize>()]), None);
        assert_eq!(ticks_per_second(b"odd"), None);
    }
}
