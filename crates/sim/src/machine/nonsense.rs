//! Events that belong to nothing.

use super::Machine;
use flow::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
use record::{
    Attribution, BreakerCause, BreakerState, ByteQuality, Direction, Ending, Endpoint, Hostname,
    IdentitySource, LossCause, LossStage, LostKind, Mono, NameSource, Origin, Outcome, Process,
    ProcessKey, Protocol, SensorKind, Traffic, Wall,
};
use std::net::IpAddr;

impl Machine {
    /// Perhaps something that is not so.
    pub(super) fn say_nonsense(&mut self) {
        while self.is_fault(self.shape.faults.nonsense) {
            let event = self.nonsense();
            self.hear(event);
        }
    }

    fn nonsense(&mut self) -> Event {
        match self.dice.below(20) {
            0..=3 => Event::Opened(self.any_opened()),
            4..=6 => Event::Closed(self.any_closed()),
            7..=9 => Event::Updated {
                key: self.any_key(),
                traffic: self.any_traffic(),
                flow: self.dice.one_in(2).then(|| self.any_opened()),
            },
            10 => Event::Attributed {
                key: self.any_key(),
                owner: self.any_owner(),
            },
            11 => Event::Named {
                key: self.any_key(),
                hostname: Hostname {
                    name: format!("h{}", self.dice.below(9)).into(),
                    source: NameSource::SystemLibrary,
                },
            },
            12 | 13 => {
                let key = self.any_process();
                let parent = self.dice.one_in(2).then(|| self.any_process());
                let process = Process::bare(key);
                Event::ProcessSeen(Introduction { process, parent })
            }
            14 => {
                let mut keys: Vec<_> = (0..3).map(|_| self.any_process()).collect();
                keys.sort_unstable();
                Event::ProcessesGone { keys }
            }
            15 => {
                let mut alive: Vec<_> = (0..5).map(|_| self.any_key()).collect();
                alive.sort_unstable();
                let before = self.any_moment();
                Event::Swept { before, alive }
            }
            other => self.rare_nonsense(other),
        }
    }

    fn rare_nonsense(&mut self, choice: u64) -> Event {
        match choice {
            16 => Event::Unwatched {
                before: self.any_moment(),
            },
            17 => Event::Lost {
                stage: self.dice.pick(LossStage::ALL),
                cause: self.dice.pick(LossCause::ALL),
                what: self.dice.pick(LostKind::ALL),
                count: self.dice.one_in(2).then(|| self.dice.size(20)),
            },
            18 => Event::BreakerChanged {
                state: self.dice.pick(BreakerState::ALL),
                cause: self.dice.pick(BreakerCause::ALL),
                crashes: self.dice.size(5) as u32,
            },
            _ if self.dice.one_in(2) => Event::ClockRead {
                mono: self.any_moment(),
                wall: Wall(self.dice.number() as i64 >> self.dice.below(40)),
            },
            _ => Event::SensorStopped {
                sensor: self.dice.pick(SensorKind::ALL),
                reason: String::new(),
            },
        }
    }

    /// Often one that is in use.
    fn any_key(&mut self) -> FlowKey {
        let open = self.history.connections.len() as u64;
        if open > 0 && self.dice.one_in(2) {
            let number = 1 + open.saturating_sub(1 + self.dice.below(20.min(open)));
            if let Some(connection) = self.history.connections.get(&number) {
                return connection.key;
            }
        }
        FlowKey {
            socket: self.dice.below(30),
            part: self.dice.below(2),
        }
    }

    fn any_process(&mut self) -> ProcessKey {
        if self.dice.one_in(2) {
            return self.dice.pick(&self.history.running);
        }
        ProcessKey {
            pid: self.dice.below(10) as u32,
            start_ns: self.dice.below(2),
            exec_id: self.dice.below(2) as u32,
        }
    }

    fn any_owner(&mut self) -> Owner {
        Owner {
            process: self.any_process(),
            attribution: Attribution::from_source(self.dice.pick(IdentitySource::ALL)),
            responsible: self.dice.one_in(3).then(|| self.any_process()),
        }
    }

    /// Mostly about now, sometimes anything.
    fn any_moment(&mut self) -> Mono {
        let off_ns = self.dice.size(36);
        match self.dice.below(8) {
            0 => Mono(0),
            1 => Mono(u64::MAX),
            2 => self.now.plus_ns(off_ns),
            _ => Mono(self.now.0.saturating_sub(off_ns)),
        }
    }

    fn any_endpoint(&mut self) -> Endpoint {
        let address = IpAddr::from([203, 0, 113, self.dice.below(20) as u8]);
        Endpoint {
            address: self.dice.one_in(2).then_some(address),
            port: self.dice.one_in(2).then(|| self.dice.size(16) as u16),
        }
    }

    fn any_tuple(&mut self) -> Tuple {
        Tuple {
            protocol: Protocol::from_number(self.dice.pick(&[6, 17, 132, 255])),
            direction: self.dice.pick(Direction::ALL),
            local: self.any_endpoint(),
            remote: self.any_endpoint(),
            network_namespace: self.dice.one_in(2).then_some(7),
        }
    }

    fn any_traffic(&mut self) -> Traffic {
        let mut count = || {
            let size = self.dice.size(64);
            self.dice.one_in(2).then_some(size)
        };
        let [bytes_out, bytes_in, packets_out, packets_in] = std::array::from_fn(|_| count());
        Traffic {
            bytes_out,
            bytes_in,
            packets_out,
            packets_in,
            quality: self.dice.pick(ByteQuality::ALL),
        }
    }

    fn any_opened(&mut self) -> Opened {
        Opened {
            key: self.any_key(),
            at: self.any_moment(),
            tuple: self.any_tuple(),
            owner: self.dice.one_in(2).then(|| self.any_owner()),
            opened: self.dice.one_in(2).then(|| self.any_moment()),
            established: self.dice.one_in(2).then(|| self.any_moment()),
            origin: self.dice.pick(Origin::ALL),
        }
    }

    fn any_closed(&mut self) -> Closed {
        let opened = self.any_opened();
        Closed {
            key: opened.key,
            at: opened.at,
            tuple: opened.tuple,
            owner: opened.owner,
            opened: opened.opened,
            established: opened.established,
            traffic: self.any_traffic(),
            rtt_us: self.dice.one_in(2).then_some(7),
            retransmits: None,
            closer_pid: self.dice.one_in(2).then_some(9),
            ending: Ending {
                outcome: self.dice.pick(Outcome::ALL),
                errno: None,
            },
            origin: opened.origin,
        }
    }
}
