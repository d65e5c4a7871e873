//! A folder in which a script finds nothing but commands that record what they were asked.
//!
//! A script says at its top where commands are and where the root is; these two lines are all that
//! is changed in it.

use packaging::package::APP_PATH;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PATH: &str = "\nPATH=/usr/bin:/bin:/usr/sbin:/sbin\n";
const ROOT: &str = "\nroot=''\n";

/// What a script may use of the machine that tests it: no effect beyond text and this folder.
const REAL: &[&str] = &["cat", "grep", "mkdir", "rm", "sed", "tr"];

pub(crate) const TOOL: &str = "Applications/Conntrail.app/Contents/MacOS/conntrail";

/// What a fake says and how it ends, where its arguments begin like this.
pub(crate) type Answer<'a> = (&'a str, &'a str, u8);

pub(crate) struct BareRoot {
    folder: TempDir,
}

/// What happened.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    /// The commands that were asked, without the log.
    pub(crate) asked: Vec<String>,
    /// What was written to the system's log.
    pub(crate) log: String,
    /// What was printed.
    pub(crate) printed: String,
}

impl Ran {
    /// What was asked of the system beyond what makes the account and gives it the trail.
    pub(crate) fn asked_beside_account(&self) -> Vec<&str> {
        let of_account = ["dscl ", "chgrp ", "chmod ", "chown ", "stat "];
        let asked = self.asked.iter().map(String::as_str);
        asked
            .filter(|it| !of_account.iter().any(|command| it.starts_with(command)))
            .collect()
    }

    #[track_caller]
    pub(crate) fn must_log(&self, words: &[&str]) {
        for words in words {
            assert!(self.log.contains(words), "{words:?} in {self:#?}");
            assert!(self.printed.contains(words), "{words:?} in {self:#?}");
        }
    }

    #[track_caller]
    pub(crate) fn must_not_log(&self, words: &str) {
        assert!(!self.log.contains(words), "{words:?} in {self:#?}");
    }
}

impl BareRoot {
    pub(crate) fn new() -> BareRoot {
        let root = BareRoot {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir_all(root.at("bin")).unwrap();
        for command in REAL {
            let places = ["/usr/bin", "/bin"].map(|it| Path::new(it).join(command));
            let real = places
                .iter()
                .find(|it| it.exists())
                .expect("a basic command");
            symlink(real, root.at("bin").join(command)).unwrap();
        }
        let log = format!("shift 3\nprintf '%s\\n' \"$*\" >>'{}'\n", root.path("log"));
        root.program("bin/logger", &log);
        root
    }

    /// A path below this root, which may begin with a slash or not.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn path(&self, path: &str) -> String {
        self.at(path).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    /// A program is copied into place by a process of its own: a file that this one has open for
    /// writing could be held by a child of any other thread, and be too busy to be executed.
    fn program(&self, path: &str, text: &str) {
        self.write("text", &format!("#!/bin/sh\n{text}"));
        let [from, to] = ["text", path].map(|it| self.at(it));
        fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("/bin/cp")
            .args(["-f"])
            .args([from, to])
            .status();
        assert!(copied.unwrap().success());
    }

    /// A command that answers; what it has no answer for succeeds without a word.
    pub(crate) fn command(&self, name: &str, answers: &[Answer<'_>]) {
        self.fake(&format!("bin/{name}"), name, answers);
    }

    /// The app's program.
    /// A machine that has the account of the shipper's job, and lets it be given the trail.
    pub(crate) fn account(&self) {
        for command in ["chgrp", "chmod", "chown"] {
            self.command(command, &[]);
        }
        self.command("stat", &[("-f", "wheel\n", 0)]);
        let is_there = [
            (". -read /Users/_conntrail UniqueID", "UniqueID: 499\n", 0),
            (". -read /Groups/_conntrail", "PrimaryGroupID: 499\n", 0),
        ];
        self.command("dscl", &is_there);
    }

    pub(crate) fn tool(&self, answers: &[Answer<'_>]) {
        self.fake(TOOL, "conntrail", answers);
    }

    fn fake(&self, path: &str, name: &str, answers: &[Answer<'_>]) {
        let asked = self.path("asked");
        let mut text = format!("printf '%s\\n' \"{name} $*\" >>'{asked}'\ncase \"$*\" in\n");
        for (index, (arguments, answer, code)) in answers.iter().enumerate() {
            let file = format!("answers/{name}.{index}");
            self.write(&file, answer);
            let file = self.path(&file);
            writeln!(text, "\"{arguments}\"*) /bin/cat '{file}'; exit {code};;").unwrap();
        }
        text.push_str("esac\n");
        self.program(path, &text);
    }

    /// Runs a script with the app's folder and everything else below this root.
    pub(crate) fn run(&self, script: &str, arguments: &[&str]) -> Ran {
        let changed = script
            .replace(PATH, &format!("\nPATH='{}'\n", self.path("bin")))
            .replace(
                ROOT,
                &format!("\nroot='{}'\n", self.folder.path().display()),
            );
        let is_once = |line: &str| script.matches(line).count() == 1;
        assert!(
            is_once(PATH) && is_once(ROOT),
            "the script says where it works"
        );
        assert!(script.contains(APP_PATH));
        self.write("script", &changed);
        let output = Command::new("/bin/sh")
            .arg(self.at("script"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .output()
            .unwrap();
        let read = |path: &str| {
            let text = fs::read_to_string(self.at(path)).unwrap_or_default();
            text.replace(self.folder.path().to_str().unwrap(), "")
        };
        let printed = [output.stdout, output.stderr].concat();
        Ran {
            code: output.status.code(),
            asked: read("asked").lines().map(str::to_owned).collect(),
            log: read("log"),
            printed: String::from_utf8(printed)
                .unwrap()
                .replace(&self.path(""), "/"),
        }
    }
}

/// What `profiles show` prints: one profile with these payloads, each a type and its keys.
pub(crate) fn profiles(payloads: &[(&str, &str)]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n\
                    \t<key>_computerlevel</key>\n\t<array>\n\t\t<dict>\n\
                    \t\t\t<key>ProfileItems</key>\n\t\t\t<array>\n"
        .to_owned();
    for (kind, keys) in payloads {
        let keys = keys.replace("><", ">\n\t\t\t\t\t\t<");
        write!(
            text,
            "\t\t\t\t<dict>\n\t\t\t\t\t<key>PayloadContent</key>\n\t\t\t\t\t<dict>\n\
             \t\t\t\t\t\t{keys}\n\t\t\t\t\t</dict>\n\t\t\t\t\t<key>PayloadType</key>\n\
             \t\t\t\t\t<string>{kind}</string>\n\t\t\t\t</dict>\n"
        )
        .unwrap();
    }
    text + "\t\t\t</array>\n\t\t</dict>\n\t</array>\n</dict>\n</plist>\n"
}

/// A system extension policy with one key that lists extensions of teams.
pub(crate) fn policy(keys: &str) -> (&'static str, &str) {
    ("com.apple.system-extension-policy", keys)
}

/// `<key>NAME</key><dict><key>TEAM</key><array>…</array></dict>`.
pub(crate) fn listing(key: &str, lists: &[(&str, &[&str])]) -> String {
    let lists = lists.iter().map(|(team, extensions)| {
        let extensions = extensions.iter().map(|it| format!("<string>{it}</string>"));
        match extensions.len() {
            0 => format!("<key>{team}</key><array/>"),
            _ => format!(
                "<key>{team}</key><array>{}</array>",
                extensions.collect::<String>()
            ),
        }
    });
    format!("<key>{key}</key><dict>{}</dict>", lists.collect::<String>())
}
