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
    Target { name: "record", about: "a record", check: records::record, seeds: records::record_seeds },
    Target { name: "device", about: "a device", check: records::device, seeds: records::device_seeds },
    Target { name: "process", about: "a process", check: records::process, seeds: records::process_seeds },
    Target { name: "ocsf", about: "a record, told as OCSF", check: records::ocsf, seeds: records::record_seeds },
    Target { name: "policy", about: "a privacy policy", check: policies::policy, seeds: policies::seeds },
    Target { name: "flow_stream", about: "recorded events", check: streams::recorded, seeds: streams::recorded_seeds },
    Target { name: "kernel_ring", about: "messages of the kernel program", check: streams::ring, seeds: streams::ring_seeds },
    Target { name: "segment", about: "a segment and its head", check: trails::segment, seeds: trails::segment_seeds },
    Target { name: "dense_segment", about: "a segment that was rewritten", check: trails::segment, seeds: trails::dense_seeds },
    Target { name: "frame", about: "one frame behind a good header", check: trails::frame, seeds: trails::frame_seeds },
    Target { name: "trail_head", about: "the head file", check: trails::head, seeds: trails::head_seeds },
    Target { name: "epoch", about: "the epoch file", check: trails::epoch, seeds: trails::epoch_seeds },
    Target { name: "chain_head", about: "an anchor as text", check: trails::anchor, seeds: trails::anchor_seeds },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
