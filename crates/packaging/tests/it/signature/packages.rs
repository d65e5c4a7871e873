//! The signature of a package.

use super::sentences;
use super::signer;
use packaging::signature::package::{self, Form};

fn found_in(package: &[u8]) -> Vec<String> {
    sentences(&package::verify(package).unwrap().1)
}

fn heap(package: &[u8]) -> usize {
    28 + usize::from(u16::from_be_bytes([package[14], package[15]]))
}

#[test]
fn a_signed_package_is_sound_in_both_forms() {
    for (is_digested_again, form) in [(false, Form::Checksum), (true, Form::DigestOfChecksum)] {
        let bytes = signer::package(is_digested_again);
        let (signature, found) = package::verify(&bytes).unwrap();
        assert_eq!(sentences(&found), Vec::<String>::new());
        assert_eq!(signature.form, Some(form));
        assert_eq!(signature.checksum, bytes[heap(&bytes)..][..20]);
        assert_eq!(
            signature.leaf().unwrap().unit.as_deref(),
            Some("AB12CD34EF")
        );
        assert!(signature.is_developer_id_installer());
        assert_eq!(signature.cms.unwrap().is_valid, Some(true));
    }
}

#[test]
fn a_changed_checksum_table_or_signature_is_found() {
    let sound = signer::package(false);
    let heap = heap(&sound);
    let mut package = sound.clone();
    package[heap] ^= 1;
    assert_eq!(
        found_in(&package),
        ["package: the table of contents is not what was signed (SHA-1)"]
    );
    let mut package = sound.clone();
    package[heap + 30] ^= 1;
    let signature = "package: the signature is not that of the certificate \"Test Signer\"";
    assert_eq!(found_in(&package), [signature]);
    let mut package = sound.clone();
    let end = package.len() - 1;
    package[end] ^= 1;
    assert_eq!(found_in(&package), [signature]);
}

#[test]
fn a_table_with_another_checksum_is_found() {
    let (one, other) = (signer::package(false), signer::package(true));
    let heap = heap(&one);
    // The form is not in the table, so that only the plain signature differs.
    assert_eq!(one[..heap + 20], other[..heap + 20]);
    let mut package = one.clone();
    package[27] = 3;
    let error = package::verify(&package).unwrap_err().to_string();
    assert_eq!(
        error,
        "the checksum's kind is sha1 in the table and 3 in the head"
    );
}

#[test]
fn cut_and_changed_packages_are_refused_or_found() {
    let sound = signer::package(false);
    for at in (0..sound.len()).step_by(47) {
        assert!(package::read(&sound[..at]).is_err(), "cut at {at}");
        let mut package = sound.clone();
        package[at] ^= 0x55;
        let seen = package::verify(&package).map_or(true, |(_, found)| !found.is_empty());
        // The version of the format says nothing.
        assert!(seen || (6..8).contains(&at), "byte {at}");
    }
}
