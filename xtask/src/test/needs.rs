//! What some tests need beyond Rust, and how they get it.
//!
//! A test says its need twice: in the reason why it is ignored, for the reader, and in the name of
//! a module on its path (`schema`, `python`, `apple`, `kernel`, `mount`, `clang`, `macos`,
//! `bundle`, `release`, `fuzzer`, or an engine: `nats`, `clickhouse`, `rotel`, `s3`, `syslog`,
//! `kafka`, several of them as `fleet`), for this runner.

use crate::bpf;
use crate::bundle;
use crate::engines;
use crate::fuzz;
use crate::install::{self, Missing};
use crate::macos;
use crate::process;
use crate::sim;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables that tell a test where the things are that it needs.
pub(crate) type Variables = Vec<(&'static str, OsString)>;

/// Something that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The official JSON schemas of OCSF.
    Schema,
    /// Apple's published schema of the payloads that device management installs.
    Apple,
    /// Root, a kernel that takes our programs, and the recorder as it is shipped.
    Kernel,
    /// Root that may mount file systems of its own.
    Mount,
    /// The compiler of the kernel program.
    Clang,
    /// Python, without any package.
    Python,
    /// The programs as they are for macOS, and what they were linked with.
    Macos,
    /// The signed app and its package, as `cargo xtask bundle` makes them.
    Bundle,
    /// The examples of the macOS sensor and the simulator, optimized.
    Release,
    /// The targets of the crate `fuzz`, instrumented, with libFuzzer.
    Fuzzer,
    /// nats-server, to be started alone or as a cluster.
    Nats,
    /// ClickHouse's engine.
    Clickhouse,
    /// An OTLP receiver.
    Rotel,
    /// An object store that speaks S3.
    S3,
    /// A syslog server with TLS.
    Syslog,
    /// A Kafka broker, a client, nats-server, and the shipper built with its way to Kafka.
    Kafka,
    /// All of the engines, together.
    Fleet,
}

/// Names the folder of a checkout of Apple's device-management schema.
const APPLE_SCHEMA: &str = "CONNTRAIL_APPLE_SCHEMA";

/// The generator of connections whose every detail is known beforehand.
const GROUND_TRUTH: (&str, &str) = ("sensor-linux", "ground_truth");

/// The programs whose behavior on a real kernel is tested.
const SHIPPED: &[&str] = &["conntraild", "conntrail"];

/// The kernel's description of its own types, without which no portable program can be loaded.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The capabilities that loading and attaching takes, by their number: network administration,
/// system administration, performance monitoring, BPF.
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

impl Need {
    /// All needs, in the order in which their tests run: what is built ahead comes last.
    pub(crate) const ALL: [Need; 17] = [
        Need::Schema,
        Need::Python,
        Need::Apple,
        Need::Clang,
        Need::Mount,
        Need::Nats,
        Need::Clickhouse,
        Need::Rotel,
        Need::S3,
        Need::Syslog,
        Need::Fleet,
        Need::Kafka,
        Need::Macos,
        Need::Bundle,
        Need::Release,
        Need::Fuzzer,
        Need::Kernel,
    ];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Need::Schema => "schema",
            Need::Apple => "apple",
            Need::Python => "python",
            Need::Kernel => "kernel",
            Need::Mount => "mount",
            Need::Clang => "clang",
            Need::Macos => "macos",
            Need::Bundle => "bundle",
            Need::Release => "release",
            Need::Fuzzer => "fuzzer",
            Need::Nats => "nats",
            Need::Clickhouse => "clickhouse",
            Need::Rotel => "rotel",
            Need::S3 => "s3",
            Need::Syslog => "syslog",
            Need::Kafka => "kafka",
            Need::Fleet => "fleet",
        }
    }

    /// The need that a word is for.
    pub(super) fn parse(word: &str) -> Result<Need, String> {
        let found = Need::ALL.into_iter().find(|need| need.name() == word);
        found.ok_or_else(|| format!("no test needs \"{word}\""))
    }

    /// The need of a test, from its full name.
    pub(super) fn of(test: &str) -> Option<Need> {
        // The innermost: a module may also be called what it is about, as `schema` is in `mdm`.
        let mut modules = test
            .split("::")
            .skip(1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev();
        modules.find_map(|module| Need::ALL.into_iter().find(|need| need.name() == module))
    }

    /// Whether the plain run leaves it out.
    pub(super) fn belongs_to_full(self) -> bool {
        match self {
            Need::Schema | Need::Python => false,
            Need::Apple
            | Need::Kernel
            | Need::Mount
            | Need::Clang
            | Need::Macos
            | Need::Bundle
            | Need::Release
            | Need::Fuzzer
            | Need::Nats
            | Need::Clickhouse
            | Need::Rotel
            | Need::S3
            | Need::Syslog
            | Need::Kafka
            | Need::Fleet => true,
        }
    }

    /// Whether what it needs is built while the tests of other needs run.
    pub(super) fn is_built_ahead(self) -> bool {
        match self {
            Need::Macos
            | Need::Bundle
            | Need::Release
            | Need::Fuzzer
            | Need::Kafka
            | Need::Kernel => true,
            Need::Schema
            | Need::Python
            | Need::Apple
            | Need::Clang
            | Need::Mount
            | Need::Nats
            | Need::Clickhouse
            | Need::Rotel
            | Need::S3
            | Need::Syslog
            | Need::Fleet => false,
        }
    }

    /// Gets it, or says why it cannot be had. The outer error is for what is broken rather than
    /// missing.
    pub(super) fn prepare(self, workspace: &Workspace) -> Result<Result<Variables, Missing>> {
        match self {
            Need::Schema => schema(workspace),
            Need::Python => {
                Ok(install::programs(&["python3"], &["python3"]).map(|()| Variables::new()))
            }
            Need::Kernel => kernel(workspace),
            Need::Mount => Ok(mounting().map(|()| Variables::new())),
            Need::Clang => Ok(bpf::prepare().map(|()| Variables::new())),
            Need::Apple => Ok(apple()),
            Need::Macos => macos::prepare(workspace),
            Need::Bundle => bundle::prepare(workspace),
            Need::Release => release(workspace),
            Need::Fuzzer => fuzzer(workspace),
            Need::Nats => engines::nats(workspace),
            Need::Clickhouse => engines::clickhouse(workspace),
            Need::Rotel => engines::rotel(workspace),
            Need::S3 => engines::s3(workspace),
            Need::Syslog => engines::syslog(workspace),
            Need::Kafka => engines::kafka(workspace),
            Need::Fleet => engines::fleet(workspace),
        }
    }
}

