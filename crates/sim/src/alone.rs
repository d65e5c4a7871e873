//! The flow table alone, beside its books: a machine is followed, and everything that the table
//! gives is checked.

use crate::books::Books;
use crate::machine::{Happening, Machine, Shape};
use flow::{Counters, FlowTable, Output, stream};
use record::{Connection, Mono, Record, codec};

/// What was followed.
#[derive(Debug)]
pub struct Followed {
    /// The machine, as it is at the end.
    pub machine: Machine,
    /// Every record of a connection, where they were asked for.
    pub connections: Vec<Connection>,
    /// The calls that the table got, as [`flow::stream`] keeps them.
    pub calls: Vec<u8>,
    /// The canonical bytes of its records, one after another.
    pub records: Vec<u8>,
    /// What the table counted.
    pub counters: Counters,
}

/// Follows the machine of `seed` and `shape` for so many happenings, and stops the table.
///
/// # Errors
/// What must not be, in words, with the happening at which it was.
pub fn follow(seed: u64, shape: Shape, happenings: usize) -> Result<Followed, String> {
    let mut alone = Alone::new(seed, shape);
    for number in 0..happenings {
        alone
            .happen()
            .map_err(|reason| format!("{} {seed}, happening {number}: {reason}", shape.name))?;
    }
    alone
        .stop()
        .map_err(|reason| format!("{} {seed}, at the stop: {reason}", shape.name))
}

struct Alone {
    table: FlowTable,
    books: Books,
    followed: Followed,
    /// When the table was last called.
    now: Mono,
    /// It is called only when something happens.
    is_late: bool,
}

const EPOCH: u64 = 7;

impl Alone {
    fn new(seed: u64, shape: Shape) -> Alone {
        let machine = Machine::new(seed, shape);
        let start = machine.clocks();
        let config = shape.config();
        let header = stream::Header {
            config,
            epoch: EPOCH,
            start,
            device: record::sample::device(),
        };
        let mut calls = Vec::new();
        stream::encode_header(&header, &mut calls);
        Alone {
            table: FlowTable::new(config, EPOCH, start),
            books: Books::new(config, EPOCH, start),
            followed: Followed {
                machine,
                connections: Vec::new(),
                calls,
                records: Vec::new(),
                counters: Counters::default(),
            },
            now: start.mono,
            is_late: seed % 2 == 1,
        }
    }

    fn happen(&mut self) -> Result<(), String> {
        let Happening { at, event } = self.followed.machine.next();
        while self.table.poll_timeout() <= at.mono {
            // Some recorders wake when they should; others are late, or the machine slept.
            let due = match self.is_late {
                true => at.mono,
                false => self.table.poll_timeout().max(self.now),
            };
            self.now = due;
            stream::encode_timeout(due, &mut self.followed.calls);
            self.table.handle_timeout(due);
            self.take_outputs()?;
            self.books.timeout(due, self.table.poll_timeout())?;
        }
        self.now = at.mono;
        if let Some(event) = event {
            self.books.event(&event, at.mono);
            stream::encode_event(&event, at.mono, &mut self.followed.calls);
            self.table.handle(event.clone(), at.mono);
            self.take_outputs()
                .map_err(|reason| format!("{reason}\nafter {event:?}"))?;
        }
        self.books.counters(&self.table.counters())
    }

    fn stop(mut self) -> Result<Followed, String> {
        self.table.handle_stop();
        self.take_outputs()?;
        self.books.counters(&self.table.counters())?;
        self.books.finish(self.table.tally())?;
        self.followed.counters = self.table.counters();
        Ok(self.followed)
    }

    fn take_outputs(&mut self) -> Result<(), String> {
        while let Some(output) = self.table.poll_output() {
            let Output::Record(record) = output else {
                continue;
            };
            codec::encode(&record, &mut self.followed.records);
            self.books.record(&record)?;
            if let Record::Connection(connection) = record {
                self.followed.connections.push(connection);
            }
        }
        Ok(())
    }
}
