//! Makes small signed apps, with any mistake in them that a test asks for.
//!
//! Written from the formats alone, without the reader that it tests.

use super::signer::Signer;
use plist::{Dictionary, Value};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What is signed, and how.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) identifier: String,
    pub(super) team: Option<String>,
    pub(super) flags: u32,
    pub(super) version: u32,
    pub(super) entitlements: Option<Vec<u8>>,
    pub(super) entitlements_der: Option<Vec<u8>>,
    pub(super) requirements: Vec<u8>,
    /// 1 for SHA-1, 2 for SHA-256.
    pub(super) hashes: Vec<u8>,
    /// Changes the head of every code directory.
    pub(super) tweak: fn(&mut [u8]),
    /// Who signs. Nobody for a signature that says so.
    pub(super) signer: Option<Signer>,
    /// Behind the signature, in its place.
    pub(super) filling: Vec<u8>,
    /// Of the list of resources.
    pub(super) rules2: Dictionary,
}

pub(super) const TEAM: &str = "AB12CD34EF";
pub(super) const ADHOC_WITH_RUNTIME: u32 = 0x1_0002;
pub(super) const PLUG_IN: &str = "PlugIns/Inner.bundle";
pub(super) const EXTENSION: &str = "Library/SystemExtensions/org.example.filter.systemextension";
/// Where the signature begins in a slice.
pub(super) const CODE_LIMIT: usize = 0x2040;
const TEXT_SIZE: u64 = 0x2000;
const ARCHITECTURES: [(u32, u32); 2] = [(0x0100_000c, 0), (0x0100_0007, 3)];

impl Recipe {
    pub(super) fn new(identifier: &str) -> Recipe {
        let entitlements = [("a.flag", Value::Boolean(true)), ("b.text", "words".into())];
        Recipe {
            identifier: identifier.to_owned(),
            team: Some(TEAM.to_owned()),
            flags: ADHOC_WITH_RUNTIME,
            version: 0x2_0500,
            entitlements: Some(xml(&entitlements.into_iter().collect())),
            entitlements_der: Some(der_entitlements("words")),
            requirements: requirements(identifier),
            hashes: vec![2],
            tweak: |_| {},
            signer: None,
            filling: vec![0; 32],
            rules2: rules2(),
        }
    }
}

/// An app with a plug-in, which is sealed as a whole, and a system extension, whose files are.
pub(super) fn app(folder: &Path) -> PathBuf {
    let app = folder.join("App.app");
    prepare_app(&app);
    seal(
        &app.join("Contents").join(PLUG_IN),
        &Recipe::new("org.example.inner"),
    );
    seal(
        &app.join("Contents").join(EXTENSION),
        &Recipe::new("org.example.filter"),
    );
    seal(&app, &Recipe::new("org.example.app"));
    app
}

/// The same, signed by a changed recipe.
pub(super) fn app_by(folder: &Path, change: impl FnOnce(&mut Recipe)) -> PathBuf {
    let app = app(folder);
    let mut recipe = Recipe::new("org.example.app");
    change(&mut recipe);
    seal(&app, &recipe);
    app
}

/// Signs a bundle. What is in it must be signed before.
pub(super) fn seal(bundle: &Path, recipe: &Recipe) {
    let contents = bundle.join("Contents");
    fs::create_dir_all(contents.join("_CodeSignature")).unwrap();
    let resources = code_resources(&contents, recipe);
    fs::write(contents.join("_CodeSignature/CodeResources"), &resources).unwrap();
    let info = fs::read(contents.join("Info.plist")).unwrap();
    let slices = ARCHITECTURES.map(|it| slice(it, recipe, &info, &resources));
    fs::write(contents.join("MacOS/program"), universal(&slices)).unwrap();
}

/// Where the slices of a universal file are.
pub(super) fn slices(file: &[u8]) -> Vec<Range<usize>> {
    let count = number(file, 4);
    let entries = (0..count).map(|index| 8 + index * 20);
    let place = |entry| (number(file, entry + 8), number(file, entry + 12));
    entries
        .map(place)
        .map(|(start, size)| start..start + size)
        .collect()
}

/// Where the signature of a slice is in the file.
pub(super) fn signature(file: &[u8], slice: usize) -> Range<usize> {
    let slice = slices(file)[slice].clone();
    let little = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut at = slice.start + 32;
    while little(at) != 0x1d {
        at += little(at + 4);
    }
    let start = slice.start + little(at + 8);
    start..start + little(at + 12)
}

