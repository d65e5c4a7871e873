//! A reader that was written from the specification alone agrees with ours.
//!
//! Frames are decompressed beforehand, so that nothing but Python's own library is needed.

use crate::crash::failed_write;
use crate::helpers::*;
use crate::signing::signed_epoch;
use record::sample::Random;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use trail::testing::MemoryDisk;

const MARKER: [u8; 8] = [0xc7, 0x1e, 0xa5, 0x0d, 0x93, 0x7a, 0x42, 0xe8];

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The same segment with every frame plain.
fn decompressed(segment: &[u8]) -> Vec<u8> {
    let mut out = segment[..u32_at(segment, 12)].to_vec();
    let mut at = out.len();
    while at < segment.len() {
        let version_2 = segment[at + 23] == 2;
        let index = usize::from(u16::from_le_bytes([segment[at + 56], segment[at + 57]]));
        let header = if version_2 { 96 + index } else { 60 };
        let end = at + header + u32_at(segment, at + 8);
        let mut front = segment[at..at + header].to_vec();
        let mask = segment[at + 48..at + 52].to_vec();
        let payload = segment[at + header..end].iter().enumerate();
        let mut payload: Vec<u8> = payload
            .map(|(index, byte)| byte ^ mask[index % 4])
            .collect();
        if front[22] == 1 {
            payload = zstd::bulk::decompress(&payload, u32_at(&front, 12)).unwrap();
        }
        front[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        front[22] = 0;
        front[48..52].fill(0);
        front[52..56].copy_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        let checksum = crc32c::crc32c(&front[..header - 4]);
        front[header - 4..].copy_from_slice(&checksum.to_le_bytes());
        out.extend(front);
        out.extend(payload);
        at = end;
    }
    out
}

fn decompressed_golden(name: &str) -> MemoryDisk {
    let disk = golden(name);
    for path in segments(&disk) {
        let plain = decompressed(&disk.contents(&path).unwrap());
        disk.put(&path, &plain);
    }
    // The head file knows how far the last segment went.
    disk.put(&dir().join("head"), b"");
    disk
}

/// What it says of each folder.
fn said(folders: &[PathBuf]) -> BTreeMap<PathBuf, Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_reader.py");
    let output = Command::new("python3")
        .arg(script)
        .args(folders)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let mut said: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut folder = PathBuf::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.strip_prefix("== ") {
            Some(next) => folder = PathBuf::from(next),
            None => said
                .entry(folder.clone())
                .or_default()
                .push(line.to_owned()),
        }
    }
    said
}

fn assert_agreement(disks: &[(String, MemoryDisk)]) {
    let real = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for (index, (_, disk)) in disks.iter().enumerate() {
        let state = real.path().join(index.to_string());
        for path in disk.paths() {
            let to = state.join(path.strip_prefix(STATE).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, disk.contents(&path).unwrap()).unwrap();
        }
        folders.push(state.join("trail"));
    }
    let said = said(&folders);
    for ((what, disk), folder) in disks.iter().zip(&folders) {
        let theirs = said.get(folder).cloned().unwrap_or_default();
        assert_eq!(theirs, expected(disk), "{what}");
    }
}

fn with(disk: &MemoryDisk, path: &Path, bytes: &[u8]) -> MemoryDisk {
    let copy = disk.after_kill();
    copy.put(path, bytes);
    copy
}

#[test]
#[ignore = "needs python: runs the second reader"]
fn both_readers_agree_on_golden_folders() {
    let disks = ["v1", "v2"].map(|name| (name.to_owned(), decompressed_golden(name)));
    for (name, disk) in &disks {
        assert!(read(disk).records.len() > 200, "{name}");
        assert_eq!(read(disk), read(&golden(name)), "{name}");
    }
    assert_agreement(&disks);
}

