//! The connections that were there before the filter, which is never asked about them, and who
//! holds the connections that came from outside.
//!
//! Both are read from the sockets of all processes, on a thread of its own: at the start, again
//! five seconds later, because many connections are reset when a filter begins, and then once a
//! minute for as long as one of them lives. Only the first look adds connections, because the later
//! ones would find those that the filter told of. What begins after the first look and before the
//! filter is told by nobody. A datagram socket that was there is offered to the filter with its
//! next datagram (XNU `bsd/net/content_filter.c`, `cfil_sock_udp_handle_data`), so it can be told
//! by both.
//!
//! A filter knows of a connection from outside only who used the listening socket last. So a while
//! after it came, when somebody had time to accept it, its holder is looked for; one look serves
//! all that wait, and there is at most one in five seconds.

mod survey;
mod track;

use self::survey::Survey;
use self::track::Tracker;
use crate::Clock;
use crate::identity::worker::Worker;
use flow::{Event, FlowKey, Tuple};
use record::{LossCause, LossStage, LostKind, Mono};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Looks at sockets. Dropping it ends its thread and waits for that, but not for ever.
pub(crate) struct Snapshots {
    shared: Arc<Shared>,
    _worker: Worker,
}

/// What sensor and worker share. Neither calls the system while it holds the lock.
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_ending: bool,
    /// What the worker shall do, or does.
    look: Option<Look>,
    /// What is there shall be looked for once more.
    is_stale: bool,
    /// What was found shall not be followed any more.
    is_over: bool,
    /// When those that live are looked at again.
    next: Option<Mono>,
    /// When the last look ended.
    looked: Mono,
    wanted: Vec<Wanted>,
    lost: u64,
    events: Vec<Event>,
}

/// Why to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// To find what is there.
    Opening,
    /// To see what still is.
    Following,
    /// To find the holders of what is wanted.
    Asked,
}

/// A connection whose holder is wanted.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    key: FlowKey,
    tuple: Tuple,
    /// Not before this moment.
    due: Mono,
    /// How many looks may still fail to find it.
    looks_left: u32,
}

