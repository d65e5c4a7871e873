//! Recomputes the chain while a trail is read, and says where it does not hold.
//!
//! Checksums find what faults do. Whoever edits a file can make its checksums right again; then
//! the chain is wrong, unless that was made again too, up to the end. Against that helps only a
//! head that was kept elsewhere: an anchor.

use crate::chain::{self, Hash, Head};
use crate::format::{FrameHeader, SegmentHeader, SegmentName, Version};
use crate::packing::Unpacker;
use crate::signing::{PublicKey, SignatureFile, SignedHead};
use record::{EndpointId, RecordId, Wall};
use std::collections::BTreeMap;

/// What the chain says of a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainReport {
    /// Where it is unbroken, in order.
    pub stretches: Vec<Stretch>,
    /// Where it does not hold though all checksums do: nothing that a fault does.
    pub breaks: Vec<ChainBreak>,
    /// Records of format version 1, which has no chain.
    pub unchained: u64,
    /// Records that cannot be checked, because what is before them is gone or damaged.
    pub unchecked: u64,
    /// What became of each anchor, in order.
    pub anchors: Vec<(Head, AnchorVerdict)>,
    /// What became of the signatures.
    pub signatures: SignatureReport,
}

/// What the signatures beside a trail say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureReport {
    /// Keys that signed anything here, with the first and last head of each, at most sixteen.
    /// Whether the signature of those is good was checked; whose key it is only who gave it knows.
    pub keys: BTreeMap<PublicKey, KeyUse>,
    /// Signatures by a key that was given whose records are what they were when they were signed.
    pub held: u64,
    /// All records from the first to the last of each of these are what they were when a key that
    /// was given signed the last; in order.
    pub vouched: Vec<Stretch>,
    /// Heads that a key that was given signed and that the records do not lead to: they are not
    /// what they were. The first hundred.
    pub contradicted: Vec<Head>,
    /// The last head that a key that was given signed and that the trail ends before.
    pub beyond: Option<Head>,
    /// Signatures by a key that was given which cannot be checked, because what they are about is
    /// damaged or gone.
    pub unproven: u64,
    /// Entries with a right checksum and a wrong signature, or about another machine or segment:
    /// nothing that a fault does.
    pub forged: u64,
    /// Entries that are not as they were written.
    pub damaged: u64,
}

/// What one key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// It is one of those that the verifier was given.
    pub trusted: bool,
    /// How many signatures.
    pub count: u64,
    /// The first head, and when it was signed by the recorder's clock.
    pub first: (Head, Wall),
    /// The last.
    pub last: (Head, Wall),
}

/// Records that follow each other, each hashed into the next; over the bounds of epochs too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub first: RecordId,
    /// The chain after the last.
    pub last: Head,
}

/// Where the chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainBreak {
    /// The first record that is not what it was, or before which something is not.
    pub first: RecordId,
    /// The last sequence that this concerns.
    pub last_sequence: u64,
    /// What is wrong.
    pub kind: BreakKind,
}

/// What is wrong with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// The hash of the records, or of those right before them, is not what is written there.
    Changed,
    /// They are not there, and nothing is damaged where they were.
    Removed,
    /// They were the last of their epoch, as the next one knows, and nothing is damaged there.
    CutOff,
    /// They stand after what the next epoch knows as the end of theirs.
    Added,
    /// The segment or epoch that begins with the first names another head before it.
    OtherBefore,
    /// The segment that begins with the first names another machine than the epoch's others.
    OtherMachine,
}

/// What can be said of an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorVerdict {
    /// All records from the first to the anchor's are what they were when it was taken.
    Holds {
        /// The first.
        first: RecordId,
    },
    /// The records are not what they were when it was taken.
    Contradicted,
    /// Its record is there, but what is needed to check it is damaged.
    Unproven,
    /// Its record is there, but no head was ever taken after that one.
    NoHead,
    /// Its record is after the last that is there: the end of the epoch is gone.
    Beyond,
    /// Its record is gone.
    Gone,
}

/// Follows the chain.
pub(crate) struct Checker {
    report: ChainReport,
    anchors: Claims,
    /// Heads that trusted keys signed.
    signed: Claims,
    keys: Vec<PublicKey>,
    /// The chain before the next frame, computed or taken from a header; sequence 0 before the
    /// first record.
    at: Option<Head>,
    /// Heads of the epoch's latest groups, because a segment may repeat the end of the one before.
    recent: BTreeMap<u64, Hash>,
    open: Option<Stretch>,
    /// Something was damaged since the last frame.
    damaged: bool,
    machine: Option<(u64, EndpointId, Vec<u8>)>,
    last_seen: BTreeMap<u64, u64>,
}

