//! What truly happens.

use super::{Action, Machine, SECOND_NS};
use flow::{FlowKey, Tuple};
use record::{Direction, Endpoint, Mono, Outcome, ProcessKey, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One connection, as it truly was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct True {
    /// Counts the connections of the machine, from 1. No two have the same remote address.
    pub number: u64,
    /// What the sensor calls it. Others may have been called the same before.
    pub key: FlowKey,
    /// Who made it.
    pub process: ProcessKey,
    /// Where it went.
    pub tuple: Tuple,
    /// When it began.
    pub opened: Mono,
    /// When the handshake was done; `None` for an attempt that failed.
    pub established: Option<Mono>,
    /// When it ended; `None` while it lives.
    pub closed: Option<Mono>,
    /// How it ended, where it did.
    pub outcome: Outcome,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// It was there before the sensor that watches now.
    pub is_old: bool,
}

/// One run of a program, as it truly was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueProcess {
    /// Which.
    pub key: ProcessKey,
    /// Who forked it, or ran as it before.
    pub parent: Option<ProcessKey>,
    /// What it runs.
    pub path: String,
    /// As whom.
    pub uid: u32,
}

#[derive(Debug)]
pub(super) struct History {
    pub(super) processes: BTreeMap<ProcessKey, TrueProcess>,
    pub(super) running: Vec<ProcessKey>,
    pub(super) connections: BTreeMap<u64, True>,
    pub(super) open: BTreeSet<u64>,
    /// Keys of connections that are over.
    pub(super) old_keys: Vec<FlowKey>,
}

/// Pids are few, so that they come again.
const PIDS: u64 = 400;

impl History {
    pub(super) fn new() -> History {
        History {
            processes: BTreeMap::new(),
            running: Vec::new(),
            connections: BTreeMap::new(),
            open: BTreeSet::new(),
            old_keys: Vec::new(),
        }
    }
}

impl Machine {
    pub(super) fn fork(&mut self) {
        let running = &self.history.running;
        let parent = (!running.is_empty()).then(|| self.dice.pick(running));
        let mut pid = 2 + self.dice.below(PIDS) as u32;
        while self.history.running.iter().any(|key| key.pid == pid) {
            pid = 2 + (pid - 1) % PIDS as u32;
        }
        self.run(pid, self.now.0, 1, parent);
    }

    fn run(&mut self, pid: u32, start_ns: u64, exec_id: u32, parent: Option<ProcessKey>) {
        let key = ProcessKey {
            pid,
            start_ns,
            exec_id,
        };
        let process = TrueProcess {
            key,
            parent,
            path: format!("/usr/bin/program-{}", self.dice.below(90)),
            uid: self.dice.pick(&[0, 33, 501, 1_000]),
        };
        self.history.processes.insert(key, process);
        self.history.running.push(key);
    }

    pub(super) fn churn(&mut self) {
        let running = self.history.running.len();
        match self.dice.below(3) {
            0 | 1 if running < self.shape.processes_max => self.fork(),
            2 if running > 3 => self.exit(),
            _ => self.exec(),
        }
        let again_ns = self.after(10 * self.shape.gap_ns);
        self.plan(again_ns, Action::Churn);
    }

    /// The same process runs another program, and its connections live on.
    fn exec(&mut self) {
        let index = self.dice.below(self.history.running.len() as u64) as usize;
        let old = self.history.running.swap_remove(index);
        let parent = self.history.processes[&old].parent;
        self.run(old.pid, old.start_ns, old.exec_id + 1, parent);
    }

    fn exit(&mut self) {
        let index = self.dice.below(self.history.running.len() as u64) as usize;
        let gone = self.history.running.swap_remove(index);
        let is_its = |number: &u64| self.history.connections[number].process == gone;
        let its: Vec<u64> = self.history.open.iter().copied().filter(is_its).collect();
        its.into_iter().for_each(|number| self.end(number));
        self.tell_gone(gone);
    }

    pub(super) fn connect_and_go_on(&mut self) {
        self.connect();
        let again_ns = self.after(self.shape.gap_ns);
        self.plan(again_ns, Action::Connect);
    }

    pub(super) fn burst(&mut self) {
        let process = self.dice.pick(&self.history.running);
        for _ in 0..self.shape.burst {
            self.connect_as(process);
        }
        let again_ns = self.after(4_000 * self.shape.gap_ns);
        self.plan(again_ns, Action::Burst);
    }

    pub(super) fn connect(&mut self) {
        let process = self.dice.pick(&self.history.running);
        self.connect_as(process);
    }

