//! A simple source of events.
use crate::dice::Dice;
use flow::{Closed, Event, FlowKey, Opened, Tuple};
use record::*;

/// A machine.
pub(crate) struct Machine {
    dice: Dice,
    now: Stamp,
    open: Vec<Opened>,
    next: u64,
}
/// A happening.
pub(crate) struct Happening {
    /// When.
    pub(crate) at: Stamp,
    /// What.
    pub(crate) event: Option<Event>,
}
impl Machine {
    /// New.
    pub(crate) fn new(seed: u64) -> Machine {
        let now = Stamp {
            wall: Wall(1_790_000_000_000_000_000),
            mono: Mono(5_000_000_000),
        };
        Machine {
            dice: Dice::new(seed),
            now,
            open: Vec::new(),
            next: 1,
        }
    }
    /// Restart.
    pub(crate) fn restart(&mut self) {
        self.open.clear();
    }
    /// Next.
    pub(crate) fn next(&mut self) -> Happening {
        let step = self.dice.size(31);
        self.now.mono.0 += step;
        self.now.wall.0 += step as i64;
        if self.dice.one_in(150) {
            self.now.wall.0 -= 86_400_000_000_000 * self.dice.below(2) as i64;
        }
        let event = match self.dice.below(8) {
            0..=3 => Some(self.open()),
            4..=6 => self.close(),
            _ => None,
        };
        Happening {
            at: self.now,
            event,
        }
    }
    fn open(&mut self) -> Event {
        let address = std::net::IpAddr::from([192, 0, 2, self.dice.below(40) as u8]);
        let tuple = Tuple {
            protocol: Protocol::Tcp,
            direction: Direction::Outbound,
            local: Endpoint {
                address: Some([10, 0, 0, 1].into()),
                port: Some(self.dice.below(60000) as u16),
            },
            remote: Endpoint {
                address: Some(address),
                port: Some(443),
            },
            network_namespace: None,
        };
        let opened = Opened {
            key: FlowKey {
                socket: self.next,
                part: 0,
            },
            at: self.now.mono,
            tuple,
            owner: None,
            opened: Some(self.now.mono),
            established: Some(self.now.mono),
            origin: Origin::Live,
        };
        self.next += 1;
        self.open.push(opened);
        Event::Opened(opened)
    }
    fn close(&mut self) -> Option<Event> {
        if self.open.is_empty() {
            return None;
        }
        let at = self.dice.below(self.open.len() as u64) as usize;
        let it = self.open.swap_remove(at);
        Some(Event::Closed(Closed {
            key: it.key,
            at: self.now.mono,
            tuple: it.tuple,
            owner: None,
            opened: it.opened,
            established: it.established,
            traffic: Traffic::default(),
            rtt_us: None,
            retransmits: None,
            closer_pid: None,
            ending: Ending {
                outcome: Outcome::Closed,
                errno: None,
            },
            origin: Origin::Live,
        }))
    }
}