impl Snapshots {
    /// Begins with the first look.
    pub(crate) fn start(clock: Clock) -> Snapshots {
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(State {
                is_ending: false,
                look: Some(Look::Opening),
                is_stale: false,
                is_over: false,
                next: None,
                looked: Mono::default(),
                wanted: Vec::new(),
                lost: 0,
                events: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let work = Arc::clone(&shared);
        let worker = Worker::start("snapshots", move || work.work());
        Snapshots {
            shared,
            _worker: worker,
        }
    }

    /// The filter began to watch, or stopped. When it stops nothing is followed any more, and what
    /// is there when it begins is found again, unless the last look was just now.
    pub(crate) fn watching(&mut self, is_watching: bool) {
        let now = (self.shared.clock)().mono;
        let mut state = self.shared.lock();
        if is_watching {
            state.is_stale |= now.since_ns(state.looked) >= STALE_NS && state.look.is_none();
        } else {
            state.is_over = true;
            state.events.clear();
            state.wanted.clear();
            state.next = None;
            state.looked = Mono::default();
        }
    }

    /// Looks for the process that holds a connection from outside; what is found is told as
    /// [`Event::Attributed`], or nothing is.
    pub(crate) fn look_for(&mut self, key: FlowKey, tuple: Tuple) {
        let is_whole = [tuple.local, tuple.remote]
            .iter()
            .all(|endpoint| endpoint.address.is_some() && endpoint.port.is_some());
        if !is_whole {
            return;
        }
        let due = (self.shared.clock)().mono.plus_ns(ACCEPT_WAIT_NS);
        let mut state = self.shared.lock();
        if state.wanted.len() >= WANTED_MAX {
            state.lost += 1;
            return;
        }
        state.wanted.push(Wanted {
            key,
            tuple,
            due,
            looks_left: LOOKS_MAX,
        });
    }

    /// Appends what was found since the last call, and sends the worker to look again when it is
    /// time. Never waits for it.
    pub(crate) fn collect(&mut self, events: &mut Vec<Event>) {
        let now = (self.shared.clock)().mono;
        let mut state = self.shared.lock();
        events.append(&mut state.events);
        let lost = std::mem::take(&mut state.lost);
        if lost != 0 {
            events.push(Event::Lost {
                stage: LossStage::SensorQueue,
                cause: LossCause::QueueFull,
                what: LostKind::Attributions,
                count: Some(lost),
            });
        }
        if let Some(look) = state.due(now) {
            state.look = Some(look);
            state.is_stale = false;
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_one();
    }
}

impl State {
    fn due(&self, now: Mono) -> Option<Look> {
        let is_free = self.look.is_none() && self.events.len() < EVENTS_MAX;
        if !is_free {
            return None;
        }
        if self.is_stale {
            return Some(Look::Opening);
        }
        if self.next.is_some_and(|next| next <= now) {
            return Some(Look::Following);
        }
        let is_rested = now.since_ns(self.looked) >= ASKED_INTERVAL_NS;
        let is_wanted = self.wanted.iter().any(|wanted| wanted.due <= now);
        (is_rested && is_wanted).then_some(Look::Asked)
    }
}

impl Shared {
    fn work(&self) {
        let mut tracker = Tracker::new();
        while let Some((look, mut wanted)) = self.wait(&mut tracker) {
            let survey = Survey::take(|| (self.clock)().mono);
            let mut events = Vec::new();
            tracker.take(look, &survey, &mut wanted, &mut events);
            self.end(look, &survey, &tracker, wanted, events);
        }
    }

    /// Waits for something to do; `None` when there will be nothing any more.
    fn wait(&self, tracker: &mut Tracker) -> Option<(Look, Vec<Wanted>)> {
        let is_idle = |state: &mut State| state.look.is_none() && !state.is_ending;
        let state = self.changed.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.is_ending {
            return None;
        }
        let look = state.look?;
        if std::mem::take(&mut state.is_over) {
            tracker.forget();
        }
        let now = (self.clock)().mono;
        let wanted = state
            .wanted
            .extract_if(.., |wanted| wanted.due <= now)
            .collect();
        Some((look, wanted))
    }

    fn end(
        &self,
        look: Look,
        survey: &Survey,
        tracker: &Tracker,
        wanted: Vec<Wanted>,
        mut events: Vec<Event>,
    ) {
        let mut state = self.lock();
        state.look = None;
        // The filter stopped meanwhile.
        if state.is_over {
            return;
        }
        state.events.append(&mut events);
        state.looked = survey.at;
        state.next = match look {
            Look::Opening => Some(survey.at.plus_ns(SECOND_LOOK_NS)),
            Look::Following if tracker.is_empty() => None,
            Look::Following => Some(survey.at.plus_ns(LOOK_INTERVAL_NS)),
            Look::Asked => state.next,
        };
        state
            .wanted
            .extend(wanted.into_iter().filter_map(Wanted::again));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn again(self) -> Option<Wanted> {
        let looks_left = self.looks_left.checked_sub(1).filter(|left| *left != 0)?;
        Some(Wanted { looks_left, ..self })
    }
}

/// A connection is held by a process only once that has accepted it, in nanoseconds.
const ACCEPT_WAIT_NS: u64 = 1_000_000_000;

/// At least so long between two looks for holders, in nanoseconds.
const ASKED_INTERVAL_NS: u64 = 5_000_000_000;

/// So long after the first look, in nanoseconds.
const SECOND_LOOK_NS: u64 = 5_000_000_000;

/// Then so often, in nanoseconds.
const LOOK_INTERVAL_NS: u64 = 60_000_000_000;

/// After so long the last look says little of what is there, in nanoseconds.
const STALE_NS: u64 = 10_000_000_000;

/// How many looks it takes to give up.
const LOOKS_MAX: u32 = 2;

/// Connections whose holder is wanted at one time; about 0.2 MB.
const WANTED_MAX: usize = 1_024;

/// With more events that wait to be collected nobody looks again. One look gives few more than one
/// for each socket, so that about 6 MB wait at most.
const EVENTS_MAX: usize = 4_096;

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::cf;
    use darwin_double::machine::{self, File, FileKind, Process, Socket};
    use flow::{Closed, Introduction, Opened, Owner};
    use record::{
        Confidence, Direction, Endpoint, IdentitySource, Origin, Outcome, Protocol, Stamp, Traffic,
        Wall,
    };
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    static NOW_NS: AtomicU64 = AtomicU64::new(1_000 * 1_000_000_000);

    fn clock() -> Stamp {
        let now_ns = NOW_NS.load(Ordering::SeqCst);
        Stamp {
            wall: Wall(now_ns.cast_signed()),
            mono: Mono(now_ns),
        }
    }

    fn pass(seconds: u64) {
        NOW_NS.fetch_add(seconds * 1_000_000_000, Ordering::SeqCst);
    }

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "not within a minute: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn rest(snapshots: &Snapshots) {
        wait_until("the worker rests", || {
            snapshots.shared.lock().look.is_none()
        });
    }

    /// What the next look shows, which is due by now.
    fn look(snapshots: &mut Snapshots) -> Vec<Event> {
        let mut events = Vec::new();
        rest(snapshots);
        snapshots.collect(&mut events);
        rest(snapshots);
        snapshots.collect(&mut events);
        events
    }

    fn opened(events: &[Event]) -> Vec<Opened> {
        let opened = events.iter().filter_map(|event| {
            let Event::Opened(opened) = event else {
                return None;
            };
            Some(*opened)
        });
        opened.collect()
    }

    fn closed(events: &[Event]) -> Vec<Closed> {
        let closed = events.iter().filter_map(|event| {
            let Event::Closed(closed) = event else {
                return None;
            };
            Some(*closed)
        });
        closed.collect()
    }

    fn alive(events: &[Event]) -> Vec<(FlowKey, Traffic, bool)> {
        let alive = events.iter().filter_map(|event| {
            let Event::Updated { key, traffic, flow } = event else {
                return None;
            };
            Some((*key, *traffic, flow.is_some()))
        });
        alive.collect()
    }

    fn attributed(events: &[Event]) -> Vec<(FlowKey, u32)> {
        let attributed = events.iter().filter_map(|event| {
            let Event::Attributed { key, owner } = event else {
                return None;
            };
            Some((*key, owner.process.pid))
        });
        attributed.collect()
    }

    fn limits(events: &[Event]) -> Vec<&str> {
        let limits = events.iter().filter_map(|event| {
            let Event::SensorLimited { limit, .. } = event else {
                return None;
            };
            Some(limit.as_str())
        });
        limits.collect()
    }

    fn seen(events: &[Event], pid: u32) -> Option<(usize, &Introduction)> {
        events.iter().enumerate().find_map(|(index, event)| {
            let Event::ProcessSeen(introduction) = event else {
                return None;
            };
            (introduction.process.key.pid == pid).then_some((index, introduction))
        })
    }

    fn looks() -> u64 {
        machine::calls_of("proc_listallpids")
    }

    const REMOTE: &str = "192.0.2.7:443";

    // facts: existing-flows-not-offered
    #[test]
    fn connections_that_are_there_are_told_with_who_holds_them() {
        let _machine = machine::lock();
        let mut curl = Process::new(700)
            .at("/usr/bin/curl")
            .holding(FileKind::VNODE)
            .holding(Socket::tcp("10.0.0.2:50000", REMOTE))
            .holding(Socket::tcp("[2001:db8::2]:50001", "[2001:db8::7]:443"))
            .holding(Socket::connected_udp("10.0.0.2:50002", "192.0.2.7:53"));
        (curl.real_user, curl.effective_user) = (501, 0);
        machine::add(curl);
        let mut snapshots = Snapshots::start(clock);
        let events = look(&mut snapshots);
        let told = opened(&events);
        assert_eq!(told.len(), 3);
        for opened in &told {
            assert_eq!((opened.origin, opened.at), (Origin::Snapshot, clock().mono));
            assert_eq!((opened.opened, opened.established), (None, None));
            let Owner {
                process,
                attribution,
                responsible,
            } = opened.owner.unwrap();
            assert_eq!((process.pid, process.exec_id, responsible), (700, 0, None));
            assert_eq!(attribution.source, IdentitySource::Snapshot);
            assert_eq!(attribution.confidence, Confidence::Guess);
        }
        let protocols: Vec<_> = told.iter().map(|it| it.tuple.protocol).collect();
        assert_eq!(protocols, [Protocol::Tcp, Protocol::Tcp, Protocol::Udp]);
        assert_eq!(told[0].tuple.direction, Direction::Outbound);
        assert_eq!(told[2].tuple.direction, Direction::Unknown);
        let (index, introduction) = seen(&events, 700).unwrap();
        assert!(
            index
                < events
                    .iter()
                    .position(|it| matches!(it, Event::Opened(_)))
                    .unwrap()
        );
        let process = &introduction.process;
        assert_eq!(process.key.start_ns, 1_700_000_700_250_000_000);
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!((process.effective_uid, process.login_uid), (Some(0), None));
        assert!(process.signature.is_some() && process.cpid.is_some());
        assert_eq!(introduction.parent.map(|key| key.pid), Some(1));
        assert_eq!(limits(&events), Vec::<&str>::new());
    }

    #[test]
    fn a_process_with_many_sockets_is_seen_whole() {
        let _machine = machine::lock();
        let mut process = Process::new(700);
        for (descriptor, port) in (3..).zip(50_000..51_500) {
            let kind = Socket::tcp(&format!("10.0.0.2:{port}"), REMOTE).into();
            process.files.push(File { descriptor, kind });
        }
        machine::add(process);
        let events = look(&mut Snapshots::start(clock));
        assert_eq!(opened(&events).len(), 1_500);
        let lookups = machine::calls_of("SecCodeCopyGuestWithAttributes");
        assert_eq!(lookups, 1, "it is introduced once");
    }

    // facts: rule-10-bounded
    #[test]
    fn sockets_that_are_not_followed_are_counted() {
        let _machine = machine::lock();
        let mut survey = Survey::take(Mono::default);
        survey.surplus = 3;
        let mut events = Vec::new();
        Tracker::new().take(Look::Opening, &survey, &mut Vec::new(), &mut events);
        let lost = Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::QueueFull,
            what: LostKind::Connections,
            count: Some(3),
        };
        assert_eq!(events, [lost]);
    }

    // facts: snapshot-unknown-sockets, loopback-not-delivered
    #[test]
    fn what_is_no_connection_with_another_machine_is_not_told() {
        let _machine = machine::lock();
        let mut server = Process::new(700)
            .holding(FileKind::CHANNEL)
            .holding(Socket::listening("0.0.0.0:22"))
            .holding(Socket::udp("0.0.0.0:5353"))
            .holding(Socket::raw("10.0.0.2:0", 1))
            .holding(Socket::unix("/var/run/x"))
            .holding(Socket::vsock([3, 1], [2, 1]))
            .holding(Socket::kernel_control("com.apple.net.utun_control"))
            .holding(Socket::tcp("127.0.0.1:50000", "127.0.0.1:631"))
            .holding(Socket::tcp("[::1]:50000", "[::1]:631"));
        for state in [0, 1, 10] {
            server = server.holding(Socket::tcp("10.0.0.2:50000", REMOTE).in_state(state));
        }
        machine::add(server);
        let events = look(&mut Snapshots::start(clock));
        assert_eq!(opened(&events), []);
        assert_eq!(limits(&events), Vec::<&str>::new());
    }

    #[test]
    fn who_began_is_concluded_from_state_and_listeners() {
        let _machine = machine::lock();
        machine::add(
            Process::new(700)
                .holding(Socket::listening("[::]:22").through_ipv6(3))
                .holding(Socket::listening("10.0.0.3:80"))
                .holding(Socket::tcp("10.0.0.2:22", "192.0.2.7:50000"))
                .holding(Socket::tcp("10.0.0.2:80", "192.0.2.7:50001"))
                .holding(Socket::tcp("10.0.0.2:50002", REMOTE).in_state(2))
                .holding(Socket::tcp("10.0.0.2:50003", REMOTE).in_state(3)),
        );
        let events = look(&mut Snapshots::start(clock));
        let direction = |port| {
            let told = opened(&events);
            told.iter()
                .find(|it| it.tuple.local.port == Some(port))
                .unwrap()
                .tuple
                .direction
        };
        assert_eq!(direction(22), Direction::Inbound);
        assert_eq!(
            direction(80),
            Direction::Outbound,
            "another address listens"
        );
        assert_eq!(direction(50_002), Direction::Outbound);
        assert_eq!(direction(50_003), Direction::Inbound);
    }

    // facts: snapshot-reset, close-missing
    #[test]
    fn what_is_not_there_any_more_is_over_and_what_is_lives() {
        let _machine = machine::lock();
        let socket = |port: u16| Socket::tcp(&format!("10.0.0.2:{port}"), REMOTE);
        machine::add(Process::new(701).holding(socket(50_001)));
        machine::add(Process::new(702).holding(socket(50_002)));
        machine::add(Process::new(703).holding(socket(50_003)));
        let mut snapshots = Snapshots::start(clock);
        let first = opened(&look(&mut snapshots));
        assert_eq!(first.len(), 3);
        machine::exit(701);
        machine::change(702, |process| process.files.clear());
        machine::change(703, |process| {
            *process = process
                .clone()
                .holding(Socket::tcp("10.0.0.2:50004", REMOTE));
        });
        pass(4);
        assert_eq!(look(&mut snapshots), [], "it is too early");
        pass(1);
        let events = look(&mut snapshots);
        let over = closed(&events);
        let outcomes: Vec<_> = over.iter().map(|it| it.ending.outcome).collect();
        assert_eq!(outcomes, [Outcome::ProcessGone, Outcome::Unknown]);
        assert_eq!([over[0].key, over[1].key], [first[0].key, first[1].key]);
        assert_eq!(
            (over[0].owner, over[0].tuple),
            (first[0].owner, first[0].tuple)
        );
        assert_eq!(
            (over[0].traffic, over[0].opened),
            (Traffic::default(), None)
        );
        assert_eq!(
            (over[0].origin, over[0].at),
            (Origin::Snapshot, clock().mono)
        );
        assert_eq!(opened(&events), [], "the filter tells of what is new");
        assert_eq!(alive(&events), [(first[2].key, Traffic::default(), false)]);
        pass(59);
        assert_eq!(look(&mut snapshots), []);
        pass(1);
        assert_eq!(alive(&look(&mut snapshots)).len(), 1);
        machine::exit(703);
        pass(60);
        assert_eq!(closed(&look(&mut snapshots)).len(), 1);
        let before = looks();
        pass(3_600);
        assert_eq!(look(&mut snapshots), []);
        assert_eq!(looks(), before, "nobody is followed any more");
    }

    #[test]
    fn a_process_that_cannot_be_looked_into_this_time_keeps_its_connections() {
        let _machine = machine::lock();
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let mut snapshots = Snapshots::start(clock);
        assert_eq!(opened(&look(&mut snapshots)).len(), 1);
        machine::on("proc_pidinfo").of(700).nth(1).fail(12);
        machine::on("proc_pidinfo").of(700).nth(2).fail(12);
        pass(5);
        assert_eq!(closed(&look(&mut snapshots)), []);
        machine::on("proc_listallpids").nth(1).fail(12);
        pass(60);
        let events = look(&mut snapshots);
        assert_eq!(closed(&events), []);
        assert!(
            limits(&events)[0].contains("processes cannot be listed"),
            "{events:?}"
        );
        pass(60);
        assert_eq!(closed(&look(&mut snapshots)), []);
    }

    // facts: snapshot-needs-root
    #[test]
    fn without_root_only_own_processes_are_seen_and_that_is_told_once() {
        let _machine = machine::lock();
        machine::set_root(false);
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let other = Process::new(701).of_user(502, 20);
        machine::add(other.holding(Socket::tcp("10.0.0.2:50001", REMOTE)));
        let mut snapshots = Snapshots::start(clock);
        let events = look(&mut snapshots);
        let told = opened(&events);
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].tuple.direction,
            Direction::Unknown,
            "somebody else may listen"
        );
        assert!(limits(&events)[0].contains("takes root"), "{events:?}");
        pass(5);
        assert_eq!(limits(&look(&mut snapshots)), Vec::<&str>::new());
    }

    #[test]
    fn sockets_in_an_unknown_form_are_counted_and_told_once() {
        let _machine = machine::lock();
        let odd = Socket::tcp("10.0.0.2:50000", REMOTE).in_state(42);
        let good = Socket::tcp("10.0.0.2:50001", REMOTE);
        machine::add(
            Process::new(700)
                .holding(odd.clone())
                .holding(odd)
                .holding(good),
        );
        let mut snapshots = Snapshots::start(clock);
        let events = look(&mut snapshots);
        assert_eq!(opened(&events).len(), 1);
        assert!(limits(&events)[0].starts_with("2 sockets"), "{events:?}");
        pass(5);
        assert_eq!(limits(&look(&mut snapshots)), Vec::<&str>::new());
    }

    // facts: socket-passed-on
    #[test]
    fn a_socket_that_several_hold_is_one_connection_of_the_first_of_them() {
        let _machine = machine::lock();
        let socket = Socket::tcp("10.0.0.2:22", "192.0.2.7:50000");
        let old = Process {
            started: (1_600_000_000, 0),
            ..Process::new(900)
        };
        machine::add(old.holding(socket.clone()));
        machine::add(Process::new(700).child_of(900).holding(socket));
        let mut snapshots = Snapshots::start(clock);
        let told = opened(&look(&mut snapshots));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].owner.map(|owner| owner.process.pid), Some(900));
        machine::exit(900);
        pass(5);
        assert_eq!(
            closed(&look(&mut snapshots)),
            [],
            "the other still holds it"
        );
    }

    // facts: pid-reads-race
    #[test]
    fn what_goes_between_two_calls_is_left_out() {
        let _machine = machine::lock();
        let holding = |pid: i32| {
            let socket = Socket::tcp(&format!("10.0.0.2:{}", 50_000 + pid), REMOTE);
            machine::add(Process::new(pid).holding(socket));
        };
        [701, 702, 703, 704].into_iter().for_each(holding);
        machine::on("proc_pidinfo")
            .of(701)
            .nth(1)
            .run(|| machine::exit(701));
        machine::on("proc_pidfdinfo").of(702).run(|| {
            machine::change(702, |process| process.files.clear());
        });
        // The first call lists descriptors, the second tells who started first.
        machine::on("proc_pidinfo")
            .of(703)
            .nth(2)
            .run(|| machine::exit(703));
        machine::on("proc_pidpath").of(704).run(|| {
            machine::add(Process {
                started: (1_750_000_000, 0),
                ..Process::new(704)
            });
        });
        let events = look(&mut Snapshots::start(clock));
        let told = opened(&events);
        let ports: Vec<_> = told.iter().map(|it| it.tuple.local.port.unwrap()).collect();
        assert_eq!(ports, [50_703, 50_704]);
        assert!(told.iter().all(|it| it.owner.is_none()));
        assert!(seen(&events, 704).is_none());
    }

    fn tuple(local: &str, remote: &str) -> Tuple {
        let endpoint = |text: &str| {
            let address: SocketAddr = text.parse().expect("an address with a port");
            Endpoint {
                address: Some(address.ip()),
                port: Some(address.port()),
            }
        };
        Tuple {
            protocol: Protocol::Tcp,
            direction: Direction::Inbound,
            local: endpoint(local),
            remote: endpoint(remote),
            network_namespace: None,
        }
    }

    fn key(socket: u64) -> FlowKey {
        FlowKey {
            socket,
            part: 0x8000_0000_0000_0000,
        }
    }

    /// A server whose master listens, and a snapshot that has had its first two looks.
    fn server() -> Snapshots {
        machine::add(Process::new(600).holding(Socket::listening("0.0.0.0:80")));
        let mut snapshots = Snapshots::start(clock);
        look(&mut snapshots);
        pass(5);
        look(&mut snapshots);
        pass(5);
        snapshots
    }

    // facts: inbound-token-is-the-listeners
    #[test]
    fn the_holder_of_a_connection_from_outside_is_found() {
        let _machine = machine::lock();
        let mut snapshots = server();
        let accepted = Socket::tcp("10.0.0.2:80", "192.0.2.7:50000");
        machine::add(
            Process::new(601)
                .at("/usr/sbin/httpd")
                .child_of(600)
                .holding(accepted),
        );
        snapshots.look_for(key(1), tuple("10.0.0.2:80", "192.0.2.7:50000"));
        assert_eq!(look(&mut snapshots), [], "somebody has to accept it first");
        pass(1);
        let events = look(&mut snapshots);
        assert_eq!(attributed(&events), [(key(1), 601)]);
        let (_, introduction) = seen(&events, 601).unwrap();
        assert_eq!(
            introduction.process.path.as_deref(),
            Some("/usr/sbin/httpd")
        );
        let Some(Event::Attributed { owner, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(owner.attribution.source, IdentitySource::Snapshot);
        assert_eq!(owner.process, introduction.process.key);
        assert_eq!(opened(&events), [], "the filter told of it");
    }

    // facts: inbound-token-is-the-listeners
    #[test]
    fn nothing_is_said_where_several_or_only_the_listener_hold_it() {
        let _machine = machine::lock();
        let mut snapshots = server();
        let socket = |port: u16| Socket::tcp("10.0.0.2:80", &format!("192.0.2.7:{port}"));
        machine::change(600, |process| {
            *process = process.clone().holding(socket(50_000))
        });
        machine::add(Process::new(601).holding(socket(50_001)));
        machine::add(Process::new(602).holding(socket(50_001)));
        machine::add(Process::new(603).holding(socket(50_002)));
        for (number, port) in [50_000, 50_001, 50_002, 50_003].into_iter().enumerate() {
            snapshots.look_for(
                key(number as u64),
                tuple("10.0.0.2:80", &format!("192.0.2.7:{port}")),
            );
        }
        pass(1);
        assert_eq!(attributed(&look(&mut snapshots)), [(key(2), 603)]);
    }

    #[test]
    fn a_worker_that_shares_the_listener_is_told() {
        let _machine = machine::lock();
        let mut snapshots = server();
        let worker = Process::new(601).holding(Socket::listening("0.0.0.0:80"));
        machine::add(worker.holding(Socket::tcp("10.0.0.2:80", "192.0.2.7:50000")));
        snapshots.look_for(key(1), tuple("10.0.0.2:80", "192.0.2.7:50000"));
        pass(1);
        assert_eq!(attributed(&look(&mut snapshots)), [(key(1), 601)]);
    }

    // facts: rule-7-identity-off-the-path
    #[test]
    fn holders_are_looked_for_together_twice_and_not_too_often() {
        let _machine = machine::lock();
        let mut snapshots = server();
        let before = looks();
        for port in 50_000..50_100_u16 {
            let remote = format!("192.0.2.7:{port}");
            snapshots.look_for(key(port.into()), tuple("10.0.0.2:80", &remote));
        }
        pass(1);
        look(&mut snapshots);
        assert_eq!(looks(), before + 1, "one look for all");
        pass(4);
        look(&mut snapshots);
        assert_eq!(looks(), before + 1, "not yet");
        let late = Socket::tcp("10.0.0.2:80", "192.0.2.7:50099");
        machine::add(Process::new(601).holding(late));
        pass(1);
        assert_eq!(attributed(&look(&mut snapshots)), [(key(50_099), 601)]);
        assert_eq!(looks(), before + 2);
        pass(60);
        look(&mut snapshots);
        assert_eq!(looks(), before + 2, "the others were given up");
    }

    #[test]
    fn a_look_for_a_holder_does_not_put_off_the_next_look_at_what_lives() {
        let _machine = machine::lock();
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let mut snapshots = server();
        snapshots.look_for(key(1), tuple("10.0.0.2:80", "192.0.2.7:50000"));
        pass(1);
        assert_eq!(
            alive(&look(&mut snapshots)),
            [],
            "that was the look for the holder"
        );
        pass(54);
        assert_eq!(alive(&look(&mut snapshots)).len(), 1);
    }

    #[test]
    fn what_cannot_be_looked_for_or_does_not_fit_is_not() {
        let _machine = machine::lock();
        let mut snapshots = server();
        let whole = tuple("10.0.0.2:80", "192.0.2.7:50000");
        snapshots.look_for(
            key(1),
            Tuple {
                local: Endpoint::default(),
                ..whole
            },
        );
        assert!(snapshots.shared.lock().wanted.is_empty());
        for socket in 0..WANTED_MAX as u64 + 7 {
            snapshots.look_for(key(socket), whole);
        }
        let mut events = Vec::new();
        snapshots.collect(&mut events);
        let lost = Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::QueueFull,
            what: LostKind::Attributions,
            count: Some(7),
        };
        assert_eq!(events, [lost]);
    }

    // facts: rule-7-identity-off-the-path
    #[test]
    fn a_look_that_hangs_delays_nobody() {
        let _machine = machine::lock();
        let held = machine::on("proc_pidinfo").hold();
        let mut snapshots = Snapshots::start(clock);
        assert!(held.wait_for(1, Duration::from_secs(60)));
        let began = Instant::now();
        let mut events = Vec::new();
        for socket in 0..100 {
            snapshots.look_for(key(socket), tuple("10.0.0.2:80", "192.0.2.7:50000"));
            snapshots.collect(&mut events);
        }
        assert!(began.elapsed() < Duration::from_secs(2), "nobody waited");
        assert_eq!(events, []);
        drop(held);
        rest(&snapshots);
    }

    // facts: stop-reasons
    #[test]
    fn nothing_is_followed_while_the_filter_is_stopped() {
        let _machine = machine::lock();
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let mut snapshots = Snapshots::start(clock);
        assert_eq!(opened(&look(&mut snapshots)).len(), 1);
        snapshots.watching(false);
        machine::exit(700);
        pass(60);
        assert_eq!(look(&mut snapshots), []);
        machine::add(Process::new(701).holding(Socket::tcp("10.0.0.2:50001", REMOTE)));
        snapshots.watching(true);
        let events = look(&mut snapshots);
        assert_eq!((opened(&events).len(), closed(&events).len()), (1, 0));
        machine::exit(701);
        pass(5);
        assert_eq!(closed(&look(&mut snapshots)).len(), 1);
    }

    #[test]
    fn what_a_look_finds_while_the_filter_stops_is_dropped() {
        let _machine = machine::lock();
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let held = machine::on("proc_pidinfo").of(700).nth(1).hold();
        let mut snapshots = Snapshots::start(clock);
        assert!(held.wait_for(1, Duration::from_secs(60)));
        snapshots.watching(false);
        drop(held);
        rest(&snapshots);
        pass(60);
        assert_eq!(look(&mut snapshots), []);
        snapshots.watching(true);
        assert_eq!(opened(&look(&mut snapshots)).len(), 1);
    }

    #[test]
    fn a_filter_that_starts_right_after_the_first_look_needs_no_other() {
        let _machine = machine::lock();
        let mut snapshots = Snapshots::start(clock);
        look(&mut snapshots);
        let before = looks();
        pass(1);
        snapshots.watching(true);
        look(&mut snapshots);
        assert_eq!(looks(), before);
        pass(10);
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        look(&mut snapshots);
        pass(10);
        snapshots.watching(true);
        assert_eq!(
            opened(&look(&mut snapshots)).len(),
            1,
            "the filter was late"
        );
    }

    #[test]
    fn no_object_of_the_system_is_kept_or_released_too_often() {
        let _machine = machine::lock();
        let before = cf::live();
        machine::add(Process::new(700).holding(Socket::tcp("10.0.0.2:50000", REMOTE)));
        let mut snapshots = Snapshots::start(clock);
        look(&mut snapshots);
        drop(snapshots);
        assert_eq!(cf::live(), before);
        assert_eq!(cf::over_released(), Vec::<&str>::new());
    }
}