impl Checker {
    pub(crate) fn new(anchors: &[Head], keys: &[PublicKey]) -> Checker {
        let mut claims = Claims::default();
        anchors.iter().for_each(|head| claims.add(*head));
        Checker {
            report: ChainReport::default(),
            anchors: claims,
            signed: Claims::default(),
            keys: keys.to_vec(),
            at: None,
            recent: BTreeMap::new(),
            open: None,
            damaged: false,
            machine: None,
            last_seen: BTreeMap::new(),
        }
    }

    /// Something before the next frame is damaged.
    pub(crate) fn damage(&mut self) {
        self.damaged = true;
    }

    /// A segment begins; without a header that can be read the chain goes on as it is.
    pub(crate) fn segment(&mut self, name: SegmentName, header: Option<&SegmentHeader>) {
        let here = self.at.is_some_and(|at| at.epoch == name.epoch);
        match header {
            None if here => {}
            None => self.lose_track(),
            Some(header) => match header.version {
                Version::One => self.lose_track(),
                Version::Two => {
                    self.compare_machine(header);
                    if name.first_sequence == 1 && !here {
                        self.begin_epoch(header);
                    } else {
                        self.begin_segment(header);
                    }
                }
            },
        }
    }

    /// A frame whose checksums are right, with its records.
    pub(crate) fn frame(&mut self, header: &FrameHeader, unpacker: &Unpacker) {
        let last = header.last_sequence();
        let seen = self.last_seen.entry(header.epoch).or_insert(0);
        *seen = last.max(*seen);
        let Some(head) = header.head() else {
            self.report.unchained += u64::from(header.records);
            self.lose_track();
            return;
        };
        let before = self.before(header);
        self.damaged = false;
        match before {
            Some(before) => self.compare(header, unpacker, before, head),
            None => self.take_on_trust(header, head),
        }
    }

    /// A frame whose header is right and whose records are damaged.
    pub(crate) fn lost_frame(&mut self, header: &FrameHeader) {
        self.damaged = true;
        self.close_stretch();
        let news = self
            .at
            .is_none_or(|at| (header.epoch, header.last_sequence()) > (at.epoch, at.sequence));
        if news {
            self.at = header.head();
        }
    }

    /// What was signed of a segment that was opened, or of one that is not there.
    pub(crate) fn signatures(&mut self, name: SegmentName, file: SignatureFile) {
        self.report.signatures.damaged += file.damaged;
        let machine = self.machine.as_ref().filter(|it| it.0 == name.epoch);
        let endpoint = machine.map(|it| it.1);
        for signed in file.heads {
            let ours = endpoint.is_none_or(|endpoint| endpoint == signed.endpoint);
            if !ours || !signed.belongs_to(name) || !signed.is_genuine() {
                self.report.signatures.forged += 1;
                continue;
            }
            let trusted = self.keys.contains(&signed.key);
            self.report.signatures.note(&signed, trusted);
            if trusted {
                self.signed.add(signed.head);
            }
        }
    }

    pub(crate) fn conclude(mut self) -> ChainReport {
        self.close_stretch();
        let last_seen = self.last_seen;
        for (head, verdict) in self.signed.conclude(&last_seen) {
            self.report.signatures.judge(head, verdict);
        }
        self.report.anchors = self.anchors.conclude(&last_seen).collect();
        self.report
    }

    fn begin_epoch(&mut self, header: &SegmentHeader) {
        if !self.goes_on(header) {
            self.close_stretch();
        }
        let epoch = header.name.epoch;
        let SegmentHeader {
            endpoint,
            previous,
            device_bytes,
            ..
        } = header;
        let hash = chain::genesis(*endpoint, epoch, *previous, device_bytes);
        self.recent.clear();
        self.stand_at(Head {
            epoch,
            sequence: 0,
            hash,
        });
    }

    /// Whether the epoch goes on from where the one before ended.
    fn goes_on(&mut self, header: &SegmentHeader) -> bool {
        let (Some(previous), Some(at)) = (header.previous, self.at) else {
            return false;
        };
        if previous.epoch != at.epoch {
            return false;
        }
        let end = |first, last, kind| ChainBreak {
            first: RecordId {
                epoch: at.epoch,
                sequence: first,
            },
            last_sequence: last,
            kind,
        };
        let (ours, theirs) = (at.sequence, previous.sequence);
        let wrong = match self.recent.get(&theirs) {
            _ if at == previous => return true,
            _ if ours < theirs => {
                Some(end(ours + 1, theirs, BreakKind::CutOff)).filter(|_| !self.damaged)
            }
            // What is damaged at the end was not there for whoever began the next epoch either.
            Some(hash) if *hash == previous.hash && ours > theirs => {
                let seen = self.last_seen.get(&at.epoch).copied().unwrap_or(0);
                (seen > theirs).then(|| end(theirs + 1, seen, BreakKind::Added))
            }
            Some(_) | None => {
                let first = header.name.first_sequence;
                Some(ChainBreak {
                    first: id(header.name.epoch, first),
                    last_sequence: first,
                    kind: BreakKind::OtherBefore,
                })
            }
        };
        self.report.breaks.extend(wrong);
        false
    }

