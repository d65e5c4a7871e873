//! The app for macOS, its package and its profiles, from this checkout, on any machine.
//!
//! Everything up to the signature is the same to the byte wherever it is made. What was made is
//! read again by code that did not make it, and nothing is left behind that does not pass.

mod check;
mod output;
mod prepare;
mod signer;
mod unsigned;
mod version;

pub(crate) use prepare::{build_ahead, prepare};

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, anyhow, bail};
use mdm::identity::{APP, BundleId, EXTENSION, Identity, TeamId};
use mdm::jobs::JOBS;
use mdm::requirement::Requirement;
use output::Output;
use packaging::app::{self, Helper};
use packaging::credentials::agreement::{self, Bundle};
use packaging::credentials::certificate::{self, Certificate};
use packaging::credentials::{Credentials, Files, Variant, self_signed};
use packaging::package::{self, Product};
use packaging::requirement_blob;
use packaging::version::Version;
use serde_json::json;
use signer::{Contents, Key, Signer, Timestamps};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use unsigned::{Profiles, Programs};
use version::Care;

/// Whose throwaway certificates are, when nobody says.
const THROWAWAY_TEAM: &str = "THROWAWAY0";

const ORGANIZATION: &str = "Conntrail";

/// What `cargo xtask bundle` can be told.
///
/// Certificates are PEM files with the certificate, its issuers and the key, or PKCS #12 files that
/// hold one certificate and its key,
/// beside a file with the password.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// For machines in the field (developer-id), or the developer's own (development).
    #[arg(long, default_value = "developer-id")]
    variant: Variant,
    /// The Team ID, ten capital letters and digits.
    #[arg(long, required_unless_present = "self_signed")]
    team: Option<TeamId>,
    /// The app's identifier.
    #[arg(long, value_name = "ID", default_value = APP)]
    app_id: BundleId,
    /// The extension's identifier.
    #[arg(long, value_name = "ID", default_value = EXTENSION)]
    extension_id: BundleId,
    /// What the profiles say of who installed them.
    #[arg(long, value_name = "NAME", default_value = ORGANIZATION)]
    organization: String,
    /// Make throwaway certificates and profiles: for trying and for tests; no Mac trusts them.
    #[arg(long)]
    self_signed: bool,
    #[command(flatten)]
    with: With,
    /// Stop before signing, with what must be the same to the byte everywhere.
    #[arg(long)]
    unsigned: bool,
    /// The number of the build, where the number of commits will not do.
    #[arg(long, value_name = "N")]
    build_number: Option<u32>,
    /// The report of the build that this one follows; its version must be lower.
    #[arg(long, value_name = "REPORT")]
    previous: Option<PathBuf>,
    /// Send the package to Apple with this key of App Store Connect, and fasten the answer to it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["self_signed", "unsigned"])]
    notarize: Option<PathBuf>,
    /// The folder to make everything in; target/bundle/VARIANT unless said.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// With what to sign.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct With {
    /// The app's provisioning profile.
    #[arg(long, value_name = "FILE", required_unless_present = "self_signed")]
    app_profile: Option<PathBuf>,
    /// The extension's provisioning profile.
    #[arg(long, value_name = "FILE", required_unless_present = "self_signed")]
    extension_profile: Option<PathBuf>,
    /// The certificate that signs programs; repeat it for key and issuers in files of their own.
    #[arg(long, value_name = "FILE", required_unless_present = "self_signed")]
    application_certificate: Vec<PathBuf>,
    /// A file with the password of a PKCS #12 file.
    #[arg(long, value_name = "FILE")]
    application_password: Option<PathBuf>,
    /// Words for the signing tool in place of a key: a remote signer, for instance.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    application_signer: Option<String>,
    /// The certificate that signs packages.
    #[arg(long, value_name = "FILE")]
    installer_certificate: Vec<PathBuf>,
    /// A file with the password of a PKCS #12 file.
    #[arg(long, value_name = "FILE")]
    installer_password: Option<PathBuf>,
    /// As for the application.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    installer_signer: Option<String>,
    /// On a Mac: sign with Xcode's tools and the keychain; certificates are given without keys.
    #[arg(long)]
    keychain: bool,
}

impl With {
    fn has_pkcs12(&self) -> bool {
        self.application_password.is_some() || self.installer_password.is_some()
    }
}

/// Everything that is decided before anything is built.
struct Plan {
    variant: Variant,
    identity: Identity,
    organization: String,
    version: Version,
    files: Files,
    credentials: Credentials,
    /// Absent where nothing is signed.
    keys: Option<Keys>,
    output: Output,
}

struct Keys {
    application: Key,
    installer: Option<Key>,
    timestamps: Timestamps,
}

