//! The ledger of a recorder that was treated badly balances to the record. No privilege is needed;
//! what the kernel's ring loses is in the tests with the kernel's sensor.

use crate::recorder::{Kept, Recorder};
use record::NoticeKind;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;
use trail::{End, WindowCause};

/// Several polls, and a ledger or two.
const LONG_ENOUGH: Duration = Duration::from_millis(1_500);

/// A configuration with a ledger every second, and a policy that drops what goes to `shunned`.
fn configured(shunned: u16) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = "[sensor]\nkind = \"sampled\"\npoll_interval_ms = 200\n\
                  [flow]\nledger_interval_s = 1\n";
    fs::write(folder.path().join("conntrail.toml"), config).unwrap();
    let policy = format!(
        "version = 1\n[[rule]]\nname = \"shunned\"\naction = \"drop\"\nfields = [\"record\"]\n\
         when = {{ port = {shunned} }}\n"
    );
    fs::write(folder.path().join("policy.toml"), policy).unwrap();
    folder
}

fn record(folder: &Path) -> [String; 2] {
    let config = folder.join("conntrail.toml");
    ["--config".to_owned(), config.to_str().unwrap().to_owned()]
}

fn connections(listener: &TcpListener, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let connect = |_| {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    };
    (0..count).map(connect).collect()
}

fn play(listeners: [&TcpListener; 2], count: usize) {
    let open = listeners.map(|listener| connections(listener, count));
    sleep(LONG_ENOUGH);
    drop(open);
    sleep(LONG_ENOUGH);
}

fn kept_after_a_crash() -> Kept {
    let [shunned, welcome] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let folder = configured(shunned.local_addr().unwrap().port());
    let arguments = record(folder.path());
    let arguments = arguments.each_ref().map(String::as_str);
    let recorder = Recorder::start(&arguments);
    play([&shunned, &welcome], 7);
    let recorder = recorder.crash_and_restart(&arguments);
    play([&shunned, &welcome], 5);
    recorder.stop()
}

#[test]
fn what_the_policy_dropped_and_a_crash_cut_off_balances_to_the_record() {
    let kept = kept_after_a_crash();
    let book = kept.balanced();
    let [cut, stopped] = &book.accounts[..] else {
        panic!("{book:#?}");
    };
    assert_eq!((cut.end, stopped.end), (End::Cut, End::InOrder));
    let window = cut.windows.iter().find(|it| it.cause == WindowCause::Cut);
    let window = window.unwrap();
    assert!(window.since.unwrap().mono < window.until.unwrap().mono);
    for (account, count) in [(cut, 7), (stopped, 5)] {
        let tally = account.tally.unwrap();
        let (_, stages) = account.stages.unwrap();
        // Both sides of a connection of this machine with itself are connections.
        assert!(tally.closes_dropped >= count, "{account:#?}");
        assert!(account.read.closes >= count, "{account:#?}");
        assert_eq!(stages.dropped.records, account.policy_dropped);
    }
}

#[test]
fn damage_on_the_disk_is_told_with_the_closes_it_took_and_a_forged_count_is_found() {
    let kept = kept_after_a_crash();
    let whole = kept.balanced();
    let entries = fs::read_dir(kept.segments()).unwrap();
    let paths = entries.map(|it| it.unwrap().path());
    let segment = paths
        .filter(|it| it.to_string_lossy().ends_with("-s000000000001.trail"))
        .max();
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let marker = [0xc7, 0x1e, 0xa5, 0x0d];
    let frames: Vec<usize> = (0..bytes.len() - 4)
        .filter(|from| bytes[*from..*from + 4] == marker)
        .collect();
    assert!(frames.len() > 2, "a frame each second");
    bytes[frames[1] - 6] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let damaged = kept.balanced();
    let (before, after) = (&whole.accounts[1], &damaged.accounts[1]);
    let lost = after.damaged.unwrap();
    assert!(lost > 0);
    assert_eq!(after.read.records + lost, before.read.records);
    let gone = after.closes_gone.unwrap();
    assert_eq!(after.read.closes + gone, before.read.closes);

    forge(&kept);
}

/// One close is taken out and all that follows numbered anew, in a trail whose checksums and hashes
/// are right: only the numbers tell.
fn forge(kept: &Kept) {
    let folder = tempfile::tempdir().unwrap();
    let options = trail::WriterOptions::new(record::Device::default(), 1 << 30);
    let now = record::Stamp::default();
    let mut writer = trail::TrailWriter::open(folder.path(), options, now).unwrap();
    let is_start = |record: &record::Record| match record {
        record::Record::Notice(it) => matches!(it.kind, NoticeKind::RecorderStarted { .. }),
        record::Record::Connection(_) => false,
    };
    let end = kept.records.iter().skip(1).position(is_start).unwrap();
    let first_epoch = &kept.records[..=end];
    let taken = first_epoch
        .iter()
        .position(|record| record.closes() > 0)
        .unwrap();
    for (index, record) in first_epoch.iter().enumerate() {
        if index != taken {
            writer.append(record, now.mono).unwrap();
        }
    }
    drop(writer.close(now).unwrap());
    let book = trail::balance(&trail::segments_dir(folder.path())).unwrap();
    let findings = &book.accounts[0].findings;
    let lines: Vec<trail::Line> = findings.iter().map(|it| it.line).collect();
    assert!(lines.contains(&trail::Line::ClosesRead), "{findings:?}");
    assert!(lines.contains(&trail::Line::Sequence), "{findings:?}");
}
