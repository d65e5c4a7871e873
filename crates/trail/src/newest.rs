//! The newest record of a trail, without reading it.

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::{Context, TrailError};
use crate::format::{HEAD_BYTES, Head, SegmentName};
use crate::reader::HEAD_NAME;
use record::RecordId;
use std::io::ErrorKind;
use std::path::Path;

/// The newest record that a reader of the segments in `dir` can have, as the writer publishes it;
/// sequence 0 where its epoch has none yet. Where nothing is published it is the first record of
/// the newest segment; `None` where there is none. It may be a little behind.
///
/// # Errors
/// When `dir` is there and cannot be listed.
pub fn newest(dir: &Path) -> Result<Option<RecordId>, TrailError> {
    let mut bytes = [0; HEAD_BYTES];
    let head = RealDisk.open(&dir.join(HEAD_NAME)).ok();
    let read = head.and_then(|file| file.read_at(&mut bytes, 0).ok());
    let published = read.and_then(|_| Head::parse(&bytes)).map(|head| RecordId {
        epoch: head.segment.epoch,
        sequence: head.last_sequence,
    });
    let entries = match RealDisk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(published),
        Err(error) => return Err(error).context("list", dir),
    };
    let names = entries.iter().filter_map(|it| SegmentName::parse(&it.name));
    let begun = names.max().map(|name| RecordId {
        epoch: name.epoch,
        sequence: name.first_sequence,
    });
    // A head that a power cut threw back does not know of the segments that came after it.
    let later = begun.filter(|begun| published.is_none_or(|it| begun.epoch > it.epoch));
    Ok(later.or(published))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TrailWriter, WriterOptions, segments_dir};
    use record::{Stamp, sample};

    #[test]
    fn the_newest_record_is_the_last_that_was_published() {
        let state = tempfile::tempdir().unwrap();
        let dir = segments_dir(state.path());
        assert_eq!(newest(&dir).unwrap(), None);
        for epoch in 1..=2 {
            let options = WriterOptions::new(sample::device(), 1 << 20);
            let mut writer = TrailWriter::open(state.path(), options, Stamp::default()).unwrap();
            let mut last = None;
            for record in sample::records(epoch, 40) {
                last = writer.append(&record, record.at().mono);
            }
            assert_ne!(newest(&dir).unwrap(), last, "it is not published yet");
            let flushed = writer.flush(Stamp::default()).unwrap();
            assert_eq!(newest(&dir).unwrap(), flushed.durable);
            assert_eq!(flushed.durable, last);
        }
    }
}
