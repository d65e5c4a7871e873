//! A program's signature: every slice, read and computed again.

use super::bytes::{Hash, Malformed, part};
use super::cms::Cms;
use super::directory::{CodeDirectory, ExecutableSegment};
use super::entitlements;
use super::finding::{Finding, Findings, Mistake};
use super::macho::{self, Architecture, Layout, Region, Slice};
use super::requirement::{self, Expression, Internal};
use super::superblob::{self, Blob};
use plist::Dictionary;

pub(crate) mod message;

/// A program's signature for one kind of processor.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceSignature {
    /// Which kind.
    pub architecture: Architecture,
    /// All code directories, the primary one first.
    pub directories: Vec<CodeDirectory>,
    /// All requirements.
    pub requirements: Vec<Internal>,
    /// The entitlements as a property list.
    pub entitlements: Option<Dictionary>,
    /// The entitlements in their other encoding.
    pub entitlements_der: Option<Dictionary>,
    /// Who signed. Nobody when the signature is ad-hoc.
    pub cms: Option<Cms>,
}

/// The files that a program's signature vouches for beside the program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) info: Option<&'a [u8]>,
    pub(crate) resources: Option<&'a [u8]>,
}

impl SliceSignature {
    /// The code directory that counts first.
    pub fn primary(&self) -> &CodeDirectory {
        &self.directories[0]
    }

    /// By which the system recognizes the program.
    pub fn designated(&self) -> Option<&Expression> {
        requirement::designated(&self.requirements)
    }

    /// The first 20 bytes of every code directory's digest.
    pub fn cdhashes(&self) -> Vec<&[u8]> {
        self.directories.iter().map(CodeDirectory::cdhash).collect()
    }
}

/// Every slice of a program, and what is wrong.
pub(crate) fn inspect(
    file: &[u8],
    surroundings: Surroundings<'_>,
    place: &str,
) -> Result<(Vec<SliceSignature>, Vec<Finding>), Malformed> {
    let mut findings = Vec::new();
    let mut slices: Vec<SliceSignature> = Vec::new();
    for slice in macho::slices(file)? {
        let mut here = Findings::new(format!("{place} ({})", slice.architecture));
        let signature =
            inspect_slice(slice, surroundings, &mut here).map_err(|Malformed(why)| {
                Malformed(format!("{place} ({}): {why}", slice.architecture))
            })?;
        findings.append(&mut here.all);
        slices.push(signature);
    }
    let mut here = Findings::new(place);
    compare_slices(&slices, &mut here);
    findings.append(&mut here.all);
    Ok((slices, findings))
}

fn inspect_slice(
    slice: Slice<'_>,
    surroundings: Surroundings<'_>,
    findings: &mut Findings,
) -> Result<SliceSignature, Malformed> {
    let layout = macho::layout(slice.data)?;
    let [place] = layout.signatures[..] else {
        let count = layout.signatures.len();
        return Err(Malformed(format!("{count} signatures instead of one")));
    };
    check_place(&layout, place, slice.data.len() as u64, findings);
    let data = part(slice.data, place.offset, place.size, "the signature")?;
    let (blobs, size) = superblob::read(data)?;
    let filling = &data[usize::try_from(size).expect("the signature fits into memory")..];
    findings.expect(filling.iter().all(|byte| *byte == 0), || Mistake::Filling);
    check_blobs(&blobs, findings);
    let signature = read_blobs(slice.architecture, &blobs, findings)?;
    for directory in &signature.directories {
        check_directory(directory, &layout, place, findings);
        check_pages(directory, slice.data, findings);
        check_special(directory, &blobs, surroundings, findings);
    }
    check_agreement(&signature.directories, findings);
    check_entitlements(&signature, findings);
    message::check(&signature, &blobs, findings);
    Ok(signature)
}

fn check_place(layout: &Layout, place: Region, size: u64, findings: &mut Findings) {
    findings.expect(place.end() == size, || Mistake::NotAtEnd {
        end: place.end(),
        size,
    });
    let holds = layout.linkedit.is_some_and(|linkedit| {
        linkedit.file.offset <= place.offset
            && linkedit.file.end() == place.end()
            && linkedit.memory_size >= linkedit.file.size
    });
    findings.expect(holds, || Mistake::Linkedit);
}

