//! Signatures are read and computed again, and every mistake in them is found.

use maker::{EXTENSION, PLUG_IN, Recipe, TEAM};
use mdm::requirement::{Certificate, Clause, Requirement};
use packaging::signature::{self, Error, Expected, Finding};
use plist::{Dictionary, Value};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

mod bundle;
mod maker;
mod messages;
mod packages;
mod signer;

const ARM: &str = "App.app (arm64): ";
const INTEL: &str = "App.app (x86_64): ";

/// What is found in an app that was changed after it was signed.
fn found_after(change: impl FnOnce(&Path)) -> Vec<String> {
    let folder = tempdir().unwrap();
    let app = maker::app(folder.path());
    change(&app);
    sentences(&signature::verify_bundle(&app).unwrap().1)
}

/// What is found in an app that was signed by a changed recipe.
fn found_by(change: impl FnOnce(&mut Recipe)) -> Vec<String> {
    let folder = tempdir().unwrap();
    let app = maker::app_by(folder.path(), change);
    sentences(&signature::verify_bundle(&app).unwrap().1)
}

/// What is found when the program's bytes were changed.
fn found_in_program(change: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
    found_after(|app| change_program(app, change))
}

/// Why a program whose bytes were changed cannot be read.
fn refused(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let folder = tempdir().unwrap();
    let app = maker::app(folder.path());
    change_program(&app, change);
    match signature::verify_bundle(&app) {
        Err(Error::Malformed { path, why }) => {
            assert!(path.ends_with("App.app/Contents/MacOS/program"));
            why.to_string()
        }
        other => panic!("{other:?}"),
    }
}

fn change_program(app: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = app.join("Contents/MacOS/program");
    let mut program = fs::read(&path).unwrap();
    change(&mut program);
    fs::write(path, program).unwrap();
}

fn sentences(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}

fn in_both_slices(sentence: &str) -> Vec<String> {
    vec![format!("{ARM}{sentence}"), format!("{INTEL}{sentence}")]
}

#[test]
fn a_sound_bundle_has_no_finding() {
    assert_eq!(found_after(|_| {}), Vec::<String>::new());
    assert_eq!(
        found_by(|recipe| recipe.hashes = vec![1, 2]),
        Vec::<String>::new()
    );
    let nothing = |recipe: &mut Recipe| {
        recipe.entitlements = None;
        recipe.entitlements_der = None;
        recipe.team = None;
    };
    assert_eq!(found_by(nothing), Vec::<String>::new());
}

#[test]
fn everything_in_a_signature_is_read() {
    let folder = tempdir().unwrap();
    let app = maker::app_by(folder.path(), |recipe| recipe.hashes = vec![1, 2]);
    let bundle = signature::read_bundle(&app).unwrap();
    assert_eq!(bundle.identifier, "org.example.app");
    assert_eq!(bundle.executable, "program");
    let architectures = bundle
        .slices
        .iter()
        .map(|slice| slice.architecture.to_string());
    assert_eq!(architectures.collect::<Vec<_>>(), ["arm64", "x86_64"]);
    assert_eq!(
        bundle.nested.keys().collect::<Vec<_>>(),
        [EXTENSION, PLUG_IN]
    );
    let slice = bundle.first();
    let directory = slice.primary();
    assert_eq!(directory.identifier, "org.example.app");
    assert_eq!(directory.team.as_deref(), Some(TEAM));
    assert!(directory.has_runtime() && directory.is_adhoc());
    assert_eq!(
        (directory.version, directory.runtime),
        (0x2_0500, Some(0x000d_0000))
    );
    assert_eq!((directory.page_size, directory.code_limit), (4096, 0x2040));
    let program = fs::read(app.join("Contents/MacOS/program")).unwrap();
    let cdhashes = [
        maker::sha1(&program[maker::blob(&program, 0, 0).1]),
        maker::sha256(&program[maker::blob(&program, 0, 0x1000).1])[..20].to_vec(),
    ];
    assert_eq!(slice.cdhashes(), cdhashes);
    assert_eq!(slice.entitlements, slice.entitlements_der);
    let words = slice.entitlements.as_ref().and_then(|it| it.get("b.text"));
    assert_eq!(words.and_then(Value::as_string), Some("words"));
    assert!(bundle.resources.files2.contains_key("Resources/link.txt"));
}

