//! A look at the flows that live, for whoever shows them: it changes nothing, so that the table
//! gives the same records whether somebody looks or not.

use super::FlowTable;
use record::{Connection, Mono, Phase, Process, ProcessKey};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// What is quickly said of a live flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Its place in the table, which it keeps as long as it lives.
    pub slot: u32,
    /// Its connection's id in the epoch of the table: another flow may have its place later.
    pub ordinal: u64,
    /// Application bytes sent, in all records of it together.
    pub bytes_out: Option<u64>,
    /// Application bytes received, in all records of it together.
    pub bytes_in: Option<u64>,
    /// When something was heard of it last.
    pub last_seen: Mono,
    /// What was heard last was how much passed: at `last_seen` the bytes were these.
    pub is_measured: bool,
}

/// A live flow as its record would tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// As an update.
    Told(Box<Connection>),
    /// Its open is not told yet: who made it may not be known, and somebody may have to judge it by
    /// that.
    Early,
    /// It does not live any more.
    Gone,
}

/// What one round of looks remembers; a new round begins with a new one.
#[derive(Debug, Default)]
pub struct Looks {
    built: FxHashMap<ProcessKey, Arc<Process>>,
}

impl FlowTable {
    /// One more than the highest place in which a flow ever was.
    pub fn slot_end(&self) -> u32 {
        self.flows.slot_end()
    }

    /// The flows that live in these places.
    pub fn glances(&self, slots: Range<u32>) -> impl Iterator<Item = Glance> {
        slots.filter_map(|slot| {
            let flow = self.flows.at(slot)?;
            let traffic = flow.totals.traffic();
            let is_counted = !flow.totals.is_untold();
            Some(Glance {
                slot,
                ordinal: flow.ordinal,
                bytes_out: traffic.bytes_out.filter(|_| is_counted),
                bytes_in: traffic.bytes_in.filter(|_| is_counted),
                last_seen: flow.last_seen,
                is_measured: flow.heard_totals_last,
            })
        })
    }

    /// The flow in a place as its record would tell it at `now`, if it still is the same.
    pub fn look(&self, slot: u32, ordinal: u64, looks: &mut Looks, now: Mono) -> Look {
        let Some(flow) = self.flows.at(slot).filter(|it| it.ordinal == ordinal) else {
            return Look::Gone;
        };
        let find = |key| self.processes.look(key, &mut looks.built);
        let draft = flow.draft_with(self.epoch, Phase::Update, self.stamp(now), find);
        let mut wait_ns = self.config.open_delay_ns;
        if !draft.is_complete() {
            wait_ns = wait_ns.saturating_add(self.config.identity_wait_ns);
        }
        if now.since_ns(flow.at) < wait_ns {
            return Look::Early;
        }
        let [owner, responsible] = draft.missing;
        let bare = |key| Arc::new(Process::bare(key));
        let mut connection = draft.connection;
        connection.process = connection.process.or_else(|| owner.map(bare));
        connection.responsible = connection.responsible.or_else(|| responsible.map(bare));
        Look::Told(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::event::Event;
    use crate::{Config, FlowTable};
    use record::{ByteQuality, Traffic};

    fn updated(socket: u64, bytes_out: u64) -> Event {
        let traffic = Traffic {
            bytes_out: Some(bytes_out),
            quality: ByteQuality::SoFar,
            ..Traffic::default()
        };
        Event::Updated {
            key: key(socket),
            traffic,
            flow: None,
        }
    }

    fn glances(table: &FlowTable) -> Vec<Glance> {
        table.glances(0..table.slot_end()).collect()
    }

    #[test]
    fn a_glance_tells_totals_and_whether_they_are_the_last_word() {
        let mut table = table();
        for socket in 1..=3 {
            table.handle(Event::Opened(opened(socket, 2_000)), Mono(2_000));
        }
        table.handle(Event::Closed(closed(2, 2_500)), Mono(2_500));
        table.handle(updated(3, 70), Mono(2_600));
        let seen = glances(&table);
        assert_eq!(seen.iter().map(|it| it.ordinal).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((seen[0].bytes_out, seen[0].is_measured), (None, false));
        assert_eq!((seen[1].bytes_out, seen[1].is_measured), (Some(70), true));
        assert_eq!(
            (seen[1].bytes_in, seen[1].last_seen),
            (None, Mono(2_600)),
            "unknown is not zero"
        );
        let owner = owner(9, record::IdentitySource::Accept).unwrap();
        table.handle(Event::Attributed { key: key(3), owner }, Mono(2_700));
        assert!(!glances(&table)[1].is_measured, "who it is says no bytes");
    }

    #[test]
    fn a_look_tells_what_an_update_would_and_changes_no_record() {
        let told = |looks: bool| {
            let config = Config {
                update_interval_ns: 10,
                ..Config::default()
            };
            let mut table = FlowTable::new(config, 3, START);
            let mut child = record::Process::bare(process(9));
            child.name = Some("child".into());
            let introduce = |process, parent| crate::Introduction { process, parent };
            let child = introduce(child, Some(process(8)));
            table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
            table.handle(Event::ProcessSeen(child), Mono(2_001));
            let now = Mono(2_000).plus_ns(Config::default().open_delay_ns);
            if looks {
                for glance in glances(&table) {
                    let mut round = Looks::default();
                    table.look(glance.slot, glance.ordinal, &mut round, now);
                }
            }
            let mut parent = record::Process::bare(process(8));
            parent.name = Some("parent".into());
            table.handle(Event::ProcessSeen(introduce(parent, None)), now);
            table.handle(updated(1, 70), now);
            let look = table.look(0, 1, &mut Looks::default(), now);
            (connections(&mut table), look)
        };
        let (records, look) = told(true);
        assert_eq!((&records, &look), (&told(false).0, &told(false).1));
        let Look::Told(look) = look else {
            panic!("{look:?}")
        };
        assert_eq!(*look, records[0]);
        let parent = &look.process.as_ref().unwrap().ancestors[0];
        assert_eq!(parent.name.as_deref(), Some("parent"));
    }

    #[test]
    fn a_flow_is_not_shown_before_its_open_could_be_told_nor_after_its_end() {
        let config = Config {
            open_delay_ns: 100,
            identity_wait_ns: 1_000,
            ..Config::default()
        };
        let mut table = FlowTable::new(config, 3, START);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let look = |table: &FlowTable, now| table.look(0, 1, &mut Looks::default(), Mono(now));
        assert_eq!(look(&table, 3_099), Look::Early, "nobody has introduced 9");
        let Look::Told(bare) = look(&table, 3_100) else {
            panic!("the wait is over")
        };
        assert_eq!(*bare.process.unwrap(), Process::bare(process(9)));
        let introduction = crate::Introduction {
            process: Process::bare(process(9)),
            parent: None,
        };
        table.handle(Event::ProcessSeen(introduction), Mono(2_050));
        assert_eq!(look(&table, 2_099), Look::Early, "it may be a short one");
        assert!(matches!(look(&table, 2_100), Look::Told(_)));
        table.handle(Event::Closed(closed(1, 2_500)), Mono(2_500));
        assert_eq!(look(&table, 3_200), Look::Gone);
        table.handle(Event::Opened(opened(2, 2_600)), Mono(2_600));
        assert_eq!(look(&table, 9_000), Look::Gone, "another has its place");
    }
}
