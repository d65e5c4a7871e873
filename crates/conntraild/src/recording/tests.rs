//! Losses at each stage, provoked in the real recorder on a real disk: what is told of them
//! balances to the record.

use super::*;
use flow::{Closed, FlowKey, Introduction, Opened, Owner, Tuple};
use record::{
    Attribution, Direction, Ending, Endpoint, IdentitySource, Origin, Outcome, Process, ProcessKey,
    Protocol, Tally, Traffic,
};
use std::fmt::Write;
use tempfile::TempDir;
use trail::{Account, Book};

const WHO: ProcessKey = ProcessKey {
    pid: 9,
    start_ns: 7,
    exec_id: 1,
};

fn recorder(folder: &TempDir, config: &Config) -> Recorder {
    let policy = PolicyWatch::none();
    let now = clock::stamp();
    Recorder::open(folder.path(), Device::default(), config, policy, now).unwrap()
}

fn balance(folder: &TempDir) -> Book {
    let book = trail::balance(&trail::segments_dir(folder.path())).unwrap();
    for account in &book.accounts {
        assert_eq!(account.findings, [], "{account:#?}");
    }
    book
}

fn only(book: Book) -> (Account, Tally) {
    let [account] = book.accounts.try_into().unwrap();
    let tally = account.tally.unwrap();
    (account, tally)
}

fn tuple() -> Tuple {
    Tuple {
        protocol: Protocol::Tcp,
        direction: Direction::Outbound,
        local: Endpoint::default(),
        remote: Endpoint::default(),
        network_namespace: None,
    }
}

fn owner() -> Option<Owner> {
    Some(Owner {
        process: WHO,
        attribution: Attribution::from_source(IdentitySource::Connect),
        responsible: None,
    })
}

fn opened(socket: u64) -> Event {
    let at = clock::mono();
    Event::Opened(Opened {
        key: FlowKey { socket, part: 0 },
        at,
        tuple: tuple(),
        owner: owner(),
        opened: Some(at),
        established: Some(at),
        origin: Origin::Live,
    })
}

fn closed(socket: u64, bytes: Option<u64>) -> Event {
    let at = clock::mono();
    Event::Closed(Closed {
        key: FlowKey { socket, part: 0 },
        at,
        tuple: tuple(),
        owner: owner(),
        opened: Some(at),
        established: Some(at),
        traffic: Traffic {
            bytes_out: bytes,
            ..Traffic::default()
        },
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        ending: Ending {
            outcome: Outcome::Closed,
            errno: None,
        },
        origin: Origin::Live,
    })
}

fn lost(what: LostKind, count: Option<u64>) -> Event {
    Event::Lost {
        stage: LossStage::Kernel,
        cause: LossCause::RingFull,
        what,
        count,
    }
}

/// Texts that hardly compress, so that few of them fill a queue.
fn noise(length: usize) -> String {
    let mut state = 1u64;
    let mut text = String::new();
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:016x}").unwrap();
    }
    text
}

#[test]
fn what_the_queue_before_the_disk_has_no_room_for_is_declared_and_balances() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = recorder(&folder, &Config::default());
    let mut process = Process::bare(WHO);
    process.command_line = Some(noise(400_000).into());
    recorder.take_in(vec![Event::ProcessSeen(Introduction {
        process,
        parent: None,
    })]);
    // All at once, so that nothing is flushed in between.
    recorder.take_in((1..=200).map(|socket| closed(socket, Some(1))).collect());
    recorder.flush(clock::stamp());
    recorder.take_in((201..=210).map(|socket| closed(socket, Some(1))).collect());
    recorder.end(Vec::new(), StopReason::Requested).unwrap();

    let (account, tally) = only(balance(&folder));
    let kind = |what| (LossStage::TrailQueue, LossCause::QueueFull, what);
    let refused = account.lost[&kind(LostKind::Closes)].count;
    assert!((20..=190).contains(&refused), "{refused} of 200");
    assert_eq!(account.lost[&kind(LostKind::Records)].count, refused);
    assert_eq!((tally.closes_made, tally.closes_lost), (210, refused));
    assert_eq!(account.read.closes + refused, 210);
}

