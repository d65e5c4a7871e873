//! What a run found, for people.

use crate::ground::{Cost, Ground, Task};

/// What a part of the way cost.
pub(crate) struct Stage {
    /// In words.
    pub(crate) name: &'static str,
    /// What it used.
    pub(crate) cost: Cost,
    /// Records that went through it.
    pub(crate) records: u64,
}

impl Stage {
    /// Processor time a record, in microseconds.
    fn cpu_us(&self) -> f64 {
        self.cost.cpu_s * 1e6 / self.records.max(1) as f64
    }
}

/// Prints a line a stage.
pub(crate) fn stages(stages: &[Stage]) {
    println!(
        "{:<38} {:>12} {:>16} {:>12}",
        "stage", "us a record", "records/s/core", "peak MB"
    );
    for stage in stages {
        println!(
            "{:<38} {:>12.2} {:>16.0} {:>12.1}",
            stage.name,
            stage.cpu_us(),
            1e6 / stage.cpu_us().max(1e-9),
            stage.cost.memory_bytes as f64 / 1e6
        );
    }
}

/// The stages of the fleet's side.
pub(crate) fn fleet(ground: &Ground, records: u64) -> [Stage; 3] {
    let stage = |name, task| Stage {
        name,
        cost: ground.cost(task),
        records,
    };
    [
        stage("JetStream, three nodes", Task::JetStream),
        stage("relays", Task::Relay),
        stage("store", Task::Store),
    ]
}

/// What batches are on their way to the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    bytes_a_record: f64,
    records_a_batch: f64,
}

/// Prints and returns it.
pub(crate) fn wire(records: u64, bytes: u64, batches: u64) -> Wire {
    let wire = Wire {
        bytes_a_record: bytes as f64 / records.max(1) as f64,
        records_a_batch: records as f64 / batches.max(1) as f64,
    };
    println!(
        "wire: {:.1} bytes a record, {:.1} records a batch",
        wire.bytes_a_record, wire.records_a_batch
    );
    wire
}

/// What connections take in the store once all is merged, in bytes a row and rows.
pub(crate) fn stored(ground: &Ground) -> anyhow::Result<(f64, u64)> {
    ground
        .store
        .run("OPTIMIZE TABLE conntrail.connections FINAL");
    let [bytes, rows] = crate::books::numbers(
        ground,
        "SELECT sum(data_compressed_bytes), sum(rows) \
         FROM system.parts WHERE active AND database = 'conntrail' AND table = 'connections'",
    )?;
    Ok((bytes as f64 / rows.max(1) as f64, rows))
}

/// Records of an endpoint in a day, for the arithmetic.
const RECORDS_A_DAY: f64 = 10_000.0;
/// The busiest hour against the mean of a day.
const PEAK: f64 = 3.0;

/// What larger fleets need, by these figures: of the stages on the fleet's side, of batches, and of
/// bytes a row in the store.
pub(crate) fn arithmetic(stages: &[Stage], wire: Wire, stored_bytes: f64) {
    println!("{RECORDS_A_DAY} records an endpoint and day, {PEAK} times as many at the peak:");
    for endpoints in [100_000.0, 1_000_000.0] {
        let mean = endpoints * RECORDS_A_DAY / 86_400.0;
        let peak = mean * PEAK;
        let batches = peak / wire.records_a_batch;
        println!(
            "{endpoints:>9} endpoints: {mean:.0} records/s, {peak:.0} in {batches:.0} batches at \
             the peak"
        );
        for stage in stages {
            let cores = peak * stage.cpu_us() / 1e6;
            println!("  {}: {cores:.1} cores at the peak", stage.name);
        }
        let day_gb = endpoints * RECORDS_A_DAY / 1e9;
        let stream_gb = day_gb * wire.bytes_a_record;
        let three_gb = 3.0 * stream_gb;
        println!("  stream: {stream_gb:.0} GB a day, {three_gb:.0} on three nodes");
        println!("  store: {:.0} GB a day and replica", day_gb * stored_bytes);
    }
}
