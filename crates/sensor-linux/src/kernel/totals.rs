//! What flows that live on have carried so far.
//!
//! The kernel knows, but tells only when it is asked to look through its sockets. That is done now
//! and then, and bit by bit, so that neither the kernel nor whoever reads is held up by many.

use super::system;
use crate::SensorError;
use crate::sys::bpf::MapIterator;
use record::Mono;
use std::fs::File;
use std::io::{ErrorKind, Read};

/// When flows are looked through, and how far that is.
#[derive(Debug)]
pub(super) struct Totals {
    interval_ns: u64,
    due: Mono,
    pass: Option<Pass>,
}

/// One look through the flows, under way.
#[derive(Debug)]
enum Pass {
    Sockets(File),
    Peers(File),
}

impl Totals {
    pub(super) fn new(interval_ns: u64, now: Mono) -> Totals {
        Totals {
            interval_ns,
            due: now.plus_ns(interval_ns),
            pass: None,
        }
    }

    /// Looks through some thousand flows if it is time for it: those of sockets, then those of
    /// peers where there are any. What is found comes through the ring.
    pub(super) fn go_on(
        &mut self,
        sockets: &MapIterator,
        peers: Option<&MapIterator>,
        now: Mono,
    ) -> Result<(), SensorError> {
        if self.pass.is_none() && now >= self.due {
            self.due = now.plus_ns(self.interval_ns);
            self.pass = Some(Pass::Sockets(begin(sockets)?));
        }
        self.pass = match self.pass.take() {
            None => None,
            Some(Pass::Sockets(file)) if has_more(&file)? => Some(Pass::Sockets(file)),
            Some(Pass::Sockets(_)) => peers.map(begin).transpose()?.map(Pass::Peers),
            Some(Pass::Peers(file)) => has_more(&file)?.then_some(Pass::Peers(file)),
        };
        Ok(())
    }
}

fn begin(iterator: &MapIterator) -> Result<File, SensorError> {
    iterator.open().map_err(|error| system(STEP, error))
}

/// Looks through some thousand. The program writes a byte where a pause is due, which ends the
/// call.
fn has_more(mut file: &File) -> Result<bool, SensorError> {
    match file.read(&mut [0; 1]) {
        Ok(length) => Ok(length > 0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(system(STEP, error)),
    }
}

const STEP: &str = "ask what flows have carried";