    fn begin_segment(&mut self, header: &SegmentHeader) {
        let SegmentName {
            epoch,
            first_sequence,
        } = header.name;
        let Some(previous) = header.previous else {
            return;
        };
        let known = self.known(epoch, first_sequence - 1);
        if known == Some(previous.hash) {
            return;
        }
        if known.is_some() && first_sequence > 1 {
            self.break_at(
                epoch,
                first_sequence,
                first_sequence,
                BreakKind::OtherBefore,
            );
        }
        let repeats = self
            .at
            .is_some_and(|at| at.epoch == epoch && at.sequence >= first_sequence);
        if !repeats && (previous.epoch, previous.sequence) == (epoch, first_sequence - 1) {
            self.close_stretch();
            if self.at.is_none_or(|at| at.epoch != epoch) {
                self.recent.clear();
            }
            self.stand_at(previous);
        }
    }

    fn compare_machine(&mut self, header: &SegmentHeader) {
        let epoch = header.name.epoch;
        let known = self.machine.as_ref().filter(|it| it.0 == epoch);
        let same = known.is_none_or(|(_, endpoint, device)| {
            *endpoint == header.endpoint && *device == header.device_bytes
        });
        if !same {
            let first = header.name.first_sequence;
            self.break_at(epoch, first, first, BreakKind::OtherMachine);
        }
        self.machine = Some((epoch, header.endpoint, header.device_bytes.clone()));
    }

    /// The chain before the frame, if it is known.
    fn before(&mut self, header: &FrameHeader) -> Option<Hash> {
        let at = self.at.filter(|at| at.epoch == header.epoch)?;
        let first = header.first_sequence;
        if first > at.sequence + 1 && !self.damaged {
            self.break_at(header.epoch, at.sequence + 1, first - 1, BreakKind::Removed);
        }
        self.known(header.epoch, first - 1)
    }

    /// The chain after this record, if it is known.
    fn known(&self, epoch: u64, sequence: u64) -> Option<Hash> {
        let at = self.at.filter(|at| at.epoch == epoch)?;
        if at.sequence == sequence {
            return Some(at.hash);
        }
        self.recent.get(&sequence).copied()
    }

    fn compare(&mut self, header: &FrameHeader, unpacker: &Unpacker, before: Hash, head: Head) {
        let repeats = self
            .at
            .is_some_and(|at| at.sequence >= header.first_sequence);
        let first = self.open.map_or(id_of_first(header), |open| open.first);
        let mut hash = before;
        let mut index = 0;
        for group in unpacker.groups() {
            let sequence = header.first_sequence + index as u64;
            let bytes = unpacker.stretch(index, (*group).into());
            hash = chain::link(&hash, header.epoch, sequence, (*group).into(), bytes);
            index += usize::from(*group);
            let after = Head {
                epoch: header.epoch,
                sequence: sequence + u64::from(*group) - 1,
                hash,
            };
            self.remember(after);
            self.judge(after, sequence, Some(AnchorVerdict::Holds { first }));
        }
        if hash != head.hash {
            let (first, last) = (header.first_sequence, header.last_sequence());
            self.break_at(header.epoch, first, last, BreakKind::Changed);
            self.close_stretch();
            self.stand_at(head);
        } else if !repeats || self.at.is_some_and(|at| at.sequence < head.sequence) {
            self.at = Some(head);
            self.open = Some(Stretch { first, last: head });
        }
    }

    /// What is before the frame is gone, so its own records cannot be checked; what comes after
    /// can, if what the frame says of the chain is right.
    fn take_on_trust(&mut self, header: &FrameHeader, head: Head) {
        let repeats = self
            .at
            .is_some_and(|at| at.epoch == head.epoch && at.sequence >= head.sequence);
        if repeats {
            return;
        }
        self.report.unchecked += u64::from(header.records);
        self.close_stretch();
        self.judge(head, header.first_sequence, None);
        self.stand_at(head);
    }

