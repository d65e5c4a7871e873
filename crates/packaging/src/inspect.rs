//! Whether everything in the folder of a bundle is what it should be, and says the same.
//!
//! Nothing is taken from what made it but what was wanted: identifiers, version, variant.

use crate::app::{
    self, APP, APP_PROGRAM, EXTENSION_PROGRAM, FILTER_POINT, Helper, MACOS_MIN, PROVIDER_CLASS,
    PROVISIONING_PROFILE,
};
use crate::credentials::Variant;
use crate::credentials::agreement::{self, Bundle};
use crate::credentials::provisioning::Profile;
use crate::package::{self, Product};
use crate::signature::{self, BundleSignature, SliceSignature};
use crate::version::Version;
use mdm::check::{self, Grade, Input, check};
use mdm::identity::{BundleId, Identity};
use mdm::jobs::Job;
use mdm::requirement::Requirement;
use plist::{Dictionary, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a folder should hold.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Which version of it.
    pub version: Version,
    /// For whom.
    pub variant: Variant,
    /// What launchd starts.
    pub jobs: &'a [Job],
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, from the folder on.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

/// The resources of the app, and whether each can be run.
pub const RESOURCES: &[(&str, bool)] = &[("NOTICES.txt", false), ("uninstall.sh", true)];

/// What the programs must run on.
const PROCESSORS: [&str; 2] = ["arm64", "x86_64"];

/// Everything that is wrong with a folder that `cargo xtask bundle` has made: app, signatures,
/// provisioning profiles, entitlements, requirements, package and configuration profiles.
pub fn inspect(folder: &Path, expected: &Expected<'_>) -> Vec<Finding> {
    let mut inspection = Inspection {
        folder,
        expected,
        findings: Vec::new(),
    };
    inspection.files();
    inspection.property_lists();
    inspection.provider_class();
    inspection.signatures();
    inspection.files_beside();
    inspection.package();
    inspection.profiles();
    inspection.findings
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

struct Inspection<'a> {
    folder: &'a Path,
    expected: &'a Expected<'a>,
    findings: Vec<Finding>,
}

/// One of the two signed bundles.
struct Part<'a> {
    which: Bundle,
    /// In the names of the files beside the app.
    name: &'static str,
    identifier: &'a BundleId,
    path: PathBuf,
    program: &'static str,
}

impl<'a> Inspection<'a> {
    fn app(&self) -> PathBuf {
        self.folder.join(APP)
    }

    fn parts(&self) -> [Part<'a>; 2] {
        let Identity { app, extension, .. } = self.expected.identity;
        [
            Part {
                which: Bundle::App,
                name: "app",
                identifier: app,
                path: self.app(),
                program: APP_PROGRAM,
            },
            Part {
                which: Bundle::Extension,
                name: "extension",
                identifier: extension,
                path: app::extension_path(&self.app(), extension),
                program: EXTENSION_PROGRAM,
            },
        ]
    }

    fn helpers(&self) -> Vec<Helper> {
        app::helpers(self.expected.jobs, &self.expected.identity.app)
    }

    fn helper_path(&self, helper: &Helper) -> PathBuf {
        self.app().join("Contents/MacOS").join(helper.program)
    }

    fn say(&mut self, place: impl fmt::Display, problem: impl Into<String>) {
        self.findings.push(Finding {
            place: place.to_string(),
            problem: problem.into(),
        });
    }

    fn expect_same(&mut self, place: &str, what: &str, found: Option<&str>, wanted: &str) {
        if found != Some(wanted) {
            let found = found.map_or("missing".to_owned(), |it| format!("{it:?}"));
            self.say(place, format!("{what} is {found} and must be {wanted:?}"));
        }
    }

