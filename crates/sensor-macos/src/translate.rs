//! What the callbacks copied, as events. Pure: the same bytes give the same events.
//!
//! Whatever the bytes are, there is an answer: what makes no sense is counted and told as lost.

use crate::intake::REPORT_CLOSED;
use crate::raw::{LongName, RawEvent, RawFlow, RawReport, RawSocket, RawToken, Text};
use crate::token::{Token, process_key};
use flow::{Closed, Event, FlowKey, Opened, Owner, Tuple};
use record::{
    Attribution, ByteQuality, Direction, Ending, Endpoint, Hostname, IdentitySource, LossCause,
    LossStage, LostKind, Mono, NameSource, Origin, Outcome, Protocol, SensorKind, TcpCounts,
    Traffic,
};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// `NEFilterReportEventNewFlow`.
const REPORT_NEW_FLOW: isize = 1;
/// `NEFilterReportEventDataDecision`.
const REPORT_DATA_DECISION: isize = 2;
/// `NEFilterReportEventFlowStatistics`.
const REPORT_STATISTICS: isize = 4;

/// `NETrafficDirectionInbound`.
const DIRECTION_INBOUND: isize = 1;
/// `NETrafficDirectionOutbound`.
const DIRECTION_OUTBOUND: isize = 2;

/// `SOCK_STREAM` and `SOCK_DGRAM` of `sys/socket.h`.
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;

/// Names that wait for their events at most.
const LONG_NAMES_MAX: usize = 256;

/// Reserved in the registry of IP protocols: for what is no number of a protocol.
const PROTOCOL_RESERVED: u8 = 255;

/// What one callback told, besides its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whose tokens it named: process and app.
    pub(crate) tokens: [Option<Token>; 2],
    /// A connection was taken from outside: whoever holds its socket by now may be looked for.
    pub(crate) accepted: Option<(FlowKey, Tuple)>,
}

/// Turns callbacks into events, and counts what makes no sense.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    /// TCP flows that were told since this was last taken.
    pub(crate) tcp: TcpCounts,
    nonsense: Nonsense,
    /// Kinds of reports that macOS is not documented to send, and sent.
    unexpected: [bool; 2],
    /// Names that came beside their events, oldest first.
    long_names: VecDeque<LongName>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Nonsense {
    connections: u64,
    closes: u64,
    processes: u64,
    events: u64,
}

impl Translator {
    /// Appends what `event` says.
    pub(crate) fn event(&mut self, event: &RawEvent, events: &mut Vec<Event>) -> Told {
        match event {
            RawEvent::Flow { at, flow } => self.flow(*at, flow, events),
            RawEvent::Report(report) => self.report(report, events),
        }
    }

    /// Keeps the name of a flow until the event comes that it belongs to. Where that does not fit
    /// into the queue, it never comes, and so only the newest are kept.
    pub(crate) fn keep_name(&mut self, name: LongName) {
        if self.long_names.len() >= LONG_NAMES_MAX {
            self.long_names.pop_front();
        }
        self.long_names.push_back(name);
    }

    /// Appends what made no sense since the last call.
    pub(crate) fn settle(&mut self, events: &mut Vec<Event>) {
        let nonsense = std::mem::take(&mut self.nonsense);
        for (count, what) in [
            (nonsense.connections, LostKind::Connections),
            (nonsense.closes, LostKind::Closes),
            (nonsense.processes, LostKind::Processes),
            (nonsense.events, LostKind::Events),
        ] {
            if count != 0 {
                events.push(Event::Lost {
                    stage: LossStage::Kernel,
                    cause: LossCause::Malformed,
                    what,
                    count: Some(count),
                });
            }
        }
    }

    fn flow(&mut self, at: Mono, flow: &RawFlow, events: &mut Vec<Event>) -> Told {
        let Some((opened, socket)) = self.seen(at, flow) else {
            self.nonsense.connections += 1;
            return Told::default();
        };
        self.count_nonsense(flow, socket);
        let opened = Opened {
            opened: Some(at),
            origin: Origin::Live,
            ..opened
        };
        events.push(Event::Opened(opened));
        self.name(&opened, flow, socket, events);
        let inbound_tcp = self.count_tcp(&opened.tuple);
        Told {
            tokens: tokens(flow),
            accepted: inbound_tcp.then_some((opened.key, opened.tuple)),
        }
    }

