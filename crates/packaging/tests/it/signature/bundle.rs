//! The finished apps, in both variants: they are sound, and every mistake that is planted in a
//! copy of them is found.

use super::{maker, sentences};
use packaging::signature::{self, BundleSignature, Finding};
use plist::{Dictionary, Value};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const VARIANTS: [&str; 2] = ["developer-id", "development"];

/// A copy of a finished app, in which mistakes can be planted.
struct Copy {
    app: PathBuf,
    _folder: TempDir,
}

impl Copy {
    fn of(variant: &str) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("Conntrail.app");
        copy(&finished(variant), &app);
        Copy {
            app,
            _folder: folder,
        }
    }

    fn verify(&self) -> Vec<Finding> {
        signature::verify_bundle(&self.app).unwrap().1
    }

    /// What is found while a file is different.
    fn found_with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
        let path = self.app.join(path);
        let sound = fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let found = match signature::verify_bundle(&self.app) {
            Ok((_, found)) => sentences(&found),
            Err(error) => vec![error.to_string()],
        };
        fs::write(&path, sound).unwrap();
        found
    }

    fn found_in_program(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
        self.found_with(Path::new("Contents/MacOS/conntrail"), change)
    }
}

fn finished(variant: &str) -> PathBuf {
    let folder = env::var_os("CONNTRAIL_BUNDLES").expect("CONNTRAIL_BUNDLES names the folder");
    Path::new(&folder).join(variant).join("Conntrail.app")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            fs::copy(entry.path(), &to).unwrap();
            fs::set_permissions(to, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

fn is_found(found: &[String], sentence: &str) {
    let is_there = found.iter().any(|one| one.contains(sentence));
    assert!(is_there, "{sentence:?} is not in {found:#?}");
}

fn team(bundle: &BundleSignature) -> &str {
    bundle.first().primary().team.as_deref().unwrap()
}

#[test]
#[ignore = "needs bundle: reads the signatures of both variants"]
fn both_variants_are_sound() {
    for variant in VARIANTS {
        let (app, found) = signature::verify_bundle(&finished(variant)).unwrap();
        assert_eq!(sentences(&found), Vec::<String>::new(), "{variant}");
        assert_eq!(app.nested.len(), 1);
        let extension = app.nested.values().next().unwrap();
        assert_eq!(team(&app), team(extension));
        for bundle in [&app, extension] {
            let mut architectures: Vec<_> = bundle
                .slices
                .iter()
                .map(|slice| slice.architecture.to_string())
                .collect();
            architectures.sort();
            assert_eq!(architectures, ["arm64", "x86_64"]);
            for slice in &bundle.slices {
                let cms = slice.cms.as_ref().unwrap();
                assert_eq!(cms.is_valid, Some(true));
                assert_eq!(cms.leaf().unit.as_deref(), slice.primary().team.as_deref());
                let has_runtime = |it: &signature::directory::CodeDirectory| it.has_runtime();
                assert!(slice.directories.iter().all(has_runtime));
                assert!(slice.designated().unwrap().known().is_some());
                assert_eq!(slice.entitlements, slice.entitlements_der);
                assert_eq!(
                    filter(slice.entitlements.as_ref().unwrap()),
                    [filter_of(variant)]
                );
            }
        }
    }
}

fn filter_of(variant: &str) -> &'static str {
    match variant {
        "developer-id" => "content-filter-provider-systemextension",
        _ => "content-filter-provider",
    }
}

fn filter(entitlements: &Dictionary) -> Vec<&str> {
    let values = entitlements.get("com.apple.developer.networking.networkextension");
    let values = values.and_then(Value::as_array).unwrap();
    values
        .iter()
        .map(|value| value.as_string().unwrap())
        .collect()
}

#[test]
#[ignore = "needs bundle: the code directories of the shipped programs"]
fn both_cdhashes_are_those_of_the_files() {
    for variant in VARIANTS {
        let app = signature::read_bundle(&finished(variant)).unwrap();
        for bundle in [&app, app.nested.values().next().unwrap()] {
            let path = bundle.path.join("Contents/MacOS").join(&bundle.executable);
            let file = fs::read(path).unwrap();
            for (index, slice) in bundle.slices.iter().enumerate() {
                let (_, directory) = maker::blob(&file, index, 0);
                let expected = maker::sha256(&file[directory]);
                assert_eq!(slice.primary().sha256, expected);
                assert_eq!(slice.primary().cdhash(), &expected[..20]);
            }
        }
    }
}

#[test]
#[ignore = "needs bundle: plants mistakes in the program's code"]
fn mistakes_in_the_code_are_found() {
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        for index in 0..2 {
            let found = copy.found_in_program(|program| {
                let slice = maker::slices(program)[index].clone();
                program[slice.start + slice.len() / 2] ^= 1;
            });
            is_found(&found, "is not what was signed (SHA-256)");
            assert_eq!(found.len(), 1, "{found:?}");
        }
        let found = copy.found_in_program(|program| {
            let at = program.len() - 8192;
            program.truncate(at);
        });
        is_found(&found, "a slice would be");
        assert!(copy.verify().is_empty());
    }
}