    fn read(&mut self, path: &Path) -> Option<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let place = self.place(path);
                self.say(place, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn place(&self, path: &Path) -> String {
        let place = path.strip_prefix(self.folder).unwrap_or(path);
        place.display().to_string()
    }

    fn dictionary(&mut self, path: &Path) -> Option<Dictionary> {
        let bytes = self.read(path)?;
        let parsed = Value::from_reader(io::Cursor::new(bytes));
        let dictionary = parsed.ok().and_then(Value::into_dictionary);
        if dictionary.is_none() {
            let place = self.place(path);
            self.say(place, "is no property list with keys");
        }
        dictionary
    }

    /// Exactly the files that the app has a use for, each with its mode.
    fn files(&mut self) {
        let app = self.app();
        let mut wanted = BTreeMap::new();
        for part in self.parts() {
            let contents = part.path.join("Contents");
            let mut add = |name: &str, runs| wanted.insert(contents.join(name), runs);
            add("Info.plist", false);
            add(&format!("MacOS/{}", part.program), true);
            add(PROVISIONING_PROFILE, false);
            add("_CodeSignature/CodeResources", false);
            for (name, runs) in RESOURCES.iter().filter(|_| part.which == Bundle::App) {
                add(&format!("Resources/{name}"), *runs);
            }
        }
        let helpers = self.helpers();
        wanted.extend(helpers.iter().map(|it| (self.helper_path(it), true)));
        let there = match files_under(&app) {
            Ok(there) => there,
            Err(error) => return self.say(APP, format!("cannot be read: {error}")),
        };
        for (path, runs) in &wanted {
            let place = self.place(path);
            match there.get(path) {
                None => self.say(place, "is missing"),
                Some(mode) if *mode != if *runs { 0o755 } else { 0o644 } => {
                    self.say(place, format!("has the mode {mode:o}"));
                }
                Some(_) => {}
            }
        }
        for path in there.keys().filter(|it| !wanted.contains_key(*it)) {
            let place = self.place(path);
            self.say(place, "has no use in the app");
        }
    }

    fn property_lists(&mut self) {
        for part in self.parts() {
            let path = part.path.join("Contents/Info.plist");
            let Some(plist) = self.dictionary(&path) else {
                continue;
            };
            let place = self.place(&path);
            let kind = match part.which {
                Bundle::App => "APPL",
                Bundle::Extension => "SYSX",
            };
            let version = self.expected.version;
            for (key, wanted) in [
                ("CFBundleIdentifier", part.identifier.as_str()),
                ("CFBundleExecutable", part.program),
                ("CFBundlePackageType", kind),
                ("CFBundleShortVersionString", &version.short.to_string()),
                ("CFBundleVersion", &version.build.to_string()),
                ("LSMinimumSystemVersion", MACOS_MIN),
            ] {
                let found = plist.get(key).and_then(Value::as_string);
                self.expect_same(&place, key, found, wanted);
            }
            if part.which == Bundle::Extension {
                self.provider(&place, &plist);
            }
        }
    }

    fn provider(&mut self, place: &str, plist: &Dictionary) {
        let extension = plist.get("NetworkExtension").and_then(Value::as_dictionary);
        let classes = extension.and_then(|it| it.get("NEProviderClasses")?.as_dictionary());
        let class = classes.and_then(|it| it.get(FILTER_POINT)?.as_string());
        self.expect_same(place, FILTER_POINT, class, PROVIDER_CLASS);
        if classes.is_some_and(|it| it.len() != 1) {
            self.say(place, "names providers that are not there");
        }
        if extension.is_some_and(|it| it.contains_key("NEMachServiceName")) {
            self.say(place, "names a service that nobody speaks to");
        }
        if !plist.contains_key("NSSystemExtensionUsageDescription") {
            self.say(place, "does not say what the extension is for");
        }
    }

    /// The class that the property list promises is in the extension's program, and only there.
    fn provider_class(&mut self) {
        for part in self.parts() {
            let path = part.path.join("Contents/MacOS").join(part.program);
            let Some(program) = self.read(&path) else {
                continue;
            };
            let place = self.place(&path);
            match (part.which, has_class(&program)) {
                (Bundle::Extension, false) => {
                    self.say(place, format!("has no class {PROVIDER_CLASS}"));
                }
                (Bundle::App, true) => {
                    self.say(place, format!("has the class {PROVIDER_CLASS}"));
                }
                (Bundle::Extension, true) | (Bundle::App, false) => {}
            }
        }
        for helper in self.helpers() {
            let path = self.helper_path(&helper);
            if self.read(&path).is_some_and(|program| has_class(&program)) {
                let place = self.place(&path);
                self.say(place, format!("has the class {PROVIDER_CLASS}"));
            }
        }
    }

    fn signatures(&mut self) {
        let (app, findings) = match signature::verify_bundle(&self.app()) {
            Ok(read) => read,
            Err(error) => return self.say(APP, error.to_string()),
        };
        for finding in findings {
            self.say(finding.place, finding.mistake.to_string());
        }
        let mut hashes = BTreeSet::new();
        for part in self.parts() {
            let of_part = match part.which {
                Bundle::App => Some(&app),
                Bundle::Extension => app.nested.values().find(|it| it.path == part.path),
            };
            match of_part {
                Some(signature) => self.signature(&part, signature, &mut hashes),
                None => self.say(APP, "has no signed extension"),
            }
        }
        for helper in self.helpers() {
            self.helper(&helper, &mut hashes);
        }
    }

    /// What a bundle's signature says of its program, and nothing that it may do beyond others.
    fn helper(&mut self, helper: &Helper, hashes: &mut BTreeSet<Vec<u8>>) {
        let path = self.helper_path(helper);
        let place = self.place(&path);
        let (slices, findings) = match signature::verify_program(&path) {
            Ok(read) => read,
            Err(error) => return self.say(place, error.to_string()),
        };
        for finding in findings {
            self.say(finding.place, finding.mistake.to_string());
        }
        let nothing = Dictionary::new();
        self.slices(&helper.identifier, &nothing, &path, &slices, hashes);
    }

    fn signature(
        &mut self,
        part: &Part<'_>,
        signature: &BundleSignature,
        hashes: &mut BTreeSet<Vec<u8>>,
    ) {
        let team = &self.expected.identity.team;
        let variant = self.expected.variant;
        let claims = agreement::claims(part.which, variant, part.identifier, team);
        let slices = &signature.slices;
        self.slices(part.identifier, &claims, &part.path, slices, hashes);
        let entitlements = signature.first().entitlements.clone().unwrap_or_default();
        self.provisioning(part, &entitlements);
        self.beside(part, signature, &entitlements);
    }

    /// A program for every processor, signed as what it is.
    fn slices(
        &mut self,
        identifier: &BundleId,
        claims: &Dictionary,
        path: &Path,
        slices: &[SliceSignature],
        hashes: &mut BTreeSet<Vec<u8>>,
    ) {
        let Identity { team, signer, .. } = self.expected.identity;
        let expected = signature::Expected {
            identifier: identifier.as_str(),
            team: team.as_str(),
            requirement: &Requirement::designated(identifier, team, signer),
            entitlements: claims,
        };
        for finding in signature::compare_program(slices, path, &expected) {
            self.say(finding.place, finding.mistake.to_string());
        }
        let place = self.place(path);
        let there = slices.iter().map(|it| it.architecture.to_string());
        let there: Vec<String> = there.collect();
        let is_there = |processor: &str| there.iter().any(|it| it == processor);
        for processor in PROCESSORS.iter().filter(|it| !is_there(it)) {
            self.say(&place, format!("has no program for {processor}"));
        }
        for slice in slices {
            let leaf = slice.cms.as_ref().and_then(|cms| cms.chain.first());
            let unit = leaf.and_then(|leaf| leaf.unit.as_deref());
            self.expect_same(&place, "the signer's team", unit, team.as_str());
            for hash in slice.cdhashes() {
                if !hashes.insert(hash.to_vec()) {
                    self.say(&place, "two programs have one signature");
                }
            }
        }
    }

    /// The profile in the bundle allows what the signature claims.
    fn provisioning(&mut self, part: &Part<'_>, entitlements: &Dictionary) {
        let path = part.path.join("Contents").join(PROVISIONING_PROFILE);
        let Some(bytes) = self.read(&path) else {
            return;
        };
        let place = self.place(&path);
        match Profile::parse(&bytes) {
            Ok(profile) => {
                for mismatch in agreement::disallowed(part.which, entitlements, &profile) {
                    self.say(&place, mismatch.to_string());
                }
            }
            Err(error) => self.say(place, error.to_string()),
        }
    }

    /// What lies beside the app for people to read says what the signature says.
    fn beside(&mut self, part: &Part<'_>, signature: &BundleSignature, entitlements: &Dictionary) {
        let path = self
            .folder
            .join(format!("entitlements/{}.plist", part.name));
        if self.dictionary(&path).is_some_and(|it| it != *entitlements) {
            let place = self.place(&path);
            self.say(place, "is not what the signature claims");
        }
        let path = self.folder.join(format!("requirements/{}.txt", part.name));
        let Some(text) = self.read(&path) else {
            return;
        };
        let text = String::from_utf8_lossy(&text);
        let signed = signature.first().designated().map(ToString::to_string);
        let is_same = signed.is_some_and(|it| signature::requirement::is_same_text(&it, &text));
        if !is_same {
            let place = self.place(&path);
            self.say(place, "is not the requirement in the signature");
        }
    }

    fn files_beside(&mut self) {
        let path = self.folder.join("report.json");
        let Some(bytes) = self.read(&path) else {
            return;
        };
        let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Identity {
            app,
            extension,
            team,
            ..
        } = self.expected.identity;
        let version = self.expected.version;
        for (key, wanted) in [
            ("variant", self.expected.variant.name()),
            ("version", &version.short.to_string()),
            ("app", app.as_str()),
            ("extension", extension.as_str()),
            ("team", team.as_str()),
        ] {
            self.expect_same("report.json", key, report[key].as_str(), wanted);
        }
        if report["build"] != version.build {
            self.say("report.json", "names another build");
        }
    }

    fn package(&mut self) {
        let product = Product {
            identity: self.expected.identity,
            version: self.expected.version,
            jobs: self.expected.jobs,
        };
        let name = product.file_name();
        let Some(bytes) = self.read(&self.folder.join(&name)) else {
            return;
        };
        let app = self.app();
        let expected = package::Expected {
            product: &product,
            app: &app,
        };
        for finding in package::inspect(&bytes, &expected) {
            self.say(format!("{name}: {}", finding.place), finding.problem);
        }
    }

    /// What device management installs passes its own check, and means this extension.
    fn profiles(&mut self) {
        let folder = self.folder.join(PROFILES);
        let inputs = match configuration_profiles(&folder) {
            Ok(inputs) => inputs,
            Err(error) => return self.say(PROFILES, format!("cannot be read: {error}")),
        };
        // A machine gets the combined one or the single ones.
        let sets: (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(|it| it.name == COMBINED);
        for set in [sets.0, sets.1] {
            self.set_of_profiles(&set);
        }
    }

    fn set_of_profiles(&mut self, inputs: &[Input]) {
        let Identity {
            app,
            extension,
            team,
            ..
        } = self.expected.identity;
        let report = check(
            inputs,
            &check::Expected {
                app: Some(app.clone()),
                extension: Some(extension.clone()),
                team: Some(team.clone()),
                macos: None,
                preferences_domain: mdm::identity::APP,
                // They are the defaults, which whoever wrote them has just read.
                problems_of_settings: &|_| Vec::new(),
            },
        );
        for finding in report
            .findings
            .iter()
            .filter(|it| it.rule.grade != Grade::Remark)
        {
            let file = finding.place.file.as_deref().unwrap_or_default();
            self.say(format!("{PROFILES}/{file}"), finding.message.clone());
        }
        self.requirement_in_profiles(inputs);
    }

    fn requirement_in_profiles(&mut self, inputs: &[Input]) {
        let Identity {
            extension,
            team,
            signer,
            ..
        } = self.expected.identity;
        let wanted = Requirement::designated(extension, team, signer).to_string();
        let mut count = 0;
        for input in inputs {
            let place = format!("{PROFILES}/{}", input.name);
            let bytes = input.contents.as_deref().unwrap_or_default();
            for found in requirements(bytes) {
                count += 1;
                if !signature::requirement::is_same_text(&found, &wanted) {
                    self.say(
                        &place,
                        "requires another extension than the one that is signed",
                    );
                }
            }
        }
        if count == 0 {
            self.say(PROFILES, "a set of profiles has no content filter");
        }
    }
}

const PROFILES: &str = "profiles";

/// The one file that has everything in it.
const COMBINED: &str = "conntrail.mobileconfig";

fn has_class(program: &[u8]) -> bool {
    let name = format!("{PROVIDER_CLASS}\0");
    program.windows(name.len()).any(|it| it == name.as_bytes())
}

/// The files under a folder, links included, with their modes.
fn files_under(folder: &Path) -> io::Result<BTreeMap<PathBuf, u32>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path, metadata.permissions().mode() & 0o7777);
            }
        }
    }
    Ok(found)
}

fn configuration_profiles(folder: &Path) -> io::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let contents = fs::read(&path).map_err(|error| error.to_string());
        inputs.push(Input { name, contents });
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(inputs)
}

/// The requirements that the content filters in a profile name.
fn requirements(profile: &[u8]) -> Vec<String> {
    let profile = Value::from_reader(io::Cursor::new(profile));
    let profile = profile
        .ok()
        .and_then(Value::into_dictionary)
        .unwrap_or_default();
    let payloads = profile.get("PayloadContent").and_then(Value::as_array);
    let found = payloads.into_iter().flatten().filter_map(|payload| {
        let key = "FilterDataProviderDesignatedRequirement";
        payload.as_dictionary()?.get(key)?.as_string()
    });
    found.map(str::to_owned).collect()
}
