//! What is told of what happens, and what goes wrong on the way.

use super::history::True;
use super::{Action, Machine, SECOND_NS, Style};
use flow::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
use record::{
    Attribution, ByteQuality, Direction, Ending, Endpoint, Hostname, IdentitySource, LossCause,
    LossStage, LostKind, Mono, NameSource, Origin, Outcome, Process, ProcessKey, Protocol,
    SensorKind, TcpCounts, Traffic, User,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the sensor remembers.
#[derive(Debug, Default)]
pub(super) struct Sensor {
    pub(super) watching_since: Option<Mono>,
    introduced: BTreeSet<ProcessKey>,
    /// What it will declare lost.
    lost: BTreeMap<LostKind, u64>,
    told: TcpCounts,
}

impl Machine {
    pub(super) fn is_fault(&mut self, once_in: u64) -> bool {
        once_in > 0 && self.dice.one_in(once_in)
    }

    /// The sensor starts, and looks at what is there. That takes a while, in which it is told of
    /// more already.
    pub(super) fn watch(&mut self) {
        self.sensor.watching_since = Some(self.now);
        let sensor = self.sensor_kind();
        let limits = vec!["it is simulated".to_owned()];
        self.hear(Event::SensorStarted { sensor, limits });
        self.read_clocks();
        let open: Vec<u64> = self.history.open.iter().copied().collect();
        for number in open {
            if let Some(connection) = self.history.connections.get_mut(&number) {
                connection.is_old = true;
            }
            let connection = self.history.connections[&number];
            self.introduce(connection.process);
            let opened = self.seen(&connection);
            let delay_ns = self.after(SECOND_NS / 10);
            self.tell_after(delay_ns, Event::Opened(opened), LostKind::Opens);
        }
    }

    pub(super) fn tell_opened(&mut self, number: u64) {
        if self.sensor.watching_since.is_none() {
            return;
        }
        let connection = self.history.connections[&number];
        self.introduce(connection.process);
        self.count(&connection.tuple);
        let mut opened = self.seen(&connection);
        let is_accepted = connection.tuple.direction == Direction::Inbound
            && self.shape.style == Style::Linux
            && self.dice.one_in(4);
        if is_accepted {
            let listener = self.dice.pick(&self.history.running);
            opened.owner = Some(owner(listener, IdentitySource::Listener));
        }
        if self.shape.style == Style::Macos && self.dice.one_in(2) {
            // The socket is not bound yet.
            opened.tuple.local = Endpoint::default();
        }
        self.tell(Event::Opened(opened), LostKind::Opens);
        if let (true, Some(owner)) = (is_accepted, self.owner(&connection)) {
            let key = connection.key;
            let event = Event::Attributed { key, owner };
            self.tell_after(1_000, event, LostKind::Attributions);
        }
        if self.shape.style == Style::Macos && self.dice.one_in(2) {
            self.name(&connection);
        }
        self.say_nonsense();
    }

    pub(super) fn tell_totals(&mut self, number: u64) {
        let connection = self.history.connections[&number];
        let mut traffic = traffic(&connection, ByteQuality::SoFar);
        if self.is_fault(self.shape.faults.contradicted) {
            traffic.bytes_out = traffic.bytes_out.map(|bytes| bytes / 2);
        }
        let flow = match self.shape.style {
            Style::Linux => None,
            Style::Macos => Some(Opened {
                opened: None,
                established: None,
                origin: Origin::Inferred,
                ..self.seen(&connection)
            }),
        };
        let key = connection.key;
        self.tell(Event::Updated { key, traffic, flow }, LostKind::Events);
        if self.is_fault(self.shape.faults.contradicted) {
            let process = self.dice.pick(&self.history.running);
            let sources = [IdentitySource::FirstIo, IdentitySource::Snapshot];
            let owner = owner(process, self.dice.pick(&sources));
            self.tell(Event::Attributed { key, owner }, LostKind::Attributions);
        }
        self.say_nonsense();
    }

    pub(super) fn tell_closed(&mut self, number: u64) {
        let connection = self.history.connections[&number];
        if connection.outcome == Outcome::Refused && self.sensor.watching_since.is_some() {
            self.introduce(connection.process);
            self.count(&connection.tuple);
        }
        let mut closed = self.close(&connection);
        if !self.shape.is_faithful() && self.shape.style == Style::Macos {
            match self.dice.below(10) {
                0 => return,
                1 => closed.traffic = zero_unverified(),
                _ => {}
            }
        }
        if self.is_fault(self.shape.faults.contradicted) {
            closed.traffic.bytes_in = closed.traffic.bytes_in.map(|bytes| bytes / 3);
        }
        self.tell(Event::Closed(closed), LostKind::Closes);
        if self.is_fault(self.shape.faults.contradicted) {
            self.tell_totals(number);
            self.name(&connection);
        }
        self.say_nonsense();
    }

    pub(super) fn tell_gone(&mut self, key: ProcessKey) {
        if self.shape.style == Style::Macos && self.sensor.introduced.remove(&key) {
            let gone = Event::ProcessesGone { keys: vec![key] };
            let delay_ns = self.after(5 * SECOND_NS);
            self.tell_after(delay_ns, gone, LostKind::Processes);
        }
    }

    /// What the sensor does by itself, again and again.
    pub(super) fn beat(&mut self) {
        let again_ns = (2_000 * self.shape.gap_ns).clamp(SECOND_NS / 2, 30 * SECOND_NS);
        self.plan(again_ns, Action::Beat);
        self.plan(again_ns / 3, Action::Pass);
        if self.sensor.watching_since.is_none() {
            return;
        }
        self.wall_ahead_ns += self.dice.below(200_000) as i64 - 100_000;
        if self.dice.one_in(3) {
            self.read_clocks();
        }
        self.declare_losses();
        if self.dice.one_in(10) {
            self.read_coverage();
        }
        if self.dice.one_in(20) {
            let sensor = self.sensor_kind();
            let limit = format!("since {} it sees less", self.now.0);
            self.hear(Event::SensorLimited { sensor, limit });
        }
        if self.shape.style == Style::Macos && self.is_fault(self.shape.faults.contradicted) {
            self.hear(Event::Unwatched { before: self.now });
        }
        let uid = self.dice.pick(&[0, 33, 501, 1_000]);
        let name = self.dice.one_in(2).then(|| format!("user{uid}").into());
        self.tell(Event::UserNamed { uid, name }, LostKind::Events);
    }

    fn declare_losses(&mut self) {
        let lost = std::mem::take(&mut self.sensor.lost);
        let closes_lost = lost.contains_key(&LostKind::Closes);
        for (what, count) in lost {
            let count = (!self.dice.one_in(5)).then_some(count);
            let (stage, cause) = match self.dice.below(2) {
                0 => (LossStage::Kernel, LossCause::RingFull),
                _ => (LossStage::SensorQueue, LossCause::QueueFull),
            };
            self.hear(Event::Lost {
                stage,
                cause,
                what,
                count,
            });
        }
        if closes_lost && self.shape.style == Style::Linux {
            let open = self.history.open.iter();
            let mut alive: Vec<FlowKey> = open
                .map(|number| self.history.connections[number].key)
                .collect();
            alive.sort_unstable();
            let before = self.now;
            self.hear(Event::Swept { before, alive });
        }
    }

    fn read_coverage(&mut self) {
        let recorded = std::mem::take(&mut self.sensor.told);
        let meter_works = self.dice.one_in(2);
        self.hear(Event::CoverageRead {
            system: if meter_works {
                Ok(recorded)
            } else {
                Err("no meter".to_owned())
            },
            recorded,
            missed_estimate: meter_works.then_some(0),
            unseen: Vec::new(),
        });
    }

    fn count(&mut self, tuple: &Tuple) {
        if tuple.protocol == Protocol::Tcp {
            self.sensor.told.outbound += 1;
        }
    }

    fn tell(&mut self, event: Event, what: LostKind) {
        self.tell_after(0, event, what);
    }

    fn tell_after(&mut self, delay_ns: u64, event: Event, what: LostKind) {
        if self.sensor.watching_since.is_none() {
            return;
        }
        let faults = self.shape.faults;
        if self.is_fault(faults.lost) {
            *self.sensor.lost.entry(what).or_default() += 1;
            return;
        }
        if self.is_fault(faults.silently_lost) {
            return;
        }
        let late_ns = match self.is_fault(faults.late) {
            true => self.after(1_500 * self.shape.gap_ns),
            false => 0,
        };
        if self.is_fault(faults.duplicated) {
            let again_ns = self.after(500 * self.shape.gap_ns);
            let again = Action::Deliver(Box::new(event.clone()));
            self.plan(delay_ns + late_ns + again_ns, again);
        }
        self.plan(delay_ns + late_ns, Action::Deliver(Box::new(event)));
    }

    fn introduce(&mut self, key: ProcessKey) {
        let mut unknown = Vec::new();
        let mut next = Some(key);
        while let Some(key) = next.filter(|_| unknown.len() <= Process::ANCESTORS_MAX) {
            unknown.push(key);
            next = self.history.processes[&key].parent;
        }
        for key in unknown.into_iter().rev() {
            if self.sensor.introduced.insert(key) {
                self.introduce_one(key);
            }
        }
    }

    fn introduce_one(&mut self, key: ProcessKey) {
        let truth = &self.history.processes[&key];
        let mut process = Process::bare(key);
        process.path = Some(truth.path.as_str().into());
        process.name = truth.path.rsplit('/').next().map(Into::into);
        process.user = Some(User {
            uid: truth.uid,
            name: None,
        });
        let parent = truth.parent;
        let introduction = Introduction { process, parent };
        let delay_ns = match self.shape.style {
            Style::Linux => 0,
            Style::Macos => self.after(SECOND_NS / 2),
        };
        if self.is_fault(self.shape.faults.misnamed) {
            let mut wrong = introduction.clone();
            wrong.process.path = Some("/usr/bin/somebody-else".into());
            self.tell_after(delay_ns, Event::ProcessSeen(wrong), LostKind::Processes);
            if self.dice.one_in(2) {
                return;
            }
        }
        let event = Event::ProcessSeen(introduction);
        self.tell_after(delay_ns, event, LostKind::Processes);
    }

    fn name(&mut self, connection: &True) {
        let hostname = Hostname {
            name: hostname(connection.number).into(),
            source: NameSource::SystemLibrary,
        };
        let key = connection.key;
        self.tell(Event::Named { key, hostname }, LostKind::Events);
    }

    /// The connection as the sensor sees it now.
    fn seen(&mut self, connection: &True) -> Opened {
        Opened {
            key: connection.key,
            at: self.now,
            tuple: connection.tuple,
            owner: self.owner(connection),
            opened: self.when_opened(connection),
            established: self.when_established(connection),
            origin: if connection.is_old {
                Origin::Snapshot
            } else {
                Origin::Live
            },
        }
    }

    fn close(&mut self, connection: &True) -> Closed {
        let outcome = match self.shape.style {
            Style::Linux => connection.outcome,
            Style::Macos => Outcome::Unknown,
        };
        Closed {
            key: connection.key,
            at: self.now,
            tuple: connection.tuple,
            owner: self.owner(connection),
            opened: self.when_opened(connection),
            established: self.when_established(connection),
            traffic: traffic(connection, ByteQuality::Exact),
            rtt_us: Some(1 + self.dice.below(90_000) as u32),
            retransmits: Some(self.dice.below(9) as u32),
            closer_pid: Some(connection.process.pid),
            ending: Ending {
                outcome,
                errno: (outcome == Outcome::Refused).then_some(111),
            },
            origin: match (self.shape.style, connection.is_old) {
                (Style::Macos, _) => Origin::Inferred,
                (Style::Linux, true) => Origin::Snapshot,
                (Style::Linux, false) => Origin::Live,
            },
        }
    }

    fn owner(&self, connection: &True) -> Option<Owner> {
        let source = match (self.shape.style, connection.is_old) {
            (Style::Macos, _) => IdentitySource::AuditToken,
            (Style::Linux, true) => IdentitySource::Snapshot,
            (Style::Linux, false) if connection.tuple.direction == Direction::Inbound => {
                IdentitySource::Accept
            }
            (Style::Linux, false) => IdentitySource::Connect,
        };
        let parent = self.history.processes[&connection.process].parent;
        let on_behalf = self.shape.style == Style::Macos && connection.number.is_multiple_of(4);
        Some(Owner {
            responsible: parent.filter(|_| on_behalf),
            ..owner(connection.process, source)
        })
    }

    fn when_opened(&self, connection: &True) -> Option<Mono> {
        (!connection.is_old).then_some(connection.opened)
    }

    fn when_established(&self, connection: &True) -> Option<Mono> {
        let linux = self.shape.style == Style::Linux;
        connection
            .established
            .filter(|_| linux && !connection.is_old)
    }

    fn sensor_kind(&self) -> SensorKind {
        match self.shape.style {
            Style::Linux => SensorKind::LinuxEbpf,
            Style::Macos => SensorKind::MacosFilter,
        }
    }
}

fn owner(process: ProcessKey, source: IdentitySource) -> Owner {
    Owner {
        process,
        attribution: Attribution::from_source(source),
        responsible: None,
    }
}

fn hostname(number: u64) -> String {
    format!("host-{number}.example.com")
}

fn traffic(connection: &True, quality: ByteQuality) -> Traffic {
    Traffic {
        bytes_out: Some(connection.bytes_out),
        bytes_in: Some(connection.bytes_in),
        quality,
        ..Traffic::default()
    }
}

fn zero_unverified() -> Traffic {
    Traffic {
        bytes_out: Some(0),
        bytes_in: Some(0),
        quality: ByteQuality::ZeroUnverified,
        ..Traffic::default()
    }
}
