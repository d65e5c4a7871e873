//! What Linux knows: the system, whether its kernel takes our programs, and the service.

use super::{Order, Source, Wanted, everything, own, words};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// The service, where somebody made one.
const UNIT: &str = "conntraild.service";

pub(super) fn wanted(order: &Order) -> Vec<Wanted> {
    let since = format!("--since=-{}s", order.since.as_secs());
    let tool = |name: &str, why, program, arguments: &[&str]| Wanted {
        name: name.to_owned(),
        why,
        source: Source::Tool(program, words(arguments), everything()),
    };
    vec![
        Wanted {
            name: "system/os-release.txt".to_owned(),
            why: "which distribution",
            source: Source::File(PathBuf::from("/etc/os-release")),
        },
        own(
            "system/kernel.txt",
            "whether the kernel takes our programs",
            || Ok(kernel()),
        ),
        tool(
            "service/state.txt",
            "whether the service runs",
            "systemctl",
            &["show", UNIT, "--property", SHOWN],
        ),
        tool(
            "service/journal.txt",
            "what the recorder logged",
            "journalctl",
            &[
                "--unit",
                UNIT,
                &since,
                "--no-pager",
                "--output",
                "short-iso",
            ],
        ),
    ]
}

/// Not its environment, in which secrets are kept.
const SHOWN: &str = "LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainCode,NRestarts,\
                     FragmentPath,User,CapabilityBoundingSet,AmbientCapabilities,MemoryCurrent";

fn kernel() -> String {
    let mut text = String::new();
    let types = fs::metadata("/sys/kernel/btf/vmlinux").map(|it| it.len());
    // Writing to a text cannot fail.
    let _ = match types {
        Ok(bytes) => writeln!(text, "types of the kernel (BTF): {bytes} bytes"),
        Err(error) => writeln!(text, "types of the kernel (BTF): {error}"),
    };
    for (name, path) in [
        ("lockdown", "/sys/kernel/security/lockdown"),
        ("security modules", "/sys/kernel/security/lsm"),
        (
            "unprivileged bpf disabled",
            "/proc/sys/kernel/unprivileged_bpf_disabled",
        ),
        (
            "perf event paranoia",
            "/proc/sys/kernel/perf_event_paranoid",
        ),
    ] {
        let _ = match fs::read_to_string(path) {
            Ok(value) => writeln!(text, "{name}: {}", value.trim()),
            Err(error) => writeln!(text, "{name}: {error}"),
        };
    }
    text
}
