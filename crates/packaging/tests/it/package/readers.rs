//! What was written, read by others.

use super::sample::Sample;
use apple_bom::ParsedBom;
use packaging::archive::{self, Entry, bom, cpio, xar};
use std::collections::BTreeMap;

/// What a bill says of a path: mode, user, group, size, checksum.
pub(crate) type Listed = (u16, u32, u32, u64, u32);

/// A bill, read by a reader that is not ours.
pub(crate) fn listed(bill: &[u8]) -> BTreeMap<String, Listed> {
    let bill = ParsedBom::parse(bill).unwrap();
    assert!(bill.hl_index().unwrap().is_empty());
    assert!(bill.vindex().unwrap().is_empty());
    assert!(bill.size64().unwrap().is_empty());
    let paths = bill.paths().unwrap();
    assert_eq!(
        bill.bom_info().unwrap().number_of_paths as usize,
        paths.len() + 1
    );
    let paths = paths.iter().map(|it| {
        let checksum = it.crc32().unwrap_or(0);
        let listed = (
            it.file_mode(),
            it.user_id(),
            it.group_id(),
            it.size() as u64,
            checksum,
        );
        (it.path().to_owned(), listed)
    });
    paths.collect()
}

/// A member of the component.
pub(crate) fn member(package: &[u8], name: &str) -> Vec<u8> {
    let archive = xar::read(package).unwrap();
    archive.files[&format!("Conntrail.pkg/{name}")].clone()
}

/// A member of the component that is a compressed archive.
pub(crate) fn entries(package: &[u8], name: &str) -> Vec<Entry> {
    cpio::read(&archive::gunzip(&member(package, name)).unwrap()).unwrap()
}

#[test]
fn another_reader_finds_every_path_of_the_payload_in_the_bill() {
    let package = Sample::new().package();
    let payload = entries(&package, "Payload").into_iter().map(|it| {
        let checksum = match &it.kind {
            archive::Kind::File(bytes) => bom::checksum(bytes),
            archive::Kind::Folder | archive::Kind::Link(_) => 0,
        };
        let size = it.content().len() as u64;
        let listed = (it.full_mode(), it.uid, it.gid, size, checksum);
        (it.path, listed)
    });
    let payload: BTreeMap<_, _> = payload.collect();
    assert_eq!(listed(&member(&package, "Bom")), payload);
    let program = "./Applications/Conntrail.app/Contents/MacOS/conntrail";
    assert_eq!(payload[program], (0o100_755, 0, 0, 7, 386_998_120));
    assert_eq!(payload["./Applications"], (0o040_775, 0, 80, 0, 0));
    assert_eq!(payload.len(), 22);
}

#[test]
fn another_reader_finds_the_paths_of_a_bill_with_many_leaves() {
    let record = |path: String, mode| bom::Record {
        path,
        mode,
        uid: 0,
        gid: 0,
        modified_s: 0,
        size_bytes: 1,
        checksum: 2,
        link: None,
    };
    let mut records = vec![record(".".to_owned(), 0o040_755)];
    records.extend((0..1000).map(|it| record(format!("./{it:04}"), 0o100_644)));
    let read = listed(&bom::write(&records).unwrap());
    assert_eq!(read.len(), records.len());
    assert!(records.iter().all(|it| read.contains_key(&it.path)));
}
