//! The signed message in a signature: it must be about these code directories, of this signer.

use super::maker::{self, Recipe, TEAM};
use super::signer::{LEAF, Signer};
use super::{ARM, change_program, found_by, in_both_slices, sentences};
use packaging::signature::{self, BundleSignature};
use std::path::Path;
use tempfile::tempdir;

const IDENTIFIER: &str = "org.example.app";

fn signed(recipe: &mut Recipe) {
    recipe.flags = 0x1_0000;
    recipe.hashes = vec![1, 2];
    recipe.signer = Some(Signer::new());
    recipe.requirements = maker::developer_id_requirements(IDENTIFIER, TEAM);
}

/// What is found in a signed app whose program's bytes were changed.
fn found_in_signed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
    let folder = tempdir().unwrap();
    let app = maker::app_by(folder.path(), signed);
    change_program(&app, change);
    sentences(&signature::verify_bundle(&app).unwrap().1)
}

fn read(folder: &Path, change: impl FnOnce(&mut Signer)) -> BundleSignature {
    let app = maker::app_by(folder, |recipe| {
        signed(recipe);
        change(recipe.signer.as_mut().unwrap());
    });
    signature::read_bundle(&app).unwrap()
}

/// What is found when somebody else signs.
fn found_with_signer(change: impl FnOnce(&mut Signer)) -> Vec<String> {
    found_by(|recipe| {
        signed(recipe);
        change(recipe.signer.as_mut().unwrap());
    })
}

fn flip(program: &mut [u8], slice: usize, what: &[u8], which: usize) {
    let (_, message) = maker::blob(program, slice, 0x1_0000);
    let part = &program[message.clone()];
    let mut places = part
        .windows(what.len())
        .enumerate()
        .filter(|(_, it)| *it == what);
    let (place, _) = places.nth(which).unwrap();
    program[message.start + place] ^= 1;
}

fn digest(program: &[u8]) -> Vec<u8> {
    maker::sha256(&program[maker::blob(program, 0, 0).1])
}

#[test]
fn a_signed_bundle_is_sound() {
    assert_eq!(found_by(signed), Vec::<String>::new());
}

#[test]
fn the_signer_is_read() {
    let folder = tempdir().unwrap();
    let bundle = read(folder.path(), |signer| signer.has_timestamp = true);
    let cms = bundle.first().cms.as_ref().unwrap();
    let names: Vec<_> = cms
        .chain
        .iter()
        .map(|it| it.common_name.as_deref())
        .collect();
    assert_eq!(names, [Some("Test Signer"), Some("Test Authority")]);
    let leaf = cms.leaf();
    assert_eq!(
        (leaf.unit.as_deref(), leaf.organization.as_deref()),
        (Some(TEAM), Some("Example"))
    );
    assert_eq!(leaf.issuer_common_name.as_deref(), Some("Test Authority"));
    assert!(
        leaf.extensions
            .contains(&"1.2.840.113635.100.6.1.13".to_owned())
    );
    assert_eq!(
        (&leaf.valid_from[..], &leaf.valid_until[..]),
        ("20261123125616", "21000718125616")
    );
    assert_eq!(cms.signing_time.as_deref(), Some("20300102030405"));
    assert_eq!(cms.is_valid, Some(true));
    assert!(cms.has_timestamp);
    let known = bundle.first().designated().unwrap().known().unwrap();
    let identity = (IDENTIFIER.parse().unwrap(), TEAM.parse().unwrap());
    let signer = mdm::identity::Signer::DeveloperId;
    let expected = mdm::requirement::Requirement::designated(&identity.0, &identity.1, &signer);
    assert_eq!(known, expected);
}

#[test]
fn a_missing_timestamp_is_no_mistake() {
    let folder = tempdir().unwrap();
    let bundle = read(folder.path(), |_| {});
    assert!(!bundle.first().cms.as_ref().unwrap().has_timestamp);
}

#[test]
fn a_changed_code_directory_is_found() {
    for (slot, hash) in [(0, "SHA-1"), (0x1000, "SHA-256")] {
        let found = found_in_signed(|program| {
            let (_, directory) = maker::blob(program, 0, slot);
            program[directory.end - 1] ^= 1;
        });
        let page = format!("{ARM}page 2 at 8192 is not what was signed ({hash})");
        let message = format!("{ARM}the signer signed another code directory");
        let list = |name| {
            let list = format!("the signed list of code directories ({name})");
            format!("{ARM}{list} does not name those that are there")
        };
        let mut expected = vec![page];
        expected.extend((slot == 0).then_some(message));
        expected.extend([list("cdhashes"), list("digests")]);
        assert_eq!(found, expected);
    }
}

