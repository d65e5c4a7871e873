//! Whether a package is what it should be: its members among themselves, and with the app.

use super::{APP_PATH, Finding, OLDEST_MACOS, PROGRAM, Product, Request, Script};
use super::{documents, jobs, payload, scripts};
use crate::archive::bom::{self, Record};
use crate::archive::xar::{self, Archive};
use crate::archive::xml::{self, Element};
use crate::archive::{self, Entry, Kind, cpio};
use std::collections::BTreeMap;
use std::path::Path;

const DISTRIBUTION: &str = "Distribution";
const PACKAGE_INFO: &str = "PackageInfo";
const PAYLOAD: &str = "Payload";
const BILL: &str = "Bom";
const SCRIPTS: &str = "Scripts";

/// What a package should hold.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// What is packed.
    pub product: &'a Product<'a>,
    /// The folder `Conntrail.app` that was packed.
    pub app: &'a Path,
}

/// Everything that is wrong with a package, signed or not.
///
/// A signature is not looked at, beyond the checksum that it is made over.
pub fn inspect(package: &[u8], expected: &Expected<'_>) -> Vec<Finding> {
    let archive = match xar::read(package) {
        Ok(archive) => archive,
        Err(error) => return vec![Finding::new("the package", error.to_string())],
    };
    let mut inspection = Inspection {
        expected,
        archive,
        findings: Vec::new(),
    };
    inspection.members();
    let payload = inspection.entries(PAYLOAD);
    let scripts = inspection.entries(SCRIPTS);
    inspection.distribution(&payload);
    inspection.package_info(&payload);
    inspection.bill(&payload);
    inspection.owners_and_modes(&payload);
    inspection.installed(&payload);
    inspection.jobs(&payload);
    inspection.scripts(&scripts);
    inspection.uninstaller(&payload);
    inspection.findings
}

struct Inspection<'a> {
    expected: &'a Expected<'a>,
    archive: Archive,
    findings: Vec<Finding>,
}

