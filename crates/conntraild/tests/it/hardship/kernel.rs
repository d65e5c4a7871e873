//! Killing the recorder while the kernel's sensor is under load of which every connection is
//! known.

use super::{Books, HASTY, Kills, Load, Place, kill_often};

/// A connection may be told of a little later than one that ended after it.
const SLACK_NS: i64 = 1_000_000_000;

#[test]
#[ignore = "needs kernel: root, eBPF, and the shipped programs"]
fn what_hundreds_of_kills_cost_lies_in_the_windows_that_the_epochs_name() {
    let place = Place::make(HASTY);
    let load = Load::start();
    let mut books = Books::default();
    let kills = Kills {
        sensor: "kernel",
        count: std::env::var("CONNTRAIL_KILLS").map_or(200, |it| it.parse().unwrap()),
        long_every: 4,
        short_ms_max: 300,
        long_ms: 1_100..1_700,
        readers: true,
    };
    let table = kill_often(&place, &kills, &mut books);
    let made = load.stop();
    books.settle(&place.state);
    let windows = books.unknown_ns();
    let end_ns = windows.last().unwrap().1;
    let known = made.iter().filter(|it| it.closed_ns.1 < end_ns);
    let (mut recorded, mut lost) = (0, 0);
    for it in known {
        let times = books.ends(it.remote);
        assert!(times <= 1, "{it:?} was recorded {times} times");
        let (from, until) = it.closed_ns;
        let is_unknown =
            |&(since, to): &(i64, i64)| from > since - SLACK_NS && until < to + SLACK_NS;
        if times == 1 {
            recorded += 1;
        } else {
            assert!(windows.iter().any(is_unknown), "{it:?} was lost silently");
            lost += 1;
        }
    }
    println!("{table}\n  connections recorded         {recorded:>8}");
    println!("  lost in a window of loss     {lost:>8}\n  lost silently                       0");
    assert!(
        recorded > 100 && lost > 0,
        "{recorded} recorded, {lost} lost"
    );
}