fn schema(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    let directory = workspace.tools("ocsf")?;
    let sources = workspace.root.join("xtask");
    let (requirements, script) = (sources.join("requirements.txt"), sources.join("schemas.py"));
    let recipe = fs::read_to_string(&requirements)? + &fs::read_to_string(&script)?;
    let stamp = directory.join("recipe");
    if fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe) {
        return Ok(Ok(schema_variables(&directory)));
    }
    let environment = workspace.tools("")?.join("venv");
    let python = match install::python(&environment, &requirements) {
        Ok(python) => python,
        Err(missing) => return Ok(Err(missing)),
    };
    process::run(Command::new(python).arg(&script).arg(&directory))
        .context("cannot write the official schemas")?;
    fs::write(&stamp, recipe)?;
    Ok(Ok(schema_variables(&directory)))
}

fn schema_variables(directory: &Path) -> Variables {
    vec![("CONNTRAIL_OCSF_SCHEMAS", directory.into())]
}

/// Nobody's but the developer's to choose: it is a repository of its own, and any release of it
/// will do.
fn apple() -> Result<Variables, Missing> {
    match env::var_os(APPLE_SCHEMA) {
        Some(folder) if Path::new(&folder).is_dir() => Ok(vec![(APPLE_SCHEMA, folder)]),
        Some(_) | None => Err(Missing::new(
            format!("{APPLE_SCHEMA} names no folder with Apple's device-management schema"),
            format!(
                "git clone https://github.com/apple/device-management, and set {APPLE_SCHEMA} to \
                 the folder"
            ),
        )),
    }
}

/// Builds the examples of the macOS sensor and the simulator.
pub(super) fn release(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    let examples = build_sensor_examples(workspace)?;
    let simulator = sim::build(&workspace.root, &workspace.target)?;
    Ok(Ok(vec![
        ("CONNTRAIL_SENSOR_EXAMPLES", examples.into()),
        ("CONNTRAIL_SIM", simulator.into()),
    ]))
}

fn fuzzer(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    if let Err(missing) = fuzz::prepare() {
        return Ok(Err(missing));
    }
    let runner = fuzz::build(workspace)?;
    Ok(Ok(vec![(fuzz::VARIABLE, runner.into())]))
}

/// Builds the examples of the macOS sensor, optimized; returns where they are.
pub(crate) fn build_sensor_examples(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = process::cargo();
    let arguments = [
        "build",
        "--release",
        "--package",
        "sensor-macos",
        "--examples",
    ];
    process::run(build.current_dir(&workspace.root).args(arguments))?;
    Ok(workspace.target.join("release/examples"))
}

