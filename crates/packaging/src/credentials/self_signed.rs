//! Throwaway certificates and profiles: of the shape of Apple's, and trusted by nobody.
//!
//! A root, an authority with Apple's mark in it, one certificate for programs and one for
//! packages, and a signed profile for each program. Their names say what they are. With them
//! everything up to the signature can be tried and tested by anybody; no Mac accepts the result.
//!
//! Made by the program `openssl`, version 3, which every Linux has or can install.

use super::certificate::{self, Kind};
use super::provisioning::Profile;
use super::{Files, Variant, agreement};
use agreement::Bundle;
use mdm::identity::{BundleId, TeamId};
use mdm::requirement::{
    DEVELOPER_ID_APPLICATION, DEVELOPER_ID_AUTHORITY, DEVELOPER_ID_INSTALLER,
    DEVELOPER_RELATIONS_AUTHORITY,
};
use plist::Value;
use sha2::Digest;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to make. [`Plan::right`] gives what fits; tests change fields to get what does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For whom: decides the mark in the authority's certificate.
    pub variant: Variant,
    /// The owner's name, in the certificates.
    pub organization: String,
    /// The certificate for programs.
    pub application: Issue,
    /// The certificate for packages.
    pub installer: Option<Issue>,
    /// The app's profile. The certificate for programs is added to those that it lists.
    pub app_profile: Profile,
    /// The extension's profile, likewise.
    pub extension_profile: Profile,
    /// Whether the profiles list the certificate for programs.
    pub lists_certificate: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// A certificate to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// For what.
    pub kind: Kind,
    /// The team in it.
    pub team: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error(
        "throwaway certificates are made by the program openssl, which is not there: install it \
         with `apt-get install openssl`"
    )]
    NoOpenssl,
    /// The program failed.
    #[error("`openssl {command}` failed; version 3 is needed. It says: {said}")]
    Openssl {
        /// What it was asked.
        command: String,
        /// Its last words.
        said: String,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// Of the file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A time is out of range.
    #[error("{0} s since 1970 is no time that a certificate can have")]
    Time(i64),
}

const DAY_SECONDS: i64 = 24 * 60 * 60;
const YEAR_SECONDS: i64 = 365 * DAY_SECONDS;
/// `ub-common-name` of RFC 5280, less what stands before and after the name in ours.
const NAME_CHARS_MAX: usize = 25;
/// `ub-organization-name` of RFC 5280.
const ORGANIZATION_CHARS_MAX: usize = 64;

/// Writes certificates, keys and profiles into this folder. Keys that are there from before are
/// used again; they are readable for their owner alone.
///
/// # Errors
///
/// Says that openssl is not there and how to get it, or what it says, or which file cannot be
/// written.
pub fn make(directory: &Path, plan: &Plan) -> Result<Files, Error> {
    let workshop = Workshop::open(directory, plan)?;
    workshop.key("root")?;
    workshop.key("authority")?;
    let subject = |what: &str| format!("/CN=Conntrail throwaway {what}, trusted by nobody");
    let span = (plan.now - DAY_SECONDS, plan.now + 20 * YEAR_SECONDS);
    workshop.certificate("root", "root", &subject("root"), "root", span)?;
    let authority = subject("authority");
    workshop.certificate("authority", "root", &authority, "authority", span)?;
    let files = Files {
        application: workshop.leaf("application", plan, &plan.application)?,
        installer: match &plan.installer {
            Some(issue) => workshop.leaf("installer", plan, issue)?,
            None => vec![],
        },
        app_profile: workshop.profile("app", plan, &plan.app_profile)?,
        extension_profile: workshop.profile("extension", plan, &plan.extension_profile)?,
    };
    workshop.close()?;
    Ok(files)
}

impl Plan {
    /// What fits: [`agreement::check`] finds nothing in it.
    pub fn right(
        variant: Variant,
        team: &TeamId,
        app: &BundleId,
        extension: &BundleId,
        organization: &str,
        now: i64,
    ) -> Plan {
        let years = match variant {
            Variant::DeveloperId => 5,
            Variant::Development => 1,
        };
        let issue = |kind| Issue {
            kind,
            team: team.to_string(),
            not_before: now - DAY_SECONDS,
            not_after: now + years * YEAR_SECONDS,
        };
        Plan {
            variant,
            organization: organization.to_owned(),
            application: issue(variant.application_kind()),
            installer: match variant {
                Variant::DeveloperId => Some(issue(Kind::DeveloperIdInstaller)),
                Variant::Development => None,
            },
            app_profile: right_profile(Bundle::App, variant, team, app, now),
            extension_profile: right_profile(Bundle::Extension, variant, team, extension, now),
            lists_certificate: true,
            now,
        }
    }
}