#[test]
fn the_requirement_is_read_as_text_and_as_clauses() {
    let folder = tempdir().unwrap();
    let bundle = signature::read_bundle(&maker::app(folder.path())).unwrap();
    let designated = bundle.first().designated().unwrap();
    assert_eq!(
        designated.to_string(),
        "identifier \"org.example.app\" and anchor apple generic \
         and certificate leaf[subject.OU] = \"AB12CD34EF\""
    );
    assert_eq!(designated.known(), Some(requirement("org.example.app")));
}

fn requirement(identifier: &str) -> Requirement {
    let clauses = vec![
        Clause::Identifier(identifier.to_owned()),
        Clause::AnchorAppleGeneric,
        Clause::Subject {
            certificate: Certificate::Leaf,
            field: "OU".to_owned(),
            value: TEAM.to_owned(),
        },
    ];
    Requirement { clauses }
}

#[test]
fn a_changed_page_is_found() {
    for (page, offset) in [(0, 0x900), (1, 0x1000), (2, 0x203f)] {
        let found = found_in_program(|program| {
            let slice = maker::slices(program)[0].clone();
            program[slice.start + offset] ^= 1;
        });
        let at = page * 4096;
        let expected = format!("{ARM}page {page} at {at} is not what was signed (SHA-256)");
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_changed_info_plist_is_found() {
    let found = found_after(|app| {
        let path = app.join("Contents/Info.plist");
        let mut info = fs::read_to_string(&path).unwrap();
        info.push('\n');
        fs::write(path, info).unwrap();
    });
    assert_eq!(
        found,
        in_both_slices("Info.plist is not what was signed (SHA-256)")
    );
}

#[test]
fn another_identifier_in_the_info_plist_is_found() {
    let found = found_by(|recipe| recipe.identifier = "org.example.other".to_owned());
    let clause = "the program does not meet its own requirement: identifier \"org.example.app\"";
    let mut expected = in_both_slices(clause);
    expected.push(
        "App.app: the signature is for \"org.example.other\", the Info.plist says \
         \"org.example.app\""
            .to_owned(),
    );
    assert_eq!(found, expected);
}

#[test]
fn a_changed_list_of_resources_is_found() {
    let found = found_after(|app| {
        let path = app.join("Contents/_CodeSignature/CodeResources");
        let list = fs::read_to_string(&path).unwrap();
        fs::write(path, list + "\n").unwrap();
    });
    assert_eq!(
        found,
        in_both_slices("CodeResources is not what was signed (SHA-256)")
    );
    let found = found_after(|app| {
        fs::remove_file(app.join("Contents/_CodeSignature/CodeResources")).unwrap();
    });
    assert_eq!(
        found[..2],
        in_both_slices("CodeResources was signed, but is not there")
    );
}

#[test]
fn changed_and_missing_resources_are_found() {
    let path = "Contents/Resources/notices.txt";
    let found = found_after(|app| fs::write(app.join(path), "no thanks").unwrap());
    let name = "App.app: Resources/notices.txt";
    let changed = |hash| format!("{name} is not what was sealed ({hash})");
    assert_eq!(found, [changed("SHA-256"), changed("SHA-1")]);
    let found = found_after(|app| fs::remove_file(app.join(path)).unwrap());
    let gone = format!("{name} is among the sealed resources, but not there");
    assert_eq!(found, [gone.clone(), gone]);
}

#[test]
fn added_resources_are_found() {
    for path in [
        "Resources/more.txt",
        "more.txt",
        "Library/more.txt",
        "_CodeSignature/more",
    ] {
        let found = found_after(|app| {
            fs::write(app.join("Contents").join(path), "more").unwrap();
        });
        assert_eq!(
            found,
            [format!("App.app: {path} is not among the sealed resources")]
        );
    }
    let found = found_after(|app| fs::write(app.join("more"), "more").unwrap());
    assert_eq!(
        found,
        ["App.app: ../more is not among the sealed resources"]
    );
}

#[test]
fn what_rules_leave_out_is_not_missed() {
    let found = found_after(|app| {
        fs::write(app.join("Contents/PkgInfo"), "other").unwrap();
        let words = app.join("Contents/Resources/de.lproj");
        fs::write(words.join("locversion.plist"), "other").unwrap();
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_link_that_points_elsewhere_is_found() {
    for target in [Some("/etc/passwd"), None] {
        let found = found_after(|app| {
            let link = app.join("Contents/Resources/link.txt");
            fs::remove_file(&link).unwrap();
            match target {
                Some(target) => std::os::unix::fs::symlink(target, link).unwrap(),
                None => fs::write(link, "thanks").unwrap(),
            }
        });
        let sentence = "the link Resources/link.txt does not point to where it was sealed";
        assert_eq!(found[0], format!("App.app: {sentence}"));
    }
}

#[test]
fn rules_that_leave_out_too_much_are_found() {
    let found = found_by(|recipe| {
        let omit = [("omit".to_owned(), Value::Boolean(true))];
        let rule = Value::Dictionary(omit.into_iter().collect());
        recipe.rules2.insert("^Resources/note".to_owned(), rule);
    });
    let rule = "the rule ^Resources/note leaves out files that the system wants sealed";
    assert_eq!(found, [format!("App.app: {rule}")]);
}

#[test]
fn without_rules_everything_must_be_sealed() {
    let found = found_by(|recipe| recipe.rules2 = Dictionary::new());
    let missing = |path| format!("App.app: {path} is not among the sealed resources");
    assert!(found.contains(&missing("PkgInfo")), "{found:?}");
}

#[test]
fn a_nested_bundle_that_was_signed_again_is_found() {
    let found = found_after(|app| {
        let inner = app.join("Contents").join(PLUG_IN);
        let mut recipe = Recipe::new("org.example.inner");
        recipe.flags = 2;
        maker::seal(&inner, &recipe);
    });
    assert_eq!(
        found,
        [format!(
            "App.app: {PLUG_IN} is not the code that was sealed"
        )]
    );
    let found = found_after(|app| {
        let mut recipe = Recipe::new("org.example.inner");
        recipe.requirements = maker::requirements("org.example.inne");
        maker::seal(&app.join("Contents").join(PLUG_IN), &recipe);
    });
    let requirement = format!("App.app: {PLUG_IN} has another requirement than was sealed");
    assert!(found.contains(&requirement), "{found:?}");
}

#[test]
fn a_nested_bundle_that_was_changed_is_found() {
    let found = found_after(|app| {
        let program = app
            .join("Contents")
            .join(EXTENSION)
            .join("Contents/MacOS/program");
        let mut bytes = fs::read(&program).unwrap();
        let slice = maker::slices(&bytes)[1].clone();
        bytes[slice.start + 0x1800] ^= 1;
        fs::write(program, bytes).unwrap();
    });
    assert_eq!(
        found,
        [
            format!(
                "App.app/Contents/{EXTENSION} (x86_64): page 1 at 4096 is not what was signed \
                 (SHA-256)"
            ),
            format!("App.app: {EXTENSION}/Contents/MacOS/program is not what was sealed (SHA-256)"),
        ]
    );
}

#[test]
fn a_nested_bundle_whose_own_seal_is_not_sealed_is_found() {
    let path = format!("{EXTENSION}/Contents/_CodeSignature/CodeResources");
    let folder = tempdir().unwrap();
    let app = maker::app(folder.path());
    let list = app.join("Contents").join(&path);
    let bytes = fs::read(&list).unwrap();
    fs::remove_file(&list).unwrap();
    maker::seal(&app, &Recipe::new("org.example.app"));
    fs::write(&list, bytes).unwrap();
    let (_, found) = signature::verify_bundle(&app).unwrap();
    let expected = format!("App.app: {path} is not among the sealed resources");
    assert_eq!(sentences(&found), [expected]);
}

#[test]
fn a_nested_bundle_that_cannot_be_read_is_found() {
    let found = found_after(|app| {
        let inner = app.join("Contents").join(PLUG_IN);
        fs::write(inner.join("Contents/MacOS/program"), "words").unwrap();
    });
    let unreadable = format!("App.app: {PLUG_IN} cannot be read: ");
    assert!(found[0].starts_with(&unreadable), "{found:?}");
    assert_eq!(
        found[1],
        format!("App.app: {PLUG_IN} is not the code that was sealed")
    );
}

#[test]
fn a_changed_requirement_is_found() {
    let found = found_in_program(|program| {
        let (_, blob) = maker::blob(program, 0, 2);
        let part = &program[blob.clone()];
        let name = part.windows(3).position(|it| it == b"app").unwrap();
        program[blob.start + name] = b'z';
    });
    assert_eq!(
        found,
        [
            format!("{ARM}the set of requirements is not what was signed (SHA-256)"),
            format!(
                "{ARM}the program does not meet its own requirement: identifier \
                 \"org.example.zpp\""
            ),
            "App.app: the slice for x86_64 differs from the first one in its requirements"
                .to_owned(),
        ]
    );
}

#[test]
fn a_requirement_with_an_unknown_code_is_found() {
    let found = found_by(|recipe| {
        let at = recipe.requirements.len() - 60;
        let rest = &recipe.requirements[at..];
        let code = rest.windows(4).position(|it| it == [0, 0, 0, 15]).unwrap();
        recipe.requirements[at + code + 3] = 99;
    });
    let unknown = "the set of requirements cannot be read: a requirement has the unknown code 99";
    assert_eq!(found[0], format!("{ARM}{unknown}"));
    assert_eq!(
        found[1],
        format!("{ARM}the signature has no designated requirement")
    );
}

#[test]
fn entitlements_that_differ_are_found() {
    let found = found_by(|recipe| {
        recipe.entitlements_der = Some(maker::der_entitlements("other"));
    });
    let differ = "the two encodings of the entitlements differ at b.text";
    assert_eq!(found, in_both_slices(differ));
    let found = found_by(|recipe| recipe.entitlements_der = None);
    assert_eq!(
        found,
        in_both_slices("the entitlements are there in one encoding only")
    );
    let found = found_by(|recipe| recipe.entitlements = Some(b"words".to_vec()));
    assert!(found[0].starts_with(&format!(
        "{ARM}the property list of entitlements cannot be read: "
    )));
}

#[test]
fn changed_entitlements_are_found() {
    for (slot, name) in [
        (5, "the property list of entitlements"),
        (7, "the DER encoding of the entitlements"),
    ] {
        let found = found_in_program(|program| {
            let (_, blob) = maker::blob(program, 1, slot);
            let part = &program[blob.clone()];
            let text = part.windows(5).position(|it| it == b"words").unwrap();
            program[blob.start + text] = b'W';
        });
        assert_eq!(
            found[0],
            format!("{INTEL}{name} is not what was signed (SHA-256)")
        );
    }
}

#[test]
fn parts_that_were_signed_and_are_gone_are_found() {
    let found = found_in_program(|program| {
        let (entry, _) = maker::blob(program, 0, 7);
        maker::put(program, entry, 0x2_0000);
    });
    let gone = "the DER encoding of the entitlements was signed, but is not there";
    assert_eq!(found[0], format!("{ARM}{gone}"));
}

#[test]
fn parts_that_were_not_signed_are_found() {
    for (slot, name) in [
        (1, "Info.plist"),
        (2, "the set of requirements"),
        (3, "CodeResources"),
    ] {
        let found = found_in_program(|program| {
            let (_, directory) = maker::blob(program, 0, 0);
            let digests = directory.start + maker::number(program, directory.start + 16);
            program[digests - slot * 32..][..32].fill(0);
        });
        assert_eq!(found, [format!("{ARM}{name} is there, but was not signed")]);
    }
}

#[test]
fn the_hardened_runtime_team_and_identifier_are_compared() {
    let folder = tempdir().unwrap();
    let wanted = requirement("org.example.app");
    let entitlements = Dictionary::from_iter([
        ("a.flag".to_owned(), Value::Boolean(true)),
        ("b.text".to_owned(), Value::from("words")),
    ]);
    let expected = Expected {
        identifier: "org.example.app",
        team: TEAM,
        requirement: &wanted,
        entitlements: &entitlements,
    };
    let compared = |change: fn(&mut Recipe)| {
        let app = maker::app_by(folder.path(), change);
        let bundle = signature::read_bundle(&app).unwrap();
        let found = signature::compare(&bundle, &expected).into_iter();
        let mistakes: Vec<_> = found.map(|finding| finding.mistake.to_string()).collect();
        fs::remove_dir_all(app).unwrap();
        mistakes.into_iter().step_by(2).collect::<Vec<_>>()
    };
    assert!(compared(|_| {}).is_empty());
    assert_eq!(
        compared(|recipe| recipe.flags = 2),
        ["the hardened runtime is off"]
    );
    let found = compared(|recipe| recipe.team = Some("ZZ12CD34EF".to_owned()));
    assert_eq!(found, ["the team is ZZ12CD34EF, not AB12CD34EF"]);
    let found = compared(|recipe| recipe.identifier = "org.example.z".to_owned());
    assert_eq!(
        found,
        ["the identifier is org.example.z, not org.example.app"]
    );
    let found = compared(|recipe| recipe.entitlements = None);
    assert_eq!(
        found,
        ["the value of an entitlement is a.flag: None, not Some(Boolean(true))"]
    );
    let found = compared(|recipe| recipe.requirements = maker::requirements("org.example.z"));
    assert!(
        found[0].starts_with("the designated requirement is identifier"),
        "{found:?}"
    );
}

#[test]
fn slices_that_differ_are_found() {
    let found = found_in_program(|program| {
        let (_, directory) = maker::blob(program, 1, 0);
        let part = &program[directory.clone()];
        let team = part
            .windows(10)
            .position(|it| it == TEAM.as_bytes())
            .unwrap();
        program[directory.start + team] = b'Z';
    });
    let differs = "App.app: the slice for x86_64 differs from the first one in its";
    assert_eq!(found, [format!("{differs} team")]);
    let found = found_in_program(|program| {
        let (_, directory) = maker::blob(program, 1, 0);
        maker::put(program, directory.start + 12, 2);
    });
    assert_eq!(found, [format!("{differs} flags")]);
}

#[test]
fn a_code_limit_that_leaves_something_out_is_found() {
    let found = found_by(|recipe| {
        recipe.tweak = |directory| maker::put(directory, 32, 0x2000);
    });
    let limit = "8192 bytes are signed, but the signature begins at 8256";
    let count = "the code directory has 3 digests of pages where 2 belong";
    let expected = [ARM, INTEL].map(|it| [format!("{it}{limit}"), format!("{it}{count}")]);
    assert_eq!(found, expected.concat());
}

type Tweak = fn(&mut [u8]);

#[test]
fn odd_code_directories_are_found() {
    let tweaks: [(Tweak, &str); 4] = [
        (
            |directory| directory[38] = 1,
            "the code directory says that this is part of the system (1)",
        ),
        (
            |directory| directory[79] ^= 0x10,
            "the code directory places the code elsewhere than the segment __TEXT",
        ),
        (
            |directory| maker::put(directory, 8, 0x2_0300),
            "the code directory 0x0 is of the old version 0x20300",
        ),
        (
            |directory| maker::put(directory, 12, 0),
            "the flag for signatures of nobody is false, which does not fit the signer's message",
        ),
    ];
    for (tweak, sentence) in tweaks {
        assert_eq!(
            found_by(|recipe| recipe.tweak = tweak),
            in_both_slices(sentence)
        );
    }
}

#[test]
fn old_digests_alone_are_found() {
    let found = found_by(|recipe| recipe.hashes = vec![1]);
    assert_eq!(
        found,
        in_both_slices("no code directory has the digest SHA-256")
    );
}

#[test]
fn every_code_directory_is_checked() {
    let folder = tempdir().unwrap();
    let app = maker::app_by(folder.path(), |recipe| recipe.hashes = vec![1, 2]);
    change_program(&app, |program| {
        let (_, alternate) = maker::blob(program, 0, 0x1000);
        program[alternate.end - 1] ^= 1;
    });
    let (_, found) = signature::verify_bundle(&app).unwrap();
    let expected = format!("{ARM}page 2 at 8192 is not what was signed (SHA-256)");
    assert_eq!(sentences(&found), [expected]);
}

#[test]
fn overlapping_parts_are_found() {
    let found = found_in_program(|program| {
        let (_, entitlements) = maker::blob(program, 0, 5);
        let size = u32::try_from(entitlements.len() + 4).unwrap();
        maker::put(program, entitlements.start + 4, size);
    });
    let overlap = "the parts 0x5 and 0x7 of the signature overlap";
    assert_eq!(found[0], format!("{ARM}{overlap}"));
}

#[test]
fn parts_that_are_there_twice_or_of_the_wrong_kind_are_found() {
    let found = found_in_program(|program| {
        let (entry, _) = maker::blob(program, 0, 7);
        maker::put(program, entry, 5);
    });
    assert_eq!(found[0], format!("{ARM}the signature has two parts 0x5"));
    let magic = "the part 0x5 of the signature has the magic number 0xfade7172";
    assert_eq!(found[1], format!("{ARM}{magic}"));
}

#[test]
fn a_signature_elsewhere_than_at_the_end_is_found() {
    let found = found_in_program(|program| {
        let slice = maker::slices(program)[1].clone();
        let size = u32::try_from(slice.len() + 16).unwrap();
        program.resize(slice.end + 16, 0);
        maker::put(program, 8 + 20 + 12, size);
    });
    let expected = format!("{INTEL}the signature ends at ");
    assert!(
        found.len() == 1 && found[0].starts_with(&expected),
        "{found:?}"
    );
}

#[test]
fn something_behind_the_signature_is_found() {
    let found = found_by(|recipe| recipe.filling = vec![0, 0, 7, 0]);
    assert_eq!(
        found,
        in_both_slices("something stands behind the signature in its place")
    );
}

#[test]
fn a_segment_that_does_not_hold_the_signature_is_found() {
    let found = found_in_program(|program| {
        let slice = maker::slices(program)[0].clone();
        program[slice.start + 32 + 72 + 48] ^= 1;
    });
    let linkedit = "the segment __LINKEDIT does not hold the signature and end with it";
    assert_eq!(found[0], format!("{ARM}{linkedit}"));
}

#[test]
fn a_universal_file_with_wide_places_is_read() {
    let found = found_in_program(|program| {
        let places = maker::slices(program);
        program[3] = 0xbf;
        for (index, place) in places.into_iter().enumerate() {
            let processor = program[place.start + 4..][..8].to_vec();
            let entry = 8 + index * 32;
            for (at, byte) in processor.iter().enumerate() {
                program[entry + (at / 4) * 4 + 3 - at % 4] = *byte;
            }
            let numbers = [place.start, place.len()].map(|it| (it as u64).to_be_bytes());
            program[entry + 8..entry + 24].copy_from_slice(&numbers.concat());
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_universal_file_that_contradicts_itself_is_refused() {
    let other = refused(|program| maker::put(program, 8, 0x0100_0007));
    let says = "the universal file says processor 0x1000007 variant 0x0";
    assert_eq!(other, format!("{says} where a program for arm64 is"));
    let overlap = refused(|program| {
        let first = maker::number(program, 16);
        maker::put(program, 36, u32::try_from(first).unwrap());
        program.copy_within(8..16, 28);
    });
    assert_eq!(overlap, "slices of the universal file overlap");
    let many = refused(|program| maker::put(program, 4, 1000));
    assert_eq!(many, "a universal file of 1000 slices");
}

#[test]
fn a_signature_that_is_cut_off_is_refused() {
    let cut = refused(|program| {
        let start = maker::signature(program, 0).start;
        maker::put(program, start + 4, 0x10_0000);
    });
    assert!(
        cut.starts_with("App.app (arm64): the signature would be 1048576 bytes"),
        "{cut}"
    );
    let cut = refused(|program| {
        let (entry, _) = maker::blob(program, 0, 0);
        maker::put(program, entry + 4, 0xffff_fff0);
    });
    assert!(cut.contains("part 0x0 of the signature would be"), "{cut}");
    let cut = refused(|program| {
        let end = program.len() - 16;
        program.truncate(end);
    });
    assert!(cut.starts_with("a slice would be"), "{cut}");
}

#[test]
fn a_program_without_a_signature_is_refused() {
    let missing = refused(|program| {
        let slice = maker::slices(program)[0].clone();
        program[slice.start + 32 + 72 + 72] = 0x2a;
    });
    assert_eq!(missing, "App.app (arm64): 0 signatures instead of one");
    let other = refused(|program| *program = b"#!/bin/sh\nexit 0\n".to_vec());
    assert_eq!(other, "not a 64-bit Mach-O file");
}

#[test]
fn no_byte_of_a_program_can_change_unseen() {
    let folder = tempdir().unwrap();
    let bundle = maker::app(folder.path()).join("Contents").join(PLUG_IN);
    let path = bundle.join("Contents/MacOS/program");
    let sound = fs::read(&path).unwrap();
    // Nobody signed the code directory itself, and so its own words can be others.
    let (_, directory) = maker::blob(&sound, 0, 0);
    let slice = maker::slices(&sound)[0].clone();
    let head = directory.start..directory.start + 120;
    for at in slice.step_by(61).filter(|at| !head.contains(at)) {
        let mut program = sound.clone();
        program[at] ^= 0x41;
        fs::write(&path, program).unwrap();
        let seen = signature::verify_bundle(&bundle).map_or(true, |(_, found)| !found.is_empty());
        assert!(seen, "byte {at}");
    }
}

#[test]
fn no_cut_or_changed_program_is_too_much() {
    let folder = tempdir().unwrap();
    let bundle = maker::app(folder.path()).join("Contents").join(PLUG_IN);
    let path = bundle.join("Contents/MacOS/program");
    let sound = fs::read(&path).unwrap();
    for at in maker::signature(&sound, 0).step_by(19) {
        let mut program = sound.clone();
        program[at] = 0xff;
        fs::write(&path, program).unwrap();
        let changed = signature::verify_bundle(&bundle);
        fs::write(&path, &sound[..at]).unwrap();
        assert!(signature::verify_bundle(&bundle).is_err(), "{changed:?}");
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    let folder = tempdir().unwrap();
    let error = signature::verify_bundle(folder.path()).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
    let app = maker::app(folder.path());
    let info = [("CFBundleExecutable".to_owned(), Value::from("../program"))];
    let info = maker::xml(&info.into_iter().collect());
    fs::write(app.join("Contents/Info.plist"), info).unwrap();
    let error = signature::verify_bundle(&app).unwrap_err();
    assert!(
        error.to_string().contains("does not name a program"),
        "{error}"
    );
}
