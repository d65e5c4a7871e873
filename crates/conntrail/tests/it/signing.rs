//! Keys, and what `verify` says of a trail that was signed with them.

use crate::tool::{complaint, run, stdout};
use record::{Stamp, sample};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use trail::{SigningKey, TrailWriter, WriterOptions};

struct Signed {
    folder: TempDir,
}

impl Signed {
    fn new() -> Signed {
        let folder = tempfile::tempdir().unwrap();
        Signed { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key, and writes the public one beside it.
    fn key(&self, name: &str) -> (SigningKey, String) {
        let path = self.path(name);
        let public = stdout(&["key", "new", path.to_str().unwrap()]);
        let public_path = self.path(&format!("{name}.pub"));
        fs::write(&public_path, &public).unwrap();
        fs::set_permissions(&public_path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(stdout(&["key", "public", path.to_str().unwrap()]), public);
        let key = fs::read_to_string(path).unwrap().parse().unwrap();
        (key, public_path.to_str().unwrap().to_owned())
    }

    fn record(&self, key: &SigningKey) {
        let options = WriterOptions::new(sample::device(), 1 << 30);
        let state = self.path("state");
        let mut writer = TrailWriter::open(&state, options, Stamp::default()).unwrap();
        for record in sample::closes(writer.epoch(), 50) {
            writer.append(&record, Stamp::default().mono).unwrap();
        }
        let flushed = writer.close_signed(Stamp::default(), Some(key)).unwrap();
        assert!(flushed.trouble.is_none());
    }

    fn verify(&self, keys: &[&str]) -> (Option<i32>, String) {
        let state = self.path("state");
        let mut arguments = vec!["--state-dir", state.to_str().unwrap(), "verify"];
        keys.iter()
            .for_each(|key| arguments.extend(["--public-key", key]));
        let output = run(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn verify_says_how_far_a_key_vouches_and_what_a_changed_key_means() {
    let signed = Signed::new();
    let (first, first_public) = signed.key("first");
    let (second, second_public) = signed.key("second");
    let (_, unused_public) = signed.key("unused");
    signed.record(&first);
    let (code, said) = signed.verify(&[]);
    assert_eq!(code, Some(0));
    assert!(said.contains("but no key to check them with"), "{said}");
    let (code, said) = signed.verify(&[&first_public]);
    assert_eq!(code, Some(0), "{said}");
    let vouched = "SIGNED   from record 1 of epoch 1 up to record 50 of epoch 1";
    assert!(said.contains(vouched), "{said}");
    signed.record(&second);
    let (code, said) = signed.verify(&[&first_public]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains(vouched) && said.contains("ANOTHER KEY"),
        "{said}"
    );
    let (_, said) = signed.verify(&[&first_public, &second_public]);
    assert!(said.contains("up to record 50 of epoch 2"), "{said}");
    let (code, said) = signed.verify(&[&unused_public]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nothing vouches for any record"), "{said}");
    assert!(!said.contains("SIGNED "), "{said}");
}

#[test]
fn a_trail_that_was_made_anew_does_not_pass_under_the_old_signatures() {
    let signed = Signed::new();
    let (key, public) = signed.key("key");
    signed.record(&key);
    let remade = Signed::new();
    let options = WriterOptions::new(sample::device(), 1 << 30);
    let state = remade.path("state");
    let mut writer = TrailWriter::open(&state, options, Stamp::default()).unwrap();
    for record in sample::closes(7, 50) {
        writer.append(&record, Stamp::default().mono).unwrap();
    }
    drop(writer.close(Stamp::default()).unwrap());
    assert!(
        remade
            .verify(&[&public])
            .1
            .contains("Nothing here is signed")
    );
    fs::create_dir(state.join("signatures")).unwrap();
    let name = "signatures/e00000001-s000000000001.sig";
    fs::copy(signed.path("state").join(name), state.join(name)).unwrap();
    let (code, said) = remade.verify(&[&public]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("CHANGED  what was signed up to record 50"),
        "{said}"
    );
}

#[test]
fn keys_are_made_once_for_nobody_else_and_the_secret_one_stays_where_it_is() {
    let signed = Signed::new();
    signed.key("key");
    let path = signed.path("key");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let name = path.to_str().unwrap();
    assert!(complaint(&["key", "new", name]).contains("is there already"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let told = complaint(&["verify", "--state-dir", "/", "--public-key", name]);
    assert!(
        told.contains("secret") || told.contains("nothing was recorded"),
        "{told}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(complaint(&["key", "public", name]).contains("others can read"));
    let missing = signed.path("missing");
    let told = complaint(&["key", "public", missing.to_str().unwrap()]);
    assert!(told.contains("cannot be used"), "{told}");
}
