//! The reduced mode, which needs no privilege.

use crate::recorder::Recorder;
use record::{Confidence, NoticeKind, Origin, PreviousEpoch, SensorKind};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const ARGUMENTS: &[&str] = &["--sensor", "sampled"];

/// Two polls and a bit: the interval is a second.
const LONG_ENOUGH: Duration = Duration::from_millis(2_500);

fn connect() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

#[test]
fn a_connection_is_found_with_its_process_and_marked_as_sampled() {
    let recorder = Recorder::start(ARGUMENTS);
    std::thread::sleep(LONG_ENOUGH);
    let (client, server) = connect();
    let port = client.local_addr().unwrap().port();
    std::thread::sleep(LONG_ENOUGH);
    drop((client, server));
    std::thread::sleep(LONG_ENOUGH);
    let kept = recorder.stop();
    let ours: Vec<_> = kept
        .closes()
        .filter(|it| it.local.port == Some(port))
        .collect();
    assert_eq!(ours.len(), 1, "one close of the client's side");
    assert_eq!(ours[0].origin, Origin::Sampled);
    assert_eq!(ours[0].attribution.confidence, Confidence::Guess);
    let process = ours[0].process.as_deref().unwrap();
    assert_eq!(process.key.pid, std::process::id());
    let own_path = std::env::current_exe().unwrap();
    assert_eq!(process.path.as_deref(), own_path.to_str());
    assert!(kept.notices.iter().any(|it| matches!(
        &it.kind,
        NoticeKind::SensorStarted { sensor: SensorKind::LinuxSampled, limits } if limits.len() > 1
    )));
}

#[test]
fn a_recorder_that_was_killed_is_told_of_by_the_next() {
    let recorder = Recorder::start(ARGUMENTS);
    std::thread::sleep(LONG_ENOUGH);
    let kept = recorder.crash_and_restart(ARGUMENTS).stop();
    let starts: Vec<Option<PreviousEpoch>> = kept
        .notices
        .iter()
        .filter_map(|notice| match &notice.kind {
            NoticeKind::RecorderStarted { previous } => Some(*previous),
            _ => None,
        })
        .collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0], None);
    let previous = starts[1].unwrap();
    assert!(!previous.stopped_in_order);
    assert!(
        previous.last_sequence > 0 && previous.last_at.is_some(),
        "{previous:?}"
    );
}