    fn connect_as(&mut self, process: ProcessKey) {
        let number = self.history.connections.len() as u64 + 1;
        let has_room = self.history.open.len() < self.shape.connections_max;
        let is_refused = !has_room || self.dice.one_in(12);
        let tuple = self.tuple(number);
        let connection = True {
            number,
            key: self.key(number, &tuple),
            process,
            tuple,
            opened: self.now,
            established: (!is_refused && tuple.protocol == Protocol::Tcp).then_some(self.now),
            closed: None,
            outcome: Outcome::Unknown,
            bytes_out: 0,
            bytes_in: 0,
            is_old: false,
        };
        self.history.connections.insert(number, connection);
        self.history.open.insert(number);
        if is_refused && tuple.protocol == Protocol::Tcp {
            return self.end(number);
        }
        self.tell_opened(number);
        let life_ns = self.life_ns();
        self.plan(life_ns, Action::End(number));
        let transfer_ns = self.after(life_ns.min(30 * SECOND_NS));
        self.plan(transfer_ns, Action::Transfer(number));
    }

    fn life_ns(&mut self) -> u64 {
        match self.dice.below(20) {
            0..=11 => self.after(SECOND_NS / 5),
            12..=16 => self.after(20 * SECOND_NS),
            17..=18 => self.after(1_000 * SECOND_NS),
            _ => self.after(7 * 86_400 * SECOND_NS),
        }
    }

    fn tuple(&mut self, number: u64) -> Tuple {
        let address: IpAddr = if self.dice.one_in(3) {
            Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(number)).into()
        } else {
            Ipv4Addr::from(10 << 24 | number as u32 & 0x00ff_ffff).into()
        };
        let local = match address {
            IpAddr::V4(_) => IpAddr::from([192, 0, 2, 7]),
            IpAddr::V6(_) => Ipv6Addr::from(0x2001_0db8_ffff << 80 | 7).into(),
        };
        Tuple {
            protocol: self
                .dice
                .pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp]),
            direction: self.dice.pick(&[Direction::Outbound, Direction::Inbound]),
            local: Endpoint {
                address: Some(local),
                // Ports are few, so that they come again.
                port: Some(32_768 + self.dice.below(64) as u16),
            },
            remote: Endpoint {
                address: Some(address),
                port: Some(self.dice.pick(&[22, 53, 80, 443, 8_080])),
            },
            network_namespace: Some(4_026_531_840),
        }
    }

    fn key(&mut self, number: u64, tuple: &Tuple) -> FlowKey {
        let is_reused = self.is_fault(self.shape.faults.keys_reused);
        if is_reused && let Some(old) = self.history.old_keys.pop() {
            return old;
        }
        let part = match tuple.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp | Protocol::Other(_) => number,
        };
        let socket = match tuple.protocol {
            Protocol::Tcp => 1_000 + number,
            // A few sockets have many flows.
            Protocol::Udp | Protocol::Other(_) => self.dice.below(8),
        };
        FlowKey { socket, part }
    }

    pub(super) fn transfer(&mut self, number: u64) {
        if !self.history.open.contains(&number) {
            return;
        }
        let [sent, received] = [self.dice.size(24), self.dice.size(30)];
        if let Some(connection) = self.history.connections.get_mut(&number) {
            connection.bytes_out += sent;
            connection.bytes_in += received;
        }
        self.tell_totals(number);
        let again_ns = match self.dice.below(3) {
            0 => self.after(SECOND_NS),
            1 => self.after(60 * SECOND_NS),
            _ => self.after(7_200 * SECOND_NS),
        };
        self.plan(again_ns, Action::Transfer(number));
    }

    pub(super) fn end(&mut self, number: u64) {
        if !self.history.open.remove(&number) {
            return;
        }
        let [sent, received] = [self.dice.size(12), self.dice.size(16)];
        let outcomes = [Outcome::Closed, Outcome::Closed, Outcome::Reset];
        let outcome = self.dice.pick(&outcomes);
        let connection = self
            .history
            .connections
            .get_mut(&number)
            .expect("what is open began");
        let is_tcp = connection.tuple.protocol == Protocol::Tcp;
        let has_failed = is_tcp && connection.established.is_none();
        if !has_failed {
            connection.bytes_out += sent;
            connection.bytes_in += received;
        }
        connection.closed = Some(self.now);
        connection.outcome = if has_failed {
            Outcome::Refused
        } else {
            outcome
        };
        let key = connection.key;
        self.tell_closed(number);
        self.history.old_keys.push(key);
        if self.history.old_keys.len() > 200 {
            self.history.old_keys.remove(0);
        }
    }
}