#[test]
fn what_the_kernel_lost_and_what_the_flow_table_evicted_balances() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        flows_max: 100,
        ..Config::default()
    };
    let mut recorder = recorder(&folder, &config);
    recorder.take_in((1..=250).map(opened).collect());
    // Some end with nothing new to tell, some with more than was told when they were evicted, and
    // some twice.
    recorder.take_in((130..=145).map(|socket| closed(socket, None)).collect());
    recorder.take_in((146..=170).map(|socket| closed(socket, Some(5))).collect());
    recorder.take_in((130..=170).map(|socket| closed(socket, Some(9))).collect());
    recorder.take_in(vec![
        lost(LostKind::Closes, Some(30)),
        lost(LostKind::Opens, Some(3)),
        lost(LostKind::Connections, None),
    ]);
    let swept = Event::Swept {
        before: clock::mono(),
        alive: (230..=250)
            .map(|socket| FlowKey { socket, part: 0 })
            .collect(),
    };
    recorder.take_in(vec![swept]);
    recorder.end(Vec::new(), StopReason::Requested).unwrap();

    let (account, tally) = only(balance(&folder));
    let (_, stages) = account.stages.unwrap();
    assert!(stages.flows_evicted > 100, "{stages:?}");
    assert!(
        stages.closes_repeated > 0 && stages.ends_told_before > 0,
        "{stages:?}"
    );
    assert_eq!(tally.closes_lost, 30);
    assert_eq!(account.windows.len(), 1, "the loss without a number");
}

#[test]
fn what_the_quota_evicts_is_declared_and_its_closes_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        quota_bytes: 40_000,
        segment_bytes: 8_000,
        ledger_interval_s: 1,
        ..Config::default()
    };
    let mut recorder = recorder(&folder, &config);
    for round in 0..400 {
        let sockets = round * 10..round * 10 + 10;
        recorder.take_in(
            sockets
                .map(|socket| closed(socket, Some(socket * 77)))
                .collect(),
        );
        recorder.flush(clock::stamp());
    }
    recorder.end(Vec::new(), StopReason::Requested).unwrap();
    let (account, tally) = only(balance(&folder));
    assert_eq!(tally.closes_made, 4_000);
    assert!(account.evicted > 500, "{account:#?}");
    assert_eq!(account.read.closes + account.closes_gone.unwrap(), 4_000);
    let (_, stages) = account.stages.unwrap();
    assert!(stages.records_evicted >= account.evicted, "{stages:?}");
}

#[test]
fn damage_that_the_recorder_meets_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        segment_bytes: 4_000,
        ..Config::default()
    };
    let mut first = recorder(&folder, &config);
    for round in 0..40 {
        first.take_in(vec![closed(round, Some(1))]);
        first.flush(clock::stamp());
    }
    first.end(Vec::new(), StopReason::Requested).unwrap();
    let segments = trail::segments_dir(folder.path());
    let segment = segments.join("e00000001-s000000000001.trail");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let mut second = recorder(&folder, &config);
    let mut now = clock::mono();
    for _ in 0..100 {
        now = now.plus_ns(2_000_000_000);
        second.tend(now);
    }
    second.take_in(vec![closed(99, Some(1))]);
    second.flush(clock::stamp());
    second.end(Vec::new(), StopReason::Requested).unwrap();
    let book = balance(&folder);
    let kind = (LossStage::Trail, LossCause::Damaged, LostKind::Records);
    let told = book.accounts[1].lost[&kind];
    assert_eq!((told.count, told.unknown), (0, 1));
    assert_eq!(book.accounts[0].damaged, Some(1));
    assert_eq!(book.accounts[0].closes_gone, Some(1));
    let (_, stages) = book.accounts[1].stages.unwrap();
    assert!(
        stages.segments_rewritten > 0,
        "the others are denser: {stages:?}"
    );
}