/// Where a part of a slice's signature is in the file, and its entry in the index.
pub(super) fn blob(file: &[u8], slice: usize, slot: usize) -> (usize, Range<usize>) {
    let start = signature(file, slice).start;
    let entries = (0..number(file, start + 8)).map(|index| start + 12 + index * 8);
    let entry = entries
        .into_iter()
        .find(|entry| number(file, *entry) == slot);
    let entry = entry.expect("the signature has this part");
    let offset = start + number(file, entry + 4);
    (entry, offset..offset + number(file, offset + 4))
}

/// Most significant byte first.
pub(super) fn number(file: &[u8], at: usize) -> usize {
    u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

pub(super) fn put(file: &mut [u8], at: usize, number: u32) {
    file[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

/// `[APPLICATION 16] { 1, [16] { { "a.flag", true }, { "b.text", text } } }`.
pub(super) fn der_entitlements(text: &str) -> Vec<u8> {
    let entry =
        |key: &str, value: Vec<u8>| tagged(0x30, &[tagged(0x0c, key.as_bytes()), value].concat());
    let flag = entry("a.flag", vec![1, 1, 0xff]);
    let words = entry("b.text", tagged(0x0c, text.as_bytes()));
    let dictionary = tagged(0xb0, &[flag, words].concat());
    tagged(0x70, &[vec![2, 1, 1], dictionary].concat())
}

pub(super) fn xml(dictionary: &Dictionary) -> Vec<u8> {
    let mut bytes = Vec::new();
    Value::Dictionary(dictionary.clone())
        .to_writer_xml(&mut bytes)
        .unwrap();
    bytes
}

/// `identifier "…" and anchor apple generic and certificate leaf[subject.OU] = TEAM`, designated.
pub(super) fn requirements(identifier: &str) -> Vec<u8> {
    let codes = [
        words(&[1, 6, 6, 2]),
        data(identifier.as_bytes()),
        words(&[15, 11, 0]),
        data(b"subject.OU"),
        words(&[1]),
        data(TEAM.as_bytes()),
    ];
    let requirement = blob_of(0xfade_0c00, &codes.concat());
    blob_of(0xfade_0c01, &[words(&[1, 3, 20]), requirement].concat())
}

/// What Apple's tools write for a "Developer ID Application" certificate, designated.
pub(super) fn developer_id_requirements(identifier: &str, team: &str) -> Vec<u8> {
    let authority = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 6, 2, 6];
    let application = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 6, 1, 13];
    let codes = [
        words(&[1, 6, 6, 6, 6, 2]),
        data(identifier.as_bytes()),
        words(&[15, 14, 1]),
        data(&authority),
        words(&[0, 14, 0]),
        data(&application),
        words(&[0, 11, 0]),
        data(b"subject.OU"),
        words(&[1]),
        data(team.as_bytes()),
    ];
    let requirement = blob_of(0xfade_0c00, &codes.concat());
    blob_of(0xfade_0c01, &[words(&[1, 3, 20]), requirement].concat())
}

pub(super) fn sha1(bytes: &[u8]) -> Vec<u8> {
    Sha1::digest(bytes).to_vec()
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The first 20 bytes of the digest of a program's first code directory.
pub(super) fn cdhash(program: &Path) -> Vec<u8> {
    let file = fs::read(program).unwrap();
    let (_, directory) = blob(&file, 0, 0);
    sha256(&file[directory])[..20].to_vec()
}

fn prepare_app(app: &Path) {
    let bundles = [
        (app.to_owned(), "org.example.app"),
        (app.join("Contents").join(PLUG_IN), "org.example.inner"),
        (app.join("Contents").join(EXTENSION), "org.example.filter"),
    ];
    for (bundle, identifier) in bundles {
        let contents = bundle.join("Contents");
        fs::create_dir_all(contents.join("MacOS")).unwrap();
        let info = [
            ("CFBundleIdentifier", identifier),
            ("CFBundleExecutable", "program"),
        ];
        let info = info.map(|(key, value)| (key, Value::from(value)));
        fs::write(
            contents.join("Info.plist"),
            xml(&info.into_iter().collect()),
        )
        .unwrap();
    }
    let resources = app.join("Contents/Resources");
    fs::create_dir_all(resources.join("de.lproj")).unwrap();
    fs::write(resources.join("notices.txt"), "thanks").unwrap();
    fs::write(resources.join("de.lproj/words.strings"), "Worte").unwrap();
    fs::write(resources.join("de.lproj/locversion.plist"), "not sealed").unwrap();
    symlink("notices.txt", resources.join("link.txt")).unwrap();
    fs::write(app.join("Contents/PkgInfo"), "APPL????").unwrap();
}

fn rules2() -> Dictionary {
    let rule = |weight: f64, flag: &str| {
        let flag = (flag.to_owned(), Value::Boolean(true));
        let weight = ("weight".to_owned(), Value::Real(weight));
        Value::Dictionary([flag, weight].into_iter().collect())
    };
    let rules = [
        ("^.*", Value::Boolean(true)),
        ("^[^/]+$", rule(10.0, "nested")),
        ("^(MacOS|PlugIns)/", rule(10.0, "nested")),
        (r"^Info\.plist$", rule(20.0, "omit")),
        (r"^PkgInfo$", rule(20.0, "omit")),
        ("^Resources/", rule(20.0, "some")),
        (r"^Resources/.*\.lproj/", rule(1000.0, "optional")),
        (
            r"^Resources/.*\.lproj/locversion.plist$",
            rule(1100.0, "omit"),
        ),
    ];
    rules
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn code_resources(contents: &Path, recipe: &Recipe) -> Vec<u8> {
    let mut files = Dictionary::new();
    let mut files2 = Dictionary::new();
    let mut open = vec![contents.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(contents)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if is_own(&name) {
                continue;
            }
            if path.is_dir() && name != PLUG_IN {
                open.push(path);
                continue;
            }
            if name.starts_with("Resources/") && !path.is_symlink() {
                let digest = Value::Data(sha1(&fs::read(&path).unwrap()));
                files.insert(name.clone(), digest);
            }
            files2.insert(name.clone(), Value::Dictionary(seal_of(&path, &name)));
        }
    }
    let rules = [("^Resources/".to_owned(), Value::Boolean(true))];
    let parts = [
        ("files", files),
        ("files2", files2),
        ("rules", rules.into_iter().collect()),
        ("rules2", recipe.rules2.clone()),
    ];
    let parts = parts.map(|(key, value)| (key.to_owned(), Value::Dictionary(value)));
    xml(&parts.into_iter().collect())
}

fn is_own(name: &str) -> bool {
    let own = ["Info.plist", "PkgInfo", "MacOS/program", "_CodeSignature"];
    own.contains(&name) || name.ends_with("locversion.plist")
}

fn seal_of(path: &Path, name: &str) -> Dictionary {
    let mut seal = Dictionary::new();
    if path.is_symlink() {
        let target = fs::read_link(path).unwrap().to_str().unwrap().to_owned();
        seal.insert("symlink".to_owned(), target.into());
    } else if name == PLUG_IN {
        let cdhash = cdhash(&path.join("Contents/MacOS/program"));
        let requirement = format!(
            "(identifier \"org.example.inner\" and anchor apple generic) \
             and certificate leaf[subject.OU] = {TEAM}"
        );
        seal.insert("cdhash".to_owned(), Value::Data(cdhash));
        seal.insert("requirement".to_owned(), requirement.into());
    } else {
        let data = fs::read(path).unwrap();
        seal.insert("hash2".to_owned(), Value::Data(sha256(&data)));
    }
    if name.contains(".lproj/") {
        seal.insert("optional".to_owned(), Value::Boolean(true));
    }
    seal
}

fn universal(slices: &[Vec<u8>]) -> Vec<u8> {
    let mut file = words(&[0xcafe_babe, u32::try_from(slices.len()).unwrap()]);
    let mut offset = 0x1000;
    for ((family, variant), slice) in ARCHITECTURES.into_iter().zip(slices) {
        let size = u32::try_from(slice.len()).unwrap();
        file.extend(words(&[family, variant, offset, size, 12]));
        offset += size.next_multiple_of(0x1000);
    }
    for slice in slices {
        file.resize(file.len().next_multiple_of(0x1000), 0);
        file.extend(slice);
    }
    file
}

fn slice((family, variant): (u32, u32), recipe: &Recipe, info: &[u8], list: &[u8]) -> Vec<u8> {
    let empty = program(family, variant, 0);
    let size = superblob(recipe, &empty, info, list).len();
    let mut slice = program(family, variant, size);
    let signature = superblob(recipe, &slice, info, list);
    slice.extend(signature);
    slice
}

/// A program with three pages, the last of which is not full.
fn program(family: u32, variant: u32, signature_size: usize) -> Vec<u8> {
    let little = |numbers: &[u32]| {
        numbers
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let segment = |name: &str, offset: u64, size: u64| {
        let mut command = little(&[0x19, 72]);
        command.extend(name.as_bytes());
        command.resize(24, 0);
        for number in [offset, size.next_multiple_of(0x1000), offset, size] {
            command.extend(number.to_le_bytes());
        }
        command.resize(72, 0);
        command
    };
    let linkedit_size = CODE_LIMIT as u64 - TEXT_SIZE + signature_size as u64;
    let place = [CODE_LIMIT, signature_size].map(|it| u32::try_from(it).unwrap());
    let mut program = little(&[0xfeed_facf, family, variant, 2, 3, 160, 0, 0]);
    program.extend(segment("__TEXT", 0, TEXT_SIZE));
    program.extend(segment("__LINKEDIT", TEXT_SIZE, linkedit_size));
    program.extend(little(&[0x1d, 16, place[0], place[1]]));
    let filling = program.len()..CODE_LIMIT;
    program.extend(filling.map(|it| (it % 251).to_le_bytes()[0]));
    program
}

fn superblob(recipe: &Recipe, code: &[u8], info: &[u8], list: &[u8]) -> Vec<u8> {
    let entitlements = |magic, content: &Option<Vec<u8>>| {
        let content = content.as_ref();
        content.map(|content| blob_of(magic, content))
    };
    let parts = [
        (2, Some(recipe.requirements.clone())),
        (5, entitlements(0xfade_7171, &recipe.entitlements)),
        (7, entitlements(0xfade_7172, &recipe.entitlements_der)),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(slot, part)| Some((slot, part?)));
    let mut parts: Vec<(u32, Vec<u8>)> = parts.collect();
    let mut sealed = vec![(1, info.to_vec()), (3, list.to_vec())];
    sealed.extend(parts.clone());
    let mut directories = Vec::new();
    for (slot, hash) in [0, 0x1000].into_iter().zip(&recipe.hashes) {
        let directory = directory(recipe, *hash, code, &sealed);
        directories.push((*hash, directory.clone()));
        parts.push((slot, directory));
    }
    let signer = recipe.signer.as_ref();
    let message = signer.map(|signer| signer.message(&directories));
    parts.push((0x1_0000, blob_of(0xfade_0b01, &message.unwrap_or_default())));
    parts.sort();
    let mut index = words(&[u32::try_from(parts.len()).unwrap()]);
    let mut offset = 12 + parts.len() * 8;
    for (slot, part) in &parts {
        index.extend(words(&[*slot, u32::try_from(offset).unwrap()]));
        offset += part.len();
    }
    let parts = parts.into_iter().flat_map(|(_, part)| part);
    let superblob = blob_of(0xfade_0cc0, &[index, parts.collect()].concat());
    [superblob, recipe.filling.clone()].concat()
}

fn directory(recipe: &Recipe, hash: u8, code: &[u8], sealed: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let digest = |data: &[u8]| if hash == 1 { sha1(data) } else { sha256(data) };
    let size = if hash == 1 { 20 } else { 32 };
    let mut names = recipe.identifier.clone().into_bytes();
    names.push(0);
    let team_offset = recipe.team.as_ref().map_or(0, |_| 96 + names.len());
    if let Some(team) = &recipe.team {
        names.extend(team.bytes());
        names.push(0);
    }
    let digests = 96 + names.len() + 7 * usize::from(size);
    let [digests, team, limit] =
        [digests, team_offset, CODE_LIMIT].map(|it| u32::try_from(it).unwrap());
    let mut head = words(&[recipe.version, recipe.flags, digests, 96, 7, 3, limit]);
    head.extend([size, hash, 0, 12]);
    head.extend(words(&[
        0,
        0,
        team,
        0,
        0,
        0,
        0,
        0,
        0,
        0x2000,
        0,
        1,
        0x000d_0000,
        0,
    ]));
    head.extend(names);
    for slot in (1..=7).rev() {
        let part = sealed.iter().find(|(other, _)| *other == slot);
        let nothing = vec![0; usize::from(size)];
        head.extend(part.map_or(nothing, |(_, part)| digest(part)));
    }
    for page in code.chunks(0x1000) {
        head.extend(digest(page));
    }
    let mut directory = blob_of(0xfade_0c02, &head);
    (recipe.tweak)(&mut directory);
    directory
}

fn blob_of(magic: u32, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).unwrap();
    [words(&[magic, size]), content.to_vec()].concat()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|it| it.to_be_bytes()).collect()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut all = words(&[u32::try_from(bytes.len()).unwrap()]);
    all.extend(bytes);
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// An element in the encoding of certificates.
pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => element.push(length),
        Ok(length) => element.extend([0x81, length]),
        Err(_) => {
            element.push(0x82);
            element.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    element.extend(content);
    element
}