/// `cargo xtask bundle`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let install = || Signer::install(workspace, &features(options));
    // Building the tool takes minutes: what does not fit should be known before, and only PKCS #12
    // files need it for that.
    let early = options.with.has_pkcs12().then(install).transpose()?;
    let plan = plan(workspace, options, early.as_ref())?;
    let signer = match (early, options.unsigned) {
        (_, true) => None,
        (Some(signer), false) => Some(signer),
        (None, false) => Some(install()?),
    };
    let programs = Programs::build(workspace, workspace)?;
    make(workspace, &plan, &programs, signer.as_ref())?;
    if let (Some(key), Some(signer)) = (&options.notarize, &signer) {
        signer.notarize(&plan.package(), key)?;
        plan.report(true)?;
    }
    println!(
        "\n{} is ready in {}",
        plan.version,
        plan.output.path.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn features(options: &Options) -> Vec<&'static str> {
    let words = [
        &options.with.application_signer,
        &options.with.installer_signer,
    ];
    let uses_card = words
        .into_iter()
        .flatten()
        .any(|it| it.contains("smartcard"));
    let mut features = Vec::new();
    features.extend(options.notarize.as_ref().map(|_| "notarize"));
    features.extend(uses_card.then_some("smartcard"));
    features
}

fn plan(workspace: &Workspace, options: &Options, signer: Option<&Signer>) -> Result<Plan> {
    let care = match options.self_signed {
        true => Care::Thrown,
        false => Care::Released,
    };
    let version = version::of(workspace, options.build_number, care)?;
    if let Some(report) = &options.previous {
        version.must_follow(version::of_report(report)?)?;
    }
    let folder = options.output.clone();
    let folder = folder.unwrap_or_else(|| {
        let bundles = workspace.target.join("bundle");
        bundles.join(options.variant.name())
    });
    let output = Output::open(folder)?;
    let team = match &options.team {
        Some(team) => team.clone(),
        None => THROWAWAY_TEAM.parse()?,
    };
    let files = match options.self_signed {
        true => throwaway(options, &team, &output)?,
        false => given(&options.with, signer, &output)?,
    };
    // Its words name the cause already.
    let credentials = files.read().map_err(|error| anyhow!("{error}"))?;
    agree(options, &team, &credentials)?;
    let certificate = &credentials.application.certificate;
    let identity = Identity {
        app: options.app_id.clone(),
        extension: options.extension_id.clone(),
        team,
        signer: options.variant.signer(certificate),
    };
    let keys = keys(options, &files, &credentials)?;
    Ok(Plan {
        variant: options.variant,
        identity,
        organization: options.organization.clone(),
        version,
        files,
        credentials,
        keys: (!options.unsigned).then_some(keys),
        output,
    })
}

fn throwaway(options: &Options, team: &TeamId, output: &Output) -> Result<Files> {
    println!("making certificates and profiles that nobody trusts");
    let folder = output.folder("throwaway")?;
    let right = self_signed::Plan::right(
        options.variant,
        team,
        &options.app_id,
        &options.extension_id,
        &options.organization,
        now_s()?,
    );
    Ok(self_signed::make(&folder, &right)?)
}

/// The files that were named, with the certificates of PKCS #12 files beside them as PEM.
fn given(with: &With, signer: Option<&Signer>, output: &Output) -> Result<Files> {
    let certificates = |files: &[PathBuf], password: &Option<PathBuf>, name: &str| {
        let (Some(password), [file], Some(signer)) = (password, files, signer) else {
            return Ok(files.to_vec());
        };
        let pem = signer.certificate_of(file, password)?;
        let path = output.write(&format!("{name}.pem"), pem.as_bytes())?;
        anyhow::Ok(vec![path])
    };
    let profile =
        |path: &Option<PathBuf>| path.clone().context("a provisioning profile is missing");
    Ok(Files {
        application: certificates(
            &with.application_certificate,
            &with.application_password,
            "application-certificate",
        )?,
        installer: certificates(
            &with.installer_certificate,
            &with.installer_password,
            "installer-certificate",
        )?,
        app_profile: profile(&with.app_profile)?,
        extension_profile: profile(&with.extension_profile)?,
    })
}

fn agree(options: &Options, team: &TeamId, credentials: &Credentials) -> Result<()> {
    let found = agreement::check(&agreement::Request {
        variant: options.variant,
        app: &options.app_id,
        extension: &options.extension_id,
        team,
        credentials,
        now: now_s()?,
    });
    let (warnings, mismatches): (Vec<_>, Vec<_>) = found.iter().partition(|it| it.is_warning());
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if mismatches.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = mismatches.iter().map(|it| format!("- {it}")).collect();
    bail!(
        "nothing was built, because these do not fit:\n{}",
        lines.join("\n")
    )
}

