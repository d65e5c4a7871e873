//! A bundle's signature: that of its program, of its files, and of the bundles in it.

use super::bytes::property_list;
use super::executable::{self, SliceSignature, Surroundings};
use super::finding::{Finding, Findings, Mistake};
use super::resources::{Code, Folder, Kind, List, Resources};
use super::{Error, Malformed};
use plist::{Dictionary, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A bundle's signature.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleSignature {
    /// Where the bundle is.
    pub path: PathBuf,
    /// `CFBundleIdentifier` of the Info.plist.
    pub identifier: String,
    /// `CFBundleExecutable` of the Info.plist.
    pub executable: String,
    /// The program's signatures, one for each kind of processor.
    pub slices: Vec<SliceSignature>,
    /// The files that the signature vouches for.
    pub resources: Resources,
    /// The bundles in it, by their paths from Contents on.
    pub nested: BTreeMap<String, BundleSignature>,
}

/// Bundles in bundles in bundles.
const DEPTH_MAX: u32 = 8;
const FILE_SIZE_MAX: u64 = 1 << 30;
const ENTRIES_MAX: usize = 100_000;
const INFO: &str = "Info.plist";
const SEAL_FOLDER: &str = "_CodeSignature";
const SEAL: &str = "_CodeSignature/CodeResources";

pub(super) fn inspect(path: &Path) -> Result<(BundleSignature, Vec<Finding>), Error> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    inspect_at(path, &name.to_string_lossy(), DEPTH_MAX)
}

fn inspect_at(
    path: &Path,
    place: &str,
    depth: u32,
) -> Result<(BundleSignature, Vec<Finding>), Error> {
    let contents = path.join("Contents");
    let mut entries = list(&contents)?;
    let info_bytes = read(&contents.join(INFO))?;
    let info = info_plist(&info_bytes, path)?;
    let executable = executable_name(&info, path)?;
    let program = read(&contents.join("MacOS").join(&executable))?;
    let seal = match entries.get(SEAL) {
        Some(Kind::File) => Some(read(&contents.join(SEAL))?),
        Some(Kind::Folder | Kind::Link(_)) | None => None,
    };
    let surroundings = Surroundings {
        info: Some(&info_bytes),
        resources: seal.as_deref(),
    };
    let inspected = executable::inspect(&program, surroundings, place);
    let (slices, mut all) = inspected.map_err(|why| Error::Malformed {
        path: contents.join("MacOS").join(&executable),
        why,
    })?;
    let mut findings = Findings::new(place);
    let nested = inspect_nested(path, &entries, place, depth, &mut findings)?;
    let bundle = BundleSignature {
        path: path.to_owned(),
        identifier: text(&info, "CFBundleIdentifier").unwrap_or_default(),
        resources: Resources::default(),
        executable,
        slices,
        nested,
    };
    check_identifier(&bundle, &mut findings);
    check_root(path, &mut findings)?;
    forget_own(&mut entries, &bundle.executable);
    let list = seal.and_then(|seal| findings.readable("CodeResources", List::read(&seal)));
    let list = list.unwrap_or_default();
    list.check(
        &OnDisk {
            bundle: &bundle,
            contents,
            entries,
        },
        &mut findings,
    );
    all.append(&mut findings.all);
    let resources = list.resources;
    Ok((
        BundleSignature {
            resources,
            ..bundle
        },
        all,
    ))
}

impl BundleSignature {
    /// The first slice.
    pub fn first(&self) -> &SliceSignature {
        &self.slices[0]
    }
}

/// The bundle's files as they are.
struct OnDisk<'a> {
    bundle: &'a BundleSignature,
    contents: PathBuf,
    entries: BTreeMap<String, Kind>,
}

impl Folder for OnDisk<'_> {
    fn entries(&self) -> &BTreeMap<String, Kind> {
        &self.entries
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        read(&self.contents.join(path)).ok()
    }

    fn code(&self, path: &str) -> Option<Code> {
        let of_slices = |slices: &[SliceSignature]| {
            let cdhashes = slices.iter().map(|slice| slice.primary().cdhash().to_vec());
            let designated = slices.first()?.designated();
            Some(Code {
                cdhashes: cdhashes.collect(),
                requirement: designated.map(ToString::to_string),
            })
        };
        if let Some(nested) = self.bundle.nested.get(path) {
            return of_slices(&nested.slices);
        }
        let program = self.read(path)?;
        let inspected = executable::inspect(&program, Surroundings::default(), path);
        let (slices, findings) = inspected.ok()?;
        of_slices(&slices).filter(|_| findings.is_empty())
    }
}

