//! What launchd starts: property lists, and whether jobs and programs belong to each other.

use super::{APP_PATH, CONFIGURATION, Finding, LOGS};
use mdm::identity::BundleId;
use mdm::jobs::{ACCOUNT, Account, Job, Starts};
use plist::{Dictionary, Value};
use std::path::Path;

/// A program that fails again and again is started once a minute.
const THROTTLE_S: i64 = 60;

/// Where a change of the configuration went unseen, it is found within an hour.
const LOOK_AGAIN_S: i64 = 3_600;

/// The property list that makes launchd start a job.
///
/// The list is a file of the package and not of the app, because a list in the app counts only
/// once somebody's session has registered it.
pub fn launchd_plist(job: &Job, app: &BundleId) -> Vec<u8> {
    let program = program_path(job.program);
    let arguments = [program.as_str()]
        .into_iter()
        .chain(job.arguments.iter().copied());
    let texts = |texts: Vec<&str>| Value::Array(texts.into_iter().map(Value::from).collect());
    let log = log_path(job);
    let mut plist = Dictionary::new();
    let mut entries = vec![
        ("Label", Value::from(job.label(app))),
        ("AssociatedBundleIdentifiers", texts(vec![app.as_str()])),
        ("ProgramArguments", texts(arguments.collect())),
        ("RunAtLoad", Value::from(true)),
        ("ProcessType", Value::from("Background")),
        ("StandardOutPath", Value::from(log.clone())),
        ("StandardErrorPath", Value::from(log)),
    ];
    entries.extend(starts(job.starts));
    entries.extend(account(job.account));
    for (key, value) in entries {
        plist.insert(key.to_owned(), value);
    }
    let mut bytes = Vec::new();
    Value::Dictionary(plist)
        .to_writer_xml(&mut bytes)
        .expect("memory takes what is written");
    bytes.push(b'\n');
    bytes
}

/// Where a job writes what it says.
pub(super) fn log_path(job: &Job) -> String {
    format!("{LOGS}/{}.log", job.name)
}

/// Whoever ends without an error has nothing to do, and is not started again at once.
fn starts(starts: Starts) -> Vec<(&'static str, Value)> {
    match starts {
        Starts::Once => vec![("KeepAlive", Value::from(false))],
        Starts::WhileConfigured => {
            let unless = Dictionary::from_iter([("SuccessfulExit", Value::from(false))]);
            let places = CONFIGURATION.iter().map(|it| Value::from(*it)).collect();
            vec![
                ("KeepAlive", Value::Dictionary(unless)),
                ("ThrottleInterval", Value::from(THROTTLE_S)),
                ("StartInterval", Value::from(LOOK_AGAIN_S)),
                ("WatchPaths", Value::Array(places)),
            ]
        }
    }
}

fn account(account: Account) -> Vec<(&'static str, Value)> {
    match account {
        Account::Root => Vec::new(),
        Account::Own => ["UserName", "GroupName"]
            .map(|key| (key, Value::from(ACCOUNT)))
            .into(),
    }
}

fn program_path(program: &str) -> String {
    format!("{APP_PATH}/Contents/MacOS/{program}")
}

/// Jobs without their program, and programs other than the app's main one without a job.
///
/// `programs` are the names of what is in `Contents/MacOS` of the app.
pub fn jobs_agree(jobs: &[Job], main: &str, programs: &[String]) -> Vec<Finding> {
    let has = |program: &str| programs.iter().any(|it| it == program);
    let lost = jobs.iter().filter(|job| !has(job.program)).map(|job| {
        let problem = format!("its program {} is not in the app", job.program);
        Finding::new(format!("the job {}", job.name), problem)
    });
    let is_started = |program: &str| jobs.iter().any(|job| job.program == program);
    let idle = programs.iter().filter(|it| *it != main && !is_started(it));
    let idle = idle.map(|program| {
        let place = format!("Contents/MacOS/{program}");
        Finding::new(place, "no job starts this program, and nothing else does")
    });
    let missing = (!has(main)).then(|| {
        Finding::new(
            "Contents/MacOS",
            format!("the main program {main} is not there"),
        )
    });
    lost.chain(idle).chain(missing).collect()
}

