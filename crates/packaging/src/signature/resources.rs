//! The list of a bundle's files and their digests, `_CodeSignature/CodeResources`.
//!
//! Which files must be listed follows from the rules in the list itself, as in Apple's
//! `ResourceBuilder`; which rules may leave files out follows from its `BundleDiskRep`.

use super::bytes::{Hash, Malformed, property_list};
use super::finding::{Findings, Mistake};
use plist::{Dictionary, Value};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// The files of a bundle that its signature vouches for, by their paths from Contents on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The list that older systems read. Nothing when it is not there.
    pub files: Option<BTreeMap<String, Seal>>,
    /// The list that counts.
    pub files2: BTreeMap<String, Seal>,
}

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Its digest of the kind SHA-1.
    pub sha1: Option<Vec<u8>>,
    /// Its digest of the kind SHA-256.
    pub sha256: Option<Vec<u8>>,
    /// Where it points to, when it is a link.
    pub link: Option<String>,
    /// The first 20 bytes of its code directory's digest, when it is code.
    pub cdhash: Option<Vec<u8>>,
    /// How the system recognizes it, when it is code.
    pub requirement: Option<String>,
    /// Whether it may be gone.
    pub is_optional: bool,
}

/// The list and the rules by which it was made.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) resources: Resources,
    rules: Vec<Rule>,
    rules2: Vec<Rule>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link(String),
}

/// Code in the bundle, as its own signature says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    pub(crate) cdhashes: Vec<Vec<u8>>,
    pub(crate) requirement: Option<String>,
}

/// What is really there.
pub(crate) trait Folder {
    /// Everything below Contents that needs a seal, and folders.
    fn entries(&self) -> &BTreeMap<String, Kind>;
    /// The bytes of a file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
    /// The signature of a nested bundle or program.
    fn code(&self, path: &str) -> Option<Code>;
}

#[derive(Debug)]
struct Rule {
    text: String,
    pattern: Regex,
    weight: f64,
    is_omission: bool,
    is_nested: bool,
}

/// What `BundleDiskRep::allowedResourceOmissions` lets a rule leave out.
const OMISSIONS: [&str; 5] = [
    r"^(.*/)?\.DS_Store$",
    r"^Info\.plist$",
    r"^PkgInfo$",
    r"^Resources/.*\.lproj/locversion.plist$",
    r"^.*\.lproj/locversion.plist$",
];

impl List {
    /// From the file.
    pub(crate) fn read(file: &[u8]) -> Result<List, Malformed> {
        let value: Value = property_list(file)?;
        let list = value.into_dictionary();
        let list = list.ok_or_else(|| Malformed::new("the property list is no dictionary"))?;
        let part = |key| {
            list.get(key)
                .map(|value| dictionary(value, key))
                .transpose()
        };
        let seals = |part: &Dictionary| {
            let seals = part
                .iter()
                .map(|(path, value)| Ok((path.clone(), seal(path, value)?)));
            seals.collect::<Result<BTreeMap<_, _>, Malformed>>()
        };
        let rules = |part: Option<&Dictionary>| {
            let rules = part.into_iter().flatten();
            rules
                .map(|(text, value)| rule(text, value))
                .collect::<Result<Vec<_>, _>>()
        };
        let files2 = part("files2")?.ok_or_else(|| Malformed::new("the list files2 is missing"))?;
        Ok(List {
            resources: Resources {
                files: part("files")?.map(seals).transpose()?,
                files2: seals(files2)?,
            },
            rules: rules(part("rules")?)?,
            rules2: rules(part("rules2")?)?,
        })
    }

    /// Compares with what is there.
    pub(crate) fn check(&self, folder: &impl Folder, findings: &mut Findings) {
        for rule in self.rules2.iter().filter(|rule| rule.is_omission) {
            findings.expect(OMISSIONS.contains(&rule.text.as_str()), || {
                Mistake::Omission {
                    rule: rule.text.clone(),
                }
            });
        }
        for (path, seal) in &self.resources.files2 {
            check_seal(path, seal, folder, findings);
        }
        for (path, seal) in self.resources.files.iter().flatten() {
            check_old_seal(path, seal, folder, findings);
        }
        self.check_unlisted(folder, findings);
    }

    fn check_unlisted(&self, folder: &impl Folder, findings: &mut Findings) {
        let mut covered: Option<String> = None;
        for (path, kind) in folder.entries() {
            let is_below = |folder: &String| path.starts_with(folder.as_str());
            if covered.as_ref().is_some_and(is_below) {
                continue;
            }
            let rule = find(&self.rules2, path);
            if is_sealed_as_whole(path, kind, rule) {
                covered = Some(format!("{path}/"));
            } else if *kind == Kind::Folder || rule.is_some_and(|rule| rule.is_omission) {
                continue;
            }
            let is_listed = self.resources.files2.contains_key(path);
            let old_rule = find(&self.rules, path).filter(|rule| !rule.is_omission);
            let old_files = self.resources.files.as_ref();
            let old_files = old_files.filter(|_| old_rule.is_some() && *kind == Kind::File);
            let is_old_listed = old_files.is_none_or(|files| files.contains_key(path));
            findings.expect(is_listed && is_old_listed, || Mistake::ResourceAdded {
                path: path.clone(),
            });
        }
    }
}

