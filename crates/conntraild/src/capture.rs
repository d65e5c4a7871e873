//! Writes the calls of the flow table to a file, so that they can be replayed.

use anyhow::Context;
use flow::{Event, stream};
use record::Mono;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A recorded stream of events that is being written.
pub(crate) struct Capture {
    file: BufWriter<File>,
    scratch: Vec<u8>,
}

impl Capture {
    /// Begins a file; one that exists is replaced.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub(crate) fn begin(path: &Path, header: &stream::Header) -> anyhow::Result<Capture> {
        let file = File::create(path)
            .with_context(|| format!("the event file {} could not be made", path.display()))?;
        let mut capture = Capture {
            file: BufWriter::new(file),
            scratch: Vec::new(),
        };
        stream::encode_header(header, &mut capture.scratch);
        capture.write_scratch()?;
        Ok(capture)
    }

    /// Writes one call.
    pub(crate) fn event(&mut self, event: &Event, now: Mono) -> anyhow::Result<()> {
        stream::encode_event(event, now, &mut self.scratch);
        self.write_scratch()
    }

    /// Writes one timeout.
    pub(crate) fn timeout(&mut self, now: Mono) -> anyhow::Result<()> {
        stream::encode_timeout(now, &mut self.scratch);
        self.write_scratch()
    }

    /// Writes what is still in memory.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.file
            .flush()
            .context("the event file could not be written to its end")
    }

    fn write_scratch(&mut self) -> anyhow::Result<()> {
        let written = self.file.write_all(&self.scratch);
        self.scratch.clear();
        written.context("the event file could not be written")
    }
}
