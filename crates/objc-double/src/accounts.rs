//! Whether everything that was taken was given back.

use crate::blocks::live_blocks;
use crate::classes::{self, Class};
use crate::pools::autoreleased_without_pool;
use crate::thread::{Count, total};

/// What happened to the objects of exactly one class, over all threads, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects made; each begins with one reference.
    pub alloc: u64,
    /// Objects destroyed.
    pub dealloc: u64,
    /// References added.
    pub retain: u64,
    /// References given back.
    pub release: u64,
    /// References given to an autorelease pool.
    pub autorelease: u64,
}

impl Stats {
    /// Objects that exist now.
    pub fn live(&self) -> i64 {
        self.alloc as i64 - self.dealloc as i64
    }

    /// References that exist now.
    pub fn references(&self) -> i64 {
        (self.alloc + self.retain) as i64 - self.release as i64
    }

    fn of(class: &Class) -> Stats {
        let total = |count| total(class.number(), count);
        Stats {
            alloc: total(Count::Alloc),
            dealloc: total(Count::Dealloc),
            retain: total(Count::Retain),
            release: total(Count::Release),
            autorelease: total(Count::Autorelease),
        }
    }
}

/// The counters of a class, all zero when nobody has used one of that name.
pub fn stats(name: &str) -> Stats {
    let found = classes::all()
        .into_iter()
        .find(|class| class.name() == name);
    found.map(Stats::of).unwrap_or_default()
}

/// Every class that has objects now, and how many; constants are not counted.
pub fn live_classes() -> Vec<(&'static str, i64)> {
    let classes = classes::all().into_iter();
    let counted = classes.map(|class| (class.name(), Stats::of(class).live()));
    counted.filter(|(_, live)| *live != 0).collect()
}

/// What existed at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    classes: Vec<(&'static str, Stats)>,
    blocks: i64,
    without_pool: u64,
}

impl Snapshot {
    /// What exists now.
    pub fn now() -> Snapshot {
        let classes = classes::all().into_iter();
        Snapshot {
            classes: classes
                .map(|class| (class.name(), Stats::of(class)))
                .collect(),
            blocks: live_blocks(),
            without_pool: autoreleased_without_pool(),
        }
    }

    /// What exists now and did not then, and references that are missing, in words. Empty when
    /// everything was given back.
    pub fn leaks(&self) -> Vec<String> {
        let now = Snapshot::now();
        let mut leaks = Vec::new();
        for (name, stats) in &now.classes {
            let before = self.classes.iter().find(|(class, _)| class == name);
            let before = before.map(|(_, stats)| *stats).unwrap_or_default();
            let objects = stats.live() - before.live();
            let references = stats.references() - before.references();
            if (objects, references) != (0, 0) {
                leaks.push(format!(
                    "{name}: {objects} objects, {references} references"
                ));
            }
        }
        if now.blocks != self.blocks {
            leaks.push(format!("{} blocks", now.blocks - self.blocks));
        }
        let without_pool = now.without_pool - self.without_pool;
        if without_pool > 0 {
            leaks.push(format!(
                "{without_pool} objects autoreleased without a pool"
            ));
        }
        leaks
    }
}