#[test]
#[ignore = "needs python: runs the second reader"]
fn both_readers_agree_on_damaged_folders() {
    let mut dice = Random::new(11);
    let mut disks = Vec::new();
    for name in ["v1", "v2"] {
        let whole = decompressed_golden(name);
        for path in segments(&whole) {
            let bytes = whole.contents(&path).unwrap();
            let what = |how: &str| format!("{name} {} {how}", path.display());
            for _ in 0..2 {
                let at = dice.below(bytes.len() as u64) as usize;
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << dice.below(8);
                disks.push((
                    what(&format!("flipped at {at}")),
                    with(&whole, &path, &flipped),
                ));
                let cut = &bytes[..at];
                disks.push((what(&format!("cut at {at}")), with(&whole, &path, cut)));
                let mut zeroed = bytes.clone();
                let end = (at + 700).min(bytes.len());
                zeroed[at..end].fill(0);
                disks.push((
                    what(&format!("zeroed at {at}")),
                    with(&whole, &path, &zeroed),
                ));
            }
            let mut strange = bytes.clone();
            strange.extend_from_slice(&MARKER);
            strange.extend((0..200).map(|_| dice.number() as u8));
            disks.push((what("with more after it"), with(&whole, &path, &strange)));
            disks.push((what("emptied"), with(&whole, &path, b"")));
            let mut headless = bytes.clone();
            headless[3] = 0;
            disks.push((what("without header"), with(&whole, &path, &headless)));
        }
    }
    assert_agreement(&disks);
}

#[test]
#[ignore = "needs python: runs the second reader"]
fn both_readers_agree_on_signatures() {
    let whole = MemoryDisk::new();
    for number in 1..=2 {
        signed_epoch(&whole, small_segments(), 20, number);
    }
    let mut disks = vec![("whole".to_owned(), whole.after_kill())];
    let mut dice = Random::new(7);
    for (index, path) in signature_files(&whole).into_iter().take(2).enumerate() {
        let bytes = whole.contents(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[dice.below(bytes.len() as u64) as usize] ^= 1;
        disks.push((format!("flipped {index}"), with(&whole, &path, &flipped)));
        let cut = &bytes[..dice.below(bytes.len() as u64) as usize];
        disks.push((format!("cut {index}"), with(&whole, &path, cut)));
        for byte in [9, 24, 40, 100, 130, 175] {
            let mut forged = bytes.clone();
            forged[byte] ^= 1 << dice.below(8);
            let checksum = crc32c::crc32c(&forged[..176]).to_le_bytes();
            forged[176..180].copy_from_slice(&checksum);
            let what = format!("forged {index} at {byte}");
            disks.push((what, with(&whole, &path, &forged)));
        }
    }
    for path in segments(&whole) {
        let mut bytes = whole.contents(&path).unwrap();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1;
        let what = format!("{} flipped at {at}", path.display());
        disks.push((what, with(&whole, &path, &bytes)));
    }
    assert!(expected(&whole).last().unwrap().starts_with("signatures"));
    assert_agreement(&disks);
}

#[test]
#[ignore = "needs python: runs the second reader"]
fn both_readers_agree_on_edits_repeats_and_what_is_not_published() {
    let mut disks = Vec::new();
    let whole = decompressed_golden("v2");
    for path in segments(&whole) {
        let mut bytes = whole.contents(&path).unwrap();
        let frame = u32_at(&bytes, 12);
        let index = usize::from(u16::from_le_bytes([bytes[frame + 56], bytes[frame + 57]]));
        let (start, end) = (
            frame + 96 + index,
            frame + 96 + index + u32_at(&bytes, frame + 8),
        );
        bytes[end - 1] ^= 1;
        let checksum = crc32c::crc32c(&bytes[start..end]);
        bytes[frame + 52..frame + 56].copy_from_slice(&checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[frame..start - 4]);
        bytes[start - 4..start].copy_from_slice(&checksum.to_le_bytes());
        disks.push((
            format!("{} edited", path.display()),
            with(&whole, &path, &bytes),
        ));
    }
    assert!(
        disks
            .iter()
            .all(|(_, disk)| expected(disk).iter().any(|it| it.starts_with("changed")))
    );
    for call in 4..40 {
        let disk = MemoryDisk::new();
        disk.fail(call..call + 3, std::io::ErrorKind::Other);
        let Ok(mut writer) = open(&disk, small_segments()) else {
            continue;
        };
        for sequence in 1..=12 {
            append(&mut writer, sequence, sequence);
            drop(writer.flush(at(sequence)));
        }
        // One record a frame is too short to be compressed.
        drop(writer);
        disks.push((format!("refused at {call}"), disk));
    }
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let mut writer = failed_write(&disk);
        told_nothing(&writer.flush(at(8)).unwrap());
        drop(writer);
        let disk = disk.after_power_cut(seed);
        // It may lag behind.
        disk.put(&dir().join("head"), b"");
        disks.push((format!("half of it came back, {seed}"), disk));
    }
    assert!(disks.len() > 70);
    assert_agreement(&disks);
}
