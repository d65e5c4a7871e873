//! The ledger, with what is known to be in it.

use super::made::{Fleet, HOUR_NS, Machine, an_epoch, close, from_now, notice, started};
use record::{NoticeKind, Record, StopReason, Tally, Undelivered, UndeliveredCause};

const LINE: &str = "SELECT last_known, accounted, sent, received, left_out_by_filter, \
    declared_lost, declared_in_part, overlap, batches_repeated, duplicates_before_merge, \
    duplicates_after_merge, rows_missing, sequences_missing, unexplained FROM conntrail.ledger";

fn line_of(fleet: &Fleet, machine: &Machine, epoch: u64) -> String {
    let source = machine.source.name().unwrap_or_default();
    let id = machine.id();
    fleet.ask(&format!(
        "{LINE} WHERE endpoint = '{id}' AND source = '{source}' AND epoch = {epoch}"
    ))
}

fn undelivered(first: u64, last: u64, destination: &str) -> Record {
    let kind = NoticeKind::Undelivered(Undelivered {
        destination: destination.to_owned(),
        source: None,
        epoch: 1,
        first_sequence: first,
        last_sequence: last,
        records: Some(last - first + 1),
        cause: UndeliveredCause::Gone,
        reason: "the trail no longer has them".to_owned(),
    });
    notice(from_now(0), kind)
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn what_came_whole_leaves_nothing_unexplained_however_often_and_however_cut_it_came() {
    let (machine, mut fleet) = (Machine::new(1), Fleet::start());
    let records = an_epoch(1, 99);
    fleet.add(&[machine.batch_without(1, 1, &records[..50], &[7, 8])]);
    fleet.add(&machine.batches(1, &records, 100)[..0]);
    fleet.add(&[machine.batch(1, 51, &records[50..])]);
    assert_eq!(
        line_of(&fleet, &machine, 1),
        "100\t100\t98\t98\t2\t0\t0\t0\t0\t0\t0\t0\t0\t0"
    );
    // The same message once more, and the same records in another cut.
    fleet.add(&[machine.batch(1, 51, &records[50..])]);
    fleet.add(&[machine.batch(1, 41, &records[40..60])]);
    let expected = "100\t100\t118\t98\t2\t0\t0\t20\t1\t70\t0\t0\t0\t0";
    assert_eq!(line_of(&fleet, &machine, 1), expected);
    fleet
        .engine
        .run("OPTIMIZE TABLE conntrail.connections FINAL");
    let merged = "SELECT sum(duplicates_before_merge) FROM conntrail.ledger";
    assert_eq!(fleet.ask(merged), "0");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn what_is_missing_is_unexplained_until_somebody_declares_it() {
    let (machine, mut fleet) = (Machine::new(2), Fleet::start());
    let records = an_epoch(2, 99);
    fleet.add(&[machine.batch(1, 1, &records[..40])]);
    fleet.add(&[machine.batch(1, 61, &records[60..])]);
    let missing = "100\t80\t80\t80\t0\t0\t0\t0\t0\t0\t0\t0\t20\t20";
    assert_eq!(line_of(&fleet, &machine, 1), missing);
    let shipper = machine.shipper();
    let own = [started(from_now(0), None), undelivered(41, 55, "lake")];
    fleet.add(&[shipper.batch(1, 1, &own)]);
    let less = "100\t80\t80\t80\t0\t15\t0\t0\t0\t0\t0\t0\t5\t5";
    assert_eq!(line_of(&fleet, &machine, 1), less);
    fleet.set_aside(&format!("{}-1-50-60-0000abcd", machine.id()));
    let none = "100\t80\t80\t80\t0\t20\t0\t0\t0\t0\t0\t0\t0\t0";
    assert_eq!(line_of(&fleet, &machine, 1), none);
    assert_eq!(
        line_of(&fleet, &shipper, 1),
        "2\t2\t2\t2\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
    );
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_declaration_about_another_destination_explains_nothing() {
    let (machine, mut fleet) = (Machine::new(3), Fleet::start());
    let records = an_epoch(3, 9);
    fleet.add(&[machine.batch(1, 6, &records[5..])]);
    let own = [started(from_now(0), None), undelivered(1, 5, "siem")];
    fleet.add(&[machine.shipper().batch(1, 1, &own)]);
    assert!(line_of(&fleet, &machine, 1).ends_with("\t0\t0"));
    let settings = fleet.ask("SHOW CREATE TABLE conntrail.ledger_settings FORMAT TSVRaw");
    let named = settings.replace("CAST([], 'Array(String)')", "['lake']");
    assert_ne!(settings, named, "{settings}");
    fleet
        .engine
        .run(&named.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"));
    assert!(line_of(&fleet, &machine, 1).ends_with("\t5\t5"));
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn the_next_epoch_tells_of_an_end_that_never_came_and_of_an_epoch_that_never_did() {
    let (machine, mut fleet) = (Machine::new(4), Fleet::start());
    let records = an_epoch(4, 9);
    fleet.add(&[machine.batch(1, 1, &records)]);
    assert!(line_of(&fleet, &machine, 1).ends_with("\t0"));
    let next = [started(from_now(0), Some((1, 14)))];
    fleet.add(&[machine.batch(2, 1, &next)]);
    assert!(line_of(&fleet, &machine, 1).ends_with("\t4\t4"));
    fleet.add(&[machine.batch(4, 1, &[started(from_now(0), Some((3, 20)))])]);
    assert!(line_of(&fleet, &machine, 3).starts_with("20\t"));
    assert!(line_of(&fleet, &machine, 3).ends_with("\t20\t20"));
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn rows_that_went_after_they_were_acknowledged_are_missed() {
    let (machine, mut fleet) = (Machine::new(5), Fleet::start());
    fleet.add(&machine.batches(1, &an_epoch(5, 59), 20));
    fleet
        .engine
        .run("DELETE FROM conntrail.connections WHERE sequence IN (21, 40, 60)");
    assert!(line_of(&fleet, &machine, 1).ends_with("\t3\t0\t3"));
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn silence_is_told_apart_by_what_was_said_last() {
    let mut fleet = Fleet::start();
    let long_ago = -5 * HOUR_NS;
    let at = from_now(long_ago);
    let stopped = |reason| NoticeKind::RecorderStopped {
        reason,
        tally: Tally::default(),
    };
    let last_words = [
        (1, None, "broken"),
        (2, Some(NoticeKind::Sleeping), "asleep"),
        (3, Some(NoticeKind::Slept { duration_ns: 1 }), "broken"),
        (4, Some(stopped(StopReason::Requested)), "off"),
        (5, Some(stopped(StopReason::SensorEnded)), "broken"),
    ];
    for (number, word, _) in &last_words {
        let mut records = vec![started(at, None)];
        records.extend(word.clone().map(|kind| notice(at, kind)));
        fleet.add(&[Machine::new(*number).batch(1, 1, &records)]);
    }
    let records = [started(at, None), close(-HOUR_NS, |_| {})];
    fleet.add(&[Machine::new(6).batch(1, 1, &records)]);
    let mut expected: Vec<&str> = last_words.iter().map(|it| it.2).collect();
    expected.push("reporting");
    let found = fleet.ask("SELECT state FROM conntrail.silent ORDER BY endpoint");
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}