/// A folder with a dot in its name, where a rule expects code, is a bundle and sealed as a whole.
fn is_sealed_as_whole(path: &str, kind: &Kind, rule: Option<&Rule>) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    *kind == Kind::Folder && name.contains('.') && rule.is_some_and(|rule| rule.is_nested)
}

fn check_seal(path: &str, seal: &Seal, folder: &impl Folder, findings: &mut Findings) {
    let path = path.to_owned();
    match folder.entries().get(&path) {
        None if seal.is_optional => {}
        None => findings.add(Mistake::ResourceGone { path }),
        Some(Kind::Link(target)) => {
            let fits = seal.link.as_ref() == Some(target);
            findings.expect(fits, || Mistake::Link { path });
        }
        Some(Kind::File | Kind::Folder) if seal.link.is_some() => {
            findings.add(Mistake::Link { path });
        }
        Some(Kind::File) if seal.cdhash.is_none() => {
            let has_digest = seal.sha256.is_some();
            findings.expect(has_digest, || Mistake::ResourceWithoutDigest {
                path: path.clone(),
            });
            check_file(&path, seal, folder, findings);
        }
        Some(Kind::File | Kind::Folder) => check_code(path, seal, folder, findings),
    }
}

fn check_old_seal(path: &str, seal: &Seal, folder: &impl Folder, findings: &mut Findings) {
    match folder.entries().get(path) {
        None if seal.is_optional => {}
        Some(Kind::File) => check_file(path, seal, folder, findings),
        None | Some(Kind::Link(_) | Kind::Folder) => findings.add(Mistake::ResourceGone {
            path: path.to_owned(),
        }),
    }
}

fn check_file(path: &str, seal: &Seal, folder: &impl Folder, findings: &mut Findings) {
    let path = path.to_owned();
    let Some(data) = folder.read(&path) else {
        return findings.add(Mistake::ResourceGone { path });
    };
    for (hash, digest) in [(Hash::Sha1, &seal.sha1), (Hash::Sha256, &seal.sha256)] {
        let fits = digest
            .as_ref()
            .is_none_or(|digest| hash.digest(&data) == *digest);
        findings.expect(fits, || Mistake::ResourceChanged {
            path: path.clone(),
            hash,
        });
    }
}

fn check_code(path: String, seal: &Seal, folder: &impl Folder, findings: &mut Findings) {
    let code = folder.code(&path).unwrap_or_default();
    let is_same = |cdhash: &Vec<u8>| code.cdhashes.contains(cdhash);
    findings.expect(seal.cdhash.as_ref().is_some_and(is_same), || {
        Mistake::NestedChanged { path: path.clone() }
    });
    let is_same = match (&seal.requirement, &code.requirement) {
        (Some(sealed), Some(found)) => super::requirement::is_same_text(sealed, found),
        (None, _) | (_, None) => false,
    };
    findings.expect(is_same, || Mistake::NestedRequirement { path });
}

/// The heaviest rule that fits.
fn find<'a>(rules: &'a [Rule], path: &str) -> Option<&'a Rule> {
    let mut best: Option<&Rule> = None;
    for rule in rules.iter().filter(|rule| rule.pattern.is_match(path)) {
        if best.is_none_or(|best| rule.weight > best.weight) {
            best = Some(rule);
        }
    }
    best
}

fn dictionary<'a>(value: &'a Value, key: &str) -> Result<&'a Dictionary, Malformed> {
    let wrong = || Malformed(format!("{key} is no dictionary"));
    value.as_dictionary().ok_or_else(wrong)
}

fn seal(path: &str, value: &Value) -> Result<Seal, Malformed> {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    if !path.split('/').all(is_part) {
        return Err(Malformed(format!("{path:?} is no path of a resource")));
    }
    if let Some(data) = value.as_data() {
        return Ok(Seal {
            sha1: Some(data.to_vec()),
            ..Seal::default()
        });
    }
    let value = dictionary(value, path)?;
    let data = |key| value.get(key).and_then(Value::as_data).map(<[u8]>::to_vec);
    let text = |key| value.get(key).and_then(Value::as_string).map(str::to_owned);
    Ok(Seal {
        sha1: data("hash"),
        sha256: data("hash2"),
        link: text("symlink"),
        cdhash: data("cdhash"),
        requirement: text("requirement"),
        is_optional: is_set(value, "optional"),
    })
}

fn rule(text: &str, value: &Value) -> Result<Rule, Malformed> {
    let pattern = Regex::new(text);
    let pattern = pattern.map_err(|error| Malformed(format!("the rule {text:?}: {error}")))?;
    let details = value.as_dictionary();
    let is_set = |key| details.is_some_and(|details| is_set(details, key));
    let weight = details.and_then(|details| details.get("weight"));
    let weight = weight.and_then(|weight| {
        let whole = weight
            .as_signed_integer()
            .and_then(|it| i32::try_from(it).ok());
        weight.as_real().or(whole.map(f64::from))
    });
    Ok(Rule {
        text: text.to_owned(),
        pattern,
        weight: weight.unwrap_or(1.0),
        is_omission: is_set("omit") || value.as_boolean() == Some(false),
        is_nested: is_set("nested"),
    })
}

fn is_set(dictionary: &Dictionary, key: &str) -> bool {
    dictionary.get(key).and_then(Value::as_boolean) == Some(true)
}