fn right_profile(
    bundle: Bundle,
    variant: Variant,
    team: &TeamId,
    identifier: &BundleId,
    now: i64,
) -> Profile {
    let mut entitlements = agreement::claims(bundle, variant, identifier, team);
    let groups = Value::Array(vec![format!("{team}.*").into()]);
    entitlements.insert("keychain-access-groups".to_owned(), groups);
    let (years, devices) = match variant {
        Variant::DeveloperId => (18, vec![]),
        Variant::Development => (1, vec!["00000000-0000000000000000".to_owned()]),
    };
    Profile {
        name: format!("Conntrail throwaway, trusted by nobody: {identifier}"),
        uuid: uuid(&format!("{variant} {team} {identifier}")),
        teams: vec![team.to_string()],
        prefixes: vec![team.to_string()],
        platforms: vec!["OSX".to_owned()],
        created: now - DAY_SECONDS,
        expires: now + years * YEAR_SECONDS,
        all_devices: variant == Variant::DeveloperId,
        devices,
        certificates: vec![],
        entitlements,
    }
}

/// The same for the same text. Version 8 is for numbers made in a way of one's own (RFC 9562).
fn uuid(of: &str) -> String {
    let mut bytes = sha2::Sha256::digest(of)[..16].to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits[range].to_owned());
    parts.join("-")
}

/// Where certificates are made. What only openssl needs is in a folder that goes when it closes.
struct Workshop {
    directory: PathBuf,
    scratch: PathBuf,
}

impl Workshop {
    fn open(directory: &Path, plan: &Plan) -> Result<Workshop, Error> {
        let workshop = Workshop {
            directory: directory.to_owned(),
            scratch: directory.join("openssl"),
        };
        for folder in [&workshop.scratch, &directory.join("keys")] {
            written(folder, fs::create_dir_all(folder))?;
        }
        workshop.write("openssl/openssl.cnf", configuration(plan).as_bytes())?;
        workshop.write("openssl/index.txt", b"")?;
        let serial = format!("{:016X}\n", plan.now.unsigned_abs());
        workshop.write("openssl/serial", serial.as_bytes())?;
        Ok(workshop)
    }

    fn close(&self) -> Result<(), Error> {
        written(&self.scratch, fs::remove_dir_all(&self.scratch))
    }

    /// A key, and a request for a certificate, whose subject the authority decides.
    fn key(&self, name: &str) -> Result<(), Error> {
        let key = format!("keys/{name}.key.pem");
        let request = format!("keys/{name}.csr.pem");
        if self.directory.join(&request).exists() {
            return Ok(());
        }
        self.secret(&key)?;
        let bits = "rsa_keygen_bits:2048";
        self.openssl([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            bits,
            "-out",
            &key,
        ])?;
        let configuration = "openssl/openssl.cnf";
        let arguments = [
            "req",
            "-new",
            "-config",
            configuration,
            "-subj",
            "/CN=throwaway",
        ];
        self.openssl(
            arguments
                .into_iter()
                .chain(["-key", &key, "-out", &request]),
        )
    }

    fn certificate(
        &self,
        name: &str,
        issuer: &str,
        subject: &str,
        extensions: &str,
        (from, until): (i64, i64),
    ) -> Result<(), Error> {
        let file = format!("{name}.pem");
        let request = format!("keys/{name}.csr.pem");
        let issuer_key = format!("keys/{issuer}.key.pem");
        let issuer_file = format!("{issuer}.pem");
        let (from, until) = (timestamp(from)?, timestamp(until)?);
        let mut arguments = vec!["ca", "-batch", "-notext", "-utf8", "-preserveDN"];
        arguments.extend(["-config", "openssl/openssl.cnf", "-md", "sha256"]);
        arguments.extend(["-in", &request, "-out", &file, "-keyfile", &issuer_key]);
        arguments.extend(["-startdate", &from, "-enddate", &until]);
        arguments.extend(["-subj", subject, "-extensions", extensions]);
        match name == issuer {
            true => arguments.push("-selfsign"),
            false => arguments.extend(["-cert", &issuer_file]),
        }
        self.openssl(arguments)
    }

