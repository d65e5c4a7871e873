//! One day of a pretended Mac, through the unmodified adapter: every field that macOS fills occurs.
//!
//! The clock stands still while events of one moment are waited for, and no two processes are
//! looked up at once, so that each day is like the other.

use darwin_double::machine::{self, Code, Process, Socket, status};
use flow::stream::{self, Call, Header};
use flow::{Event, FlowTable, Output, Want};
use objc2_network_extension::driver::{self, Endpoint, Flow, FlowSpec, Provider};
use objc2_network_extension::{NEFilterReportEvent, NEProviderStopReason};
use record::{Device, Mono, Record, Stamp, Wall};
use sensor_macos::{FilterSensor, FilterSettings, Options, PROVIDER_CLASS, Sensor, prepare};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;
const START: Mono = Mono(10_000 * SECOND_NS);
const WALL_AT_BOOT_NS: i64 = 1_700_000_000_000_000_000;
const ENOUGH: Duration = Duration::from_secs(60);

static NOW_NS: AtomicU64 = AtomicU64::new(0);
static STANDS_ASIDE: AtomicBool = AtomicBool::new(false);

/// What a day gave.
pub(crate) struct Played {
    /// How the table was made.
    pub(crate) header: Header,
    /// What the table was told.
    pub(crate) calls: Vec<Call>,
    /// What it recorded.
    pub(crate) records: Vec<Record>,
}

impl Played {
    /// As a recorded stream of events.
    pub(crate) fn to_stream(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream::encode_header(&self.header, &mut bytes);
        for call in &self.calls {
            match call {
                Call::Handle(event, now) => stream::encode_event(event, *now, &mut bytes),
                Call::Timeout(now) => stream::encode_timeout(*now, &mut bytes),
            }
        }
        bytes
    }
}

/// Plays the day. No other test uses the machine meanwhile.
pub(crate) fn play() -> Played {
    let _alone = driver::alone();
    let _machine = machine::lock();
    NOW_NS.store(START.0, Ordering::SeqCst);
    STANDS_ASIDE.store(false, Ordering::SeqCst);
    let mut day = Day::begin();
    day.morning();
    day.people();
    day.oddities();
    day.endings();
    day.night();
    day.played
}

fn clock() -> Stamp {
    let now_ns = NOW_NS.load(Ordering::SeqCst);
    Stamp {
        wall: Wall(WALL_AT_BOOT_NS + now_ns.cast_signed()),
        mono: Mono(now_ns),
    }
}

fn settings() -> FilterSettings {
    FilterSettings {
        stand_aside: STANDS_ASIDE.load(Ordering::SeqCst),
        command_lines: true,
        ..FilterSettings::default()
    }
}

fn header() -> Header {
    Header {
        config: flow::Config {
            identity_wait_ns: 2 * SECOND_NS,
            age_max_ns: 86_400 * SECOND_NS,
            datagram_idle_ns: 60 * SECOND_NS,
            ..flow::Config::default()
        },
        epoch: 1,
        start: clock(),
        device: Device {
            os_name: "macOS".to_owned(),
            os_version: Some("15.4".to_owned()),
            ..Device::default()
        },
    }
}

fn user_name(uid: u32) -> Option<Arc<str>> {
    let name = match uid {
        0 => "root",
        65 => "_mdnsresponder",
        501 => "user",
        502 => "other",
        _ => return None,
    };
    Some(name.into())
}

struct Day {
    provider: Provider,
    sensor: FilterSensor,
    table: FlowTable,
    played: Played,
}

