//! What the flow table told in one epoch, counted beside it: whatever a sensor says, each
//! connection ends once, totals do not fall, and the tally is that of the records.

use flow::Counters;
use record::{
    Connection, ConnectionId, LostKind, NoticeKind, Outcome, Phase, Record, Tally, Traffic,
};
use std::collections::BTreeMap;

/// What was told so far.
#[derive(Default)]
pub(crate) struct Told {
    connections: BTreeMap<ConnectionId, Last>,
    records: u64,
    closes: u64,
    evicted: u64,
    closes_lost: u64,
}

/// The last that was told of a connection.
struct Last {
    traffic: Traffic,
    is_closed: bool,
}

impl Told {
    /// The table gave a record.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Connection(connection) => self.connection(connection),
            Record::Notice(notice) => self.notice(&notice.kind),
        }
    }

    /// The table was stopped; its books must be those of what it told.
    pub(crate) fn finish(&self, tally: Tally, counters: &Counters) -> Result<(), String> {
        self.compare(&tally)?;
        // A sensor that makes things up may say so of a connection too.
        if counters.evicted > self.evicted || counters.connection_records != self.records {
            return Err(format!(
                "{} connections were evicted in {} records, but: {counters:?}",
                self.evicted, self.records
            ));
        }
        Ok(())
    }

    fn connection(&mut self, connection: &Connection) -> Result<(), String> {
        let is_closed = matches!(connection.phase, Phase::Close(_));
        let traffic = connection.traffic;
        let now = Last { traffic, is_closed };
        let before = self.connections.insert(connection.id, now);
        if let Some(before) = before {
            // A zero that nobody verified may turn out to be unknown.
            let fell = |before: Option<u64>, now: Option<u64>| now.is_some() && before > now;
            if before.is_closed {
                return Err(format!("told of after its close: {connection:?}"));
            }
            if fell(before.traffic.bytes_out, traffic.bytes_out)
                || fell(before.traffic.bytes_in, traffic.bytes_in)
            {
                let before = before.traffic;
                return Err(format!("less than {before:?}: {connection:?}"));
            }
        }
        self.records += 1;
        self.closes += u64::from(is_closed);
        if let Phase::Close(ending) = connection.phase {
            self.evicted += u64::from(ending.outcome == Outcome::Evicted);
        }
        Ok(())
    }

    fn notice(&mut self, kind: &NoticeKind) -> Result<(), String> {
        if let NoticeKind::Lost {
            what: LostKind::Closes,
            count,
            ..
        } = kind
        {
            self.closes_lost += count.unwrap_or(0);
        }
        if let NoticeKind::Ledger(tally) = kind {
            self.compare(tally)?;
        }
        Ok(())
    }

    /// A close that was told again, with what came on top, is in the books once.
    fn compare(&self, tally: &Tally) -> Result<(), String> {
        let ended = tally.closes_recorded
            + tally.closes_aggregated
            + tally.closes_dropped
            + tally.closes_lost;
        let is_right = tally.closes_made == ended
            && tally.closes_lost == self.closes_lost
            && tally.closes_recorded <= self.closes;
        if is_right {
            return Ok(());
        }
        Err(format!(
            "{} closes were told and {} were declared lost, but: {tally:?}",
            self.closes, self.closes_lost
        ))
    }
}