    /// A certificate to sign with. Its file also has the issuers, itself first, as the signing
    /// tool wants them.
    fn leaf(&self, name: &str, plan: &Plan, issue: &Issue) -> Result<Vec<PathBuf>, Error> {
        self.key(name)?;
        let span = (issue.not_before, issue.not_after);
        let subject = subject(&plan.organization, issue);
        self.certificate(name, "authority", &subject, &format!("{name}_leaf"), span)?;
        let file = format!("{name}.pem");
        let mut chain = self.read(&file)?;
        chain.extend(self.read("authority.pem")?);
        chain.extend(self.read("root.pem")?);
        self.write(&file, &chain)?;
        let key = self.directory.join(format!("keys/{name}.key.pem"));
        Ok(vec![key, self.directory.join(file)])
    }

    fn profile(&self, name: &str, plan: &Plan, profile: &Profile) -> Result<PathBuf, Error> {
        let mut profile = profile.clone();
        if plan.lists_certificate {
            profile.certificates.push(self.application()?);
        }
        let list = format!("openssl/{name}.plist");
        self.write(&list, &profile.to_plist())?;
        let file = format!("{name}.provisionprofile");
        let mut arguments = vec!["cms", "-sign", "-binary", "-nodetach", "-md", "sha256"];
        arguments.extend([
            "-signer",
            "authority.pem",
            "-inkey",
            "keys/authority.key.pem",
        ]);
        arguments.extend(["-certfile", "root.pem", "-in", &list]);
        arguments.extend(["-outform", "DER", "-out", &file]);
        self.openssl(arguments)?;
        Ok(self.directory.join(file))
    }

    /// The certificate for programs, in DER.
    fn application(&self) -> Result<Vec<u8>, Error> {
        let contents = certificate::read(&self.read("application.pem")?);
        let leaf = contents.and_then(|it| it.leaf().map(|leaf| leaf.der.clone()));
        leaf.map_err(|error| Error::Openssl {
            command: "ca".to_owned(),
            said: format!("nothing, but of what it wrote {error}"),
        })
    }

    fn openssl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        run("openssl", &self.directory, &arguments)
    }

    /// An empty file that only its owner may read, so that what is written into it never was
    /// open to others.
    fn secret(&self, file: &str) -> Result<(), Error> {
        let path = self.directory.join(file);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        written(&path, options.open(&path).map(drop))
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, Error> {
        let path = self.directory.join(file);
        written(&path, fs::read(&path))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(file);
        written(&path, fs::write(&path, bytes))
    }
}

