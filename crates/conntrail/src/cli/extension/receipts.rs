//! Receipts of upgrades: a small trail of this program's own, beside the recorder's.
//!
//! It has an identity of its own too, because an id is made of the endpoint's identity, epoch and
//! sequence, and both trails begin to count at one.

use ::trail::{TrailWriter, WriterOptions};
use anyhow::{Context, bail};
use app_macos::command::Code;
use record::{ExtensionReplaced, Notice, NoticeKind, Record, Stamp, StopReason, Tally};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the trail of upgrades is, below the state folder.
const FOLDER: &str = "upgrades";

/// Room for more receipts than anybody makes.
const QUOTA_BYTES: u64 = 16 << 20;

/// Holds the boot on which an upgrade was ordered that has not ended.
const ORDER: &str = "ordered-on-boot";

/// Is there while the filter is switched off for an upgrade.
const SWITCHED_OFF: &str = "filter-switched-off";

/// The receipts below a state folder, and the order that waits.
pub(super) struct Receipts {
    folder: PathBuf,
}

impl Receipts {
    pub(super) fn of(state_dir: &Path) -> Receipts {
        Receipts {
            folder: state_dir.join(FOLDER),
        }
    }

    /// Whether the machine was started anew since this upgrade was ordered. The first time, the
    /// order is noted. Where it cannot be, or the boot is not known, it was not: an upgrade too
    /// late is better than one at the wrong moment.
    pub(super) fn rebooted_since_order(&self, boot: Option<[u8; 16]>) -> bool {
        let Some(boot) = boot else { return false };
        let boot = u128::from_be_bytes(boot).to_string();
        let order = self.folder.join(ORDER);
        match fs::read_to_string(&order) {
            Ok(ordered) => ordered.trim() != boot,
            Err(_) => {
                let noted = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&order, boot));
                // Then the next run is the first again.
                drop(noted);
                false
            }
        }
    }

    /// The order has ended, unless its moment has not come.
    pub(super) fn ended(&self, code: Code) {
        match code {
            Code::NotYet => {}
            Code::Done
            | Code::Failed
            | Code::AwaitingApproval
            | Code::AfterReboot
            | Code::Unhealthy => {
                // It may never have been noted.
                let _ = fs::remove_file(self.folder.join(ORDER));
            }
        }
    }

    /// Notes whether an upgrade has the filter switched off. Where that cannot be noted it goes on
    /// all the same: only its being cut off would leave the filter off unnoticed.
    pub(super) fn note_switched_off(&self, is_off: bool) {
        let note = self.folder.join(SWITCHED_OFF);
        let noted = match is_off {
            true => fs::create_dir_all(&self.folder).and_then(|()| fs::write(&note, "")),
            false => fs::remove_file(&note),
        };
        drop(noted);
    }

    /// What was noted last.
    pub(super) fn was_left_off(&self) -> bool {
        self.folder.join(SWITCHED_OFF).exists()
    }

    /// Writes a receipt, in an epoch of its own.
    ///
    /// # Errors
    /// When the trail cannot be written.
    pub(super) fn keep(&self, receipt: &ExtensionReplaced, now: Stamp) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        let device = host::device::device(&self.folder, env!("CARGO_PKG_VERSION"))?;
        let options = WriterOptions::new(device, QUOTA_BYTES);
        let mut trail = TrailWriter::open(&self.folder, options, now)?;
        let started = NoticeKind::RecorderStarted {
            previous: trail.previous(),
        };
        let stopped = NoticeKind::RecorderStopped {
            reason: StopReason::Requested,
            tally: Tally::default(),
        };
        for kind in [
            started,
            NoticeKind::ExtensionReplaced(receipt.clone()),
            stopped,
        ] {
            let record = Record::Notice(Notice { at: now, kind });
            if trail.append(&record, now.mono).is_none() {
                bail!("{} takes no more records", self.folder.display());
            }
        }
        let flushed = trail.close(now)?;
        drop(flushed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::trail::{Item, TrailReader, segments_dir};

    fn receipt(to: &str) -> ExtensionReplaced {
        ExtensionReplaced {
            from: Some("1".to_owned()),
            to: to.to_owned(),
            reset_estimate: 2,
            by_app: Vec::new(),
            flows_arrive: Some(true),
        }
    }

    #[test]
    fn receipts_are_kept_in_a_trail_of_their_own() {
        let state = tempfile::tempdir().unwrap();
        let receipts = Receipts::of(state.path());
        receipts.keep(&receipt("2"), host::clock::stamp()).unwrap();
        receipts.keep(&receipt("3"), host::clock::stamp()).unwrap();
        assert!(
            !segments_dir(state.path()).exists(),
            "the recorder's is not touched"
        );
        let mut reader = TrailReader::open(&segments_dir(&state.path().join(FOLDER))).unwrap();
        let mut told = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Record { record, .. } = item else {
                panic!("{item:?}")
            };
            if let Record::Notice(Notice { kind, .. }) = record {
                told.push(kind);
            }
        }
        let kept = |to| NoticeKind::ExtensionReplaced(receipt(to));
        assert_eq!(
            (told.len(), &told[1], &told[4]),
            (6, &kept("2"), &kept("3"))
        );
        assert!(matches!(
            told[3],
            NoticeKind::RecorderStarted { previous: Some(_) }
        ));
    }

    #[test]
    fn a_receipt_that_cannot_be_written_says_where() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Receipts::of(file.path()).keep(&receipt("2"), Stamp::default());
        assert!(error.unwrap_err().to_string().contains("upgrades"));
    }

    #[test]
    fn a_filter_that_was_left_off_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        let receipts = Receipts::of(state.path());
        assert!(!receipts.was_left_off());
        receipts.note_switched_off(false);
        receipts.note_switched_off(true);
        assert!(Receipts::of(state.path()).was_left_off());
        receipts.note_switched_off(false);
        assert!(!receipts.was_left_off());
    }

    // facts: rule-12-upgrade-when-it-hurts-least
    #[test]
    fn a_restart_is_noticed_from_one_run_to_the_next_until_the_order_ends() {
        let state = tempfile::tempdir().unwrap();
        let receipts = Receipts::of(state.path());
        assert!(!receipts.rebooted_since_order(Some([1; 16])));
        assert!(
            !receipts.rebooted_since_order(Some([1; 16])),
            "the same boot"
        );
        receipts.ended(Code::NotYet);
        assert!(receipts.rebooted_since_order(Some([2; 16])));
        assert!(!receipts.rebooted_since_order(None), "an unknown boot");
        receipts.ended(Code::Done);
        assert!(
            !receipts.rebooted_since_order(Some([3; 16])),
            "another order"
        );
    }
}
