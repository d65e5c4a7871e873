//! The records of one connection id.

use record::{ByteQuality, Connection, Phase, Traffic};

/// What was recorded under one id.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Series {
    is_open: bool,
    updates: u64,
    pub(super) is_closed: bool,
    last: Traffic,
}

impl Series {
    /// Takes in the next record of the id.
    pub(super) fn record(&mut self, connection: &Connection) -> Result<(), String> {
        if self.is_closed {
            return Err("a record after the close".to_owned());
        }
        match connection.phase {
            Phase::Open if self.is_open || self.updates > 0 => {
                return Err("an open that is not the first record".to_owned());
            }
            Phase::Open => self.is_open = true,
            Phase::Update => self.updates += 1,
            Phase::Close(_) => self.is_closed = true,
        }
        let told = counts(&connection.traffic);
        for (before, now) in counts(&self.last).into_iter().zip(told) {
            // That nothing passed so far was no more than an unverified zero is.
            let is_zero_still =
                before == Some(0) && connection.traffic.quality == ByteQuality::ZeroUnverified;
            if now < before && !is_zero_still {
                return Err(format!("totals fall from {before:?} to {now:?}"));
            }
        }
        self.last = connection.traffic;
        Ok(())
    }
}

/// The four counts that somebody vouches for. Unknown is less than any.
pub(super) fn counts(traffic: &Traffic) -> [Option<u64>; 4] {
    match traffic.quality {
        ByteQuality::ZeroUnverified => [None; 4],
        ByteQuality::Unknown | ByteQuality::Exact | ByteQuality::SoFar | ByteQuality::AtLeast => [
            traffic.bytes_out,
            traffic.bytes_in,
            traffic.packets_out,
            traffic.packets_in,
        ],
    }
}
