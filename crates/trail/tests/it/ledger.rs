//! The ledger: what is right balances, and every planted mistake is found, by the line it is in.

use crate::helpers::{at, dir, open, options};
use record::{
    LossCause, LossStage, LostKind, Mono, Notice, NoticeKind, PolicyCounts, PreviousEpoch, Record,
    RecordCounts, RecordId, RuleCount, StageCounts, Stamp, StopReason, Tally, sample,
};
use std::sync::Arc;
use trail::testing::MemoryDisk;
use trail::{
    Account, Book, Damaged, End, Item, Ledger, Line, Missing, ReadOptions, SegmentName,
    WindowCause, balance_on,
};

fn notice(kind: NoticeKind) -> Record {
    let at = Stamp::default();
    Record::Notice(Notice { at, kind })
}

fn closes(count: usize) -> Vec<Record> {
    let closes = sample::closes(3, count);
    assert!(closes.iter().all(|it| it.closes() == 1));
    closes
}

fn lost(stage: LossStage, what: LostKind, count: Option<u64>) -> Record {
    notice(NoticeKind::Lost {
        stage,
        cause: LossCause::RingFull,
        what,
        count,
        since: at(1),
    })
}

/// Ten closes seen and two lost in the kernel; of the ten, two were dropped by the policy, and one
/// is of a flow that had been evicted before.
const TALLY: Tally = Tally {
    closes_made: 11,
    closes_recorded: 7,
    closes_aggregated: 0,
    closes_dropped: 2,
    closes_lost: 2,
    live: 3,
};

const STAGES: StageCounts = StageCounts {
    given: RecordCounts {
        records: 12,
        closes: 10,
    },
    own: 2,
    dropped: RecordCounts {
        records: 2,
        closes: 2,
    },
    refused: RecordCounts {
        records: 0,
        closes: 0,
    },
    recorded: RecordCounts {
        records: 12,
        closes: 8,
    },
    closes_waiting: 0,
    closes_repeated: 1,
    ends_told_before: 0,
    flows_evicted: 1,
    records_evicted: 0,
    segments_rewritten: 0,
};

/// An epoch in which everything balances: counts after twelve records, five more closes of which
/// the queue refused two, and the stop.
fn epoch() -> Vec<Record> {
    let mut records = vec![notice(NoticeKind::RecorderStarted { previous: None })];
    records.extend(closes(8));
    records.push(lost(LossStage::Kernel, LostKind::Closes, Some(2)));
    records.push(notice(NoticeKind::Ledger(TALLY)));
    records.push(notice(NoticeKind::PolicyCounts(PolicyCounts {
        since: Stamp::default(),
        hash: None,
        records: 10,
        dropped: 2,
        changed: 0,
        rules: vec![RuleCount {
            rule: 1,
            dropped: 2,
            changed: 0,
        }],
    })));
    records.push(notice(NoticeKind::StageCounts(STAGES)));
    records.extend(closes(3));
    records.push(lost(LossStage::TrailQueue, LostKind::Records, Some(2)));
    records.push(lost(LossStage::TrailQueue, LostKind::Closes, Some(2)));
    let stages = StageCounts {
        given: RecordCounts {
            records: 17,
            closes: 15,
        },
        own: 5,
        refused: RecordCounts {
            records: 2,
            closes: 2,
        },
        recorded: RecordCounts {
            records: 18,
            closes: 11,
        },
        ..STAGES
    };
    records.push(notice(NoticeKind::StageCounts(stages)));
    records.push(notice(NoticeKind::RecorderStopped {
        reason: StopReason::Requested,
        tally: Tally {
            closes_made: 16,
            closes_recorded: 10,
            closes_lost: 4,
            ..TALLY
        },
    }));
    records
}

fn items(records: Vec<Record>) -> Vec<Item> {
    let device = Arc::default();
    let records = records.into_iter().zip(1..);
    let items = records.map(|(record, sequence)| Item::Record {
        id: RecordId { epoch: 1, sequence },
        record,
        device: Arc::clone(&device),
    });
    items.collect()
}

