//! The app as a folder: programs, property lists, provisioning profiles, resources.
//!
//! What is written here is not signed yet, and is the same to the byte whenever and wherever it is
//! written.

use crate::version::Version;
use mdm::identity::BundleId;
use mdm::jobs::Job;
use plist::{Dictionary, Value};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The app's folder.
pub const APP: &str = "Conntrail.app";

/// What the system's settings show.
pub const NAME: &str = "Conntrail";

/// The app's main executable: the tool.
pub const APP_PROGRAM: &str = "conntrail";

/// The extension's executable: the recorder.
pub const EXTENSION_PROGRAM: &str = "conntraild";

/// The class that the system makes one of when it starts the filter; `sensor-macos` registers it.
pub const PROVIDER_CLASS: &str = "ConntrailFilterProvider";

/// What a content filter is called in `NEProviderClasses`.
pub const FILTER_POINT: &str = "com.apple.networkextension.filter-data";

/// The oldest macOS that the programs run on.
pub const MACOS_MIN: &str = "13.0";

const USAGE: &str = "Records which process connects where, when, how long and how many bytes, and \
     never what is transferred.";

/// Everything that the folder is made of.
pub struct Parts<'a> {
    /// The app's identifier.
    pub app: &'a BundleId,
    /// The extension's identifier.
    pub extension: &'a BundleId,
    /// Of both.
    pub version: Version,
    /// The app's program, for all processors.
    pub app_program: &'a [u8],
    /// The extension's program, for all processors.
    pub extension_program: &'a [u8],
    /// The programs beside the app's own, each for all processors, by their names.
    pub helpers: &'a [(&'a str, &'a [u8])],
    /// The app's provisioning profile.
    pub app_profile: &'a [u8],
    /// The extension's provisioning profile.
    pub extension_profile: &'a [u8],
    /// What goes into the app's `Resources`.
    pub resources: &'a [Resource<'a>],
}

/// A file in `Resources`.
pub struct Resource<'a> {
    /// Its name there.
    pub name: &'a str,
    /// What is in it.
    pub content: &'a [u8],
    /// Whether it can be run.
    pub executable: bool,
}

/// A program beside the app's own, which launchd starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its name in `Contents/MacOS`.
    pub program: &'static str,
    /// What its signature calls it: as launchd does the job.
    pub identifier: BundleId,
}

/// The programs beside the app's own that jobs need, each once.
pub fn helpers(jobs: &[Job], app: &BundleId) -> Vec<Helper> {
    let mut helpers: Vec<Helper> = Vec::new();
    for job in jobs.iter().filter(|job| job.program != APP_PROGRAM) {
        if helpers.iter().any(|it| it.program == job.program) {
            continue;
        }
        // An identifier and a name of ours make one again.
        let identifier = job.label(app).parse().expect("an identifier");
        helpers.push(Helper {
            program: job.program,
            identifier,
        });
    }
    helpers
}

/// A file or folder could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub struct Error {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Where the extension lies in the app.
pub fn extension_path(app: &Path, extension: &BundleId) -> PathBuf {
    app.join("Contents/Library/SystemExtensions")
        .join(format!("{extension}.systemextension"))
}

/// Writes the app into a folder; an older one there is replaced.
///
/// # Errors
/// When something cannot be written.
pub fn write(parts: &Parts<'_>, folder: &Path) -> Result<PathBuf, Error> {
    let app = folder.join(APP);
    if app.exists() {
        fs::remove_dir_all(&app).map_err(|source| error(&app, source))?;
    }
    let contents = app.join("Contents");
    let app_plist = info_plist(parts.app, APP_PROGRAM, parts.version, Kind::App);
    write_file(&contents.join("Info.plist"), &app_plist, PLAIN)?;
    let program = contents.join("MacOS").join(APP_PROGRAM);
    write_file(&program, parts.app_program, RUNS)?;
    for (name, content) in parts.helpers {
        write_file(&contents.join("MacOS").join(name), content, RUNS)?;
    }
    let profile = contents.join(PROVISIONING_PROFILE);
    write_file(&profile, parts.app_profile, PLAIN)?;
    for resource in parts.resources {
        let path = contents.join("Resources").join(resource.name);
        let mode = if resource.executable { RUNS } else { PLAIN };
        write_file(&path, resource.content, mode)?;
    }
    write_extension(parts, &extension_path(&app, parts.extension))?;
    Ok(app)
}

/// The provisioning profile's name in `Contents`.
pub const PROVISIONING_PROFILE: &str = "embedded.provisionprofile";

const PLAIN: u32 = 0o644;
const RUNS: u32 = 0o755;

enum Kind {
    App,
    Extension,
}

fn write_extension(parts: &Parts<'_>, extension: &Path) -> Result<(), Error> {
    let contents = extension.join("Contents");
    let plist = info_plist(
        parts.extension,
        EXTENSION_PROGRAM,
        parts.version,
        Kind::Extension,
    );
    write_file(&contents.join("Info.plist"), &plist, PLAIN)?;
    let program = contents.join("MacOS").join(EXTENSION_PROGRAM);
    write_file(&program, parts.extension_program, RUNS)?;
    let profile = contents.join(PROVISIONING_PROFILE);
    write_file(&profile, parts.extension_profile, PLAIN)
}

