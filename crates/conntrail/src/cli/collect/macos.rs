//! What macOS knows: the extension, the profiles, the log and the crash reports.

#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "elsewhere only tests call it")
)]

use super::{Order, Source, Wanted, everything, own, words};
use crate::cli::extension;
use app_macos::bundle::ExtensionBundle;
use app_macos::management::{self, Ours, PROFILES_TOOL};
use app_macos::neighbours::EXTENSIONS_TOOL;
use host::config::SETTINGS;
use host::preferences::PREFERENCES_DOMAIN;
use mdm::identity::{APP, BundleId, EXTENSION};
use mdm::jobs::JOBS;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How long each answer of the system may take, for the status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Our programs.
const LOGGED: &str = "process == \"conntraild\" OR process == \"conntrail\" OR \
     process == \"conntrail-ship\"";

/// Who activates extensions, and who runs filters.
const MANAGERS: &str = "process == \"sysextd\" OR process == \"nesessionmanager\"";

/// How the reports of our programs are named: after the program comes the time.
const REPORTS: &[&str] = &["conntrail-", "conntrail_", "conntraild-", "conntraild_"];

pub(super) fn wanted(order: &Order) -> Vec<Wanted> {
    let state_dir = order.state_dir.clone();
    let minutes = order.since.as_secs().div_ceil(60).max(1);
    let tool = |name: &str, why, program, arguments: &[&str]| Wanted {
        name: name.to_owned(),
        why,
        source: Source::Tool(program, words(arguments), everything()),
    };
    let mut wanted = vec![
        own(
            "status.json",
            "extension, filter, breaker, health, neighbours",
            move || extension::status_json(&state_dir, STATUS_TIMEOUT),
        ),
        tool("system/version.txt", "which macOS", "/usr/bin/sw_vers", &[]),
        tool(
            "system/hardware.txt",
            "which Mac",
            "/usr/sbin/sysctl",
            &[
                "hw.model",
                "hw.memsize",
                "hw.ncpu",
                "machdep.cpu.brand_string",
                "kern.boottime",
            ],
        ),
        tool(
            "system/extensions.txt",
            "system extensions, other vendors' too",
            EXTENSIONS_TOOL.0,
            EXTENSIONS_TOOL.1,
        ),
        profiles(),
        logged(
            "service/log.txt",
            "what our programs, and the system within them, logged",
            LOGGED,
            minutes,
        ),
        logged(
            "system/managers.txt",
            "what the system's managers of extensions and filters logged about ours",
            &format!("({MANAGERS}) AND eventMessage CONTAINS \"{}\"", extension()),
            minutes,
        ),
        tool(
            "system/install.txt",
            "what the package's scripts said",
            "/usr/bin/grep",
            &["-i", "conntrail", "/var/log/install.log"],
        ),
    ];
    wanted.extend(JOBS.iter().map(|job| {
        let label = format!("system/{}", job.label(&app()));
        let name = format!("service/{}.txt", job.name);
        tool(&name, "a job of ours", "/bin/launchctl", &["print", &label])
    }));
    wanted.extend(newest(
        "/Library/Logs/DiagnosticReports",
        REPORTS,
        "a crash of one of our programs",
    ));
    wanted.extend(newest(
        "/Library/Logs/Conntrail",
        &[""],
        "what installing left",
    ));
    wanted
}

fn logged(name: &str, why: &'static str, predicate: &str, minutes: u64) -> Wanted {
    let last = format!("{minutes}m");
    let arguments = ["show", "--style", "compact", "--last", &last];
    let arguments = arguments.into_iter().chain(["--predicate", predicate]);
    let arguments: Vec<&str> = arguments.collect();
    Wanted {
        name: name.to_owned(),
        why,
        source: Source::Tool("/usr/bin/log", words(&arguments), everything()),
    }
}

fn bundle() -> Option<ExtensionBundle> {
    extension::own_bundle().ok().and_then(Result::ok)
}

/// Where the app is not known, it is called what it is called by default.
fn app() -> BundleId {
    let named = bundle().and_then(|it| it.app?.parse().ok());
    named.unwrap_or_else(|| APP.parse().expect("our own identifier"))
}

/// Likewise.
fn extension() -> String {
    bundle().map_or_else(|| EXTENSION.to_owned(), |it| it.identifier)
}

/// The newest files of a folder whose names begin so, as files of the archive.
pub(super) fn newest(folder: &str, name_begins: &[&str], why: &'static str) -> Vec<Wanted> {
    const FILES_MAX: usize = 10;
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name_begins.iter().any(|it| name.starts_with(it));
        // A link could lead anywhere.
        let about = entry.metadata().ok().filter(|it| is_ours && it.is_file());
        let changed = about.and_then(|it| it.modified().ok());
        found.extend(changed.map(|changed| (changed, entry.path())));
    }
    found.sort();
    let newest = found.into_iter().rev().take(FILES_MAX);
    let wanted = |(_, path): (SystemTime, PathBuf)| Wanted {
        name: path.to_string_lossy().trim_start_matches('/').to_owned(),
        why,
        source: Source::File(path),
    };
    newest.map(wanted).collect()
}

/// The profiles of others hold what is nobody's business.
fn profiles() -> Wanted {
    let (program, arguments) = PROFILES_TOOL;
    Wanted {
        name: "system/profiles.txt".to_owned(),
        why: "payloads that concern extensions and filters",
        source: Source::Tool(program, words(arguments), Box::new(reduced)),
    }
}

fn reduced(text: &str) -> Result<String, String> {
    let app = bundle();
    let ours = Ours {
        extension: app.as_ref().map_or(EXTENSION, |it| &it.identifier),
        team: app.as_ref().and_then(|it| it.team.as_deref()),
    };
    let is_setting = |key: &str| SETTINGS.iter().any(|it| it.key == key);
    let lines = management::reduced(text, ours, PREFERENCES_DOMAIN, &is_setting)?;
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}