fn now_s() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

fn keys(options: &Options, files: &Files, credentials: &Credentials) -> Result<Keys> {
    let with = &options.with;
    must_come_first(&credentials.application.certificate, &files.application)?;
    if let Some(installer) = &credentials.installer {
        must_come_first(&installer.certificate, &files.installer)?;
    }
    let common_name = &credentials.application.certificate.common_name;
    let application = key(
        &files.application,
        &with.application_certificate,
        &with.application_password,
        &with.application_signer,
        with.keychain.then_some(common_name),
    );
    let installer = credentials.installer.as_ref().map(|installer| {
        let common_name = &installer.certificate.common_name;
        key(
            &files.installer,
            &with.installer_certificate,
            &with.installer_password,
            &with.installer_signer,
            with.keychain.then_some(common_name),
        )
    });
    let timestamps = match (options.self_signed, signer::apple_can_be_reached()) {
        (true, _) => Timestamps::None,
        (false, true) => Timestamps::Apple,
        (false, false) => {
            eprintln!(
                "warning: Apple's service for timestamps cannot be reached, so the signatures \
                 have none, and Apple will not notarize the package"
            );
            Timestamps::None
        }
    };
    Ok(Keys {
        application,
        installer,
        timestamps,
    })
}

fn key(
    pem: &[PathBuf],
    named: &[PathBuf],
    password: &Option<PathBuf>,
    words: &Option<String>,
    identity: Option<&String>,
) -> Key {
    if let Some(identity) = identity {
        return Key::Keychain(identity.clone());
    }
    match (words, password, named) {
        (Some(words), _, _) => Key::Words(words.split_whitespace().map(str::to_owned).collect()),
        (None, Some(password), [file]) => Key::Pkcs12 {
            file: file.clone(),
            password: password.clone(),
        },
        (None, _, _) => Key::Pem(pem.to_vec()),
    }
}

/// The signing tool takes the first certificate that it meets for the one that signs.
fn must_come_first(certificate: &Certificate, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let bytes = std::fs::read(file)?;
        let found = certificate::read(&bytes).map(|it| it.certificates);
        match found.as_deref() {
            Ok([first, ..]) if first == certificate => return Ok(()),
            Ok([first, ..]) => bail!(
                "{}: \"{}\" comes before \"{}\", and the signing tool takes the first for the one \
                 that signs: give that one first, and its issuers after it",
                file.display(),
                first.common_name,
                certificate.common_name
            ),
            Ok([]) | Err(_) => {}
        }
    }
    Ok(())
}

/// Makes everything, and looks at what was made.
fn make(
    workspace: &Workspace,
    plan: &Plan,
    programs: &Programs,
    signer: Option<&Signer>,
) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let profiles = Profiles {
        app: &read(&plan.files.app_profile)?,
        extension: &read(&plan.files.extension_profile)?,
    };
    let output = &plan.output;
    let unsigned = unsigned::write(
        workspace,
        workspace,
        programs,
        &plan.product(),
        &profiles,
        output,
    )?;
    let (Some(signer), Some(keys)) = (signer, &plan.keys) else {
        return Ok(());
    };
    let signed = plan.app();
    output.remove(app::APP)?;
    output::copy(&unsigned, &signed, &[])?;
    plan.sign_app(signer, keys)?;
    plan.package_app(signer, keys)?;
    plan.write_profiles(workspace)?;
    plan.report(false)?;
    check::all(workspace, plan)
}

impl Plan {
    fn app(&self) -> PathBuf {
        self.output.path.join(app::APP)
    }