fn book(items: &[Item]) -> Book {
    let mut ledger = Ledger::default();
    items.iter().for_each(|item| ledger.hear(item));
    ledger.conclude()
}

fn only(mut book: Book) -> Account {
    assert_eq!(book.accounts.len(), 1);
    book.accounts.remove(0)
}

fn lines(book: &Book) -> Vec<Line> {
    let findings = book.accounts.iter().flat_map(|it| &it.findings);
    findings.map(|it| it.line).collect()
}

#[test]
fn an_epoch_in_which_nothing_is_wrong_balances() {
    let book = book(&items(epoch()));
    assert_eq!(lines(&book), []);
    assert!(book.balances());
    let account = only(book);
    assert_eq!(account.end, End::InOrder);
    assert_eq!((account.read.records, account.read.closes), (20, 11));
    assert_eq!(account.closes_gone, Some(0));
    assert_eq!(account.tally.unwrap().closes_lost, 4);
}

type Change = fn(&mut StageCounts) -> &mut u64;

const STAGE_FIELDS: [(&str, Change); 12] = [
    ("given.records", |it| &mut it.given.records),
    ("given.closes", |it| &mut it.given.closes),
    ("own", |it| &mut it.own),
    ("dropped.records", |it| &mut it.dropped.records),
    ("dropped.closes", |it| &mut it.dropped.closes),
    ("refused.records", |it| &mut it.refused.records),
    ("refused.closes", |it| &mut it.refused.closes),
    ("recorded.records", |it| &mut it.recorded.records),
    ("recorded.closes", |it| &mut it.recorded.closes),
    ("closes_waiting", |it| &mut it.closes_waiting),
    ("closes_repeated", |it| &mut it.closes_repeated),
    ("ends_told_before", |it| &mut it.ends_told_before),
];

#[test]
fn every_count_of_a_stage_that_is_off_by_one_is_found() {
    let stage_counts = |kind: &NoticeKind| matches!(kind, NoticeKind::StageCounts(_));
    let mut planted = 0;
    for (name, field) in STAGE_FIELDS {
        for index in 0..epoch().len() {
            let mut records = epoch();
            let Record::Notice(notice) = &mut records[index] else {
                continue;
            };
            if !stage_counts(&notice.kind) {
                continue;
            }
            if let NoticeKind::StageCounts(counts) = &mut notice.kind {
                *field(counts) += 1;
            }
            let book = book(&items(records));
            assert!(!book.balances(), "{name} of record {index}");
            planted += 1;
        }
    }
    assert_eq!(planted, 24);
}

#[test]
fn every_count_of_the_tally_that_is_off_by_one_is_found() {
    let fields: [fn(&mut Tally) -> &mut u64; 4] = [
        |it| &mut it.closes_made,
        |it| &mut it.closes_recorded,
        |it| &mut it.closes_dropped,
        |it| &mut it.closes_lost,
    ];
    let mut planted = 0;
    for field in fields {
        for index in 0..epoch().len() {
            let mut records = epoch();
            let Record::Notice(notice) = &mut records[index] else {
                continue;
            };
            if let NoticeKind::Ledger(tally) | NoticeKind::RecorderStopped { tally, .. } =
                &mut notice.kind
            {
                *field(tally) += 1;
                let book = book(&items(records));
                assert!(lines(&book).contains(&Line::Ends), "record {index}");
                planted += 1;
            }
        }
    }
    assert_eq!(planted, 8);
}

#[test]
fn two_numbers_that_were_changed_together_are_found_by_what_they_say_of_the_records() {
    let mut records = epoch();
    for record in &mut records {
        if let Record::Notice(notice) = record
            && let NoticeKind::Ledger(tally) | NoticeKind::RecorderStopped { tally, .. } =
                &mut notice.kind
        {
            tally.closes_made -= 1;
            tally.closes_lost -= 1;
        }
    }
    assert_eq!(lines(&book(&items(records))), [Line::ClosesLost]);
}