impl Day {
    fn begin() -> Day {
        let chat = Process::new(350)
            .at("/Applications/Chat.app/Contents/MacOS/Chat")
            .with_code(Code::signed("com.example.chat", "CHAT123456"))
            .holding(Socket::tcp("192.0.2.7:49200", "203.0.113.20:5223"));
        machine::add(chat);
        let mut options = Options::new(clock, settings());
        options.on_vendor_config = Arc::new(|_| settings());
        let header = header();
        let mut day = Day {
            sensor: prepare(options),
            provider: Provider::launch(PROVIDER_CLASS).expect("prepare made the class"),
            table: FlowTable::new(header.config, header.epoch, header.start),
            played: Played {
                header,
                calls: Vec::new(),
                records: Vec::new(),
            },
        };
        day.until(|event| matches!(event, Event::Opened(_)));
        day
    }

    fn now(&self) -> Mono {
        clock().mono
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        self.played.calls.push(Call::Handle(event.clone(), now));
        self.table.handle(event, now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Record(record) => self.played.records.push(record),
                Output::Want(Want::UserName { uid }) => self.handle(Event::UserNamed {
                    uid,
                    name: user_name(uid),
                }),
            }
        }
    }

    fn poll(&mut self, timeout: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let Ok(()) = self.sensor.poll(timeout, &mut events);
        for event in &events {
            self.handle(event.clone());
        }
        events
    }

    /// Waits for what is wanted, and then until nothing more comes.
    fn until(&mut self, is_wanted: impl Fn(&Event) -> bool) {
        let deadline = Instant::now() + ENOUGH;
        while !self.poll(Duration::from_millis(50)).iter().any(&is_wanted) {
            assert!(Instant::now() < deadline, "the day does not go on");
        }
        self.rest();
    }

    fn rest(&mut self) {
        driver::settle();
        while !self.poll(Duration::from_millis(30)).is_empty() {}
    }

    /// Time passes, and what is due is done.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            NOW_NS.fetch_add(SECOND_NS, Ordering::SeqCst);
            if self.now() >= self.table.poll_timeout() {
                self.played.calls.push(Call::Timeout(self.now()));
                self.table.handle_timeout(self.now());
                self.drain();
            }
        }
        self.rest();
    }

    /// A flow of these tokens is offered, and whoever is new is waited for.
    fn offer(&mut self, by: &[u8], spec: FlowSpec) -> Flow {
        self.offer_for(by, by, spec)
    }

    fn offer_for(&mut self, by: &[u8], app: &[u8], spec: FlowSpec) -> Flow {
        let flow = Flow::new(&FlowSpec {
            process_token: Some(by.to_vec()),
            app_token: Some(app.to_vec()),
            ..spec
        });
        assert!(self.provider.new_flow(&flow).is_observed());
        self.until(|event| matches!(event, Event::Opened(_)));
        flow
    }

    /// A process that was never seen makes a flow.
    fn meet(&mut self, token: &[u8], spec: FlowSpec) -> Flow {
        let flow = Flow::new(&FlowSpec {
            process_token: Some(token.to_vec()),
            app_token: Some(token.to_vec()),
            ..spec
        });
        assert!(self.provider.new_flow(&flow).is_observed());
        self.until(
            |event| matches!(event, Event::ProcessSeen(seen) if seen.process.key.exec_id != 0),
        );
        flow
    }

    fn report(&mut self, flow: &Flow, event: NEFilterReportEvent, bytes_in: usize, out: usize) {
        self.provider.report(Some(flow), event, bytes_in, out);
        self.rest();
    }

    fn close(&mut self, flow: &Flow, bytes_in: usize, bytes_out: usize) {
        self.report(flow, NEFilterReportEvent::FlowClosed, bytes_in, bytes_out);
    }

    /// The filter starts; a tool asks a server with a name, and its port comes late.
    fn morning(&mut self) {
        self.pass(1);
        assert_eq!(self.provider.start().wait_for_end(), [None]);
        self.rest();
        machine::add(Process::new(500).at("/bin/zsh"));
        let curl = Process::new(501).at("/usr/bin/curl").child_of(500);
        let curl = curl.with_code(Code::platform("com.apple.curl"));
        let curl = curl.with_arguments(&["curl", "https://www.example.org/"]);
        let token = machine::add(curl);
        let flow = self.meet(
            &token,
            FlowSpec {
                hostname: Some("www.example.org".to_owned()),
                remote: Some(Endpoint::host("198.51.100.10", 443)),
                ..FlowSpec::outbound_tcp(1)
            },
        );
        self.pass(5);
        flow.set_local(Some(&Endpoint::host("192.0.2.7", 50_123)));
        self.report(&flow, NEFilterReportEvent::Statistics, 48_000, 900);
        self.pass(2);
        self.close(&flow, 52_000, 1_100);
        machine::tcp(|tcp| (tcp.attempts, tcp.accepts) = (12, 3));
    }

    /// A browser, services, the resolver, somebody from outside.
    fn people(&mut self) {
        let browser = Process::new(400).at("/Applications/Browser.app/Contents/MacOS/Browser");
        let browser = browser.with_code(Code::signed("com.example.browser", "BROWSER123"));
        let browser = machine::add(browser);
        let page = self.meet(&browser, FlowSpec::outbound_tcp(2).over_v6());
        let quic = FlowSpec {
            remote: Some(Endpoint::host("203.0.113.80", 443)),
            local: Some(Endpoint::host("192.0.2.7", 55_001)),
            ..FlowSpec::outbound_udp(3)
        };
        let quic = self.offer(&browser, quic);
        self.pass(3);
        self.close(&page, 120_000, 4_000);
        self.close(&quic, 9_000_000, 70_000);
        let service = Process::new(310)
            .at("/usr/libexec/nsurlsessiond")
            .with_code(Code::platform("com.apple.nsurlsessiond"));
        let service = machine::add(service);
        let first = self.meet(&service, FlowSpec::outbound_tcp(4));
        let fetched = self.offer_for(
            &service,
            &browser,
            FlowSpec {
                hostname: Some("updates.example.com".to_owned()),
                ..FlowSpec::outbound_tcp(5)
            },
        );
        self.pass(2);
        self.close(&first, 10, 20);
        self.close(&fetched, 0, 0);
        let resolver = Process::new(300).at("/usr/sbin/mDNSResponder");
        let resolver = resolver.of_user(65, 65);
        let resolver = resolver.with_code(Code::platform("com.apple.mDNSResponder"));
        let resolver = machine::add(resolver);
        let query = self.meet(&resolver, FlowSpec::outbound_udp(6));
        self.report(&query, NEFilterReportEvent::Statistics, 120, 40);
        self.visitor();
    }

    /// Whoever listens is named first, and whoever holds the connection later.
    fn visitor(&mut self) {
        let listener = Process::new(600).at("/usr/sbin/sshd").of_user(0, 0);
        let listener = machine::add(listener.holding(Socket::listening("0.0.0.0:22")));
        let session = Process::new(601).at("/usr/libexec/sshd-session");
        let session = session.child_of(600).of_user(502, 20);
        machine::add(session.holding(Socket::tcp("192.0.2.7:22", "198.51.100.9:50000")));
        let flow = self.meet(&listener, FlowSpec::inbound_tcp(7));
        self.pass(6);
        self.pass(301);
        self.report(&flow, NEFilterReportEvent::Statistics, 2_000, 5_000);
        self.pass(10);
        self.close(&flow, 3_000, 8_000);
    }

    /// Processes that are gone, unsigned, changed or deleted; flows that say little.
    fn oddities(&mut self) {
        let short = machine::add(Process::new(510).at("/usr/bin/true").child_of(500));
        machine::exit(510);
        let flow = self.meet(&short, FlowSpec::outbound_tcp(8));
        self.close(&flow, 1, 2);
        let home = "/Users/user/bin";
        let codes = [
            ("unsigned", Code::unsigned()),
            ("local", Code::ad_hoc("local")),
            (
                "changed",
                Code::signed("com.example.changed", "CHANGED123").broken(status::SIGNATURE_FAILED),
            ),
        ];
        for (number, (name, code)) in (0_i32..).zip(codes) {
            let process = Process::new(520 + number).at(&format!("{home}/{name}"));
            let token = machine::add(process.child_of(500).with_code(code));
            let id = 10 + u64::from(number.unsigned_abs());
            let flow = self.meet(&token, FlowSpec::outbound_tcp(id));
            self.close(&flow, 5, 6);
        }
        let mut deleted = Process::new(530).at(&format!("{home}/deleted"));
        deleted.deleted = true;
        let deleted = machine::add(deleted);
        let refused = self.meet(&deleted, FlowSpec::outbound_tcp(14));
        let mut sudo = Process::new(531).at("/usr/bin/sudo").child_of(500);
        sudo.effective_user = 0;
        let sudo = machine::add(sudo.with_code(Code::platform("com.apple.sudo")));
        let asked = self.meet(&sudo, FlowSpec::outbound_tcp(13));
        self.close(&asked, 70, 80);
        self.close(&refused, 0, 0);
        let nobody = self.offer(&[0; 32], FlowSpec::outbound_tcp(15));
        self.close(&nobody, 64, 64);
        let ping = self.offer(&deleted, FlowSpec::outbound_icmp(16));
        self.close(&ping, 84, 84);
        let unbound = FlowSpec {
            remote: None,
            local: None,
            ..FlowSpec::outbound_udp(17)
        };
        let unbound = self.offer(&deleted, unbound);
        unbound.set_remote(Some(&Endpoint::host("203.0.113.5", 3_478)));
        self.close(&unbound, 30, 40);
        let stray = Flow::new(&FlowSpec::outbound_tcp(18));
        self.close(&stray, 9, 9);
        self.provider
            .report(None, NEFilterReportEvent::FlowClosed, 1, 1);
        self.rest();
    }

    /// Ends that nobody tells, an identifier that comes back, a sleep.
    fn endings(&mut self) {
        let token = machine::add(Process::new(540).at("/usr/local/bin/backup"));
        let spec = || FlowSpec {
            remote: Some(Endpoint::host("198.51.100.40", 873)),
            ..FlowSpec::outbound_tcp(20)
        };
        let first = self.meet(&token, spec());
        self.pass(1);
        self.report(&first, NEFilterReportEvent::Statistics, 500, 600);
        // Its end is not told, and its identifier is given to another.
        let again = self.offer(&token, spec());
        self.pass(1);
        assert_eq!(self.provider.sleep().wait_for_end(), [None]);
        self.rest();
        self.pass(7_200);
        self.provider.wake();
        self.rest();
        self.report(&again, NEFilterReportEvent::Statistics, 700, 800);
        machine::exit(540);
        NOW_NS.fetch_add(40 * SECOND_NS, Ordering::SeqCst);
        self.until(|event| matches!(event, Event::ProcessesGone { .. }));
        self.pass(40);
    }

    /// The filter steps aside and comes back, grows old, and is stopped.
    fn night(&mut self) {
        for stands_aside in [true, false] {
            STANDS_ASIDE.store(stands_aside, Ordering::SeqCst);
            NOW_NS.fetch_add(3 * SECOND_NS, Ordering::SeqCst);
            self.until(|event| matches!(event, Event::BreakerChanged { .. }));
        }
        let token = machine::add(Process::new(550).at("/usr/local/bin/server").of_user(0, 0));
        let aged = self.meet(&token, FlowSpec::outbound_tcp(30));
        for _ in 0..5 {
            self.pass(20_000);
        }
        drop(aged);
        let last = self.offer(&token, FlowSpec::outbound_tcp(31));
        self.pass(2);
        drop(last);
        let stopped = self.provider.stop(NEProviderStopReason::AppUpdate);
        assert_eq!(stopped.wait_for_end(), [None]);
        self.until(|event| matches!(event, Event::Unwatched { .. }));
        self.table.handle_stop();
        self.drain();
    }
}
