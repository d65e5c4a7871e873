//! An app that is as large as the tests need it.

use mdm::identity::{APP, EXTENSION, Identity, Signer};
use mdm::jobs::{JOBS, Job};
use packaging::package::{self, Expected, Product, Request, Script};
use packaging::version::Version;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const MODIFIED_S: u32 = 1_700_000_000;
pub(crate) const TEAM: &str = "AB12CD34EF";

pub(crate) struct Sample {
    folder: TempDir,
    pub(crate) identity: Identity,
    pub(crate) version: Version,
    pub(crate) jobs: &'static [Job],
}

impl Sample {
    pub(crate) fn new() -> Sample {
        let sample = Sample {
            folder: TempDir::new().unwrap(),
            identity: Identity {
                app: APP.parse().unwrap(),
                extension: EXTENSION.parse().unwrap(),
                team: TEAM.parse().unwrap(),
                signer: Signer::DeveloperId,
            },
            version: Version {
                short: "1.2.3".parse().unwrap(),
                build: 45,
            },
            jobs: JOBS,
        };
        sample.fill();
        sample
    }

    fn fill(&self) {
        let extension = format!("Contents/Library/SystemExtensions/{EXTENSION}.systemextension");
        let uninstall = package::script(Script::Uninstall, &self.product()).unwrap();
        self.write("Contents/Info.plist", &info(APP), 0o644);
        self.write("Contents/MacOS/conntrail", "program", 0o775);
        self.write("Contents/MacOS/conntrail-ship", "shipper", 0o755);
        self.write("Contents/Resources/uninstall.sh", &uninstall, 0o755);
        self.write("Contents/Resources/empty", "", 0o600);
        self.write(
            &format!("{extension}/Contents/Info.plist"),
            &info(EXTENSION),
            0o664,
        );
        let program = format!("{extension}/Contents/MacOS/conntraild");
        self.write(&program, &"filter\n".repeat(10_000), 0o755);
    }

    pub(crate) fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.app().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn app(&self) -> PathBuf {
        self.folder.path().join("Conntrail.app")
    }

    pub(crate) fn product(&self) -> Product<'_> {
        Product {
            identity: &self.identity,
            version: self.version,
            jobs: self.jobs,
        }
    }

    pub(crate) fn package(&self) -> Vec<u8> {
        try_package(&self.product(), &self.app()).unwrap()
    }

    pub(crate) fn findings(&self, package: &[u8]) -> Vec<String> {
        findings(package, &self.product(), &self.app())
    }
}

pub(crate) fn try_package(product: &Product<'_>, app: &Path) -> Result<Vec<u8>, package::Error> {
    package::write(&Request {
        product,
        app,
        modified_s: MODIFIED_S,
    })
}

pub(crate) fn findings(package: &[u8], product: &Product<'_>, app: &Path) -> Vec<String> {
    let findings = package::inspect(package, &Expected { product, app });
    findings.iter().map(ToString::to_string).collect()
}

fn info(identifier: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>CFBundleIdentifier</key><string>{identifier}</string>\
         <key>CFBundleShortVersionString</key><string>1.2.3</string>\
         <key>CFBundleVersion</key><string>45</string></dict></plist>\n"
    )
}