fn inspect_nested(
    bundle: &Path,
    entries: &BTreeMap<String, Kind>,
    place: &str,
    depth: u32,
    findings: &mut Findings,
) -> Result<BTreeMap<String, BundleSignature>, Error> {
    let mut nested = BTreeMap::new();
    for path in nested_paths(entries) {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Error::TooMuch {
                path: bundle.to_owned(),
            });
        };
        let place = format!("{place}/Contents/{path}");
        match inspect_at(&bundle.join("Contents").join(&path), &place, depth) {
            Ok((signature, mut found)) => {
                findings.all.append(&mut found);
                nested.insert(path, signature);
            }
            Err(error) => findings.add(Mistake::Unreadable {
                part: path,
                why: Malformed(error.to_string()),
            }),
        }
    }
    Ok(nested)
}

/// Folders that look like bundles, without those in other such folders.
fn nested_paths(entries: &BTreeMap<String, Kind>) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for path in entries.keys() {
        let Some(folder) = path.strip_suffix("/Contents/Info.plist") else {
            continue;
        };
        let is_inside = |outer: &String| folder.starts_with(&format!("{outer}/"));
        if !paths.iter().any(is_inside) {
            paths.retain(|inner| !inner.starts_with(&format!("{folder}/")));
            paths.insert(folder.to_owned());
        }
    }
    paths
}

fn check_identifier(bundle: &BundleSignature, findings: &mut Findings) {
    let signed = &bundle.first().primary().identifier;
    findings.expect(bundle.identifier == *signed, || Mistake::Identifier {
        signed: signed.clone(),
        info: bundle.identifier.clone(),
    });
}

/// Beside the folder Contents there is nothing.
fn check_root(path: &Path, findings: &mut Findings) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(|why| Error::unreadable(path, why))? {
        let entry = entry.map_err(|why| Error::unreadable(path, why))?;
        let name = entry.file_name();
        findings.expect(name == "Contents", || Mistake::ResourceAdded {
            path: format!("../{}", name.to_string_lossy()),
        });
    }
    Ok(())
}

/// The program and the list itself are sealed otherwise.
fn forget_own(entries: &mut BTreeMap<String, Kind>, executable: &str) {
    for own in [SEAL_FOLDER, SEAL] {
        entries.remove(own);
    }
    entries.remove(&format!("MacOS/{executable}"));
}

fn info_plist(bytes: &[u8], bundle: &Path) -> Result<Dictionary, Error> {
    let value: Option<Value> = property_list(bytes).ok();
    value
        .and_then(Value::into_dictionary)
        .ok_or_else(|| Error::Malformed {
            path: bundle.join("Contents").join(INFO),
            why: Malformed::new("not a property list with a dictionary"),
        })
}

fn executable_name(info: &Dictionary, bundle: &Path) -> Result<String, Error> {
    let name = text(info, "CFBundleExecutable");
    let is_name = |name: &String| !name.contains('/') && !matches!(name.as_str(), "" | "." | "..");
    name.filter(is_name).ok_or_else(|| Error::Malformed {
        path: bundle.join("Contents").join(INFO),
        why: Malformed::new("CFBundleExecutable does not name a program"),
    })
}

fn text(dictionary: &Dictionary, key: &str) -> Option<String> {
    dictionary.get(key)?.as_string().map(str::to_owned)
}

/// Everything below the folder. Links are not followed.
fn list(folder: &Path) -> Result<BTreeMap<String, Kind>, Error> {
    let mut entries = BTreeMap::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let failed = |why| Error::unreadable(&folder, why);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = format!("{prefix}{}", name(&entry)?);
            let kind = kind(&entry).map_err(failed)?;
            if kind == Kind::Folder {
                open.push((entry.path(), format!("{path}/")));
            }
            entries.insert(path, kind);
            if entries.len() > ENTRIES_MAX {
                return Err(Error::TooMuch { path: folder });
            }
        }
    }
    Ok(entries)
}

fn name(entry: &fs::DirEntry) -> Result<String, Error> {
    entry
        .file_name()
        .into_string()
        .map_err(|_| Error::Malformed {
            path: entry.path(),
            why: Malformed::new("its name is not UTF-8"),
        })
}

fn kind(entry: &fs::DirEntry) -> io::Result<Kind> {
    let found = entry.file_type()?;
    Ok(if found.is_dir() {
        Kind::Folder
    } else if found.is_symlink() {
        Kind::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned())
    } else {
        Kind::File
    })
}

/// A file's bytes. What is no file, such as a pipe, is not opened.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |why| Error::unreadable(path, why);
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("not a file")));
    }
    if metadata.len() > FILE_SIZE_MAX {
        return Err(Error::TooMuch {
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(failed)
}