    fn report(&mut self, report: &RawReport, events: &mut Vec<Event>) -> Told {
        match report.event {
            REPORT_STATISTICS => self.statistics(report, events),
            REPORT_CLOSED => self.closed(report, events),
            REPORT_NEW_FLOW => self.unexpected(0, events),
            REPORT_DATA_DECISION => self.unexpected(1, events),
            // A number, not a choice of ours: later systems may have more.
            _ => {
                self.nonsense.events += 1;
                Told::default()
            }
        }
    }

    fn statistics(&mut self, report: &RawReport, events: &mut Vec<Event>) -> Told {
        let seen = report
            .flow
            .as_ref()
            .and_then(|flow| Some((flow, self.seen(report.at, flow)?)));
        let Some((flow, (opened, socket))) = seen else {
            self.nonsense.events += 1;
            return Told::default();
        };
        events.push(Event::Updated {
            key: opened.key,
            traffic: traffic(report, ByteQuality::SoFar),
            flow: Some(opened),
        });
        self.name(&opened, flow, socket, events);
        Told {
            tokens: tokens(flow),
            accepted: None,
        }
    }

    fn closed(&mut self, report: &RawReport, events: &mut Vec<Event>) -> Told {
        let seen = report
            .flow
            .as_ref()
            .and_then(|flow| Some((flow, self.seen(report.at, flow)?)));
        let Some((flow, (opened, socket))) = seen else {
            self.nonsense.closes += 1;
            return Told::default();
        };
        self.name(&opened, flow, socket, events);
        events.push(Event::Closed(Closed {
            key: opened.key,
            at: report.at,
            tuple: opened.tuple,
            owner: opened.owner,
            opened: None,
            established: None,
            traffic: traffic(report, ByteQuality::Exact),
            rtt_us: None,
            retransmits: None,
            closer_pid: None,
            ending: Ending {
                outcome: Outcome::Unknown,
                errno: None,
            },
            origin: Origin::Inferred,
        }));
        Told {
            tokens: tokens(flow),
            accepted: None,
        }
    }

    /// Says once that such reports come; nothing hangs on them.
    fn unexpected(&mut self, kind: usize, events: &mut Vec<Event>) -> Told {
        if !std::mem::replace(&mut self.unexpected[kind], true) {
            let name = ["new flow", "data decision"][kind];
            events.push(Event::SensorLimited {
                sensor: SensorKind::MacosFilter,
                limit: format!(
                    "macOS sends reports of the kind \"{name}\", which it is documented to send \
                     to another kind of provider; they are not needed and not recorded"
                ),
            });
        }
        Told::default()
    }

    /// The flow as it is at `at`; `None` when it cannot be named, or is not a socket's.
    fn seen<'a>(&self, at: Mono, flow: &'a RawFlow) -> Option<(Opened, &'a RawSocket)> {
        let socket = flow.is_socket.then_some(&flow.socket)?;
        let tuple = tuple(flow, socket);
        let opened = Opened {
            key: flow_key(&flow.id?),
            at,
            tuple,
            owner: owner(flow, &tuple),
            opened: None,
            established: None,
            origin: Origin::Inferred,
        };
        Some((opened, socket))
    }

    fn name(
        &mut self,
        opened: &Opened,
        flow: &RawFlow,
        socket: &RawSocket,
        events: &mut Vec<Event>,
    ) {
        let name = match socket.texts.get(Text::Name) {
            [] if socket.has_long_name => {
                let is_its = |name: &LongName| Some(name.id) == flow.id;
                let place = self.long_names.iter().position(is_its);
                let name = place.and_then(|place| self.long_names.remove(place));
                name.and_then(|name| hostname(name.bytes()))
            }
            // A name may stand where the address of the other side should.
            [] => hostname(socket.texts.get(Text::Remote)),
            name => hostname(name),
        };
        events.extend(name.map(|name| Event::Named {
            key: opened.key,
            hostname: Hostname {
                name,
                source: NameSource::SystemLibrary,
            },
        }));
    }

    fn count_nonsense(&mut self, flow: &RawFlow, socket: &RawSocket) {
        for token in [flow.process, flow.app] {
            self.nonsense.processes += u64::from(token == RawToken::Malformed);
        }
        self.nonsense.events += u64::from(socket.malformed);
        self.nonsense.events += u64::from(protocol(socket).is_none());
    }

    fn count_tcp(&mut self, tuple: &Tuple) -> bool {
        let is_tcp = tuple.protocol == Protocol::Tcp;
        match tuple.direction {
            Direction::Outbound => self.tcp.outbound += u64::from(is_tcp),
            Direction::Inbound => self.tcp.inbound += u64::from(is_tcp),
            Direction::Unknown => {}
        }
        is_tcp && tuple.direction == Direction::Inbound
    }
}