fn kernel(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    if let Err(missing) = real_kernel() {
        return Ok(Err(missing));
    }
    let binaries = build_shipped(workspace)?;
    let (_, example) = GROUND_TRUTH;
    let ground_truth = binaries.join("examples").join(example);
    Ok(Ok(vec![
        ("CONNTRAIL_BIN_DIR", binaries.into()),
        ("CONNTRAIL_GROUND_TRUTH", ground_truth.into()),
    ]))
}

/// Builds what is shipped, and what it is tested with, optimized; returns where it is.
pub(crate) fn build_shipped(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = process::cargo();
    build
        .current_dir(&workspace.root)
        .args(["build", "--release"]);
    for program in SHIPPED {
        build.args(["--package", program, "--bin", program]);
    }
    let (package, example) = GROUND_TRUTH;
    if workspace.has_example(package, example) {
        build.args(["--package", package, "--example", example]);
    }
    process::run(&mut build)?;
    Ok(workspace.target.join("release"))
}

/// Whether this is a kernel that takes our programs, and we are allowed to give it some.
pub(crate) fn real_kernel() -> Result<(), Missing> {
    if !process::is_root() {
        return Err(Missing::new(
            "loading programs into the kernel takes root",
            "sudo --preserve-env=HOME,PATH env \"PATH=$PATH\" cargo xtask test --full",
        ));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !may_load(capabilities(&status)) {
        return Err(Missing::new(
            "this root may not load programs into the kernel (a container?)",
            "run on the machine itself, or give the container CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
        ));
    }
    if !Path::new(KERNEL_TYPES).exists() {
        return Err(Missing::new(
            format!("the kernel has no {KERNEL_TYPES}"),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions do since 2020",
        ));
    }
    install::programs(&["ip"], &["iproute2"])
}

/// Whether we may mount file systems where nobody else sees them.
fn mounting() -> Result<(), Missing> {
    if !process::is_root() {
        return Err(Missing::new(
            "mounting file systems takes root",
            "sudo --preserve-env=HOME,PATH env \"PATH=$PATH\" cargo xtask test --full",
        ));
    }
    install::programs(
        &[
            "unshare",
            "nsenter",
            "fsfreeze",
            "mount",
            "findmnt",
            "mkfs.ext4",
        ],
        &["util-linux", "mount", "e2fsprogs"],
    )?;
    let try_it = "f=$(mktemp) && d=$(mktemp -d) && truncate -s 4M \"$f\" && mkfs.ext4 -q \"$f\" && \
                  mount -o loop \"$f\" \"$d\"; r=$?; umount \"$d\"; rm -f \"$f\"; \
                  rmdir \"$d\"; exit $r";
    let mut trial = Command::new("unshare");
    trial.args(["--mount", "--propagation", "private", "sh", "-c", try_it]);
    if !process::succeeds(&mut trial) {
        return Err(Missing::new(
            "this root may not mount a file in a loop (a container?)",
            "run on the machine itself, or give the container CAP_SYS_ADMIN and loop devices",
        ));
    }
    Ok(())
}

fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

fn may_load(capabilities: u64) -> bool {
    let has = |wanted: u64| capabilities & wanted == wanted;
    has(CAP_SYS_ADMIN | CAP_NET_ADMIN) || has(CAP_BPF | CAP_PERFMON | CAP_NET_ADMIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_the_need() {
        assert_eq!(Need::parse("bundle"), Ok(Need::Bundle));
        assert!(Need::parse("money").is_err());
        assert_eq!(
            Need::of("record::it::schema::notices_are_valid"),
            Some(Need::Schema)
        );
        assert_eq!(
            Need::of("conntraild::kernel::counts_bytes"),
            Some(Need::Kernel)
        );
        assert_eq!(
            Need::of("xtask::bin::bpf::clang::object_is_current"),
            Some(Need::Clang)
        );
        assert_eq!(
            Need::of("mdm::lib::schema::apple::it_is_the_same"),
            Some(Need::Apple)
        );
        assert_eq!(
            Need::of("ship::it::nats::fleet::rows_arrive"),
            Some(Need::Fleet)
        );
        assert_eq!(Need::of("record::lib::codec::tests::round_trip"), None);
    }

    #[test]
    fn a_container_without_capabilities_is_told_from_a_real_root() {
        let status = |hex: &str| format!("Name:\tx\nCapEff:\t{hex}\nCapBnd:\t0\n");
        assert!(may_load(capabilities(&status("000001ffffffffff"))));
        // What a container usually leaves to its root.
        assert!(!may_load(capabilities(&status("00000000a80425fb"))));
        assert!(!may_load(capabilities("nonsense")));
    }
}