fn check_blobs(blobs: &[Blob<'_>], findings: &mut Findings) {
    let mut sorted = blobs.to_vec();
    sorted.sort_by_key(|blob| (blob.region.offset, blob.slot));
    for pair in sorted.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        findings.expect(one.region.end() <= other.region.offset, || {
            Mistake::Overlap {
                one: one.slot,
                other: other.slot,
            }
        });
    }
    sorted.sort_by_key(|blob| blob.slot);
    for pair in sorted.windows(2) {
        let slot = pair[0].slot;
        findings.expect(slot != pair[1].slot, || Mistake::Twice { slot });
    }
    for Blob { slot, magic, .. } in blobs.iter().filter(|blob| {
        let expected = blob.expected_magic();
        expected.is_some_and(|expected| expected != blob.magic)
    }) {
        let (slot, magic) = (*slot, *magic);
        findings.add(Mistake::Magic { slot, magic });
    }
}

fn read_blobs(
    architecture: Architecture,
    blobs: &[Blob<'_>],
    findings: &mut Findings,
) -> Result<SliceSignature, Malformed> {
    let find = |slot| blobs.iter().find(|blob| blob.slot == slot);
    let mut directories = blobs.iter().filter(|blob| blob.is_directory());
    let mut directories: Vec<_> = directories.try_fold(Vec::new(), |mut all, blob| {
        all.push(CodeDirectory::read(blob.slot, blob.whole)?);
        Ok(all)
    })?;
    directories.sort_by_key(|directory| directory.slot);
    if directories.first().map(|first| first.slot) != Some(superblob::DIRECTORY) {
        return Err(Malformed::new("the signature has no code directory"));
    }
    let requirements = find(superblob::REQUIREMENTS).and_then(|blob| {
        let value = requirement::read_set(blob.whole);
        findings.readable("the set of requirements", value)
    });
    let entitlements = find(superblob::ENTITLEMENTS).and_then(|blob| {
        let value = entitlements::of_xml(blob.content());
        findings.readable("the property list of entitlements", value)
    });
    let entitlements_der = find(superblob::ENTITLEMENTS_DER).and_then(|blob| {
        let value = entitlements::of_der(blob.content());
        findings.readable("the DER encoding of the entitlements", value)
    });
    let message = find(superblob::SIGNATURE).filter(|blob| !blob.content().is_empty());
    let cms = message.and_then(|blob| {
        let value = Cms::read(blob.content());
        findings.readable("the signed message", value)
    });
    Ok(SliceSignature {
        architecture,
        directories,
        requirements: requirements.unwrap_or_default(),
        entitlements,
        entitlements_der,
        cms,
    })
}

fn check_directory(
    directory: &CodeDirectory,
    layout: &Layout,
    place: Region,
    findings: &mut Findings,
) {
    findings.expect(directory.executable.is_some(), || Mistake::Version {
        slot: directory.slot,
        version: directory.version,
    });
    findings.expect(directory.code_limit == place.offset, || {
        Mistake::CodeLimit {
            limit: directory.code_limit,
            start: place.offset,
        }
    });
    findings.expect(directory.platform == 0, || Mistake::Platform {
        platform: directory.platform,
    });
    let text = layout.text.map(|text| ExecutableSegment {
        base: text.file.offset,
        limit: text.file.size,
        flags: u64::from(layout.is_executable),
    });
    let fits = directory.executable.is_none() || directory.executable == text;
    findings.expect(fits, || Mistake::ExecutableSegment);
}

fn check_pages(directory: &CodeDirectory, slice: &[u8], findings: &mut Findings) {
    let expected = directory.code_limit.div_ceil(directory.page_size);
    findings.expect(directory.pages.len() as u64 == expected, || {
        Mistake::PageCount {
            found: directory.pages.len(),
            expected,
        }
    });
    let limit = usize::try_from(directory.code_limit).unwrap_or(usize::MAX);
    let code = &slice[..limit.min(slice.len())];
    let page_size = usize::try_from(directory.page_size).expect("a page is at most 64 KiB");
    let pages = code.chunks(page_size).zip(&directory.pages);
    for (page, (data, digest)) in pages.enumerate() {
        findings.expect(directory.hash.digest(data) == *digest, || Mistake::Page {
            page,
            offset: page as u64 * directory.page_size,
            hash: directory.hash,
        });
    }
}

fn check_special(
    directory: &CodeDirectory,
    blobs: &[Blob<'_>],
    surroundings: Surroundings<'_>,
    findings: &mut Findings,
) {
    let in_blobs = blobs.iter().map(|blob| blob.slot);
    let in_blobs = in_blobs.filter(|slot| (1..superblob::ALTERNATES.start).contains(slot));
    let mut slots: Vec<u32> = directory.special.keys().copied().chain(in_blobs).collect();
    slots.extend([superblob::INFO, superblob::RESOURCES]);
    slots.sort_unstable();
    slots.dedup();
    for slot in slots {
        let data = match slot {
            superblob::INFO => surroundings.info,
            superblob::RESOURCES => surroundings.resources,
            _ => blobs
                .iter()
                .find(|blob| blob.slot == slot)
                .map(|it| it.whole),
        };
        check_slot(directory, slot, data, findings);
    }
}

fn check_slot(directory: &CodeDirectory, slot: u32, data: Option<&[u8]>, findings: &mut Findings) {
    let part = slot_name(slot);
    let hash = directory.hash;
    match (directory.sealed(slot), data) {
        (None, None) => {}
        (Some(_), None) => findings.add(Mistake::Gone { part }),
        (None, Some(_)) => findings.add(Mistake::NotSealed { part }),
        (Some(digest), Some(data)) => {
            findings.expect(hash.digest(data) == digest, || Mistake::Changed {
                part,
                hash,
            });
        }
    }
}

fn slot_name(slot: u32) -> String {
    match slot {
        superblob::INFO => "Info.plist".to_owned(),
        superblob::REQUIREMENTS => "the set of requirements".to_owned(),
        superblob::RESOURCES => "CodeResources".to_owned(),
        superblob::ENTITLEMENTS => "the property list of entitlements".to_owned(),
        superblob::ENTITLEMENTS_DER => "the DER encoding of the entitlements".to_owned(),
        _ => format!("part {slot:#x}"),
    }
}

fn check_agreement(directories: &[CodeDirectory], findings: &mut Findings) {
    let is_strong = |it: &CodeDirectory| it.hash == Hash::Sha256;
    let has_strong = directories.iter().any(is_strong);
    findings.expect(has_strong, || Mistake::OldDigests);
    let first = &directories[0];
    for other in &directories[1..] {
        for (same, what) in [
            (first.identifier == other.identifier, "the identifier"),
            (first.team == other.team, "the team"),
            (first.flags == other.flags, "the flags"),
        ] {
            findings.expect(same, || Mistake::DirectoriesDiffer { what });
        }
    }
}

fn check_entitlements(signature: &SliceSignature, findings: &mut Findings) {
    let (xml, der) = match (&signature.entitlements, &signature.entitlements_der) {
        (Some(xml), Some(der)) => (xml, der),
        (None, None) => return,
        (Some(_), None) | (None, Some(_)) => return findings.add(Mistake::OneEncoding),
    };
    let keys = xml.keys().chain(der.keys());
    let differs = |key: &&String| xml.get(key.as_str()) != der.get(key.as_str());
    if let Some(key) = keys.filter(differs).min() {
        let key = key.clone();
        findings.add(Mistake::EncodingsDiffer { key });
    }
}

fn compare_slices(slices: &[SliceSignature], findings: &mut Findings) {
    let Some((first, others)) = slices.split_first() else {
        return;
    };
    let certificate = |slice: &SliceSignature| {
        let cms = slice.cms.as_ref();
        cms.map(|cms| cms.leaf().clone())
    };
    for other in others {
        let (one, two) = (first.primary(), other.primary());
        for (same, what) in [
            (one.identifier == two.identifier, "identifier"),
            (one.team == two.team, "team"),
            (one.flags == two.flags, "flags"),
            (first.requirements == other.requirements, "requirements"),
            (first.entitlements == other.entitlements, "entitlements"),
            (certificate(first) == certificate(other), "certificate"),
        ] {
            let architecture = other.architecture;
            findings.expect(same, || Mistake::SlicesDiffer { architecture, what });
        }
    }
}