#[test]
fn changed_attributes_are_found() {
    let not_signed = "the signature is not that of the certificate \"Test Signer\"";
    let found = found_in_signed(|program| {
        let digest = digest(program);
        flip(program, 0, &digest, 0);
    });
    let another = format!("{ARM}the signer signed another code directory");
    assert_eq!(found, [another, format!("{ARM}{not_signed}")]);
    let found = found_in_signed(|program| {
        let (_, directory) = maker::blob(program, 0, 0x1000);
        let digest = maker::sha256(&program[directory]);
        flip(program, 0, &digest, 0);
    });
    assert!(found[0].contains("(digests)"), "{found:?}");
    assert_eq!(found[1..], [format!("{ARM}{not_signed}")]);
    let found = found_in_signed(|program| flip(program, 0, b"cdhashes", 0));
    let unreadable =
        "the signed message cannot be read: the attribute cdhashes is no list of digests";
    assert_eq!(found[0], format!("{ARM}{unreadable}"));
}

#[test]
fn messages_swapped_between_slices_are_found() {
    let found = found_in_signed(|program| {
        let (_, one) = maker::blob(program, 0, 0x1_0000);
        let (_, other) = maker::blob(program, 1, 0x1_0000);
        let bytes = program[one.clone()].to_vec();
        program.copy_within(other.clone(), one.start);
        program[other].copy_from_slice(&bytes);
    });
    let another = in_both_slices("the signer signed another code directory");
    assert!(another.iter().all(|one| found.contains(one)), "{found:?}");
    assert_eq!(found.len(), 6);
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_found() {
    let found = found_with_signer(|signer| signer.time = "260102030405");
    let when = "signed at 20260102030405, when the certificate";
    let name = |name| in_both_slices(&format!("{when} \"{name}\" was not valid"));
    let (leaf, authority) = (name("Test Signer"), name("Test Authority"));
    assert_eq!(
        found,
        [&leaf[0][..], &authority[0], &leaf[1], &authority[1]]
    );
}

#[test]
fn a_chain_with_gaps_is_found() {
    let found = found_with_signer(|signer| signer.certificates = vec![LEAF]);
    let gap = "the issuer of the certificate \"Test Signer\" is not there";
    assert_eq!(found, in_both_slices(gap));
    let found = found_with_signer(|signer| signer.certificates = Vec::new());
    let missing = "the signed message cannot be read: the certificate that signed is not there";
    assert_eq!(found, in_both_slices(missing));
}

#[test]
fn a_certificate_that_its_issuer_did_not_sign_is_found() {
    let found = found_in_signed(|program| flip(program, 0, b"\x06\x01\x0e", 0));
    let chain = format!("{ARM}the certificate \"Test Signer\" is not signed by its issuer");
    let differs = "App.app: the slice for x86_64 differs from the first one in its certificate";
    assert_eq!(found, [chain, differs.to_owned()]);
}

#[test]
fn another_team_than_the_certificates_is_found() {
    let found = found_by(|recipe| {
        signed(recipe);
        recipe.team = Some("ZZ12CD34EF".to_owned());
    });
    let team = "the team in the code directory is ZZ12CD34EF, in the certificate AB12CD34EF";
    assert_eq!(found, in_both_slices(team));
}

#[test]
fn a_requirement_that_the_certificate_does_not_meet_is_found() {
    let found = found_by(|recipe| {
        signed(recipe);
        recipe.requirements = maker::developer_id_requirements(IDENTIFIER, "ZZ12CD34EF");
    });
    let clause = "certificate leaf[subject.OU] = \"ZZ12CD34EF\"";
    let sentence = format!("the program does not meet its own requirement: {clause}");
    assert_eq!(found, in_both_slices(&sentence));
}

#[test]
fn a_message_in_a_signature_of_nobody_is_found() {
    let found = found_by(|recipe| {
        signed(recipe);
        recipe.flags = maker::ADHOC_WITH_RUNTIME;
    });
    let flag = "the flag for signatures of nobody is true, which does not fit the signer's message";
    assert_eq!(found, in_both_slices(flag));
}

#[test]
fn no_byte_of_a_signed_message_or_code_directory_can_change_unseen() {
    let folder = tempdir().unwrap();
    let app = maker::app(folder.path());
    let bundle = app.join("Contents").join(maker::PLUG_IN);
    let mut recipe = Recipe::new("org.example.inner");
    signed(&mut recipe);
    recipe.requirements = maker::developer_id_requirements("org.example.inner", TEAM);
    maker::seal(&bundle, &recipe);
    assert!(signature::verify_bundle(&bundle).unwrap().1.is_empty());
    let path = bundle.join("Contents/MacOS/program");
    let sound = std::fs::read(&path).unwrap();
    let message = maker::blob(&sound, 0, 0x1_0000).1.step_by(31);
    for at in maker::blob(&sound, 0, 0).1.step_by(17).chain(message) {
        let mut program = sound.clone();
        program[at] ^= 0x41;
        std::fs::write(&path, program).unwrap();
        let seen = signature::verify_bundle(&bundle).map_or(true, |(_, found)| !found.is_empty());
        assert!(seen, "byte {at}");
    }
}