    fn product(&self) -> Product<'_> {
        Product {
            identity: &self.identity,
            version: self.version,
            jobs: JOBS,
        }
    }

    fn package(&self) -> PathBuf {
        self.output.path.join(self.product().file_name())
    }

    fn sign_app(&self, signer: &Signer, keys: &Keys) -> Result<()> {
        println!("signing the extension and the programs beside the app's own, then the app");
        let app = self.app();
        let Identity {
            app: app_id,
            extension: extension_id,
            ..
        } = &self.identity;
        let extension = app::extension_path(&app, extension_id);
        self.sign(signer, keys, Bundle::Extension, extension_id, &extension)?;
        for helper in app::helpers(JOBS, app_id) {
            self.sign_helper(signer, keys, &helper)?;
        }
        self.sign(signer, keys, Bundle::App, app_id, &app)
    }

    /// Whatever is in the app and runs has a signature of its own, which the app's seals.
    fn sign_helper(&self, signer: &Signer, keys: &Keys, helper: &Helper) -> Result<()> {
        let (team, identifier) = (&self.identity.team, &helper.identifier);
        let requirement = Requirement::designated(identifier, team, &self.identity.signer);
        let text = requirement.to_string();
        let name = |ending: &str| format!("requirements/{}.{ending}", helper.program);
        let line = format!("{text}\n");
        self.output.write(&name("txt"), line.as_bytes())?;
        let blob = requirement_blob::compile(&requirement)?;
        let contents = Contents {
            path: &self.app().join("Contents/MacOS").join(helper.program),
            identifier: Some(identifier.as_str()),
            entitlements: None,
            requirement: &self.output.write(&name("bin"), &blob)?,
            requirement_text: &text,
            team: team.as_str(),
        };
        signer.sign_code(&keys.application, keys.timestamps, &contents)
    }

    fn sign(
        &self,
        signer: &Signer,
        keys: &Keys,
        which: Bundle,
        identifier: &BundleId,
        bundle: &Path,
    ) -> Result<()> {
        let team = &self.identity.team;
        let name = match which {
            Bundle::App => "app",
            Bundle::Extension => "extension",
        };
        let write = |folder: &str, ending: &str, content: &[u8]| {
            let name = format!("{folder}/{name}.{ending}");
            self.output.write(&name, content)
        };
        let entitlements = agreement::entitlements(which, self.variant, identifier, team);
        let requirement = Requirement::designated(identifier, team, &self.identity.signer);
        let text = requirement.to_string();
        write("requirements", "txt", format!("{text}\n").as_bytes())?;
        let blob = requirement_blob::compile(&requirement)?;
        let contents = Contents {
            path: bundle,
            identifier: None,
            entitlements: Some(&write("entitlements", "plist", &entitlements)?),
            requirement: &write("requirements", "bin", &blob)?,
            requirement_text: &text,
            team: team.as_str(),
        };
        signer.sign_code(&keys.application, keys.timestamps, &contents)
    }

    fn package_app(&self, signer: &Signer, keys: &Keys) -> Result<()> {
        println!("packing the installer's package");
        let package = self.package();
        let bytes = package::write(&package::Request {
            product: &self.product(),
            app: &self.app(),
            modified_s: MODIFIED_S,
        })?;
        std::fs::write(&package, bytes)
            .with_context(|| format!("cannot write {}", package.display()))?;
        match &keys.installer {
            Some(key) => signer.sign_package(key, keys.timestamps, &package),
            None => {
                println!("without a certificate for packages, the package is not signed");
                Ok(())
            }
        }
    }

    /// With the tool that whoever deploys has too.
    fn write_profiles(&self, workspace: &Workspace) -> Result<()> {
        self.output.remove(PROFILES)?;
        let folder = self.output.folder(PROFILES)?;
        let mut tool = process::cargo();
        tool.current_dir(&workspace.root)
            .args([
                "run",
                "--quiet",
                "--package",
                "conntrail",
                "--bin",
                "conntrail",
                "--",
            ])
            .args(["profile", "write", "--organization", &self.organization])
            .args(["--team", self.identity.team.as_str()])
            .args(["--app", self.identity.app.as_str()])
            .args(["--extension", self.identity.extension.as_str()]);
        if let mdm::identity::Signer::Development { common_name } = &self.identity.signer {
            tool.args(["--development", common_name]);
        }
        process::run(tool.arg("--output").arg(folder))
    }

    /// What was made, for whoever has to tell one build from another.
    fn report(&self, notarized: bool) -> Result<()> {
        let package = self.package();
        let timestamps = self
            .keys
            .as_ref()
            .is_some_and(|it| it.timestamps == Timestamps::Apple);
        let certificate = &self.credentials.application.certificate;
        let report = json!({
            "variant": self.variant.name(),
            "version": self.version.short.to_string(),
            "build": self.version.build,
            "app": self.identity.app.as_str(),
            "extension": self.identity.extension.as_str(),
            "team": self.identity.team.as_str(),
            "signed_by": certificate.common_name,
            "timestamps": timestamps,
            "notarized": notarized,
            "package": package.file_name().map(|it| it.to_string_lossy()),
            "package_sha256": output::sha256(&package)?,
        });
        let text = serde_json::to_string_pretty(&report)? + "\n";
        self.output.write("report.json", text.as_bytes()).map(drop)
    }
}

/// The time of every file in a package, 2020-01-01: when something was built would make every build
/// another.
const MODIFIED_S: u32 = 1_577_836_800;

/// The folder of the configuration profiles.
const PROFILES: &str = "profiles";
