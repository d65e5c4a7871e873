//! Standard output.

use ship::{Answer, Parcel};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Standard output, or what stands for it in a test.
#[derive(Debug)]
pub(super) struct StandardOutput {
    /// Nothing in between that would hold bytes back.
    output: File,
    /// Nobody reads any more.
    closed: bool,
}

impl StandardOutput {
    pub(super) fn open() -> io::Result<StandardOutput> {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(StandardOutput::new(output))
    }

    pub(super) fn new(output: OwnedFd) -> StandardOutput {
        StandardOutput {
            output: File::from(output),
            closed: false,
        }
    }

    /// Waits for whoever reads. What was written when the reader went away is unknown, and so
    /// nothing is written behind it.
    pub(super) fn write(&mut self, parcel: &Parcel) -> Answer {
        if self.closed {
            return Answer::Misconfigured {
                reason: "nobody reads standard output any more: start conntrail-ship again with \
                         a reader"
                    .to_owned(),
            };
        }
        match self.output.write_all(&parcel.body) {
            Ok(()) => Answer::Accepted,
            Err(error) => {
                self.closed = true;
                Answer::Unknown {
                    reason: format!("standard output broke off: {error}"),
                }
            }
        }
    }
}
