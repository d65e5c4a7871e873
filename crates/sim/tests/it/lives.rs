//! Lives of a recorder on a disk that fails.

use sim::many::{Range, live};
use sim::run;

fn all_hold(from: u64, seeds: u64) {
    let summary = live(Range {
        from,
        seeds: Some(seeds),
        limit: None,
        threads: 2,
        until_failure: false,
    });
    let replay = |(seed, failure): &(u64, String)| {
        format!("{failure}\n    cargo xtask sim --seed {seed} --trace\n")
    };
    let failures: String = summary.failures.iter().map(replay).collect();
    assert_eq!(failures, "");
    assert!(summary.counts.power_cuts > 0 && summary.counts.evictions > 0);
    assert!(summary.faults.total() > 0 && summary.counts.rewrites > 0);
}

#[test]
fn hundreds_of_lives_hold_every_promise() {
    all_hold(0, 150);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..12 {
        let (first, second) = (run::live(seed, false), run::live(seed, true));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
        assert_eq!(first.failure, second.failure, "seed {seed}");
    }
    assert_ne!(run::live(1, false).digest, run::live(2, false).digest);
}

mod release {
    use std::process::Command;

    #[test]
    #[ignore = "needs release: lives ten thousand lives"]
    fn ten_thousand_lives_hold_every_promise() {
        let program = std::env::var_os("CONNTRAIL_SIM").expect("it says where the simulator is");
        let output = Command::new(program)
            .args(["--seeds", "10000"])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}");
    }
}
