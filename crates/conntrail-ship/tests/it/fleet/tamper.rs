//! Each way to tamper with a store, planted, and found.

use super::made::{Fleet, Machine, an_epoch, from_now, started};

const FINDINGS: &str = "SELECT finding, epoch, first_sequence, last_sequence \
                        FROM conntrail.tamper ORDER BY ALL";

/// A machine whose records came in three batches of twenty, and another that came after.
fn filled() -> (Fleet, Machine) {
    let (machine, mut fleet) = (Machine::new(1), Fleet::start());
    fleet.add(&machine.batches(1, &an_epoch(1, 59), 20));
    fleet.add(&Machine::new(2).batches(1, &an_epoch(2, 29), 20));
    assert_eq!(fleet.ask(FINDINGS), "", "an untouched store");
    (fleet, machine)
}

fn alter(fleet: &Fleet, change: &str) {
    fleet
        .engine
        .run(&format!("{change} SETTINGS mutations_sync = 1"));
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_store_that_nobody_touched_gives_nothing_also_when_it_has_things_twice() {
    let (mut fleet, machine) = filled();
    let records = an_epoch(1, 59);
    fleet.add(&machine.batches(2, &records, 20));
    fleet.add(&machine.batches(2, &records, 20)[1..]);
    fleet.add(&[machine.batch(2, 11, &records[10..30])]);
    assert_eq!(fleet.ask(FINDINGS), "");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_column_that_was_edited_is_found() {
    let (fleet, machine) = filled();
    let place = format!("endpoint = '{}' AND sequence = 25", machine.id());
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.connections UPDATE remote_port = 4444 WHERE {place}"),
    );
    assert_eq!(fleet.ask(FINDINGS), "rows changed\t1\t21\t40");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_row_that_was_deleted_is_found() {
    let (fleet, machine) = filled();
    let place = format!("endpoint = '{}' AND sequence = 60", machine.id());
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.connections DELETE WHERE {place}"),
    );
    assert_eq!(fleet.ask(FINDINGS), "rows missing\t1\t41\t60");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_row_that_was_added_is_found_with_its_manifest_and_without_one() {
    let (fleet, machine) = filled();
    let copy = |change: &str| {
        fleet.engine.run(&format!(
            "INSERT INTO conntrail.connections SELECT * REPLACE ({change}) \
             FROM (SELECT * FROM conntrail.connections WHERE endpoint = '{}' AND sequence = 25)",
            machine.id()
        ));
    };
    copy("'forged' AS process_name");
    assert_eq!(fleet.ask(FINDINGS), "rows added\t1\t21\t40");
    copy("77 AS sequence");
    let found = fleet.ask(FINDINGS);
    assert!(found.contains("stray row\t1\t77\t77"), "{found}");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn two_rows_that_changed_places_are_found() {
    let (fleet, machine) = filled();
    // The key cannot be updated: both are taken out and put in again.
    let place = format!("endpoint = '{}' AND sequence IN (25, 26)", machine.id());
    fleet.engine.run(&format!(
        "CREATE TABLE t ENGINE = Memory AS SELECT * REPLACE (toUInt64(51 - sequence) AS sequence) \
         FROM conntrail.connections WHERE {place}"
    ));
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.connections DELETE WHERE {place}"),
    );
    fleet
        .engine
        .run("INSERT INTO conntrail.connections SELECT * FROM t");
    assert_eq!(fleet.ask(FINDINGS), "rows changed\t1\t21\t40");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_batch_that_was_deleted_with_its_manifest_is_a_gap_in_its_epoch_and_in_the_stream() {
    let (fleet, machine) = filled();
    let place = format!("endpoint = '{}'", machine.id());
    alter(
        &fleet,
        &format!(
            "ALTER TABLE conntrail.connections DELETE WHERE {place} \
             AND sequence BETWEEN 21 AND 40"
        ),
    );
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.batches DELETE WHERE {place} AND first_sequence = 21"),
    );
    assert_eq!(fleet.ask(FINDINGS), "gap\t1\t21\t40\nmessage gone\t0\t2\t2");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn an_end_that_was_cut_off_is_a_gap_in_the_stream_and_before_the_next_epoch() {
    let (mut fleet, machine) = filled();
    let place = format!("endpoint = '{}'", machine.id());
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.connections DELETE WHERE {place} AND sequence > 40"),
    );
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.batches DELETE WHERE {place} AND first_sequence > 40"),
    );
    assert_eq!(fleet.ask(FINDINGS), "message gone\t0\t3\t3");
    fleet.add(&[machine.batch(2, 1, &[started(from_now(0), Some((1, 60)))])]);
    assert_eq!(fleet.ask(FINDINGS), "gap\t1\t41\t60\nmessage gone\t0\t3\t3");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_manifest_that_was_changed_or_forged_is_found() {
    let (fleet, machine) = filled();
    let place = format!("endpoint = '{}' AND first_sequence = 21", machine.id());
    fleet.engine.run(&format!(
        "INSERT INTO conntrail.batches SELECT * REPLACE (repeat('0', 64) AS digest, 6 AS \
         stream_sequence) FROM conntrail.batches WHERE {place}"
    ));
    assert_eq!(fleet.ask(FINDINGS), "manifest forged\t1\t21\t40");
    let place = format!("endpoint = '{}' AND first_sequence = 1", machine.id());
    alter(
        &fleet,
        &format!("ALTER TABLE conntrail.batches UPDATE left_out_dropped = 1 WHERE {place}"),
    );
    let found = fleet.ask(FINDINGS);
    assert!(found.contains("manifest changed\t1\t1\t20"), "{found}");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn the_last_chain_head_of_each_epoch_is_listed_as_verify_takes_it() {
    let (fleet, machine) = filled();
    let query = format!(
        "SELECT last_received, head FROM conntrail.heads WHERE endpoint = '{}'",
        machine.id()
    );
    let head = format!("60\t1:60:{}", "09".repeat(32));
    assert_eq!(fleet.ask(&query), head);
    let head = head.split('\t').next_back().unwrap();
    assert!(head.parse::<trail::Head>().is_ok());
}
