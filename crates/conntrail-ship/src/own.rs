//! The shipper's own trail, beside the recorder's: what it declares is shipped like the rest.

use host::clock;
use record::{Device, Notice, NoticeKind, Record, StopReason, Tally};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use trail::{TrailError, TrailWriter, WriterOptions};

/// The name of the side trail.
pub(crate) const NAME: &str = "ship";

/// Bytes of it at most.
const QUOTA_BYTES: u64 = 16 << 20;

/// The trail, for the threads of all destinations.
pub(crate) struct OwnTrail(Mutex<TrailWriter>);

impl OwnTrail {
    /// Begins an epoch in `folder`. While it is open no other shipper can be.
    pub(crate) fn open(folder: &Path, device: Device) -> Result<OwnTrail, TrailError> {
        let options = WriterOptions::new(device, QUOTA_BYTES);
        let writer = TrailWriter::open(folder, options, clock::stamp())?;
        let previous = writer.previous();
        let own = OwnTrail(Mutex::new(writer));
        own.declare(vec![NoticeKind::RecorderStarted { previous }])?;
        Ok(own)
    }

    /// Makes notices durable, and those that could not be made durable before.
    ///
    /// # Errors
    /// When the disk refuses. They are kept all the same: nobody need offer them again, only call
    /// this again.
    pub(crate) fn declare(&self, kinds: Vec<NoticeKind>) -> Result<(), TrailError> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.is_empty() && writer.pending_bytes() == 0 {
            return Ok(());
        }
        for kind in kinds {
            append(&mut writer, kind);
        }
        // What the quota takes must be declared before it goes.
        loop {
            let flushed = writer.flush(clock::stamp())?;
            let evicting = flushed.evicting.into_iter().chain(flushed.vanished);
            let ranges: Vec<_> = evicting.collect();
            if ranges.is_empty() {
                return Ok(());
            }
            for range in ranges {
                append(
                    &mut writer,
                    NoticeKind::TrailEvicted {
                        epoch: range.epoch,
                        first_sequence: range.first_sequence,
                        last_sequence: range.last_sequence.unwrap_or(range.first_sequence),
                    },
                );
            }
        }
    }

    /// Ends the epoch in order.
    pub(crate) fn end(&self) -> Result<(), TrailError> {
        self.declare(vec![NoticeKind::RecorderStopped {
            reason: StopReason::Requested,
            tally: Tally::default(),
        }])
    }
}

fn append(writer: &mut TrailWriter, kind: NoticeKind) {
    let at = clock::stamp();
    let notice = Record::Notice(Notice { at, kind });
    // What is refused for want of room the writer counts, and tells by the next flush.
    let _ = writer.append(&notice, at.mono);
}
