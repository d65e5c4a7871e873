//! What really happened, as told by those who did it.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A network namespace of our own, with nothing but loopback; gone when dropped.
pub(crate) struct Namespace {
    name: String,
    /// What tells its connections from all others.
    pub(crate) inode: u32,
}

impl Namespace {
    pub(crate) fn make(label: &str) -> Namespace {
        let name = format!("conntrail-{label}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let path = format!("/run/netns/{name}");
        let metadata = std::fs::metadata(&path).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata) as u32;
        let namespace = Namespace { name, inode };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        namespace
    }

    /// Puts the calling thread into it, for good: its sockets are made there.
    pub(crate) fn enter(&self) {
        let place = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(place.as_fd(), network).unwrap();
    }

    /// Plays connections in it and returns what happened.
    pub(crate) fn play(&self, arguments: &[&str]) -> Vec<Happened> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("truth.csv");
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(generator())
            .args(arguments)
            .arg("--truth")
            .arg(&file)
            .output()
            .unwrap();
        assert_success(&output, &format!("ground_truth {arguments:?}"));
        Happened::read(&file)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A namespace that stays behind disturbs nobody, and the test has its result.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// One connection, as its two ends tell it.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) protocol: String,
    pub(crate) client_pid: u32,
    pub(crate) client_port: u16,
    pub(crate) server_pid: u32,
    pub(crate) server_port: u16,
    pub(crate) client_sent: u64,
    pub(crate) client_received: u64,
    pub(crate) outcome: String,
    pub(crate) scenario: String,
    pub(crate) exe: String,
}

impl Happened {
    fn read(path: &Path) -> Vec<Happened> {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let heading: Vec<&str> = lines.next().unwrap().split(',').collect();
        lines.map(|line| Happened::parse(&heading, line)).collect()
    }

    fn parse(heading: &[&str], line: &str) -> Happened {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| {
            let index = heading.iter().position(|it| *it == name);
            cells[index.unwrap_or_else(|| panic!("the truth has no column {name}"))]
        };
        let number = |name: &str| -> u64 {
            cell(name)
                .parse()
                .unwrap_or_else(|_| panic!("{name} is no number in {line}"))
        };
        Happened {
            protocol: cell("protocol").to_owned(),
            client_pid: number("client_pid") as u32,
            client_port: number("client_port") as u16,
            server_pid: number("server_pid") as u32,
            server_port: number("server_port") as u16,
            client_sent: number("client_sent"),
            client_received: number("client_received"),
            outcome: cell("outcome").to_owned(),
            scenario: cell("scenario").to_owned(),
            exe: cell("exe").to_owned(),
        }
    }
}

fn generator() -> PathBuf {
    let path = std::env::var_os("CONNTRAIL_GROUND_TRUTH");
    path.expect("CONNTRAIL_GROUND_TRUTH names the generator; run cargo xtask test --full")
        .into()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert_success(&output, &format!("ip {arguments:?}"));
}

fn assert_success(output: &Output, what: &str) {
    assert!(
        output.status.success(),
        "{what} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