#[test]
#[ignore = "needs bundle: plants mistakes in the parts of a signature"]
fn mistakes_in_the_signature_are_found() {
    let flipped = [
        (2, "the set of requirements is not what was signed"),
        (
            5,
            "the property list of entitlements is not what was signed",
        ),
        (
            7,
            "the DER encoding of the entitlements is not what was signed",
        ),
        (0, "the signer signed another code directory"),
        (0x1_0000, "the signature is not that of the certificate"),
    ];
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        for (slot, sentence) in flipped {
            let found = copy.found_in_program(|program| {
                let (_, part) = maker::blob(program, 1, slot);
                program[part.end - 9] ^= 1;
            });
            is_found(&found, sentence);
        }
        let found = copy.found_in_program(|program| {
            let (_, part) = maker::blob(program, 0, 5);
            let size = u32::try_from(part.len() + 1).unwrap();
            maker::put(program, part.start + 4, size);
        });
        is_found(&found, "overlap");
        let found = copy.found_in_program(|program| {
            let start = maker::signature(program, 0).start;
            maker::put(program, start + 4, 64);
        });
        is_found(&found, "outside of 64 bytes");
    }
}

#[test]
#[ignore = "needs bundle: plants mistakes in the code directories"]
fn mistakes_in_the_code_directory_are_found() {
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        let words: [(usize, u32, &str); 4] = [
            (12, 0, "differs from the first one in its flags"),
            (12, 2, "the flag for signatures of nobody is true"),
            (
                32,
                4096,
                "4096 bytes are signed, but the signature begins at",
            ),
            (
                24,
                6,
                "the DER encoding of the entitlements is there, but was not signed",
            ),
        ];
        for (at, word, sentence) in words {
            let found = copy.found_in_program(|program| {
                let (_, directory) = maker::blob(program, 1, 0);
                maker::put(program, directory.start + at, word);
            });
            is_found(&found, sentence);
            is_found(&found, "the signer signed another code directory");
            is_found(
                &found,
                "the signed list of code directories (cdhashes) does not name",
            );
        }
        let found = copy.found_in_program(|program| {
            let (_, directory) = maker::blob(program, 0, 0);
            let team = directory.start + maker::number(program, directory.start + 48);
            program[team] = if program[team] == b'Z' { b'Y' } else { b'Z' };
        });
        is_found(&found, "the team in the code directory is");
        is_found(&found, "differs from the first one in its team");
    }
}

#[test]
#[ignore = "needs bundle: plants mistakes in the signed messages"]
fn mistakes_in_the_signed_message_are_found() {
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        let found = copy.found_in_program(|program| {
            let (_, message) = maker::blob(program, 0, 0x1_0000);
            let list = find(program, message, b"cdhashes");
            let digest = list + find(program, list..program.len(), b"<data>") - list + 12;
            program[digest] = if program[digest] == b'A' { b'B' } else { b'A' };
        });
        is_found(
            &found,
            "the signed list of code directories (cdhashes) does not name",
        );
        is_found(&found, "the signature is not that of the certificate");
        for which in 0..2 {
            let found = copy.found_in_program(|program| {
                let (_, directory) = maker::blob(program, 0, 0);
                let digest = maker::sha256(&program[directory]);
                let (_, message) = maker::blob(program, 0, 0x1_0000);
                let first = find(program, message.clone(), &digest);
                let at = [first, find(program, first + 1..message.end, &digest)][which];
                program[at] ^= 1;
            });
            is_found(&found, "the signature is not that of the certificate");
            assert_eq!(found.len(), 2, "{found:?}");
        }
        let found = copy.found_in_program(|program| {
            let (_, one) = maker::blob(program, 0, 0x1_0000);
            let (_, other) = maker::blob(program, 1, 0x1_0000);
            assert_eq!(one.len(), other.len());
            let bytes = program[one.clone()].to_vec();
            program.copy_within(other.clone(), one.start);
            program[other].copy_from_slice(&bytes);
        });
        let signed_another = "the signer signed another code directory";
        let count = found
            .iter()
            .filter(|one| one.contains(signed_another))
            .count();
        assert_eq!(count, 2, "{found:?}");
    }
}