/// What is wrong with a property list that is installed under this path.
pub(super) fn judged(path: &str, bytes: &[u8], programs: &[String]) -> Vec<Finding> {
    let problem = |text: String| vec![Finding::new(path, text)];
    let plist = Value::from_reader(std::io::Cursor::new(bytes));
    let Some(plist) = plist.ok().and_then(Value::into_dictionary) else {
        return problem("no property list with keys".to_owned());
    };
    let label = plist.get("Label").and_then(Value::as_string);
    let name = Path::new(path).file_stem().and_then(|it| it.to_str());
    if label.is_none() || label != name {
        return problem(format!(
            "its label is {label:?}, and its file is named otherwise"
        ));
    }
    let arguments = plist.get("ProgramArguments").and_then(Value::as_array);
    let program = arguments.and_then(|it| it.first()?.as_string());
    if plist.contains_key("UserName") != plist.contains_key("GroupName") {
        return problem("it names an account or a group, and not both".to_owned());
    }
    match program {
        Some(program) if programs.iter().any(|it| program_path(it) == program) => Vec::new(),
        Some(program) => problem(format!("it starts {program}, which is not in the app")),
        None => problem("it starts nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPER: Job = Job {
        name: "ship",
        program: "conntrail-shipper",
        arguments: &["--now"],
        starts: Starts::Once,
        account: Account::Root,
        purpose: "sends",
    };

    fn agree(jobs: &[Job], programs: &[&str]) -> Vec<String> {
        let programs: Vec<_> = programs.iter().map(|it| (*it).to_owned()).collect();
        let findings = jobs_agree(jobs, "conntrail", &programs).into_iter();
        findings.map(|it| it.to_string()).collect()
    }

    #[test]
    fn the_jobs_of_the_product_agree_with_its_programs() {
        assert!(agree(mdm::jobs::JOBS, &["conntrail", "conntrail-ship"]).is_empty());
    }

    #[test]
    fn a_job_and_its_program_are_not_without_each_other() {
        assert!(agree(&[SHIPPER], &["conntrail", "conntrail-shipper"]).is_empty());
        assert_eq!(
            agree(&[SHIPPER], &["conntrail"]),
            ["the job ship: its program conntrail-shipper is not in the app"]
        );
        assert_eq!(
            agree(&[], &["conntrail", "conntrail-shipper"]),
            ["Contents/MacOS/conntrail-shipper: no job starts this program, and nothing else does"]
        );
        assert_eq!(
            agree(&[], &[]),
            ["Contents/MacOS: the main program conntrail is not there"]
        );
    }

    #[test]
    fn a_property_list_says_what_launchd_needs() {
        let app = "com.example.agent".parse().unwrap();
        let bytes = launchd_plist(&SHIPPER, &app);
        let plist = Value::from_reader(std::io::Cursor::new(&bytes)).unwrap();
        let plist = plist.as_dictionary().unwrap();
        let text = |key: &str| plist.get(key).unwrap().as_string().unwrap();
        assert_eq!(text("Label"), "com.example.agent.ship");
        assert_eq!(text("ProcessType"), "Background");
        assert_eq!(
            text("StandardErrorPath"),
            "/Library/Logs/Conntrail/ship.log"
        );
        assert_eq!(text("StandardOutPath"), text("StandardErrorPath"));
        let texts = |key: &str| -> Vec<_> {
            let values = plist.get(key).unwrap().as_array().unwrap();
            values.iter().map(|it| it.as_string().unwrap()).collect()
        };
        let program = "/Applications/Conntrail.app/Contents/MacOS/conntrail-shipper";
        assert_eq!(texts("ProgramArguments"), [program, "--now"]);
        assert_eq!(texts("AssociatedBundleIdentifiers"), ["com.example.agent"]);
        assert_eq!(plist.get("RunAtLoad").unwrap().as_boolean(), Some(true));
        assert_eq!(plist.get("KeepAlive").unwrap().as_boolean(), Some(false));
        assert_eq!(plist.len(), 8);
    }

    #[test]
    fn a_service_has_an_account_of_its_own_and_waits_for_its_configuration() {
        let service = Job {
            starts: Starts::WhileConfigured,
            account: Account::Own,
            ..SHIPPER
        };
        let bytes = launchd_plist(&service, &"com.example.agent".parse().unwrap());
        let plist = Value::from_reader(std::io::Cursor::new(&bytes)).unwrap();
        let plist = plist.as_dictionary().unwrap();
        for key in ["UserName", "GroupName"] {
            assert_eq!(plist.get(key).unwrap().as_string(), Some("_conntrail"));
        }
        // Whoever has nothing to do ends well, and must not be started again for that.
        let keep = plist.get("KeepAlive").unwrap().as_dictionary().unwrap();
        assert_eq!(
            keep.get("SuccessfulExit").unwrap().as_boolean(),
            Some(false)
        );
        assert_eq!(keep.len(), 1);
        let places = plist.get("WatchPaths").unwrap().as_array().unwrap();
        let places: Vec<_> = places.iter().map(|it| it.as_string().unwrap()).collect();
        assert_eq!(
            places,
            [
                "/Library/Managed Preferences/com.conntrail.agent.plist",
                "/Library/Application Support/Conntrail/conntrail.toml",
                "/Library/Application Support/Conntrail/ship.toml",
            ]
        );
        assert_eq!(plist.len(), 13);
    }

    #[test]
    fn a_property_list_is_judged_by_its_name_and_its_program() {
        let bytes = launchd_plist(&SHIPPER, &"com.example.agent".parse().unwrap());
        let programs = ["conntrail-shipper".to_owned()];
        let path = "./Library/LaunchDaemons/com.example.agent.ship.plist";
        assert_eq!(judged(path, &bytes, &programs), []);
        assert_eq!(judged("./Library/other.plist", &bytes, &programs).len(), 1);
        assert_eq!(judged(path, &bytes, &[]).len(), 1);
        assert_eq!(judged(path, b"<plist/>", &programs).len(), 1);
        let text = String::from_utf8(bytes).unwrap();
        let without = text.replace("ProgramArguments", "Arguments");
        assert_eq!(judged(path, without.as_bytes(), &programs).len(), 1);
        let half = text.replace(
            "<key>Label",
            "<key>UserName</key><string>a</string><key>Label",
        );
        assert_eq!(judged(path, half.as_bytes(), &programs).len(), 1);
    }
}
