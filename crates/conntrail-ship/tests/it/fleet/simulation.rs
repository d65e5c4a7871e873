//! The simulation of a fleet, small: that it runs to its end and that its ledger balances.

use std::path::Path;
use std::process::Command;

/// Runs `examples/fleet_simulation` with the shipper as it is shipped; returns what it printed.
fn simulate(arguments: &[&str]) -> String {
    let shipper = Path::new(env!("CARGO_BIN_EXE_conntrail-ship"));
    let program = shipper.with_file_name("examples").join("fleet_simulation");
    assert!(
        program.exists(),
        "{} is not there: `cargo build -p conntrail-ship --example fleet_simulation` builds it",
        program.display()
    );
    let mut command = Command::new(program);
    let output = command.arg(shipper).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{problem}");
    printed
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn a_small_fleet_is_in_the_store_to_the_record_after_a_bad_day() {
    let arguments = ["--endpoints=50", "--records=100", "--seconds=20"];
    let printed = simulate(&arguments);
    for fault in ["LeaderKilled", "RelayKilled(1)", "StoreStopped"] {
        assert!(printed.contains(fault), "{printed}");
    }
    assert!(printed.contains(" 0 unexplained"), "{printed}");
}

#[test]
#[ignore = "needs fleet: starts NATS and ClickHouse"]
fn what_a_machine_left_behind_is_in_the_store_to_the_record() {
    let printed = simulate(&["--backlog", "--hours=0.05"]);
    assert!(printed.contains("18000 records left behind"), "{printed}");
    assert!(printed.contains(" 0 unexplained"), "{printed}");
}
