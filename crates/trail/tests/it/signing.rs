//! Heads signed with a device's key, and what they prove to whoever has its public half.

use crate::helpers::*;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use trail::testing::MemoryDisk;
use trail::{
    PublicKey, ReadOptions, Report, SignatureReport, SigningKey, Trusted, WriterOptions,
    signatures_dir, verify_trusting_on,
};

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed([number; 32])
}

fn checked(disk: &MemoryDisk, keys: &[PublicKey], options: ReadOptions) -> Report {
    let trusted = Trusted { anchors: &[], keys };
    verify_trusting_on(disk.clone(), &dir(), options, trusted).unwrap()
}

fn report(disk: &MemoryDisk, numbers: &[u8]) -> Report {
    let keys: Vec<_> = numbers.iter().map(|it| key(*it).public()).collect();
    checked(disk, &keys, ReadOptions::default())
}

fn signatures(disk: &MemoryDisk, numbers: &[u8]) -> SignatureReport {
    report(disk, numbers).chain.signatures
}

/// An epoch of `count` records one by one, of which every third head is signed, and the last.
pub(crate) fn signed_epoch(disk: &MemoryDisk, options: WriterOptions, count: u64, number: u8) {
    let mut writer = open(disk, options).unwrap();
    for sequence in 1..=count {
        append(&mut writer, sequence, sequence);
        drop(writer.flush(at(sequence)).unwrap());
        if sequence % 3 == 0 {
            writer.sign(&key(number), at(sequence).wall).unwrap();
        }
    }
    let closed = writer.close_signed(at(count), Some(&key(number))).unwrap();
    assert!(closed.trouble.is_none());
}

#[test]
fn what_was_signed_is_vouched_for_up_to_the_last_signature() {
    let disk = MemoryDisk::new();
    for _ in 0..2 {
        signed_epoch(&disk, small_segments(), 20, 1);
    }
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 3, 1);
    let found = report(&disk, &[1]);
    let signatures = &found.chain.signatures;
    assert!(found.looks_untouched());
    assert_eq!(signatures.vouched.len(), 1, "{signatures:?}");
    let vouched = signatures.vouched[0];
    assert_eq!((vouched.first.epoch, vouched.first.sequence), (1, 1));
    assert_eq!((vouched.last.epoch, vouched.last.sequence), (2, 20));
    assert_eq!(signatures.held, signatures.keys[&key(1).public()].count);
    let segments_of_two = segments(&disk);
    let with_signature = signature_files(&disk).len();
    assert!(segments_of_two.len() > 4 && with_signature >= segments_of_two.len() - 2);
}

#[test]
fn without_a_key_signatures_are_told_of_and_prove_nothing() {
    let disk = MemoryDisk::new();
    signed_epoch(&disk, small_segments(), 9, 1);
    let found = signatures(&disk, &[]);
    assert_eq!((found.held, found.vouched.len()), (0, 0));
    let used = found.keys[&key(1).public()];
    assert!(!used.trusted && used.count >= 3);
    assert_eq!(used.last.0.sequence, 9);
}

#[test]
fn records_that_were_made_anew_with_the_whole_chain_contradict_the_signatures() {
    let disk = MemoryDisk::new();
    signed_epoch(&disk, options(), 9, 1);
    let remade = MemoryDisk::new();
    let mut writer = open(&remade, options()).unwrap();
    for sequence in 1..=9 {
        writer.append_encoded(b"nothing happened", at(sequence).wall, second(sequence));
        told_nothing(&writer.flush(at(sequence)).unwrap());
    }
    drop(writer);
    for path in signature_files(&disk) {
        remade.put(&path, &disk.contents(&path).unwrap());
    }
    let found = report(&remade, &[1]);
    assert_eq!(found.chain.breaks, [], "the chain alone shows nothing");
    assert!(!found.looks_untouched());
    assert_eq!(found.chain.signatures.held, 0);
    assert_eq!(found.chain.signatures.contradicted.len(), 3);
    signed_epoch(&remade, options(), 3, 2);
    let found = signatures(&remade, &[1]);
    assert_eq!(found.held, 0, "another key's signatures count for nothing");
    assert!(!found.keys[&key(2).public()].trusted);
}