fn find(bytes: &[u8], range: std::ops::Range<usize>, what: &[u8]) -> usize {
    let found = bytes[range.clone()]
        .windows(what.len())
        .position(|it| it == what);
    range.start + found.unwrap()
}

#[test]
#[ignore = "needs bundle: plants mistakes beside the program"]
fn mistakes_beside_the_program_are_found() {
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        let append = |bytes: &mut Vec<u8>| bytes.push(b'\n');
        for (path, sentence) in [
            ("Contents/Info.plist", "Info.plist is not what was signed"),
            (
                "Contents/_CodeSignature/CodeResources",
                "CodeResources is not what was signed",
            ),
            (
                "Contents/embedded.provisionprofile",
                "is not what was sealed (SHA-256)",
            ),
            (
                "Contents/Resources/uninstall.sh",
                "is not what was sealed (SHA-256)",
            ),
        ] {
            is_found(&copy.found_with(Path::new(path), append), sentence);
        }
        let notices = copy.app.join("Contents/Resources/NOTICES.txt");
        let moved = copy.app.join("Contents/Resources/Notices.txt");
        fs::rename(&notices, &moved).unwrap();
        let found = sentences(&copy.verify());
        is_found(
            &found,
            "Resources/NOTICES.txt is among the sealed resources, but not there",
        );
        is_found(
            &found,
            "Resources/Notices.txt is not among the sealed resources",
        );
        fs::rename(&moved, &notices).unwrap();
        assert!(copy.verify().is_empty());
    }
}

#[test]
#[ignore = "needs bundle: changes the extension after the app was sealed"]
fn an_extension_that_changed_is_found() {
    for variant in VARIANTS {
        let copy = Copy::of(variant);
        let app = signature::read_bundle(&copy.app).unwrap();
        let extension = Path::new("Contents").join(app.nested.keys().next().unwrap());
        for (path, sentence) in [
            ("Contents/Info.plist", "Info.plist is not what was signed"),
            (
                "Contents/embedded.provisionprofile",
                "embedded.provisionprofile is not what was",
            ),
            (
                "Contents/_CodeSignature/CodeResources",
                "CodeResources is not what was signed",
            ),
        ] {
            let found = copy.found_with(&extension.join(path), |bytes| bytes.push(b'\n'));
            is_found(&found, sentence);
            let of_app = |one: &String| one.starts_with("Conntrail.app: Library/");
            assert!(found.iter().any(of_app), "{found:?}");
        }
    }
}

#[test]
#[ignore = "needs bundle: flips bytes all over a signature"]
fn no_byte_of_a_signature_can_change_unseen() {
    let copy = Copy::of(VARIANTS[0]);
    let path = copy.app.join("Contents/MacOS/conntrail");
    let sound = fs::read(&path).unwrap();
    let place = maker::signature(&sound, 0);
    let end = maker::blob(&sound, 0, 0x1_0000).1.end;
    let inside = (place.start..end).step_by((end - place.start) / 24);
    for at in inside.chain([place.end - 1]) {
        let found = copy.found_in_program(|program| program[at] ^= 0x11);
        assert!(!found.is_empty(), "byte {at}");
    }
}

#[test]
#[ignore = "needs bundle: reads the package's signature"]
fn the_package_is_signed_for_installing() {
    let app = finished(VARIANTS[0]);
    let files = fs::read_dir(app.parent().unwrap()).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let package = files.find(|path| path.extension().is_some_and(|it| it == "pkg"));
    let bytes = fs::read(package.expect("the package is beside the app")).unwrap();
    let (signature, found) = signature::package::verify(&bytes).unwrap();
    assert_eq!(sentences(&found), Vec::<String>::new());
    assert!(signature.is_developer_id_installer());
    let app = signature::read_bundle(&app).unwrap();
    assert_eq!(signature.leaf().unwrap().unit.as_deref(), Some(team(&app)));
    let table_size = u64::from_be_bytes(bytes[8..16].try_into().unwrap());
    let heap = 28 + usize::try_from(table_size).unwrap();
    for at in [40, heap - 1, heap, heap + 40, heap + 500] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let seen = signature::package::verify(&changed).map_or(true, |(_, it)| !it.is_empty());
        assert!(seen, "byte {at}");
    }
}
