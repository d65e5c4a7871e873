use crate::tls;
use engines::Rsyslog;

const MESSAGE: &str = "<134>1 2026-11-23T20:00:00.000Z laptop conntrail 1 - - two\nlines, \"é\"";

fn frame(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

fn send(server: &Rsyslog, with_client: bool, bytes: &[u8]) -> String {
    tls::converse(server.port(), server.certificates(), with_client, bytes, "")
}

#[test]
#[ignore = "needs syslog: starts rsyslog"]
fn messages_are_kept_as_they_came() {
    let server = Rsyslog::start();
    let long = format!("{MESSAGE} {}", "x".repeat(20_000));
    let bytes = [frame(MESSAGE), frame(&long)].concat();
    let heard = send(&server, false, &bytes);
    assert_eq!(server.wait_for(2), [MESSAGE, &long], "{heard}");
}

#[test]
#[ignore = "needs syslog: starts rsyslog"]
fn what_it_wrote_is_there_after_a_kill_and_a_restart() {
    let server = Rsyslog::start();
    send(&server, false, &frame(MESSAGE));
    assert_eq!(server.wait_for(1).len(), 1);
    server.kill();
    server.restart();
    send(&server, false, &frame(MESSAGE));
    assert_eq!(server.wait_for(2).len(), 2);
    server.pause();
    server.resume();
    assert!(server.stop().success());
}

#[test]
#[ignore = "needs syslog: starts rsyslog"]
fn who_has_no_certificate_is_not_heard() {
    let server = Rsyslog::start_verifying();
    send(&server, false, &frame("<134>1 - - - - - - stranger"));
    send(&server, true, &frame(MESSAGE));
    assert_eq!(server.wait_for(1), [MESSAGE]);
}
