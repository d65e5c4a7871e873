//! What must hold of every byte format, whatever the bytes are.
//!
//! A [`Target`] is a plain function that takes any bytes and panics when something does not hold:
//! not only that nothing panics, but that what is read comes out the same when it is written and
//! read again, and that readers come to an end within bounds.
//!
//! Who calls it does not matter to a target. `cargo xtask fuzz NAME` lets libFuzzer call it with
//! inputs that reach new code; the tests of this crate call it with the committed corpus and with
//! its seeds. Not shipped.

#![forbid(unsafe_code)]

mod deliveries;
mod policies;
mod records;
mod streams;
mod trails;

/// One format, and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its folder in the corpus.
    pub name: &'static str,
    /// What its bytes are, in a few words.
    pub about: &'static str,
    /// Panics when something does not hold of these bytes.
    pub check: fn(&[u8]),
    /// Good inputs to begin with, made of golden files and made-up records.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets. A new one is a line here, and a folder in the corpus.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    line("record", "a record", records::record, records::record_seeds),
    line("device", "a device", records::device, records::device_seeds),
    line("process", "a process", records::process, records::process_seeds),
    line("ocsf", "a record, told as OCSF", records::ocsf, records::record_seeds),
    line("policy", "a privacy policy", policies::policy, policies::seeds),
    line("flow_stream", "recorded events", streams::recorded, streams::recorded_seeds),
    line("kernel_ring", "messages of the kernel program", streams::ring, streams::ring_seeds),
    line("segment", "a segment and its head", trails::segment, trails::segment_seeds),
    line("dense_segment", "a segment that was rewritten", trails::segment, trails::dense_seeds),
    line("frame", "one frame behind a good header", trails::frame, trails::frame_seeds),
    line("trail_head", "the head file", trails::head, trails::head_seeds),
    line("epoch", "the epoch file", trails::epoch, trails::epoch_seeds),
    line("chain_head", "an anchor as text", trails::anchor, trails::anchor_seeds),
    line("batch", "a batch for a relay", deliveries::batch, deliveries::batch_seeds),
    line("ship_config", "destinations", deliveries::ship_config, deliveries::ship_config_seeds),
];

const fn line(
    name: &'static str,
    about: &'static str,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target {
        name,
        about,
        check,
        seeds,
    }
}

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
