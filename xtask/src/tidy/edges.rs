//! Who may depend on whom.
//!
//! The boundaries between the crates are what keeps the recorder small and the core pure, and
//! nothing but a failing check keeps a boundary.

use super::Finding;
use super::source::Tree;

/// The crates of this repository that each crate may be built from.
const ARROWS: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("flow", &["record"]),
    ("policy", &["record"]),
    ("trail", &["record"]),
    ("host", &["record"]),
    ("live", &["record"]),
    ("mdm", &[]),
    ("query", &["record", "trail"]),
    ("ship", &["policy", "record", "trail"]),
    ("sensor-linux", &["flow", "record"]),
    // Off Apple a double stands in for the crate of a framework; see `doubles`.
    (
        "sensor-macos",
        &["flow", "network-extension-double", "record"],
    ),
    (
        "app-macos",
        &[
            "network-extension-double",
            "record",
            "system-extensions-double",
        ],
    ),
    ("objc-double", &[]),
    ("darwin-double", &["objc-double"]),
    ("network-extension-double", &["objc-double"]),
    (
        "system-extensions-double",
        &["darwin-double", "objc-double"],
    ),
    (
        "conntraild",
        &[
            "flow",
            "host",
            "live",
            "policy",
            "record",
            "sensor-linux",
            "sensor-macos",
            "trail",
        ],
    ),
    (
        "conntrail",
        &[
            "app-macos",
            "flow",
            "host",
            "live",
            "mdm",
            "policy",
            "query",
            "record",
            "trail",
        ],
    ),
    (
        "conntrail-ship",
        &["host", "policy", "record", "ship", "trail"],
    ),
    ("packaging", &["mdm"]),
    // Not shipped: it breaks what it is built from.
    (
        "fuzz",
        &["flow", "policy", "record", "sensor-linux", "ship", "trail"],
    ),
    // Not shipped: what tests start is other people's.
    ("engines", &[]),
    // Not shipped: what it simulates is what it is built from.
    ("sim", &["flow", "policy", "record", "trail"]),
    // Not shipped: the recorded office is made anonymous with the types that it is made of.
    ("xtask", &["flow", "mdm", "packaging", "record"]),
];

/// The only crate that may know a sensor: it is the only one that runs with privilege.
const RECORDER: &str = "conntraild";

/// Who may know a sensor: the recorder, and what only breaks it.
const KNOW_SENSORS: &[&str] = &[RECORDER, "fuzz"];

/// Crates that have no place in a program that runs as root: every asynchronous runtime, TLS and
/// HTTP implementation and SQL engine that is common enough to slip in.
const TOO_HEAVY_FOR_THE_RECORDER: &[&str] = &[
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "attohttpc",
    "aws-lc-rs",
    "aws-lc-sys",
    "axum",
    "boring",
    "curl",
    "curl-sys",
    "diesel",
    "duckdb",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "h2",
    "h3",
    "hyper",
    "hyper-util",
    "isahc",
    "libsqlite3-sys",
    "minreq",
    "monoio",
    "mysql",
    "native-tls",
    "openssl",
    "openssl-sys",
    "postgres",
    "quinn",
    "reqwest",
    "ring",
    "rusqlite",
    "rustls",
    "schannel",
    "sea-orm",
    "security-framework",
    "smol",
    "sqlite",
    "sqlite3-sys",
    "sqlx",
    "sqlx-core",
    "surf",
    "tiberius",
    "tiny_http",
    "tokio",
    "tokio-postgres",
    "tokio-uring",
    "tonic",
    "tungstenite",
    "ureq",
    "warp",
];

/// Families of other people's crates that only some of ours may use directly.
const OWNERS: &[Owned] = &[
    Owned {
        families: &["aya"],
        owners: &["sensor-linux"],
    },
    Owned {
        families: &["objc2", "block2", "dispatch2"],
        owners: &[
            "app-macos",
            "darwin-double",
            "host",
            "network-extension-double",
            "objc-double",
            "sensor-macos",
            "system-extensions-double",
        ],
    },
];