#[test]
fn a_record_that_was_taken_out_is_found_though_the_others_were_numbered_anew() {
    for index in 0..epoch().len() - 1 {
        let mut records = epoch();
        let removed = records.remove(index);
        let book = book(&items(records));
        // What comes between counts and stop shows only in the counts themselves.
        let is_last_count = index == 18;
        assert!(
            !book.balances() || is_last_count,
            "without record {index}: {removed:?}"
        );
    }
}

#[test]
fn a_close_that_was_taken_out_leaves_a_gap_that_nobody_declared() {
    let mut items = items(epoch());
    let missing = Missing {
        epoch: 1,
        first_sequence: 4,
        last_sequence: 4,
    };
    items[3] = Item::Missing(missing);
    let book = book(&items);
    assert_eq!(lines(&book), [Line::Gone]);
    let account = only(book);
    assert_eq!(account.closes_gone, Some(1), "the counts around it tell");
}

#[test]
fn damage_is_counted_and_the_counts_around_it_tell_how_many_closes_it_took() {
    let mut items = items(epoch());
    let damaged = Damaged {
        segment: SegmentName {
            epoch: 1,
            first_sequence: 1,
        },
        offset: 300,
        bytes: 99,
        lost_records: Some(4),
        at_end: false,
    };
    // Three closes, and the notice that told of a loss.
    items.splice(6..10, [Item::Damaged(damaged)]);
    let book = book(&items);
    assert_eq!(lines(&book), []);
    let account = only(book);
    assert_eq!(account.damaged, Some(4));
    assert_eq!(account.closes_gone, Some(3));
    assert_eq!(account.read.records, 16);
}

#[test]
fn what_was_evicted_is_declared_and_what_is_known_of_it_is_told() {
    let evicted = Missing {
        epoch: 1,
        first_sequence: 1,
        last_sequence: 6,
    };
    let mut items = items(epoch());
    items.splice(..6, [Item::Missing(evicted)]);
    assert_eq!(lines(&book(&items)), [Line::Gone]);
    let kind = NoticeKind::TrailEvicted {
        epoch: 1,
        first_sequence: 1,
        last_sequence: 6,
    };
    items.push(Item::Record {
        id: RecordId {
            epoch: 2,
            sequence: 1,
        },
        record: notice(kind),
        device: Arc::default(),
    });
    let book = book(&items);
    assert!(book.balances());
    assert_eq!(book.accounts[0].evicted, 6);
    assert_eq!(book.accounts[0].closes_gone, Some(5));
}

#[test]
fn an_end_that_was_cut_off_is_a_window_and_not_a_zero() {
    let mut records = epoch();
    records.truncate(15);
    let mut items = items(records);
    let started = |last_sequence| {
        let previous = PreviousEpoch {
            epoch: 1,
            last_sequence,
            last_at: Some(at(5)),
            stopped_in_order: false,
        };
        Item::Record {
            id: RecordId {
                epoch: 2,
                sequence: 1,
            },
            record: Record::Notice(Notice {
                at: at(9),
                kind: NoticeKind::RecorderStarted {
                    previous: Some(previous),
                },
            }),
            device: Arc::default(),
        }
    };
    items.push(started(15));
    let cut = book(&items);
    assert!(cut.balances());
    let account = &cut.accounts[0];
    assert_eq!(account.end, End::Cut);
    let window = account.windows[0];
    assert_eq!(window.cause, WindowCause::Cut);
    assert_eq!((window.since, window.until), (Some(at(5)), Some(at(9))));
    assert_eq!(window.estimate, None);
    assert_eq!(cut.accounts[1].end, End::Open);
    items.pop();
    items.push(started(17));
    assert_eq!(lines(&book(&items)), [Line::Gone], "two that were synced");
}

