//! What this app holds: the extension in its bundle, by name and version.

use crate::extension::Version;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An extension in an app's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionBundle {
    /// Its bundle identifier, after which its folder is named.
    pub identifier: String,
    /// Its version, where its `Info.plist` is of the kind that has words in it.
    pub version: Option<Version>,
    /// The app's identifier, where its `Info.plist` is of that kind too.
    pub app: Option<String>,
    /// Who signed the app, where a provisioning profile in it says so.
    pub team: Option<String>,
}

/// Why the app's extension is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program is not in an app.
    #[error(
        "{0} is not in an app: system extensions can only be asked for by the app that holds \
         them. Run /Applications/Conntrail.app/Contents/MacOS/conntrail."
    )]
    NoApp(PathBuf),
    /// The folder is missing or cannot be read.
    #[error("{path} cannot be read ({source}): install the app again")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is not exactly one.
    #[error("{path} holds {count} extensions where one is expected: install the app again")]
    NotOne {
        /// Which folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// The extension of the app whose program is at `executable`.
///
/// # Errors
/// When the program is in no app, or the app does not hold exactly one extension.
pub fn extension_of(executable: &Path) -> Result<ExtensionBundle, Error> {
    let contents = contents_of(executable).ok_or_else(|| Error::NoApp(executable.to_owned()))?;
    let folder = contents.join("Library/SystemExtensions");
    let unreadable = |source| Error::Unreadable {
        path: folder.clone(),
        source,
    };
    let entries = fs::read_dir(&folder).map_err(unreadable)?;
    let app = text_of(&contents.join("Info.plist"), "CFBundleIdentifier");
    let team = team_of(&contents.join("embedded.provisionprofile"));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let is_extension = path.extension().is_some_and(|it| it == "systemextension");
        let name = path.file_stem().and_then(|it| it.to_str());
        if let (true, Some(name)) = (is_extension, name) {
            let version = version_of(&path.join("Contents/Info.plist"));
            found.push(ExtensionBundle {
                identifier: name.to_owned(),
                version,
                app: app.clone(),
                team: team.clone(),
            });
        }
    }
    let count = found.len();
    let only = found.pop().filter(|_| count == 1);
    only.ok_or(Error::NotOne {
        path: folder,
        count,
    })
}

/// `X.app/Contents` of `X.app/Contents/MacOS/program`.
fn contents_of(executable: &Path) -> Option<&Path> {
    let contents = executable.parent()?.parent()?;
    let is_app = contents.parent()?.extension().is_some_and(|it| it == "app");
    (is_app && contents.file_name()? == "Contents").then_some(contents)
}

/// The version in an `Info.plist` in XML. In another form it is not known, which costs no more
/// than one question to the system.
fn version_of(path: &Path) -> Option<Version> {
    let text = fs::read_to_string(path).ok()?;
    Some(Version {
        short: string_after(&text, "CFBundleShortVersionString")?,
        build: string_after(&text, "CFBundleVersion")?,
    })
}

fn text_of(path: &Path, key: &str) -> Option<String> {
    string_after(&fs::read_to_string(path).ok()?, key)
}

/// The team in a provisioning profile, which is a property list in XML inside of a signature; the
/// system has checked that signature before this program may use what the profile grants.
fn team_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    string_after(&String::from_utf8_lossy(&bytes), "TeamIdentifier")
}

/// The text after a key, or the first one of a list.
fn string_after(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
    let rest = rest.trim_start();
    let (value, _) = rest
        .strip_prefix("<array>")
        .unwrap_or(rest)
        .trim_start()
        .strip_prefix("<string>")?
        .split_once("</string>")?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLIST: &str = "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>\n\
        <key>CFBundleShortVersionString</key>\n  <string>1.2</string>\n\
        <key>CFBundleVersion</key><string>34</string></dict></plist>";

    fn app(extensions: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let contents = folder.path().join("Conntrail.app/Contents");
        fs::create_dir_all(contents.join("Library/SystemExtensions")).unwrap();
        for (name, plist) in extensions {
            let inner = contents
                .join("Library/SystemExtensions")
                .join(name)
                .join("Contents");
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("Info.plist"), plist).unwrap();
        }
        (folder, contents.join("MacOS/conntrail"))
    }

    // facts: only-the-app-may-ask
    #[test]
    fn the_extension_is_found_by_its_folder_and_its_version_read() {
        let (_folder, program) =
            app(&[("org.example.filter.systemextension", PLIST), ("x.txt", "")]);
        let found = extension_of(&program).unwrap();
        assert_eq!(found.identifier, "org.example.filter");
        assert_eq!(found.version.unwrap().to_string(), "1.2 (34)");
        assert_eq!(found.team, None);
        for plist in [
            "bplist00",
            "",
            "<key>CFBundleVersion</key><integer>3</integer>",
        ] {
            let (_folder, program) = app(&[("a.systemextension", plist)]);
            assert_eq!(extension_of(&program).unwrap().version, None);
        }
    }

    #[test]
    fn the_app_is_known_by_its_property_list() {
        let (folder, program) = app(&[("org.example.filter.systemextension", PLIST)]);
        assert_eq!(extension_of(&program).unwrap().app, None);
        let plist = "<key>CFBundleIdentifier</key><string>org.example</string>";
        let path = folder.path().join("Conntrail.app/Contents/Info.plist");
        fs::write(path, plist).unwrap();
        let found = extension_of(&program).unwrap().app;
        assert_eq!(found.as_deref(), Some("org.example"));
    }

    #[test]
    fn the_team_is_that_of_the_apps_provisioning_profile() {
        let (folder, program) = app(&[("org.example.filter.systemextension", PLIST)]);
        let profile = folder
            .path()
            .join("Conntrail.app/Contents/embedded.provisionprofile");
        let list = "<key>TeamIdentifier</key>\n\t<array>\n\t\t<string>AB12CD34EF</string>";
        let bytes = [&[0x30, 0x82, 0xff, 0x06][..], list.as_bytes(), &[0xa0]].concat();
        fs::write(&profile, bytes).unwrap();
        let found = extension_of(&program).unwrap();
        assert_eq!(found.team.as_deref(), Some("AB12CD34EF"));
        fs::write(&profile, [0x30, 0x80]).unwrap();
        assert_eq!(extension_of(&program).unwrap().team, None);
    }

    #[test]
    fn a_program_outside_of_an_app_is_told_where_to_be() {
        for path in ["/usr/local/bin/conntrail", "conntrail", "/"] {
            let error = extension_of(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains("/Applications/Conntrail.app"), "{error}");
        }
    }

    #[test]
    fn an_app_with_none_or_two_extensions_is_broken() {
        let (_folder, program) = app(&[]);
        let error = extension_of(&program).unwrap_err().to_string();
        assert!(error.contains("holds 0 extensions"), "{error}");
        let (_folder, program) = app(&[("a.systemextension", ""), ("b.systemextension", "")]);
        let error = extension_of(&program).unwrap_err().to_string();
        assert!(error.contains("holds 2 extensions"), "{error}");
        let gone = Path::new("/nowhere/X.app/Contents/MacOS/x");
        let error = extension_of(gone).unwrap_err().to_string();
        assert!(error.contains("install the app again"), "{error}");
    }
}