/// How crates are named that play a part of macOS in tests.
const DOUBLE: &str = "-double";

/// What the pure crates may be built from besides each other.
const PURE: &[(&str, &[&str])] = &[
    (
        "record",
        &["ipnet", "serde", "serde_json", "sha2", "thiserror", "uuid"],
    ),
    (
        "flow",
        &["ipnet", "record", "rustc-hash", "thiserror", "uuid"],
    ),
    (
        "policy",
        &[
            "hmac",
            "ipnet",
            "record",
            "rustc-hash",
            "sha2",
            "strsim",
            "toml",
        ],
    ),
];

struct Owned {
    families: &'static [&'static str],
    owners: &'static [&'static str],
}

impl Owned {
    /// A family is a crate and everything whose name continues its own, so that `aya` means
    /// `aya-obj` too.
    fn has(&self, package: &str) -> bool {
        self.families.iter().any(|family| {
            package
                .strip_prefix(family)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

/// Our crates depend on each other along the arrows of the architecture only.
pub(super) fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &tree.members {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
            let problem = "has no arrows yet; say in xtask/src/tidy/edges.rs what it may use";
            findings.push(Finding::new(&member.name, problem));
            continue;
        };
        let used = tree.graph.shipped.get(&member.name).into_iter().flatten();
        let ours = used.filter(|used| tree.members.iter().any(|it| it.name == **used));
        for used in ours.filter(|used| !allowed.contains(&used.as_str())) {
            findings.push(Finding::new(
                &member.name,
                format!("must not depend on {used}"),
            ));
        }
    }
    findings
}

/// No program but the recorder knows a sensor, not even through another crate.
pub(super) fn sensors(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let others = |name: &str| !KNOW_SENSORS.contains(&name);
    for member in tree.members.iter().filter(|member| others(&member.name)) {
        let reachable = tree.graph.reachable(&member.name);
        for sensor in reachable
            .iter()
            .filter(|package| package.starts_with("sensor-"))
        {
            let problem = format!("reaches {sensor}; only {RECORDER} may");
            findings.push(Finding::new(&member.name, problem));
        }
    }
    findings
}

/// No program that is shipped has a double of macOS in it, whatever it is built for.
pub(super) fn doubles(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for build in &tree.builds {
        for double in build.packages.iter().filter(|it| it.ends_with(DOUBLE)) {
            let problem = format!(
                "is built from {double} for {}; only tests may be",
                build.target
            );
            findings.push(Finding::new(&build.program, problem));
        }
    }
    findings
}

/// The recorder runs as root, so nothing in it speaks TLS, HTTP or SQL or runs futures.
pub(super) fn recorder(tree: &Tree) -> Vec<Finding> {
    let reachable = tree.graph.reachable(RECORDER);
    let heavy = reachable
        .iter()
        .filter(|it| TOO_HEAVY_FOR_THE_RECORDER.contains(&it.as_str()));
    heavy
        .map(|package| {
            let problem = format!(
                "has {package} in its tree, which has no place in a program that runs as root; \
                 see who brings it with `cargo tree -p {RECORDER} -i {package}`"
            );
            Finding::new(RECORDER, problem)
        })
        .collect()
}

/// Some crates belong to one of ours alone. What other people's crates are made of is for
/// `deny.toml` to judge.
pub(super) fn owners(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for owned in OWNERS {
        for package in tree
            .graph
            .packages()
            .into_iter()
            .filter(|package| owned.has(package))
        {
            let dependents = tree.graph.dependents(package);
            let ours = tree
                .members
                .iter()
                .filter(|it| dependents.contains(it.name.as_str()));
            for stranger in ours.filter(|it| !owned.owners.contains(&it.name.as_str())) {
                let problem = format!(
                    "must not use {package}; only {} may",
                    owned.owners.join(", ")
                );
                findings.push(Finding::new(&stranger.name, problem));
            }
        }
    }
    findings
}

/// A new line under `[dependencies]` of a pure crate is a decision, not a convenience.
pub(super) fn pure_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (member, allowed) in PURE {
        let used = tree.graph.shipped.get(*member).into_iter().flatten();
        for used in used.filter(|used| !allowed.contains(&used.as_str())) {
            let problem = format!("is pure and must not be built from {used}");
            findings.push(Finding::new(*member, problem));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::source::Build;
    use super::*;
    use crate::workspace::Member;

    fn tree(edges: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (name, _) in ARROWS {
            tree.members.push(Member {
                name: (*name).to_owned(),
                ..Member::default()
            });
        }
        for (from, to) in edges {
            let used = tree.graph.shipped.entry((*from).to_owned()).or_default();
            used.insert((*to).to_owned());
        }
        tree
    }

    #[test]
    fn an_arrow_the_wrong_way_is_found() {
        assert_eq!(
            arrows(&tree(&[("flow", "record"), ("conntraild", "trail")])),
            []
        );
        assert_eq!(arrows(&tree(&[("record", "flow")])).len(), 1);
        assert_eq!(arrows(&tree(&[("sensor-linux", "trail")])).len(), 1);
        assert_eq!(arrows(&tree(&[("query", "ship")])).len(), 1);
        assert_eq!(arrows(&tree(&[("ship", "engines")])).len(), 1);
    }

    #[test]
    fn a_crate_without_arrows_is_found() {
        let mut tree = tree(&[]);
        tree.members.push(Member {
            name: "novelty".to_owned(),
            ..Member::default()
        });
        assert_eq!(arrows(&tree).len(), 1);
    }

    #[test]
    fn a_sensor_behind_another_crate_is_found() {
        assert_eq!(sensors(&tree(&[("conntraild", "sensor-linux")])), []);
        let found = sensors(&tree(&[
            ("conntrail", "helper"),
            ("helper", "sensor-linux"),
        ]));
        assert_eq!(found[0].place, "conntrail");
    }

    #[test]
    fn a_double_in_a_shipped_program_is_found_on_every_target() {
        let build = |target, package: &str| Build {
            program: "conntraild".to_owned(),
            target,
            packages: [package.to_owned()].into(),
        };
        let mut tree = tree(&[]);
        tree.builds = vec![build("apple", "objc2"), build("linux", "aya")];
        assert_eq!(doubles(&tree), []);
        tree.builds.push(build("linux", "objc-double"));
        let found = doubles(&tree);
        assert_eq!(found[0].place, "conntraild");
        assert!(found[0].problem.contains("objc-double for linux"));
    }

    #[test]
    fn an_async_runtime_deep_in_the_recorder_is_found() {
        let found = recorder(&tree(&[
            ("conntraild", "trail"),
            ("trail", "x"),
            ("x", "tokio"),
        ]));
        assert!(found[0].problem.contains("tokio"));
        assert_eq!(recorder(&tree(&[("conntrail", "tokio")])), []);
    }

    #[test]
    fn a_crate_in_foreign_hands_is_found() {
        assert_eq!(
            owners(&tree(&[("sensor-linux", "aya"), ("aya", "aya-obj")])),
            []
        );
        assert_eq!(owners(&tree(&[("query", "aya-obj")])).len(), 1);
        assert_eq!(owners(&tree(&[("conntrail", "objc2-foundation")])).len(), 1);
        assert_eq!(owners(&tree(&[("conntrail", "ayaka")])), []);
    }

    #[test]
    fn a_new_dependency_of_a_pure_crate_is_found() {
        assert_eq!(pure_dependencies(&tree(&[("flow", "rustc-hash")])), []);
        assert_eq!(pure_dependencies(&tree(&[("flow", "rand")])).len(), 1);
    }
}