#[test]
fn a_loss_without_a_number_is_a_window_and_the_meter_tells_about_how_much() {
    let coverage = |since, until, missed| {
        Record::Notice(Notice {
            at: at(until),
            kind: NoticeKind::Coverage(record::Coverage {
                since: at(since),
                system: Some(record::TcpCounts {
                    outbound: 9,
                    inbound: 1,
                }),
                unavailable: None,
                recorded: record::TcpCounts::default(),
                missed_estimate: missed,
                unseen: Vec::new(),
            }),
        })
    };
    let loss = |until| {
        Record::Notice(Notice {
            at: at(until),
            kind: NoticeKind::Lost {
                stage: LossStage::Kernel,
                cause: LossCause::MapFull,
                what: LostKind::Connections,
                count: None,
                since: at(until - 10),
            },
        })
    };
    let told = vec![
        coverage(0, 60, Some(0)),
        loss(80),
        loss(90),
        coverage(60, 120, Some(7)),
    ];
    let account = only(book(&items(told.clone())));
    assert_eq!(account.windows.len(), 1, "one goes on where the other ends");
    let window = account.windows[0];
    assert_eq!((window.since, window.until), (Some(at(70)), Some(at(90))));
    assert_eq!(window.estimate, Some(7));
    assert_eq!(account.coverage.unwrap().0.outbound, 18);
    let account = only(book(&items(told[..3].to_vec())));
    assert_eq!(
        account.windows[0].estimate, None,
        "the meter did not cover it"
    );
}

#[test]
fn a_trail_from_before_there_were_stages_is_not_told_rather_than_zero() {
    let mut records = epoch();
    records.retain(|record| {
        !matches!(record, Record::Notice(it) if matches!(it.kind, NoticeKind::StageCounts(_)))
    });
    let book = book(&items(records));
    assert!(book.balances());
    let account = only(book);
    assert_eq!(account.stages, None);
    assert!(account.tally.is_some());
}

#[test]
fn what_stands_after_the_stop_is_found() {
    let mut records = epoch();
    records.extend(closes(1));
    assert_eq!(lines(&book(&items(records))), [Line::AfterStop]);
}

#[test]
fn a_hostile_trail_of_losses_takes_bounded_memory() {
    let mut ledger = Ledger::default();
    for number in 0..20_000u64 {
        let kind = NoticeKind::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::MapFull,
            what: LostKind::Connections,
            count: None,
            since: at(number * 2),
        };
        let tally = Tally {
            closes_made: u64::MAX,
            ..Tally::default()
        };
        for (sequence, kind) in [
            (2 * number, kind),
            (2 * number + 1, NoticeKind::Ledger(tally)),
        ] {
            ledger.hear(&Item::Record {
                id: RecordId {
                    epoch: 1,
                    sequence: sequence + 1,
                },
                record: notice(kind),
                device: Arc::default(),
            });
        }
    }
    let account = only(ledger.conclude());
    assert!(account.windows.len() <= 1_000);
    assert!(account.findings.len() <= 101);
}

/// On a disk, written and read for real, with one flipped bit.
#[test]
fn a_trail_with_a_damaged_frame_balances_to_the_record() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    for record in epoch() {
        writer.append(&record, Mono(0)).unwrap();
        drop(writer.flush(at(1)).unwrap());
    }
    drop(writer.close(at(2)).unwrap());
    let whole = balance_on(disk.clone(), &dir(), ReadOptions::default()).unwrap();
    assert_eq!(lines(&whole), []);
    assert_eq!(whole.accounts[0].read.records, 20);

    let mut paths = disk.paths().into_iter();
    let path = paths.find(|it| it.extension().is_some_and(|it| it == "trail"));
    let path = path.unwrap();
    let mut bytes = disk.contents(&path).unwrap();
    let marker = [0xc7, 0x1e, 0xa5, 0x0d];
    let frames: Vec<usize> = (0..bytes.len() - 4)
        .filter(|from| bytes[*from..*from + 4] == marker)
        .collect();
    assert_eq!(frames.len(), 20, "a frame for each record");
    bytes[frames[5] - 10] ^= 4;
    disk.put(&path, &bytes);
    let damaged = balance_on(disk, &dir(), ReadOptions::default()).unwrap();
    assert_eq!(lines(&damaged), []);
    let account = &damaged.accounts[0];
    assert_eq!((account.damaged, account.closes_gone), (Some(1), Some(1)));
    assert_eq!(account.read.records, 19);
}