    /// Compares a head with the anchor there, if there is one. Without `verdict` nothing can be
    /// said for it, only against it. An anchor within a group is none.
    fn judge(&mut self, head: Head, first_sequence: u64, verdict: Option<AnchorVerdict>) {
        self.anchors.judge(head, first_sequence, verdict);
        self.signed.judge(head, first_sequence, verdict);
    }

    fn stand_at(&mut self, head: Head) {
        self.remember(head);
        self.at = Some(head);
    }

    fn remember(&mut self, head: Head) {
        self.recent.insert(head.sequence, head.hash);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    fn break_at(&mut self, epoch: u64, first: u64, last_sequence: u64, kind: BreakKind) {
        self.report.breaks.push(ChainBreak {
            first: id(epoch, first),
            last_sequence,
            kind,
        });
    }

    fn close_stretch(&mut self) {
        self.report.stretches.extend(self.open.take());
    }

    fn lose_track(&mut self) {
        self.close_stretch();
        self.at = None;
        self.recent.clear();
    }
}

/// Heads that somebody vouched for, and what became of each.
#[derive(Default)]
struct Claims(BTreeMap<(RecordId, Hash), Option<AnchorVerdict>>);

impl Claims {
    fn add(&mut self, head: Head) {
        self.0.entry((id_of(&head), head.hash)).or_insert(None);
    }

    fn judge(&mut self, head: Head, first_sequence: u64, verdict: Option<AnchorVerdict>) {
        let first = (id(head.epoch, first_sequence), [0; 32]);
        for ((id, hash), found) in self.0.range_mut(first..=(id_of(&head), [255; 32])) {
            let right = *hash == head.hash;
            let now = match verdict {
                _ if *id != id_of(&head) => AnchorVerdict::NoHead,
                Some(verdict) if right => verdict,
                None if right => AnchorVerdict::Unproven,
                Some(_) | None => AnchorVerdict::Contradicted,
            };
            found.get_or_insert(now);
        }
    }

    /// What is not judged by now has no record: `last_seen` is the last of each epoch.
    fn conclude(
        self,
        last_seen: &BTreeMap<u64, u64>,
    ) -> impl Iterator<Item = (Head, AnchorVerdict)> {
        self.0.into_iter().map(|((id, hash), verdict)| {
            let head = Head {
                epoch: id.epoch,
                sequence: id.sequence,
                hash,
            };
            let in_place = last_seen
                .get(&id.epoch)
                .is_some_and(|last| id.sequence <= *last);
            let unmet = match last_seen.last_key_value() {
                Some(_) if in_place => AnchorVerdict::Gone,
                Some((epoch, _)) if id.epoch < *epoch && !last_seen.contains_key(&id.epoch) => {
                    AnchorVerdict::Gone
                }
                Some(_) | None => AnchorVerdict::Beyond,
            };
            (head, verdict.unwrap_or(unmet))
        })
    }
}

impl SignatureReport {
    fn note(&mut self, signed: &SignedHead, trusted: bool) {
        let here = (signed.head, signed.at);
        if self.keys.len() == KEYS_MAX && !self.keys.contains_key(&signed.key) {
            return;
        }
        let used = self.keys.entry(signed.key).or_insert(KeyUse {
            trusted,
            count: 0,
            first: here,
            last: here,
        });
        used.count += 1;
        used.first = used.first.min(here);
        used.last = used.last.max(here);
    }

    fn judge(&mut self, head: Head, verdict: AnchorVerdict) {
        match verdict {
            AnchorVerdict::Holds { first } => {
                self.held += 1;
                let now = Stretch { first, last: head };
                match self.vouched.last_mut().filter(|it| it.first == first) {
                    Some(stretch) => *stretch = now,
                    None => self.vouched.push(now),
                }
            }
            AnchorVerdict::Contradicted | AnchorVerdict::NoHead => {
                if self.contradicted.len() < CONTRADICTED_MAX {
                    self.contradicted.push(head);
                }
            }
            AnchorVerdict::Beyond => self.beyond = Some(head),
            AnchorVerdict::Unproven | AnchorVerdict::Gone => self.unproven += 1,
        }
    }
}

fn id(epoch: u64, sequence: u64) -> RecordId {
    RecordId { epoch, sequence }
}

fn id_of(head: &Head) -> RecordId {
    id(head.epoch, head.sequence)
}

fn id_of_first(header: &FrameHeader) -> RecordId {
    id(header.epoch, header.first_sequence)
}

const KEYS_MAX: usize = 16;
const CONTRADICTED_MAX: usize = 100;

/// More groups than wait to be synced when a disk refuses.
const RECENT_MAX: usize = 1 << 16;