impl Inspection<'_> {
    fn say(&mut self, place: &str, problem: impl Into<String>) {
        self.findings.push(Finding::new(place, problem));
    }

    fn member(&self, name: &str) -> Option<&[u8]> {
        let path = match name {
            DISTRIBUTION => name.to_owned(),
            _ => format!("{}/{name}", self.expected.product.component()),
        };
        self.archive.files.get(&path).map(Vec::as_slice)
    }

    fn members(&mut self) {
        let component = self.expected.product.component();
        let mut wanted: Vec<_> = [BILL, PACKAGE_INFO, PAYLOAD, SCRIPTS]
            .iter()
            .map(|name| format!("{component}/{name}"))
            .collect();
        wanted.push(DISTRIBUTION.to_owned());
        let there: Vec<_> = self.archive.files.keys().cloned().collect();
        for path in wanted.iter().filter(|it| !there.contains(it)) {
            self.say(path, "it is missing");
        }
        for path in there.iter().filter(|it| !wanted.contains(it)) {
            self.say(path, "it has no place in the package");
        }
    }

    /// What is in a member that is a compressed archive. That it is missing is said elsewhere.
    fn entries(&mut self, name: &str) -> Vec<Entry> {
        let Some(bytes) = self.member(name) else {
            return Vec::new();
        };
        match archive::gunzip(bytes).and_then(|it| cpio::read(&it)) {
            Ok(entries) => entries,
            Err(error) => {
                self.say(name, error.to_string());
                Vec::new()
            }
        }
    }

    fn document(&mut self, name: &str) -> Option<Element> {
        match xml::parse(self.member(name)?) {
            Ok(document) => Some(document),
            Err(error) => {
                self.say(name, error.to_string());
                None
            }
        }
    }

    /// Compares attributes: the path of an element, the attribute, and what it must be.
    fn attributes(&mut self, name: &str, document: &Element, wanted: &[(&str, &str, &str)]) {
        for (path, attribute, wanted) in wanted {
            let found = at(document, path).and_then(|it| it.attribute(attribute));
            if found != Some(wanted) {
                let found = found.map_or("missing".to_owned(), |it| format!("{it:?}"));
                let problem = format!("{path} {attribute} is {found} and must be {wanted:?}");
                self.say(name, problem);
            }
        }
    }

    fn distribution(&mut self, payload: &[Entry]) {
        let Some(document) = self.document(DISTRIBUTION) else {
            return;
        };
        let product = self.expected.product;
        let (id, version) = (product.package_id(), product.package_version());
        let size = documents::install_kbytes(payload).to_string();
        let wanted = [
            ("", "minSpecVersion", "2"),
            ("options", "customize", "never"),
            ("options", "require-scripts", "false"),
            ("options", "hostArchitectures", "arm64,x86_64"),
            ("domains", "enable_localSystem", "true"),
            ("domains", "enable_anywhere", "false"),
            ("domains", "enable_currentUserHome", "false"),
            (
                "volume-check/allowed-os-versions/os-version",
                "min",
                OLDEST_MACOS,
            ),
            ("product", "id", product.identity.app.as_str()),
            ("product", "version", &version),
            ("choices-outline/line/line", "choice", &id),
            ("pkg-ref", "id", &id),
            ("pkg-ref", "version", &version),
            ("pkg-ref", "installKBytes", &size),
        ];
        self.attributes(DISTRIBUTION, &document, &wanted);
        let component = format!("#{}", product.component());
        if document.first("pkg-ref").map(|it| &it.text) != Some(&component) {
            self.say(DISTRIBUTION, format!("pkg-ref does not name {component}"));
        }
        if document
            .all("pkg-ref")
            .any(|it| has_bundles(it, "bundle-version"))
        {
            self.say(DISTRIBUTION, "bundle-version: versions would be compared");
        }
    }

    fn package_info(&mut self, payload: &[Entry]) {
        let Some(document) = self.document(PACKAGE_INFO) else {
            return;
        };
        let product = self.expected.product;
        let app = product.identity.app.as_str();
        let wanted = [
            ("", "format-version", "2"),
            ("", "identifier", &product.package_id()),
            ("", "version", &product.package_version()),
            ("", "install-location", "/"),
            ("", "auth", "root"),
            ("", "relocatable", "false"),
            ("", "postinstall-action", "none"),
            ("payload", "numberOfFiles", &payload.len().to_string()),
            (
                "payload",
                "installKBytes",
                &documents::install_kbytes(payload).to_string(),
            ),
            ("upgrade-bundle/bundle", "id", app),
            ("strict-identifier/bundle", "id", app),
            ("scripts/preinstall", "file", "./preinstall"),
            ("scripts/postinstall", "file", "./postinstall"),
        ];
        self.attributes(PACKAGE_INFO, &document, &wanted);
        if has_bundles(&document, "relocate") {
            self.say(
                PACKAGE_INFO,
                "relocate: the app would follow one that somebody moved",
            );
        }
        if has_bundles(&document, "bundle-version") {
            let problem = "bundle-version: an equal or lower version would not be installed";
            self.say(PACKAGE_INFO, problem);
        }
        self.bundles(&document);
    }

    fn bundles(&mut self, document: &Element) {
        let product = self.expected.product;
        let identity = product.identity;
        let bundles = [
            (identity.app.as_str(), format!(".{APP_PATH}")),
            (
                identity.extension.as_str(),
                documents::extension_path(identity.extension.as_str()),
            ),
        ];
        for (id, path) in &bundles {
            let mut listed = document.all("bundle");
            let Some(bundle) = listed.find(|it| it.attribute("id") == Some(id)) else {
                self.say(PACKAGE_INFO, format!("the bundle {id} is missing"));
                continue;
            };
            let [_, short, build] = payload::said(product, id);
            let wanted = [
                ("", "path", &path[..]),
                ("", short.0, &short.1),
                ("", build.0, &build.1),
            ];
            self.attributes(PACKAGE_INFO, bundle, &wanted);
        }
        if document.all("bundle").count() > bundles.len() {
            self.say(PACKAGE_INFO, "there are bundles that are not ours");
        }
    }

    fn bill(&mut self, payload: &[Entry]) {
        let Some(bytes) = self.member(BILL) else {
            return;
        };
        let records = match bom::read(bytes) {
            Ok(records) => records,
            Err(error) => return self.say(BILL, error.to_string()),
        };
        let count = records.len();
        let mut listed: BTreeMap<_, _> = records
            .into_iter()
            .map(|it| (it.path.clone(), it))
            .collect();
        if listed.len() != count {
            self.say(BILL, "a path is there twice");
        }
        for entry in payload {
            match (listed.remove(&entry.path), Record::of(entry)) {
                (None, _) => self.say(&entry.path, "the bill of materials does not list it"),
                (Some(found), Ok(wanted)) if found == wanted => {}
                (Some(found), wanted) => {
                    let problem = format!("the bill says {found:?}, the payload {wanted:?}");
                    self.say(&entry.path, problem);
                }
            }
        }
        for path in listed.into_keys() {
            self.say(
                &path,
                "the bill of materials lists it, and the payload has it not",
            );
        }
    }

    fn owners_and_modes(&mut self, payload: &[Entry]) {
        let daemons = "./Library/LaunchDaemons/";
        let app = format!(".{APP_PATH}");
        for entry in payload {
            let path = entry.path.as_str();
            let system = payload::SYSTEM_FOLDERS.iter().find(|it| it.0 == path);
            let is_ours = path == app
                || path.starts_with(&format!("{app}/"))
                || path
                    .strip_prefix(daemons)
                    .is_some_and(|it| !it.contains('/'));
            if system.is_none() && !is_ours {
                self.say(path, "the package has nothing to do there");
            }
            let (mode, gid) = match (system, &entry.kind) {
                (Some((_, mode, gid)), _) => (*mode, *gid),
                (None, Kind::File(_)) if entry.mode == 0o644 => (0o644, 0),
                (None, Kind::File(_) | Kind::Folder | Kind::Link(_)) => (0o755, 0),
            };
            if (entry.mode, entry.uid, entry.gid) != (mode, 0, gid) {
                let problem = format!(
                    "mode {:o} of {}:{}, and must be {mode:o} of 0:{gid}",
                    entry.mode, entry.uid, entry.gid
                );
                self.say(path, problem);
            }
            if matches!(&entry.kind, Kind::Link(to) if to.starts_with('/') || to.contains("..")) {
                self.say(path, "a link that leaves its folder");
            }
        }
    }

    /// The payload is what would be packed now: the app byte by byte, and the jobs.
    fn installed(&mut self, payload: &[Entry]) {
        let request = Request {
            product: self.expected.product,
            app: self.expected.app,
            modified_s: 0,
        };
        let wanted = match payload::entries(&request) {
            Ok(wanted) => wanted,
            Err(error) => return self.say("the app", error.to_string()),
        };
        let mut there: BTreeMap<_, _> = payload.iter().map(|it| (it.path.as_str(), it)).collect();
        if there.len() != payload.len() {
            self.say(PAYLOAD, "a path is there twice");
        }
        for entry in &wanted {
            match there.remove(entry.path.as_str()) {
                None => self.say(&entry.path, "it is not in the payload"),
                Some(found) if found.kind != entry.kind => {
                    self.say(&entry.path, "its content is not what was packed");
                }
                Some(found) if found.mode != entry.mode => {
                    self.say(&entry.path, format!("its mode is {:o}", found.mode));
                }
                Some(_) => {}
            }
        }
        for path in there.keys() {
            self.say(path, "it is in the payload only");
        }
    }

    fn jobs(&mut self, payload: &[Entry]) {
        let product = self.expected.product;
        let programs = payload::programs(payload);
        let findings = jobs::jobs_agree(product.jobs, PROGRAM, &programs);
        self.findings.extend(findings);
        let plists: Vec<_> = payload
            .iter()
            .filter(|it| it.path.starts_with("./Library/LaunchDaemons/"))
            .collect();
        for plist in &plists {
            let findings = jobs::judged(&plist.path, plist.content(), &programs);
            self.findings.extend(findings);
        }
        for job in product.jobs {
            let path = format!(".{}", product.plist_path(job));
            if !plists.iter().any(|it| it.path == path) {
                self.say(&path, format!("the job {} has no property list", job.name));
            }
        }
    }

    fn scripts(&mut self, entries: &[Entry]) {
        let wanted = match scripts::entries(self.expected.product, 0) {
            Ok(wanted) => wanted,
            Err(error) => return self.say(SCRIPTS, error.to_string()),
        };
        for wanted in &wanted {
            let place = format!("{SCRIPTS}/{}", wanted.path);
            let Some(found) = entries.iter().find(|it| it.path == wanted.path) else {
                self.say(&place, "it is missing");
                continue;
            };
            let owner_and_mode = |it: &Entry| (it.mode, it.uid, it.gid);
            if owner_and_mode(found) != owner_and_mode(wanted) {
                self.say(
                    &place,
                    format!("its mode is {:o}, or its owner another", found.mode),
                );
            }
            if let Some(name) = scripts::left_over(&String::from_utf8_lossy(found.content())) {
                self.say(&place, format!("{name} is not filled in"));
            }
            if found.kind != wanted.kind {
                self.say(&place, "it is not the script of this product");
            }
        }
        for entry in entries
            .iter()
            .filter(|it| !wanted.iter().any(|w| w.path == it.path))
        {
            self.say(
                &format!("{SCRIPTS}/{}", entry.path),
                "Installer has no use for it",
            );
        }
    }

    fn uninstaller(&mut self, payload: &[Entry]) {
        let which = Script::Uninstall;
        let path = format!(".{APP_PATH}/Contents/Resources/{}", which.name());
        let found = payload
            .iter()
            .find(|it| it.path == path)
            .map(Entry::content);
        match (found, scripts::script(which, self.expected.product)) {
            (Some(found), Ok(wanted)) if found == wanted.as_bytes() => {}
            (None, _) => self.say(&path, "it is missing"),
            (Some(_), Ok(_)) => self.say(&path, "it is not the script of this product"),
            (Some(_), Err(error)) => self.say(&path, error.to_string()),
        }
    }
}

/// An element by the names on the way to it; the first of each name.
fn at<'a>(document: &'a Element, path: &'a str) -> Option<&'a Element> {
    let mut names = path.split('/').filter(|it| !it.is_empty());
    names.try_fold(document, |element, name| element.first(name))
}

fn has_bundles(document: &Element, name: &str) -> bool {
    document.all(name).any(|it| !it.children.is_empty())
}
