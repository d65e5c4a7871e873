//! Whether the store has what the trails have.

use crate::ground::Ground;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use trail::{RawItem, Source, TrailReader, segments_dir, side_trails};

/// An epoch: the endpoint, the trail, its number.
type Epoch = (String, String, u64);

/// How many records, the first and the last sequence.
type Line = [u64; 3];

/// Of each epoch of each trail.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Books(BTreeMap<Epoch, Line>);

impl Books {
    /// How many records.
    pub(crate) fn records(&self) -> u64 {
        self.0.values().map(|it| it[0]).sum()
    }

    /// How many epochs.
    pub(crate) fn epochs(&self) -> usize {
        self.0.len()
    }

    /// Adds what the trails of a machine have.
    ///
    /// Where an epoch has as many records as from its first to its last, the store has the same
    /// ones if it has as many, from the same first to the same last.
    pub(crate) fn add(&mut self, state_dir: &Path) -> anyhow::Result<()> {
        let sides = side_trails(state_dir).trails.into_iter();
        let sides = sides.map(|it| Source::Side(it.name));
        for source in [Source::Recorder].into_iter().chain(sides) {
            let name = source.name().unwrap_or_default();
            let mut reader = TrailReader::open(&segments_dir(&state_dir.join(name)))?;
            while let Some(item) = reader.next_raw()? {
                let RawItem::Record { id, device, .. } = item else {
                    anyhow::bail!("the trail {name:?} in {} is not whole", state_dir.display());
                };
                let key = (device.endpoint.to_string(), name.to_owned(), id.epoch);
                let line = self.0.entry(key).or_insert([0, id.sequence, id.sequence]);
                line[0] += 1;
                line[2] = id.sequence;
            }
        }
        let has_gap = |line: &&Line| line[2] - line[1] + 1 != line[0];
        anyhow::ensure!(!self.0.values().any(|it| has_gap(&it)), "a trail has a gap");
        Ok(())
    }

    /// Waits until the store has as many records, for as long as more of them come.
    pub(crate) fn wait_for_store(&self, ground: &Ground, patience: Duration) -> anyhow::Result<()> {
        let (mut most, mut since) = (0, Instant::now());
        while most < self.records() && since.elapsed() < patience {
            ground.look();
            thread::sleep(Duration::from_secs(1));
            let found = of_store(ground)?.records();
            if found > most {
                (most, since) = (found, Instant::now());
            }
        }
        // The manifests of a batch come after its rows.
        thread::sleep(Duration::from_secs(2));
        Ok(())
    }

    /// Whether the store has each record once, the ledger nothing that is unexplained, and the
    /// search for tampering nothing; prints what it found.
    pub(crate) fn balance(&self, ground: &Ground) -> anyhow::Result<bool> {
        let stored = of_store(ground)?;
        let ours = self.0.keys();
        let theirs = stored.0.keys().filter(|it| !self.0.contains_key(*it));
        let wrong = ours
            .chain(theirs)
            .filter(|it| self.0.get(*it) != stored.0.get(*it));
        let wrong: Vec<&Epoch> = wrong.collect();
        for key in wrong.iter().take(10) {
            let (trail, store) = (self.0.get(*key), stored.0.get(*key));
            println!("{key:?}: the trail has {trail:?}, the store {store:?}");
        }
        let [unexplained, duplicates, repeated] = numbers(
            ground,
            "SELECT sum(unexplained), sum(duplicates_after_merge), sum(batches_repeated) \
             FROM conntrail.ledger",
        )?;
        let [findings] = numbers(ground, "SELECT count() FROM conntrail.tamper")?;
        println!(
            "ledger: {} records in the trails, {} in the store, {} epochs of {} differ, \
             {unexplained} unexplained, {duplicates} duplicates after merge, {findings} findings \
             of tampering, {repeated} batches came more than once",
            self.records(),
            stored.records(),
            wrong.len(),
            self.epochs(),
        );
        Ok(wrong.is_empty() && [unexplained, duplicates, findings] == [0; 3])
    }
}

/// One line of numbers.
pub(crate) fn numbers<const N: usize>(ground: &Ground, query: &str) -> anyhow::Result<[u64; N]> {
    let answer = ground.store.try_query(query);
    let answer = answer.map_err(|error| anyhow::anyhow!("{query}: {error}"))?;
    let words = answer.split_whitespace().map(str::parse);
    let found: Vec<u64> = words.collect::<Result<_, _>>()?;
    let found = found.try_into();
    found.map_err(|_| anyhow::anyhow!("{query}: the store says {answer}"))
}

fn of_store(ground: &Ground) -> anyhow::Result<Books> {
    let each = "SELECT endpoint, source, epoch, sequence FROM conntrail";
    let query = format!(
        "SELECT endpoint, source, epoch, count(), min(sequence), max(sequence) \
         FROM ({each}.connections FINAL UNION ALL {each}.notices FINAL) \
         GROUP BY endpoint, source, epoch"
    );
    let text = ground.store.try_query(&query);
    let text = text.map_err(|error| anyhow::anyhow!("{query}: {error}"))?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split('\t').collect();
        let [endpoint, source, epoch, count, first, last] = words.as_slice() else {
            anyhow::bail!("no line of the books: {line}");
        };
        let key = ((*endpoint).to_owned(), (*source).to_owned(), epoch.parse()?);
        Ok((key, [count.parse()?, first.parse()?, last.parse()?]))
    };
    let lines: anyhow::Result<BTreeMap<Epoch, Line>> = text.lines().map(line).collect();
    Ok(Books(lines?))
}