fn info_plist(identifier: &BundleId, program: &str, version: Version, kind: Kind) -> Vec<u8> {
    let mut plist = Dictionary::new();
    let mut text = |key: &str, value: &str| plist.insert(key.to_owned(), value.into());
    text("CFBundleDevelopmentRegion", "en");
    text("CFBundleDisplayName", NAME);
    text("CFBundleExecutable", program);
    text("CFBundleIdentifier", identifier.as_str());
    text("CFBundleInfoDictionaryVersion", "6.0");
    text("CFBundleName", NAME);
    text(
        "CFBundlePackageType",
        match kind {
            Kind::App => "APPL",
            Kind::Extension => "SYSX",
        },
    );
    text("CFBundleShortVersionString", &version.short.to_string());
    text("CFBundleVersion", &version.build.to_string());
    text("LSMinimumSystemVersion", MACOS_MIN);
    let platforms = vec![Value::from("MacOSX")];
    plist.insert("CFBundleSupportedPlatforms".to_owned(), platforms.into());
    match kind {
        // It has no window, so it belongs neither into the Dock nor among the apps that are open.
        Kind::App => plist.insert("LSUIElement".to_owned(), true.into()),
        Kind::Extension => {
            plist.insert("NSSystemExtensionUsageDescription".to_owned(), USAGE.into());
            plist.insert("NetworkExtension".to_owned(), network_extension().into())
        }
    };
    plist.sort_keys();
    xml(&plist.into())
}

/// No `NEMachServiceName`: nobody speaks to the extension.
fn network_extension() -> Dictionary {
    let classes = Dictionary::from_iter([(FILTER_POINT, PROVIDER_CLASS)]);
    Dictionary::from_iter([("NEProviderClasses", Value::from(classes))])
}

/// As XML, which is what the tool reads its own version from.
pub(crate) fn xml(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = value.to_writer_xml(&mut bytes);
    written.expect("memory takes everything, and these values have a form in XML");
    bytes.push(b'\n');
    bytes
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    write().map_err(|source| error(path, source))
}

fn error(path: &Path, source: io::Error) -> Error {
    Error {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Short;

    fn written(folder: &Path, build: u32) -> PathBuf {
        let (app, extension) = (mdm::identity::APP, mdm::identity::EXTENSION);
        let parts = Parts {
            app: &app.parse().unwrap(),
            extension: &extension.parse().unwrap(),
            version: Version {
                short: Short(0, 1, 0),
                build,
            },
            app_program: b"tool",
            extension_program: b"recorder",
            helpers: &[("conntrail-ship", b"shipper")],
            app_profile: b"profile of the app",
            extension_profile: b"profile of the extension",
            resources: &[Resource {
                name: "NOTICES.txt",
                content: b"thanks",
                executable: false,
            }],
        };
        write(&parts, folder).unwrap()
    }

    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(next) = waiting.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    let content = fs::read(&path).unwrap();
                    found.push((path.strip_prefix(folder).unwrap().to_owned(), content));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_same_parts_make_the_same_folder() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        assert_eq!(
            files(&written(one.path(), 1)),
            files(&written(two.path(), 1))
        );
    }

    #[test]
    fn nothing_of_an_older_app_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let app = written(folder.path(), 1);
        fs::write(app.join("Contents/Resources/old"), "").unwrap();
        let before = files(&app).len();
        assert_eq!(files(&written(folder.path(), 2)).len(), before - 1);
    }

    #[test]
    fn the_extension_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let app = written(folder.path(), 7);
        let identifier = mdm::identity::EXTENSION.parse().unwrap();
        let extension = extension_path(&app, &identifier);
        let plist = Value::from_file(extension.join("Contents/Info.plist")).unwrap();
        let plist = plist.as_dictionary().unwrap();
        let text = |key: &str| plist[key].as_string().unwrap();
        assert_eq!(text("CFBundlePackageType"), "SYSX");
        assert_eq!(text("CFBundleIdentifier"), mdm::identity::EXTENSION);
        assert_eq!(text("CFBundleVersion"), "7");
        let classes = &plist["NetworkExtension"].as_dictionary().unwrap()["NEProviderClasses"];
        let class = classes.as_dictionary().unwrap()[FILTER_POINT].as_string();
        assert_eq!(class, Some(PROVIDER_CLASS));
        assert_eq!(
            fs::read(extension.join("Contents/MacOS/conntraild")).unwrap(),
            b"recorder"
        );
        assert_eq!(
            fs::read(app.join("Contents/MacOS/conntrail-ship")).unwrap(),
            b"shipper"
        );
    }

    #[test]
    fn a_program_beside_the_main_one_is_called_as_its_job_is() {
        let app = mdm::identity::APP.parse().unwrap();
        let helpers = helpers(mdm::jobs::JOBS, &app);
        assert_eq!(helpers.len(), 1);
        assert_eq!(helpers[0].program, "conntrail-ship");
        assert_eq!(helpers[0].identifier.as_str(), "com.conntrail.agent.ship");
    }
}