#[test]
fn an_end_that_was_taken_away_is_missed() {
    let disk = MemoryDisk::new();
    signed_epoch(&disk, small_segments(), 20, 1);
    assert!(report(&disk, &[1]).looks_untouched());
    let last = segments(&disk).pop().unwrap();
    trail::Disk::remove(&disk, &last).unwrap();
    trail::Disk::remove(&disk, &dir().join("head")).unwrap();
    let found = report(&disk, &[1]);
    assert!(!found.looks_untouched());
    let beyond = found.chain.signatures.beyond.unwrap();
    assert_eq!(beyond.sequence, 20);
    assert!(
        report(&disk, &[]).looks_untouched(),
        "nothing else shows it"
    );
}

#[test]
fn keys_change_and_each_vouches_for_what_it_signed() {
    let disk = MemoryDisk::new();
    signed_epoch(&disk, small_segments(), 9, 1);
    signed_epoch(&disk, small_segments(), 9, 2);
    let vouched_to = |numbers: &[u8]| signatures(&disk, numbers).vouched.last().unwrap().last;
    assert_eq!(vouched_to(&[1]).epoch, 1);
    assert_eq!(vouched_to(&[2]).epoch, 2);
    assert_eq!(vouched_to(&[1, 2]).epoch, 2);
    assert!(report(&disk, &[1]).looks_untouched());
    assert!(signatures(&disk, &[3]).vouched.is_empty());
}

#[test]
fn signatures_outlive_rewriting_and_go_with_their_segment() {
    let disk = MemoryDisk::new();
    signed_epoch(&disk, small_segments(), 20, 1);
    let before = signatures(&disk, &[1]);
    let mut writer = open(&disk, small_segments()).unwrap();
    let mut rewritten = 0;
    while let Some(due) = writer.tend_timeout() {
        rewritten += usize::from(writer.tend(due).unwrap().is_some());
    }
    assert!(rewritten > 2);
    assert_eq!(signatures(&disk, &[1]), before);
    drop(writer);
    let tight = WriterOptions {
        quota_bytes: 3_000,
        ..small_segments()
    };
    let mut writer = open(&disk, tight).unwrap();
    for sequence in 1..60 {
        append(&mut writer, sequence, sequence);
        drop(writer.flush(at(sequence)).unwrap());
        writer.sign(&key(1), at(sequence).wall).unwrap();
    }
    let folder = signatures_dir(Path::new(STATE));
    let names: Vec<_> = segments(&disk).into_iter().map(signature_of).collect();
    for path in signature_files(&disk) {
        assert!(names.contains(&path), "{} in {folder:?}", path.display());
    }
    assert!(signatures(&disk, &[1]).held > 0);
}

fn signature_of(segment: PathBuf) -> PathBuf {
    let name = segment.file_stem().unwrap().to_str().unwrap();
    signatures_dir(Path::new(STATE)).join(format!("{name}.sig"))
}

#[test]
fn a_segment_has_no_more_signatures_than_fit_and_the_last_is_among_them() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    for sequence in 1..=300 {
        append(&mut writer, sequence, sequence);
        told_nothing(&writer.flush(at(sequence)).unwrap());
        writer.sign(&key(1), at(sequence).wall).unwrap();
        assert!(!writer.has_unsigned());
    }
    let [path] = &signature_files(&disk)[..] else {
        panic!("one segment, one file")
    };
    assert_eq!(disk.contents(path).unwrap().len(), 256 * 180);
    let found = signatures(&disk, &[1]);
    assert_eq!((found.held, found.forged, found.damaged), (256, 0, 0));
    assert_eq!(found.vouched[0].last.sequence, 300);
}

#[test]
fn a_damaged_signature_is_damage_and_one_that_was_made_up_is_not() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 3, 3);
    writer.sign(&key(1), at(3).wall).unwrap();
    let path = signature_files(&disk).remove(0);
    let whole = disk.contents(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            disk.put(&path, &flipped);
            let found = signatures(&disk, &[1]);
            assert_eq!((found.held, found.damaged, found.forged), (0, 1, 0), "{at}");
        }
        disk.put(&path, &whole[..at]);
        let found = signatures(&disk, &[1]);
        assert_eq!((found.held, found.forged), (0, 0));
        let mut edited = whole.clone();
        edited[at] ^= 1;
        let checksum = crc32c::crc32c(&edited[..176]);
        edited[176..].copy_from_slice(&checksum.to_le_bytes());
        disk.put(&path, &edited);
        let found = report(&disk, &[1]);
        let magic = at < 8;
        let unchanged = at >= 176;
        assert_eq!(found.chain.signatures.held, u64::from(unchanged), "{at}");
        assert_eq!(found.looks_untouched(), magic || unchanged, "{at}");
    }
}

