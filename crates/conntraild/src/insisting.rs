//! Recording that does not give up.
//!
//! Where the recorder stands in the path of connections its end is felt by everybody: the system
//! resets what is open. So a trail that cannot be opened, and a fault while recording, are said and
//! tried again, with growing pauses; meanwhile events wait or are counted.

use crate::backlog::Backlog;
use crate::log::{in_words, say};
use crate::recording::Recorder;
use crate::sensing::Sensed;
use anyhow::{Context, anyhow};
use host::clock;
use record::{Stamp, StopReason};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// At most, for what should be known before the first try.
    ready: Duration,
    /// Before the next try.
    next: Duration,
    /// Before any try.
    longest: Duration,
}

impl Pauses {
    /// From a second to a minute.
    pub(crate) const USUAL: Pauses = Pauses {
        ready: Duration::from_secs(10),
        next: Duration::from_secs(1),
        longest: Duration::from_secs(60),
    };

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

/// Records until sensing ends. The trail is first opened when `ready` says so, or after a while;
/// `open` is given the moment since which events may have come.
///
/// # Errors
/// When sensing ended and the last of it could not be written.
pub(crate) fn record(
    ready: impl Fn() -> bool,
    mut open: impl FnMut(Stamp) -> anyhow::Result<Recorder>,
    sensing: &Receiver<Sensed>,
    mut pauses: Pauses,
) -> anyhow::Result<()> {
    let mut since = clock::stamp();
    let mut backlog = Backlog::default();
    let mut last_said = String::new();
    let mut ended = wait_until(ready, pauses.ready, &mut backlog, sensing);
    loop {
        if let Some(reason) = ended {
            let recorder = open(since).context("what waited for the trail is lost")?;
            return recorder.end(backlog.take(), reason);
        }
        let mut has_begun = false;
        let attempt = || -> anyhow::Result<anyhow::Result<()>> {
            let recorder = open(since)?;
            has_begun = true;
            Ok(recorder.run(backlog.take(), sensing))
        };
        let trouble = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(ended)) => return ended,
            Ok(Err(trouble)) => trouble,
            Err(_) => anyhow!("a fault in the recorder itself; it begins anew"),
        };
        if has_begun {
            since = clock::stamp();
        }
        say_once(&in_words(&trouble), &mut last_said);
        ended = backlog.wait(sensing, pauses.next());
    }
}

fn wait_until(
    ready: impl Fn() -> bool,
    longest: Duration,
    backlog: &mut Backlog,
    sensing: &Receiver<Sensed>,
) -> Option<StopReason> {
    let until = Instant::now() + longest;
    let mut ended = None;
    while ended.is_none() && !ready() && Instant::now() < until {
        ended = backlog.wait(sensing, LOOK_INTERVAL);
    }
    ended
}