fn run(program: impl AsRef<OsStr>, directory: &Path, arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    command.stdin(Stdio::null()).env_remove("OPENSSL_CONF");
    let failed = |said: String| Error::Openssl {
        command: arguments.join(" "),
        said,
    };
    let output = command.output().map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        match is_missing {
            true => Error::NoOpenssl,
            false => failed(error.to_string()),
        }
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

fn written<T>(path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// A subject like those of Apple's certificates for developers.
fn subject(organization: &str, issue: &Issue) -> String {
    let is_plain = |it: &char| !it.is_control();
    let name: String = organization.chars().filter(is_plain).collect();
    let name = match name.trim() {
        "" => "Nobody",
        name => name,
    };
    let short: String = name.chars().take(NAME_CHARS_MAX).collect();
    let long = format!("Throwaway, trusted by nobody: {name}");
    let long: String = long.chars().take(ORGANIZATION_CHARS_MAX).collect();
    let (kind, owner) = match issue.kind {
        Kind::DeveloperIdApplication => ("Developer ID Application", issue.team.as_str()),
        Kind::DeveloperIdInstaller => ("Developer ID Installer", issue.team.as_str()),
        // The person stands in brackets here, not the team.
        Kind::AppleDevelopment => ("Apple Development", "THROWAWAY0"),
        Kind::AppleDistribution => ("Apple Distribution", issue.team.as_str()),
        Kind::StoreInstaller => ("3rd Party Installer", issue.team.as_str()),
        Kind::Other => ("Other", issue.team.as_str()),
    };
    let common = escaped(&format!("{kind}: {} ({owner})", short.trim()));
    let (team, long) = (escaped(&issue.team), escaped(long.trim()));
    format!("/UID={team}/CN={common}/OU={team}/O={long}/C=US")
}

/// As `-subj` wants what has a meaning in it.
fn escaped(text: &str) -> String {
    let escape = |letter: char| match letter {
        '/' | '+' | '\\' => format!("\\{letter}"),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

fn timestamp(seconds: i64) -> Result<String, Error> {
    let time = jiff::Timestamp::from_second(seconds).map_err(|_| Error::Time(seconds))?;
    Ok(time.strftime("%Y%m%d%H%M%SZ").to_string())
}

/// What openssl must know: what its authority accepts, and the extensions of each certificate.
fn configuration(plan: &Plan) -> String {
    let authority = match plan.variant {
        Variant::DeveloperId => DEVELOPER_ID_AUTHORITY,
        Variant::Development => DEVELOPER_RELATIONS_AUTHORITY,
    };
    let application = extensions(plan.application.kind);
    let installer = plan.installer.as_ref();
    let installer = installer.map_or(String::new(), |it| extensions(it.kind));
    format!(
        "[ca]\ndefault_ca = conntrail\n\
         [conntrail]\ndatabase = openssl/index.txt\nserial = openssl/serial\n\
         new_certs_dir = openssl\nunique_subject = no\npolicy = any\ncopy_extensions = none\n\
         [any]\nUID = optional\nCN = supplied\nOU = optional\nO = optional\nC = optional\n\
         [req]\ndistinguished_name = name\nstring_mask = utf8only\n\
         [name]\n\
         [root]\nbasicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign,cRLSign\n\
         subjectKeyIdentifier = hash\n\
         [authority]\nbasicConstraints = critical,CA:true,pathlen:0\n\
         keyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid\n{authority} = DER:0500\n\
         [application_leaf]\n{application}[installer_leaf]\n{installer}"
    )
}

fn extensions(kind: Kind) -> String {
    let (usage, marks): (_, &[&str]) = match kind {
        Kind::DeveloperIdApplication => ("codeSigning", &[DEVELOPER_ID_APPLICATION]),
        Kind::DeveloperIdInstaller => ("1.2.840.113635.100.4.13", &[DEVELOPER_ID_INSTALLER]),
        Kind::AppleDevelopment => (
            "codeSigning",
            &["1.2.840.113635.100.6.1.2", "1.2.840.113635.100.6.1.12"],
        ),
        Kind::AppleDistribution => (
            "codeSigning",
            &["1.2.840.113635.100.6.1.4", "1.2.840.113635.100.6.1.7"],
        ),
        Kind::StoreInstaller => ("1.2.840.113635.100.4.9", &["1.2.840.113635.100.6.1.8"]),
        Kind::Other => ("codeSigning", &[]),
    };
    let mark = |it: &&str| format!("{it} = critical,DER:0500\n");
    let marks: String = marks.iter().map(mark).collect();
    format!(
        "basicConstraints = critical,CA:false\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = critical,{usage}\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid\n{marks}"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::OnceLock;

    pub(crate) const NOW: i64 = 1_800_000_000;

    pub(crate) fn plan(variant: Variant) -> Plan {
        let team = "AB12CD34EF".parse().unwrap();
        let app = mdm::identity::APP.parse().unwrap();
        let extension = mdm::identity::EXTENSION.parse().unwrap();
        Plan::right(
            variant,
            &team,
            &app,
            &extension,
            "Example / Söhne + Co",
            NOW,
        )
    }

    /// What fits, made once for all tests.
    pub(crate) fn credentials(variant: Variant) -> &'static Credentials {
        static OF_FIELD: OnceLock<Credentials> = OnceLock::new();
        static OF_HOME: OnceLock<Credentials> = OnceLock::new();
        let made_once = match variant {
            Variant::DeveloperId => &OF_FIELD,
            Variant::Development => &OF_HOME,
        };
        made_once.get_or_init(|| made(&plan(variant)).2)
    }

    /// What a plan gives, with keys that are made once for all tests.
    pub(crate) fn made(plan: &Plan) -> (tempfile::TempDir, Files, Credentials) {
        static KEYS: OnceLock<Vec<(OsString, Vec<u8>)>> = OnceLock::new();
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        fs::create_dir(&keys).unwrap();
        for (name, bytes) in KEYS.get_or_init(new_keys) {
            fs::write(keys.join(name), bytes).unwrap();
        }
        let files = make(directory.path(), plan).unwrap_or_else(|error| panic!("{error}"));
        let credentials = files.read().unwrap_or_else(|error| panic!("{error}"));
        (directory, files, credentials)
    }

    fn new_keys() -> Vec<(OsString, Vec<u8>)> {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(Variant::DeveloperId);
        make(directory.path(), &plan).unwrap_or_else(|error| panic!("{error}"));
        let keys = fs::read_dir(directory.path().join("keys")).unwrap();
        let keys = keys.map(|it| it.unwrap());
        keys.map(|it| (it.file_name(), fs::read(it.path()).unwrap()))
            .collect()
    }

    #[test]
    fn the_certificates_have_the_shape_of_those_of_apple() {
        let (_directory, _, made) = made(&plan(Variant::DeveloperId));
        let application = &made.application.certificate;
        assert_eq!(
            application.common_name,
            "Developer ID Application: Example / Söhne + Co (AB12CD34EF)"
        );
        assert_eq!(application.kind, Kind::DeveloperIdApplication);
        assert_eq!(application.team.as_deref(), Some("AB12CD34EF"));
        assert_eq!(application.not_before, NOW - DAY_SECONDS);
        assert_eq!(application.not_after, NOW + 5 * YEAR_SECONDS);
        assert_eq!(made.application.issuers.len(), 2);
        let authority = &made.application.issuers[0];
        assert!(authority.is_authority && authority.common_name.contains("trusted by nobody"));
        assert!(
            authority
                .extensions
                .iter()
                .any(|it| it == DEVELOPER_ID_AUTHORITY)
        );
        let organization = application.organization.as_deref().unwrap();
        assert!(organization.starts_with("Throwaway, trusted by nobody"));
        assert_eq!(application.fits(&made.application.keys[0]), Some(true));
        let installer = &made.installer.as_ref().unwrap().certificate;
        assert_eq!(installer.kind, Kind::DeveloperIdInstaller);
        assert_eq!(installer.fits(&made.application.keys[0]), Some(false));
    }

    #[test]
    fn for_development_the_person_stands_in_brackets_and_nothing_signs_packages() {
        let (_directory, files, made) = made(&plan(Variant::Development));
        let certificate = &made.application.certificate;
        assert_eq!(certificate.kind, Kind::AppleDevelopment);
        assert_eq!(
            certificate.common_name,
            "Apple Development: Example / Söhne + Co (THROWAWAY0)"
        );
        assert!(files.installer.is_empty() && made.installer.is_none());
        let marks = &made.application.issuers[0].extensions;
        assert!(marks.iter().any(|it| it == DEVELOPER_RELATIONS_AUTHORITY));
    }

    #[test]
    fn keys_are_for_their_owner_alone_and_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let files = make(directory.path(), &plan(Variant::Development)).unwrap();
        let first = files.read().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for name in ["root", "authority", "application"] {
            let key = directory.path().join(format!("keys/{name}.key.pem"));
            assert_eq!(mode(&key), 0o600, "{name}");
        }
        assert!(!directory.path().join("openssl").exists());
        assert_eq!(
            make(directory.path(), &plan(Variant::Development)).unwrap(),
            files
        );
        let second = files.read().unwrap();
        assert_eq!(second.application.keys, first.application.keys);
    }

    #[test]
    fn without_openssl_the_error_says_how_to_get_it() {
        let error = run("/nowhere/openssl", Path::new("/"), &["version"]).unwrap_err();
        assert!(matches!(error, Error::NoOpenssl));
        assert!(error.to_string().contains("apt-get install openssl"));
        let error = run("false", Path::new("/"), &["cms"]).unwrap_err();
        assert!(
            error.to_string().starts_with("`openssl cms` failed"),
            "{error}"
        );
    }

    #[test]
    fn names_of_any_length_and_letters_fit_into_a_certificate() {
        for organization in ["", "\n\t", &"ß".repeat(300), "=,\"#;<>", "a\\b"] {
            let mut plan = plan(Variant::Development);
            plan.organization = organization.to_owned();
            let name = subject(&plan.organization, &plan.application);
            assert!(name.contains("Throwaway, trusted by nobody: "), "{name}");
            let common = name
                .split("/CN=")
                .nth(1)
                .unwrap()
                .split("/OU")
                .next()
                .unwrap();
            assert!(common.chars().count() <= 65, "{common}");
        }
        assert_eq!(escaped("a/b+c\\d"), "a\\/b\\+c\\\\d");
    }
}