/// The UUID as two numbers, so that it sorts as it reads.
fn flow_key(id: &[u8; 16]) -> FlowKey {
    let id = u128::from_be_bytes(*id);
    FlowKey {
        socket: (id >> 64) as u64,
        part: id as u64,
    }
}

fn tuple(flow: &RawFlow, socket: &RawSocket) -> Tuple {
    Tuple {
        protocol: protocol(socket).unwrap_or(Protocol::Other(PROTOCOL_RESERVED)),
        direction: match flow.direction {
            DIRECTION_INBOUND => Direction::Inbound,
            DIRECTION_OUTBOUND => Direction::Outbound,
            _ => Direction::Unknown,
        },
        local: endpoint(socket.texts.get(Text::Local), socket.local_port),
        remote: endpoint(socket.texts.get(Text::Remote), socket.remote_port),
        network_namespace: None,
    }
}

/// The protocol that the socket says, or that its type implies where it says none.
fn protocol(socket: &RawSocket) -> Option<Protocol> {
    match (u8::try_from(socket.protocol), socket.kind) {
        (Ok(0), SOCK_STREAM) => Some(Protocol::Tcp),
        (Ok(0), SOCK_DGRAM) => Some(Protocol::Udp),
        (Ok(number), _) => Some(Protocol::from_number(number)),
        (Err(_), _) => None,
    }
}

/// An address or a port that is all zeros is one that is not there yet: a flow is offered before
/// its socket is bound.
fn endpoint(address: &[u8], port: Option<u16>) -> Endpoint {
    Endpoint {
        address: address_from_text(address).filter(|address| !address.is_unspecified()),
        port: port.filter(|port| *port != 0),
    }
}

/// The address that `text` spells. Its scope (`%en0`) is this machine's own affair, and an IPv4
/// address in IPv6 clothes is an IPv4 address.
fn address_from_text(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical())
}

/// Who made it, and on whose behalf.
///
/// Of a token that is all zeros nobody can say whose it was: of a process that was gone, or of the
/// kernel.
fn owner(flow: &RawFlow, tuple: &Tuple) -> Option<Owner> {
    let [process, app] = tokens(flow);
    let process = match flow.process {
        RawToken::Told(_) => process?,
        // The app is the process too, unless a system service connects for it.
        RawToken::Absent | RawToken::Malformed => app?,
    };
    let source = match (tuple.protocol, tuple.direction) {
        // The socket of a connection that was just taken inherits the user of the listening one.
        (Protocol::Tcp, Direction::Inbound) => IdentitySource::ListenerToken,
        _ => IdentitySource::AuditToken,
    };
    Some(Owner {
        process: process_key(&process),
        attribution: Attribution::from_source(source),
        responsible: app
            .filter(|app| *app != process)
            .map(|app| process_key(&app)),
    })
}

fn tokens(flow: &RawFlow) -> [Option<Token>; 2] {
    [flow.process, flow.app].map(|token| match token {
        RawToken::Told(token) if !token.is_zero() => Some(token),
        RawToken::Told(_) | RawToken::Malformed | RawToken::Absent => None,
    })
}