/// Between two looks whether everything is ready.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A trouble that stays the same is said once.
fn say_once(trouble: &str, last_said: &mut String) {
    if trouble != last_said {
        say(&format!(
            "not recording now, tried again and again: {trouble}"
        ));
        trouble.clone_into(last_said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog::KEPT_MAX;
    use flow::{Closed, Event, FlowKey, Tuple};
    use host::config::Config;
    use query::{Answer, Answers, Filter};
    use record::{
        Direction, Ending, Endpoint, LostKind, Notice, NoticeKind, Origin, Outcome, Protocol,
        Record, SensorKind, Traffic,
    };
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{SyncSender, channel, sync_channel};
    use std::thread;
    use tempfile::TempDir;

    const LONG: Duration = Duration::from_secs(60);

    const NEVER: Pauses = Pauses {
        ready: Duration::ZERO,
        next: Duration::from_secs(3_600),
        longest: Duration::from_secs(3_600),
    };

    const AT_ONCE: Pauses = Pauses {
        ready: Duration::ZERO,
        next: Duration::from_millis(1),
        longest: Duration::from_millis(4),
    };

    fn open_in(state_dir: &Path, since: Stamp) -> anyhow::Result<Recorder> {
        let device = host::device::device(state_dir, "1")?;
        let policy = crate::privacy::PolicyWatch::none();
        Recorder::open(state_dir, device, &Config::default(), policy, since)
    }

    fn started() -> Event {
        Event::SensorStarted {
            sensor: SensorKind::MacosFilter,
            limits: Vec::new(),
        }
    }

    fn closed(socket: u64) -> Event {
        let endpoint = Endpoint::default();
        Event::Closed(Closed {
            key: FlowKey { socket, part: 0 },
            at: clock::mono(),
            tuple: Tuple {
                protocol: Protocol::Tcp,
                direction: Direction::Outbound,
                local: endpoint,
                remote: endpoint,
                network_namespace: None,
            },
            owner: None,
            opened: None,
            established: None,
            traffic: Traffic::default(),
            rtt_us: None,
            retransmits: None,
            closer_pid: None,
            ending: Ending {
                outcome: Outcome::Unknown,
                errno: None,
            },
            origin: Origin::Live,
        })
    }

    fn send(sender: &SyncSender<Sensed>, events: Vec<Event>) {
        sender.send(Sensed::Events(events)).unwrap();
    }

    fn kept(state_dir: &Path) -> Vec<Record> {
        let filter = Filter {
            all_phases: true,
            ..Filter::default()
        };
        let mut answers = Answers::new(&trail::segments_dir(state_dir), filter).unwrap();
        let mut records = Vec::new();
        while let Some(answer) = answers.next_answer().unwrap() {
            match answer {
                Answer::Record { record, .. } => records.push(record),
                Answer::Hole(hole) => panic!("{hole}"),
            }
        }
        records
    }

    fn notices(records: &[Record]) -> Vec<&NoticeKind> {
        let mut notices = Vec::new();
        for record in records {
            if let Record::Notice(Notice { kind, .. }) = record {
                notices.push(kind);
            }
        }
        notices
    }

    fn connections(records: &[Record]) -> usize {
        let is_connection = |record: &&Record| matches!(record, Record::Connection(_));
        records.iter().filter(is_connection).count()
    }

    /// A state folder whose place something else takes until it is removed, which even root must
    /// respect.
    fn blocked() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        fs::write(&state_dir, "in the way").unwrap();
        (folder, state_dir)
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut pauses = Pauses::USUAL;
        let taken: Vec<u64> = (0..8).map(|_| pauses.next().as_secs()).collect();
        assert_eq!(taken, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_came_while_the_trail_could_not_be_opened_is_recorded_or_declared_lost() {
        let (_folder, state_dir) = blocked();
        let (sender, sensing) = sync_channel(4);
        send(&sender, vec![started()]);
        send(&sender, (0..KEPT_MAX as u64 + 41).map(closed).collect());
        sender.send(Sensed::Ended(StopReason::Requested)).unwrap();
        let mut tries = 0;
        let open = |since| {
            tries += 1;
            if tries > 1 {
                fs::remove_file(&state_dir).unwrap();
            }
            open_in(&state_dir, since)
        };
        let before = clock::stamp();
        record(|| true, open, &sensing, NEVER).unwrap();
        assert_eq!(tries, 2);
        let records = kept(&state_dir);
        let notices = notices(&records);
        assert!(matches!(notices[0], NoticeKind::RecorderStarted { .. }));
        let NoticeKind::Lost {
            what, count, since, ..
        } = notices[1]
        else {
            panic!("the loss comes first: {notices:?}");
        };
        assert_eq!((*what, *count), (LostKind::Closes, Some(42)));
        assert!(since.mono >= before.mono);
        assert!(matches!(notices[2], NoticeKind::SensorStarted { .. }));
        assert_eq!(connections(&records), KEPT_MAX - 1);
        let NoticeKind::RecorderStopped { reason, tally } = notices[notices.len() - 1] else {
            panic!("the epoch ends in order: {notices:?}");
        };
        assert_eq!(*reason, StopReason::Requested);
        assert_eq!(tally.closes_made, KEPT_MAX as u64 + 41);
        assert_eq!(tally.closes_lost, 42);
    }

    #[test]
    fn it_is_tried_again_until_the_trail_can_be_opened() {
        let (_folder, state_dir) = blocked();
        let (sender, sensing) = sync_channel(4);
        send(&sender, vec![closed(1)]);
        let (tried, tries) = channel();
        let place = state_dir.clone();
        let open = move |since| {
            let opened = open_in(&place, since);
            tried.send(opened.is_ok()).unwrap();
            opened
        };
        let recorder = thread::spawn(move || record(|| true, open, &sensing, AT_ONCE));
        for _ in 0..5 {
            assert_eq!(tries.recv_timeout(LONG), Ok(false));
        }
        send(&sender, vec![closed(2)]);
        fs::remove_file(&state_dir).unwrap();
        while tries.recv_timeout(LONG) == Ok(false) {}
        send(&sender, vec![closed(3)]);
        sender.send(Sensed::Ended(StopReason::Elapsed)).unwrap();
        recorder.join().unwrap().unwrap();
        assert_eq!(connections(&kept(&state_dir)), 3);
    }

    #[test]
    fn what_should_be_known_first_is_waited_for_but_not_for_ever() {
        let (sender, sensing) = sync_channel(4);
        send(&sender, vec![closed(1)]);
        let mut backlog = Backlog::default();
        let looks = std::cell::Cell::new(0);
        let ready = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        assert_eq!(wait_until(ready, LONG, &mut backlog, &sensing), None);
        assert_eq!(looks.get(), 3);
        let soon = Duration::from_millis(1);
        assert_eq!(wait_until(|| false, soon, &mut backlog, &sensing), None);
        sender.send(Sensed::Ended(StopReason::Requested)).unwrap();
        assert_eq!(
            wait_until(|| false, LONG, &mut backlog, &sensing),
            Some(StopReason::Requested)
        );
        assert_eq!(backlog.take().len(), 1);
    }

    #[test]
    fn a_damaged_identity_is_waited_out_too() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("endpoint-id");
        fs::write(&identity, "not an id").unwrap();
        let (sender, sensing) = sync_channel(4);
        sender.send(Sensed::Ended(StopReason::Requested)).unwrap();
        let mut tries = 0;
        let open = |since| {
            tries += 1;
            if tries > 1 {
                fs::remove_file(&identity).unwrap();
            }
            open_in(folder.path(), since)
        };
        record(|| true, open, &sensing, NEVER).unwrap();
        assert_eq!(tries, 2);
    }

    #[test]
    fn a_fault_in_the_recorder_begins_a_new_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, sensing) = sync_channel(4);
        let (faulty, faults) = sync_channel(1);
        send(&sender, vec![closed(1)]);
        let mut tries = 0;
        let place = folder.path().to_owned();
        let open = move |since| {
            tries += 1;
            let recorder = open_in(&place, since)?;
            if tries == 1 {
                faulty.send(()).unwrap();
                panic!("planted");
            }
            Ok(recorder)
        };
        let recorder = thread::spawn(move || record(|| true, open, &sensing, AT_ONCE));
        faults.recv_timeout(LONG).unwrap();
        send(&sender, vec![closed(2)]);
        sender.send(Sensed::Ended(StopReason::Requested)).unwrap();
        recorder.join().unwrap().unwrap();
        let records = kept(folder.path());
        assert_eq!(connections(&records), 2);
        let epochs = notices(&records);
        let began = |it: &&&NoticeKind| matches!(it, NoticeKind::RecorderStarted { .. });
        assert_eq!(
            epochs.iter().filter(began).count(),
            1,
            "the first was never flushed"
        );
    }

    #[test]
    fn when_sensing_ended_and_the_trail_still_cannot_be_opened_the_loss_is_an_error() {
        let (_folder, state_dir) = blocked();
        let (sender, sensing) = sync_channel(4);
        drop(sender);
        let error = record(
            || true,
            |since| open_in(&state_dir, since),
            &sensing,
            AT_ONCE,
        );
        let error = in_words(&error.unwrap_err());
        assert!(
            error.contains("is lost") && error.contains("state"),
            "{error}"
        );
    }
}
