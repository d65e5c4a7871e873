//! What shipping would come to, by what this machine has recorded.

use crate::configuration::Place;
use anyhow::{Context, bail};
use ship::config::{Config, Destination};
use ship::{Planned, Planner};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use trail::{Source, TrailReader, segments_dir, side_trails};

/// What a plan can be told, beside where the trail and the destinations are.
#[derive(Debug, clap::Args)]
pub struct Proposal {
    /// Only this destination.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// A proposed privacy policy, in the place of those that the destinations name.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// For so many machines like this one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    machines: u64,
    /// One JSON object for each destination, one a line.
    #[arg(long)]
    json: bool,
}

/// Shorter, and a day cannot be told from it.
const SPAN_NS_MIN: i64 = 3_600_000_000_000;
const DAY_NS: f64 = 86_400e9;

/// Reads the trail as the shipper would, prints what each destination would get, and sends nothing.
///
/// # Errors
/// When nothing was recorded, no such destination is configured, or something cannot be read.
pub fn run(state_dir: &Path, place: &Place, proposal: &Proposal) -> anyhow::Result<()> {
    if !segments_dir(state_dir).exists() {
        bail!(
            "nothing was recorded in {}: name the recorder's folder with --state-dir, or start \
             conntraild first",
            state_dir.display()
        );
    }
    let config = proposed(place, proposal)?;
    let mut out = io::stdout().lock();
    for (name, destination) in &config.destination {
        let planned =
            plan(state_dir, destination).with_context(|| format!("destination \"{name}\""))?;
        let estimate = Estimate::new(&planned, proposal.machines);
        let text = match proposal.json {
            true => format!("{}\n", estimate.json(name, destination, &planned)),
            false => estimate.words(name, destination, &planned),
        };
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn proposed(place: &Place, proposal: &Proposal) -> anyhow::Result<Config> {
    let Some(found) = place.find()? else {
        bail!(
            "{}; name a proposed configuration of the shipper with --config",
            place.nothing()
        );
    };
    let mut config = found.parse()?;
    if let Some(wanted) = &proposal.destination {
        config.destination.retain(|name, _| name == wanted);
        if config.destination.is_empty() {
            bail!("{} has no destination \"{wanted}\"", found.source);
        }
    }
    if let Some(policy) = &proposal.policy {
        for destination in config.destination.values_mut() {
            destination.policy = None;
            destination.policy_file = Some(policy.clone());
        }
    }
    Ok(config)
}

fn plan(state_dir: &Path, destination: &Destination) -> anyhow::Result<Planned> {
    let policy = destination.policy(|path| fs::read_to_string(path))?;
    let mut planner = Planner::new(destination, policy)?;
    let mut sources = vec![(Source::Recorder, segments_dir(state_dir))];
    for side in side_trails(state_dir).trails {
        sources.push((Source::Side(side.name), segments_dir(&side.state)));
    }
    for (source, folder) in sources {
        planner.begin(&source);
        let mut reader = TrailReader::open(&folder)?;
        while let Some(item) = reader.next_raw()? {
            let found = planner.found(item);
            planner.take(found, reader.head());
        }
    }
    Ok(planner.finish())
}

/// A day of so many machines, by what one recorded; `None` where it recorded for too short a time.
struct Estimate {
    machines: u64,
    span_ns: i64,
    per_day: Option<PerDay>,
}

struct PerDay {
    records: f64,
    batches: f64,
    bytes: f64,
}

impl Estimate {
    fn new(planned: &Planned, machines: u64) -> Estimate {
        let span_ns = match (planned.first, planned.last) {
            (Some(first), Some(last)) => last.0.saturating_sub(first.0),
            (None, _) | (_, None) => 0,
        };
        let factor = machines as f64 * DAY_NS / span_ns as f64;
        let per_day = (span_ns >= SPAN_NS_MIN).then_some(PerDay {
            records: planned.records as f64 * factor,
            batches: planned.batches as f64 * factor,
            bytes: planned.bytes as f64 * factor,
        });
        Estimate {
            machines,
            span_ns,
            per_day,
        }
    }

    fn words(&self, name: &str, destination: &Destination, planned: &Planned) -> String {
        let kind = destination.kind().map_or("nowhere", |kind| kind.name());
        let Planned {
            read,
            records,
            batches,
            bytes,
            left_out,
            ..
        } = planned;
        let hours = self.span_ns as f64 / 3_600e9;
        let mut text = format!(
            "{name} ({kind}): of {read} records in {hours:.1} hours, {records} would have been \
             sent, in {batches} batches of {bytes} bytes in all\n  left out: {} opens, \
             {} by the filter, {} by the privacy policy\n",
            left_out.opens, left_out.filtered, left_out.dropped,
        );
        text += &match &self.per_day {
            Some(day) => format!(
                "  a day of {} machines like this one: {:.0} records, {:.0} batches, {:.3} GB\n",
                self.machines,
                day.records,
                day.batches,
                day.bytes / 1e9,
            ),
            None => "  less than an hour was recorded: nothing can be said of a day\n".to_owned(),
        };
        text
    }

    fn json(&self, name: &str, destination: &Destination, planned: &Planned) -> String {
        let kind = destination.kind().map_or("nowhere", |kind| kind.name());
        let per_day = self.per_day.as_ref().map(|day| {
            serde_json::json!({
                "machines": self.machines,
                "records": day.records.round(),
                "batches": day.batches.round(),
                "bytes": day.bytes.round(),
            })
        });
        serde_json::json!({
            "destination": name,
            "kind": kind,
            "span_ns": self.span_ns,
            "read": planned.read,
            "records": planned.records,
            "batches": planned.batches,
            "bytes": planned.bytes,
            "left_out": {
                "opens": planned.left_out.opens,
                "filtered": planned.left_out.filtered,
                "dropped": planned.left_out.dropped,
            },
            "per_day": per_day,
        })
        .to_string()
    }
}