/// The totals of a report. The kernel counts them from the flow's first byte on, but says zero both
/// ways also of flows that it does not count, as those of the system's own networking library.
fn traffic(report: &RawReport, quality: ByteQuality) -> Traffic {
    Traffic {
        bytes_out: Some(report.bytes_out),
        bytes_in: Some(report.bytes_in),
        packets_out: None,
        packets_in: None,
        quality: match (report.bytes_out, report.bytes_in) {
            (0, 0) => ByteQuality::ZeroUnverified,
            _ => quality,
        },
    }
}

/// The name, if it is one: not an address, and nothing that could be more than a name.
fn hostname(bytes: &[u8]) -> Option<Arc<str>> {
    let text = str::from_utf8(bytes).ok().filter(|it| !it.is_empty())?;
    let is_name = text
        .chars()
        .all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    (is_name && text.parse::<IpAddr>().is_err()).then(|| Arc::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Texts;
    use record::{Confidence, ProcessKey};

    const AT: Mono = Mono(5_000);
    const KEY: FlowKey = FlowKey {
        socket: 0x0102_0304_0506_0708,
        part: 0x090a_0b0c_0d0e_0f10,
    };

    fn token(pid: u32, version: u32) -> RawToken {
        let mut bytes = [0; 32];
        for (word, value) in [(3, 501), (5, pid), (7, version)] {
            bytes[word * 4..word * 4 + 4].copy_from_slice(&u32::to_ne_bytes(value));
        }
        RawToken::Told(Token(bytes))
    }

    fn process(pid: u32, version: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ns: 0,
            exec_id: version,
        }
    }

    fn texts(remote: &str, local: &str, name: &str) -> Texts {
        let mut texts = Texts::default();
        for (which, text) in [
            (Text::Remote, remote),
            (Text::Local, local),
            (Text::Name, name),
        ] {
            assert!(texts.put(which, text.as_bytes()));
        }
        texts
    }

    fn socket() -> RawSocket {
        RawSocket {
            kind: SOCK_STREAM,
            protocol: 6,
            remote_port: Some(443),
            local_port: Some(0),
            texts: texts("192.0.2.9", "0.0.0.0", ""),
            ..RawSocket::default()
        }
    }

    fn flow(socket: RawSocket) -> RawFlow {
        RawFlow {
            id: Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            direction: DIRECTION_OUTBOUND,
            process: token(40, 7),
            app: token(40, 7),
            is_socket: true,
            socket,
        }
    }

    fn report(event: isize, bytes_out: u64, bytes_in: u64) -> RawReport {
        RawReport {
            at: AT,
            event,
            bytes_in,
            bytes_out,
            flow: Some(flow(socket())),
        }
    }

    fn told(translator: &mut Translator, event: RawEvent) -> (Vec<Event>, Told) {
        let mut events = Vec::new();
        let told = translator.event(&event, &mut events);
        (events, told)
    }

    fn told_of_flow(flow: RawFlow) -> (Vec<Event>, Told) {
        told(&mut Translator::default(), RawEvent::Flow { at: AT, flow })
    }

    fn opened(flow: RawFlow) -> Opened {
        let (events, _) = told_of_flow(flow);
        let Event::Opened(opened) = events[0] else {
            panic!("{events:?}");
        };
        opened
    }

    fn told_of_report(report: RawReport) -> Vec<Event> {
        told(&mut Translator::default(), RawEvent::Report(report)).0
    }

    fn closed(report: RawReport) -> Closed {
        let events = told_of_report(report);
        let Some(Event::Closed(closed)) = events.last() else {
            panic!("{events:?}");
        };
        *closed
    }

    fn lost(what: LostKind, count: u64) -> Event {
        Event::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::Malformed,
            what,
            count: Some(count),
        }
    }

    fn settled(translator: &mut Translator) -> Vec<Event> {
        let mut events = Vec::new();
        translator.settle(&mut events);
        events
    }

    // facts: tcp-outbound-at-connect, local-endpoint-late, two-tokens
    #[test]
    fn an_outbound_flow_begins_now_with_the_remote_side_and_its_process() {
        let opened = opened(flow(socket()));
        assert_eq!(opened.key, KEY);
        assert_eq!((opened.at, opened.opened), (AT, Some(AT)));
        assert_eq!(opened.established, None, "it only begins to connect");
        assert_eq!(opened.origin, Origin::Live);
        assert_eq!(opened.tuple.protocol, Protocol::Tcp);
        assert_eq!(opened.tuple.direction, Direction::Outbound);
        assert_eq!(opened.tuple.local, Endpoint::default(), "not bound yet");
        assert_eq!(opened.tuple.remote.port, Some(443));
        let owner = opened.owner.unwrap();
        assert_eq!(owner.process, process(40, 7));
        assert_eq!(owner.attribution.source, IdentitySource::AuditToken);
        assert_eq!(owner.responsible, None, "it acts for itself");
    }

    // facts: delegation/a, two-tokens, rule-6-both-tokens
    #[test]
    fn an_app_that_a_service_connects_for_is_named_beside_it() {
        let (events, told) = told_of_flow(RawFlow {
            app: token(50, 8),
            ..flow(socket())
        });
        let Event::Opened(opened) = events[0] else {
            panic!("{events:?}");
        };
        let owner = opened.owner.unwrap();
        assert_eq!(owner.process, process(40, 7));
        assert_eq!(owner.responsible, Some(process(50, 8)));
        let pids = told.tokens.map(|token| token.map(|token| token.pid()));
        assert_eq!(pids, [Some(40), Some(50)], "both are asked about");
    }

    // facts: process-token-needs-macos-13, token-missing-or-odd
    #[test]
    fn without_a_process_token_the_app_is_the_process() {
        for missing in [RawToken::Absent, RawToken::Malformed] {
            let owner = opened(RawFlow {
                process: missing,
                app: token(50, 8),
                ..flow(socket())
            })
            .owner
            .unwrap();
            assert_eq!(owner.process, process(50, 8));
            assert_eq!(owner.responsible, None);
        }
    }

    // facts: zero-token, kernel-made, short-lived-process
    #[test]
    fn a_token_of_zeros_is_nobody_and_not_the_kernel() {
        let zero = RawToken::Told(Token([0; 32]));
        let (events, told) = told_of_flow(RawFlow {
            process: zero,
            app: zero,
            ..flow(socket())
        });
        let Event::Opened(opened) = events[0] else {
            panic!("{events:?}");
        };
        assert_eq!(opened.owner, None);
        assert_eq!(told.tokens, [None, None], "there is nobody to ask about");
    }

    // facts: zero-token
    #[test]
    fn an_app_does_not_stand_in_for_a_service_that_is_gone() {
        let opened = opened(RawFlow {
            process: RawToken::Told(Token([0; 32])),
            app: token(50, 8),
            ..flow(socket())
        });
        assert_eq!(opened.owner, None);
    }

    // facts: token-missing-or-odd
    #[test]
    fn a_flow_without_tokens_is_told_without_an_owner() {
        let opened = opened(RawFlow {
            process: RawToken::Absent,
            app: RawToken::Absent,
            ..flow(socket())
        });
        assert_eq!(opened.owner, None);
    }

    // facts: inbound-token-is-the-listeners, tcp-inbound-at-syn
    #[test]
    fn who_took_a_connection_from_outside_is_a_guess_and_looked_for() {
        let inbound = RawFlow {
            direction: DIRECTION_INBOUND,
            ..flow(RawSocket {
                local_port: Some(22),
                texts: texts("192.0.2.9", "192.0.2.1", ""),
                ..socket()
            })
        };
        let mut translator = Translator::default();
        let (events, told) = told(
            &mut translator,
            RawEvent::Flow {
                at: AT,
                flow: inbound,
            },
        );
        let Event::Opened(opened) = events[0] else {
            panic!("{events:?}");
        };
        let attribution = opened.owner.unwrap().attribution;
        assert_eq!(attribution.source, IdentitySource::ListenerToken);
        assert_eq!(attribution.confidence, Confidence::Guess);
        assert_eq!(opened.tuple.local.port, Some(22));
        assert_eq!(told.accepted, Some((KEY, opened.tuple)));
        let counted = TcpCounts {
            outbound: 0,
            inbound: 1,
        };
        assert_eq!(translator.tcp, counted);
    }

    // facts: udp-one-flow-per-tuple
    #[test]
    fn a_datagram_from_outside_belongs_to_whoever_used_that_very_socket() {
        let (events, told) = told_of_flow(RawFlow {
            direction: DIRECTION_INBOUND,
            ..flow(RawSocket {
                kind: SOCK_DGRAM,
                protocol: 17,
                ..socket()
            })
        });
        let Event::Opened(opened) = events[0] else {
            panic!("{events:?}");
        };
        let source = opened.owner.unwrap().attribution.source;
        assert_eq!(source, IdentitySource::AuditToken);
        assert_eq!(told.accepted, None);
    }

    // facts: icmp-and-raw-have-no-ports
    #[test]
    fn what_has_no_ports_has_none() {
        let opened = opened(flow(RawSocket {
            kind: 3,
            protocol: 1,
            remote_port: Some(0),
            ..socket()
        }));
        assert_eq!(opened.tuple.protocol, Protocol::Other(1));
        assert_eq!(opened.tuple.remote.port, None);
        assert!(opened.tuple.remote.address.is_some());
    }

    #[test]
    fn a_socket_that_does_not_say_its_protocol_has_that_of_its_type() {
        let protocols = [(0, SOCK_STREAM), (0, SOCK_DGRAM), (0, 3), (-1, 1), (256, 1)].map(
            |(protocol, kind)| {
                let socket = RawSocket {
                    kind,
                    protocol,
                    ..socket()
                };
                opened(flow(socket)).tuple.protocol
            },
        );
        let reserved = Protocol::Other(PROTOCOL_RESERVED);
        let implied = [Protocol::Tcp, Protocol::Udp, Protocol::Other(0)];
        assert_eq!(protocols[..3], implied);
        assert_eq!(protocols[3..], [reserved, reserved]);
    }

    // facts: direction-can-surprise
    #[test]
    fn a_direction_that_is_neither_is_unknown() {
        for direction in [0, 3, -1, isize::MAX] {
            let opened = opened(RawFlow {
                direction,
                ..flow(socket())
            });
            assert_eq!(opened.tuple.direction, Direction::Unknown);
        }
    }

    // facts: endpoint-may-be-nil, local-endpoint-late
    #[test]
    fn sides_that_are_missing_or_all_zeros_are_unknown() {
        for (zero, port) in [("", None), ("0.0.0.0", Some(0)), ("::", Some(0))] {
            let opened = opened(flow(RawSocket {
                remote_port: port,
                local_port: port,
                texts: texts(zero, zero, ""),
                ..socket()
            }));
            assert_eq!(opened.tuple.remote, Endpoint::default());
            assert_eq!(opened.tuple.local, Endpoint::default());
        }
        let wildcard = opened(flow(RawSocket {
            local_port: Some(5_353),
            texts: texts("192.0.2.9", "::", ""),
            ..socket()
        }));
        assert_eq!(wildcard.tuple.local.address, None);
        assert_eq!(wildcard.tuple.local.port, Some(5_353));
    }

    #[test]
    fn addresses_are_read_whatever_they_are_dressed_in() {
        let address = |text: &str| address_from_text(text.as_bytes());
        assert_eq!(address("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(address("2001:db8::1"), "2001:db8::1".parse().ok());
        assert_eq!(address("fe80::1%en0"), "fe80::1".parse().ok());
        assert_eq!(address("::ffff:192.0.2.1"), "192.0.2.1".parse().ok());
        for nonsense in ["", "%en0", "example.org", "192.0.2", "192.0.2.1:80", "é"] {
            assert_eq!(address(nonsense), None, "{nonsense:?}");
        }
        assert_eq!(address_from_text(&[0xff]), None);
    }

    // facts: explicit-proxy
    #[test]
    fn a_name_in_the_place_of_the_remote_address_is_a_name_unless_there_is_another() {
        let named = |texts| match &told_of_flow(flow(RawSocket { texts, ..socket() })).0[1..] {
            [Event::Named { hostname, .. }] => Some(hostname.name.to_string()),
            _ => None,
        };
        let proxy = "proxy.example.org";
        assert_eq!(named(texts(proxy, "", "")).as_deref(), Some(proxy));
        let both = named(texts(proxy, "", "example.org"));
        assert_eq!(both.as_deref(), Some("example.org"));
        assert_eq!(named(texts("", proxy, "")), None, "it names nobody else");
    }

    fn names(hostname: &str) -> Vec<Event> {
        let socket = RawSocket {
            texts: texts("192.0.2.9", "", hostname),
            ..socket()
        };
        told_of_flow(flow(socket)).0.split_off(1)
    }

    // facts: hostname-sometimes, hostname-under-relay/a
    #[test]
    fn the_name_that_was_asked_for_follows_the_flow() {
        let [Event::Named { key, hostname }] = &names("exämple.org.")[..] else {
            panic!();
        };
        assert_eq!(*key, KEY);
        assert_eq!(&*hostname.name, "exämple.org.");
        assert_eq!(hostname.source, NameSource::SystemLibrary);
        assert_eq!(names(""), []);
    }

    // facts: hostname-sometimes, rule-10-bounded
    #[test]
    fn a_name_that_came_beside_its_event_is_told_with_it() {
        let long = "a".repeat(200);
        let id = flow(socket()).id.unwrap();
        let with_name = flow(RawSocket {
            has_long_name: true,
            ..socket()
        });
        let mut translator = Translator::default();
        let event = RawEvent::Flow {
            at: AT,
            flow: with_name,
        };
        assert_eq!(told(&mut translator, event).0.len(), 1, "it was lost");
        for number in 0..=LONG_NAMES_MAX {
            let id = if number == LONG_NAMES_MAX {
                id
            } else {
                [0xff; 16]
            };
            translator.keep_name(LongName::from_bytes(id, long.as_bytes()).unwrap());
        }
        assert_eq!(translator.long_names.len(), LONG_NAMES_MAX);
        let events = told(&mut translator, event).0;
        assert!(matches!(&events[1], Event::Named { hostname, .. } if *hostname.name == *long));
        assert_eq!(told(&mut translator, event).0.len(), 1, "it was taken");
    }

    // facts: flow-url-is-content
    #[test]
    fn what_is_not_a_name_or_could_be_more_is_not_told() {
        let more = [
            "example.org/secret",
            "https://example.org",
            "user@example.org",
            "example.org?q=1",
            "example.org:443",
            "a b",
            "a\u{7}",
            "192.0.2.9",
            "2001:db8::1",
        ];
        for text in more {
            assert_eq!(names(text), [], "{text:?}");
        }
    }

    // facts: local-endpoint-late, statistics-cumulative, report-before-open/b, rule-8-late-data
    #[test]
    fn statistics_tell_totals_and_the_flow_as_it_is_now() {
        let mut report = report(REPORT_STATISTICS, 70, 8_000);
        let socket = RawSocket {
            local_port: Some(50_123),
            texts: texts("192.0.2.9", "192.0.2.1", "example.org"),
            ..socket()
        };
        report.flow = Some(flow(socket));
        let events = told_of_report(report);
        let Event::Updated { key, traffic, flow } = &events[0] else {
            panic!("{events:?}");
        };
        assert_eq!(*key, KEY);
        assert_eq!(
            (traffic.bytes_out, traffic.bytes_in),
            (Some(70), Some(8_000))
        );
        assert_eq!(traffic.quality, ByteQuality::SoFar);
        let flow = flow.unwrap();
        assert_eq!(flow.tuple.local.port, Some(50_123));
        assert_eq!((flow.origin, flow.opened), (Origin::Inferred, None));
        assert!(
            matches!(&events[1], Event::Named { .. }),
            "it may come late"
        );
    }

    // facts: close-without-open, refused-looks-like-closed, tcp-outbound-at-connect
    #[test]
    fn a_close_tells_what_it_knows_and_that_the_outcome_is_not_known() {
        let closed = closed(report(REPORT_CLOSED, 70, 0));
        assert_eq!((closed.key, closed.at), (KEY, AT));
        assert_eq!(closed.tuple.remote.port, Some(443));
        assert_eq!(closed.owner.unwrap().process, process(40, 7));
        assert_eq!(closed.traffic.bytes_in, Some(0), "only one way was used");
        assert_eq!(closed.traffic.quality, ByteQuality::Exact);
        assert_eq!(closed.ending.outcome, Outcome::Unknown);
        assert_eq!(closed.ending.errno, None);
        assert_eq!(closed.opened, None, "the table knows, or nobody does");
        assert_eq!(closed.origin, Origin::Inferred);
    }

    // facts: zero-bytes-at-close, rule-9-zero-is-unknown
    #[test]
    fn zero_both_ways_is_not_verified() {
        let traffic = closed(report(REPORT_CLOSED, 0, 0)).traffic;
        assert_eq!(traffic.quality, ByteQuality::ZeroUnverified);
        assert_eq!((traffic.bytes_out, traffic.bytes_in), (Some(0), Some(0)));
        let events = told_of_report(report(REPORT_STATISTICS, 0, 0));
        assert!(matches!(&events[0], Event::Updated { traffic, .. }
            if traffic.quality == ByteQuality::ZeroUnverified));
    }

    #[test]
    fn the_name_comes_before_the_close() {
        let mut report = report(REPORT_CLOSED, 1, 1);
        report.flow = Some(flow(RawSocket {
            texts: texts("192.0.2.9", "", "example.org"),
            ..socket()
        }));
        let events = told_of_report(report);
        assert!(matches!(
            &events[..],
            [Event::Named { .. }, Event::Closed(_)]
        ));
    }

    // facts: report-without-flow, unknown-report-event, browser-flows-never
    #[test]
    fn what_makes_no_sense_is_counted_and_told_once() {
        let mut translator = Translator::default();
        let browser = RawFlow {
            is_socket: false,
            ..flow(socket())
        };
        let nameless = RawFlow {
            id: None,
            ..flow(socket())
        };
        let without = |event, flow| {
            RawEvent::Report(RawReport {
                flow,
                ..report(event, 1, 1)
            })
        };
        for event in [
            RawEvent::Flow {
                at: AT,
                flow: browser,
            },
            RawEvent::Flow {
                at: AT,
                flow: nameless,
            },
            without(REPORT_CLOSED, None),
            without(REPORT_CLOSED, Some(nameless)),
            without(REPORT_CLOSED, Some(browser)),
            without(REPORT_STATISTICS, None),
            without(0, None),
            without(99, Some(flow(socket()))),
        ] {
            assert_eq!(told(&mut translator, event).0, []);
        }
        let expected = [
            lost(LostKind::Connections, 2),
            lost(LostKind::Closes, 3),
            lost(LostKind::Events, 3),
        ];
        assert_eq!(settled(&mut translator), expected);
        assert_eq!(settled(&mut translator), [], "once");
    }

    // facts: token-missing-or-odd, endpoint-may-be-nil
    #[test]
    fn parts_that_make_no_sense_are_counted_and_the_flow_is_told() {
        let mut translator = Translator::default();
        let odd = RawFlow {
            process: RawToken::Malformed,
            app: RawToken::Malformed,
            ..flow(RawSocket {
                protocol: 1_000,
                malformed: 3,
                ..socket()
            })
        };
        let (events, _) = told(&mut translator, RawEvent::Flow { at: AT, flow: odd });
        assert!(matches!(events[..], [Event::Opened(_)]));
        let expected = [lost(LostKind::Processes, 2), lost(LostKind::Events, 4)];
        assert_eq!(settled(&mut translator), expected);
    }

    // facts: new-flow-reports/b
    #[test]
    fn reports_meant_for_others_do_no_harm_and_are_mentioned_once() {
        let mut translator = Translator::default();
        for event in [REPORT_NEW_FLOW, REPORT_DATA_DECISION] {
            let (first, _) = told(&mut translator, RawEvent::Report(report(event, 0, 0)));
            assert!(matches!(first[..], [Event::SensorLimited { .. }]));
            let (second, _) = told(&mut translator, RawEvent::Report(report(event, 0, 0)));
            assert_eq!(second, []);
        }
        assert_eq!(settled(&mut translator), []);
    }
}
