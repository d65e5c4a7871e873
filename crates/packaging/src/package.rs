//! The installer's package: a product archive with one component, its scripts and its jobs.
//!
//! What Installer reads is not documented as a whole. Names and attributes here are those of the
//! packages that Apple's `pkgbuild` and `productbuild` write, and of Apple's reference of the
//! Distribution file.

mod documents;
mod inspect;
mod jobs;
mod payload;
mod scripts;

pub use inspect::{Expected, inspect};
pub use jobs::{jobs_agree, launchd_plist};
pub use scripts::{Script, script};

pub use crate::app::{APP_PROGRAM as PROGRAM, MACOS_MIN as OLDEST_MACOS, NAME};

use crate::archive::{self, Entry, bom, cpio, xar};
use crate::version::Version;
use mdm::identity::{BundleId, Identity};
use mdm::jobs::Job;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where the app is installed.
pub const APP_PATH: &str = "/Applications/Conntrail.app";

/// Where jobs write what they say.
pub const LOGS: &str = "/Library/Logs/Conntrail";

/// Where the trail is.
pub const RECORDS: &str = "/Library/Application Support/Conntrail";

/// Where a job that waits for its configuration may get it from: device management and two files.
const CONFIGURATION: &[&str] = &[
    "/Library/Managed Preferences/com.conntrail.agent.plist",
    "/Library/Application Support/Conntrail/conntrail.toml",
    "/Library/Application Support/Conntrail/ship.toml",
];

/// What is packed.
#[derive(Clone, Debug)]
pub struct Product<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Which version of it.
    pub version: Version,
    /// What launchd starts.
    pub jobs: &'a [Job],
}

/// A package to be written.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is packed.
    pub product: &'a Product<'a>,
    /// The finished folder `Conntrail.app`.
    pub app: &'a Path,
    /// What every time in the package is, in seconds since 1970.
    pub modified_s: u32,
}

/// Why no package can be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The app holds what cannot be installed.
    #[error("{0}: only folders, files and links with names in UTF-8 can be packed")]
    Unpackable(PathBuf),
    /// The app is another than the product.
    #[error("{path}: {key} is {found:?} and must be {wanted:?}")]
    AnotherApp {
        /// The property list.
        path: PathBuf,
        /// The key in it.
        key: &'static str,
        /// What it says.
        found: Option<String>,
        /// What it must say.
        wanted: String,
    },
    /// Jobs and programs do not belong to each other.
    #[error("{0}")]
    Jobs(Finding),
    /// A script cannot be made from its template.
    #[error("{script}: {problem}")]
    Script {
        /// The name of the template in `macos/package`.
        script: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A format has no room for it.
    #[error(transparent)]
    Archive(#[from] archive::Error),
}

/// Something that is wrong with a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a member of the package, or a path in one.
    pub place: String,
    /// What.
    pub problem: String,
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Product<'_> {
    /// The identifier of the package, under which its receipt is kept.
    pub fn package_id(&self) -> String {
        format!("{}.pkg", self.identity.app)
    }

    /// The version of the package: that of the app, and the number of the build, so that it rises
    /// with every build.
    pub fn package_version(&self) -> String {
        format!("{}.{}", self.version.short, self.version.build)
    }

    /// The name of the component inside the package.
    pub fn component(&self) -> String {
        format!("{NAME}.pkg")
    }

    /// The name of the package's file.
    pub fn file_name(&self) -> String {
        format!("{NAME}-{}-{}.pkg", self.version.short, self.version.build)
    }

    /// Where a job's property list is installed.
    pub fn plist_path(&self, job: &Job) -> String {
        plist_path(job, &self.identity.app)
    }
}

fn plist_path(job: &Job, app: &BundleId) -> String {
    format!("/Library/LaunchDaemons/{}.plist", job.label(app))
}

/// Writes a package, unsigned. The same request gives the same bytes, wherever the app is.
///
/// # Errors
/// When the app cannot be read, is not the product, or a program and a job are without each other.
pub fn write(request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let product = request.product;
    let payload = payload::entries(request)?;
    let scripts = scripts::entries(product, request.modified_s)?;
    let bill: Vec<_> = payload
        .iter()
        .map(bom::Record::of)
        .collect::<Result<_, _>>()?;
    let component = product.component();
    let member = |name: &str| format!("{component}/{name}");
    let members = BTreeMap::from([
        (
            "Distribution".to_owned(),
            documents::distribution(product, &payload).into_bytes(),
        ),
        (member("Bom"), bom::write(&bill)?),
        (
            member("PackageInfo"),
            documents::package_info(product, &payload).into_bytes(),
        ),
        (member("Payload"), packed(&payload)?),
        (member("Scripts"), packed(&scripts)?),
    ]);
    Ok(xar::write(&members, request.modified_s))
}

fn packed(entries: &[Entry]) -> Result<Vec<u8>, archive::Error> {
    Ok(archive::gzip(&cpio::write(entries)?))
}