/// Nothing that is left of a crash contradicts a signature, and what was signed is durable.
#[test]
fn a_power_cut_at_any_call_never_looks_like_an_edit() {
    let run = |disk: &MemoryDisk| -> Option<()> {
        let mut signed = 0;
        for _ in 0..2 {
            let mut writer = open(disk, small_segments()).ok()?;
            for sequence in 1..=8 {
                append(&mut writer, sequence, sequence);
                drop(writer.flush(at(sequence)).ok()?);
                if sequence % 2 == 0 {
                    writer.sign(&key(1), at(sequence).wall).ok()?;
                    signed += 1;
                }
            }
            drop(writer.close_signed(at(9), Some(&key(1))).ok()?);
        }
        assert!(signed > 0);
        Some(())
    };
    let healthy = MemoryDisk::new();
    assert!(run(&healthy).is_some());
    let all = signatures(&healthy, &[1]).held;
    let mut most = 0;
    for call in 0..healthy.calls() {
        for seed in 0..2 {
            let disk = MemoryDisk::new();
            disk.cut_power_at(call);
            run(&disk);
            let after = disk.after_power_cut(call * 31 + seed);
            let found = report(&after, &[1]);
            assert!(found.looks_untouched(), "{call}: {:?}", found.chain);
            most = most.max(found.chain.signatures.held);
            drop(open(&after, small_segments()).unwrap());
            let found = report(&after, &[1]);
            assert!(found.looks_untouched(), "{call}: {:?}", found.chain);
            assert_eq!(found.chain.signatures.beyond, None, "{call}");
        }
    }
    assert!(most + 2 >= all, "{most} of {all}");
}

#[test]
fn a_disk_that_refuses_signatures_costs_no_record_and_none_that_was_made() {
    for call in 0..8 {
        let disk = MemoryDisk::new();
        let mut writer = open(&disk, options()).unwrap();
        write_groups(&mut writer, 1, 2, 1);
        writer.sign(&key(1), at(2).wall).unwrap();
        write_groups(&mut writer, 3, 2, 1);
        let next = disk.calls() + call;
        disk.fail(next..next + 1, ErrorKind::StorageFull);
        let refused = writer.sign(&key(1), at(4).wall).is_err();
        assert_eq!(refused, writer.has_unsigned());
        disk.fail(0..0, ErrorKind::StorageFull);
        write_groups(&mut writer, 5, 1, 1);
        writer.sign(&key(1), at(5).wall).unwrap();
        let found = report(&disk, &[1]);
        assert!(found.is_complete() || found.unreadable > 0);
        assert!(found.looks_untouched());
        assert_eq!(found.chain.signatures.vouched[0].last.sequence, 5);
        assert!(found.chain.signatures.held >= 2);
    }
}

#[test]
fn key_files_say_what_they_are_and_a_secret_one_is_no_public_one() {
    let secret = key(7).to_text();
    let public = key(7).public().to_text();
    let read: SigningKey = secret.parse().unwrap();
    assert_eq!(read.public(), key(7).public());
    assert_eq!(public.parse(), Ok(key(7).public()));
    let told = secret.parse::<PublicKey>().unwrap_err().to_string();
    assert!(told.contains("secret"), "{told}");
    assert!(public.parse::<SigningKey>().is_err());
    let digits = public.split(' ').next_back().unwrap().trim();
    assert!(!format!("{read:?}").contains(&secret[23..60]));
    for bad in [
        "",
        "conntrail-public-key1",
        digits,
        &public[..40],
        "conntrail-public-key1 é",
    ] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        assert!(bad.parse::<SigningKey>().is_err(), "{bad}");
    }
    let weak = format!("conntrail-public-key1 {}", "0".repeat(64));
    assert!(weak.parse::<PublicKey>().is_err());
}
