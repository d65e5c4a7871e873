//! Whether leaks and uses after death are found.

use std::mem::ManuallyDrop;
use std::process::Command;

use objc_double::{Snapshot, Strong, live_classes};
use objc2::rc::Retained;
use objc2_foundation::NSUUID;

use crate::alone;

#[test]
fn a_leaked_object_and_a_leaked_block_are_named() {
    let _alone = alone();
    let before = Snapshot::now();
    let uuid = NSUUID::from_bytes([3; 16]);
    let block = block2::RcBlock::new(move |_: i32| {});
    assert_eq!(
        before.leaks(),
        ["NSUUID: 1 objects, 1 references", "1 blocks"]
    );
    assert!(live_classes().contains(&("NSUUID", 1)));
    let more = ManuallyDrop::new(uuid.clone());
    drop((uuid, block));
    assert_eq!(before.leaks(), ["NSUUID: 1 objects, 1 references"]);
    drop(ManuallyDrop::into_inner(more));
    assert_eq!(before.leaks(), [""; 0]);
}

#[test]
fn a_release_too_many_ends_the_process_and_names_the_class() {
    const HERE: &str = "accounts::a_release_too_many_ends_the_process_and_names_the_class";
    if std::env::var_os("OBJC_DOUBLE_ZOMBIES").is_some() {
        let uuid = Strong::from(NSUUID::from_bytes([3; 16]));
        let twice = Retained::into_raw(uuid.clone().into_retained::<NSUUID>());
        for _ in 0..3 {
            // SAFETY: none: this is one release too many, to see what comes of it.
            drop(unsafe { Retained::from_raw(twice) });
        }
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", HERE, "--nocapture"])
        .env("OBJC_DOUBLE_ZOMBIES", "1")
        .output()
        .unwrap();
    assert!(!child.status.success());
    let words = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(words.contains("`release` for a dead NSUUID"), "{words}");
}
