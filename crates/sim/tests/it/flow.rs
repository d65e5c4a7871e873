//! The flow table alone, with everything that a sensor can do to it.

use sim::alone::follow;
use sim::machine::Shape;

#[test]
#[ignore = "needs time: a search"]
fn search() {
    let number = |name: &str, or: u64| {
        std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
    };
    let shapes = std::env::var("SHAPE").unwrap_or_default();
    let mut failed = 0;
    let seeds = number("SEEDS", 200);
    let first = number("FIRST", 0);
    let mut seen = std::collections::BTreeMap::<String, (u64, String)>::new();
    for seed in first..first + seeds {
        for shape in Shape::ALL.iter().filter(|it| it.name.contains(&shapes)) {
            for shape in [
                *shape,
                shape.told_by(sim::machine::Style::Linux),
                shape.told_by(sim::machine::Style::Macos),
                shape.faithful(),
                shape.faithful().told_by(sim::machine::Style::Macos),
            ] {
                let result = std::panic::catch_unwind(|| {
                    follow(seed, shape, number("STEPS", 1_500) as usize)
                });
                let reason = match result {
                    Ok(Ok(_)) => continue,
                    Ok(Err(reason)) => reason,
                    Err(_) => format!("{} {seed}, panic: panic: panic", shape.name),
                };
                failed += 1;
                let kind: String = reason
                    .split(": ")
                    .filter(|it| it.bytes().all(|it| !it.is_ascii_digit()))
                    .take(2)
                    .collect();
                seen.entry(kind)
                    .or_insert((
                        0,
                        format!("{:?} {:?} {reason}", shape.style, shape.is_faithful()),
                    ))
                    .0 += 1;
            }
        }
    }
    for (kind, (count, reason)) in &seen {
        println!("== {count} x {kind}\n{reason}\n");
    }
    println!("{failed} failed");
    assert_eq!(failed, 0);
}
