//! Many flows through the whole adapter: from the system's call to the table's records.
//!
//! ```sh
//! cargo run --release -p sensor-macos --example million_flows [million|live|stalls]
//! ```
//!
//! - `million`: a million flows come and go, a quarter without an end; now and then 20,000 UDP
//!   flows come at once, which is more than the queue holds. What is resident must not grow once
//!   the table is full, and what was told and what was lost must add up.
//! - `live`: 100,000 flows stay. Counted is what is allocated beyond what was before the adapter
//!   was prepared, at its highest. The doubles' part is in the baseline: the processes of the
//!   machine are made before, and the system keeps no flow.
//! - `stalls`: each stage behind the queue hangs for two seconds, while flows wait for verdicts.
//!
//! The last line is JSON. These are figures of the doubled runtime. They say nothing about a Mac's
//! own cost.

#[cfg(target_vendor = "apple")]
fn main() {
    println!("this drives the adapter on the doubles, which are not for a Mac");
}

#[cfg(not(target_vendor = "apple"))]
fn main() {
    off_mac::main();
}

#[cfg(not(target_vendor = "apple"))]
mod off_mac {
    #![expect(unsafe_code, reason = "an allocator that counts")]

    use darwin_double::machine::{self, Process};
    use flow::{Config, Event, FlowTable, Output, Want};
    use objc2_network_extension::NEFilterReportEvent;
    use objc2_network_extension::driver::{Endpoint, Flow, FlowSpec, Provider, alone};
    use record::{LossCause, LostKind, Mono, Stamp, Wall};
    use sensor_macos::{FilterSensor, FilterSettings, Options, PROVIDER_CLASS, Sensor, prepare};
    use serde_json::{Value, json};
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
    use std::thread;
    use std::time::{Duration, Instant};

    const SECOND_NS: u64 = 1_000_000_000;

    /// The clock goes on by this much for each flow: 4,000 flows a second.
    const FLOW_NS: u64 = 250_000;

    /// Half of what the queue holds.
    const BACKLOG_MAX: u64 = 4_096;

    const STALL: Duration = Duration::from_secs(2);

    /// Longer than anything takes on a slow machine.
    const ENOUGH: Duration = Duration::from_secs(60);

    struct Counting;

    static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
    static ALLOCATED_MAX: AtomicUsize = AtomicUsize::new(0);

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: everything is left to the system's allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let allocated = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
            ALLOCATED_MAX.fetch_max(allocated, Relaxed);
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            ALLOCATED.fetch_sub(layout.size(), Relaxed);
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    static NOW_NS: AtomicU64 = AtomicU64::new(1_000 * SECOND_NS);

    /// Callbacks whose event was taken, or counted as lost.
    static TOLD: AtomicU64 = AtomicU64::new(0);

    static ENDING: AtomicBool = AtomicBool::new(false);

    pub(super) fn main() {
        let _alone = alone();
        let _machine = machine::lock();
        objc_double::hand_over_returned_objects(true);
        let told = match std::env::args().nth(1).as_deref() {
            None | Some("million") => million(),
            Some("live") => live(),
            Some("stalls") => stalls::run(),
            Some(other) => panic!("{other} is not million, live or stalls"),
        };
        println!("{told}");
    }

    fn clock() -> Stamp {
        let now_ns = NOW_NS.load(Relaxed);
        Stamp {
            wall: Wall(1_800_000_000 * SECOND_NS as i64 + now_ns as i64),
            mono: Mono(now_ns),
        }
    }

    fn pass(duration_ns: u64) {
        NOW_NS.fetch_add(duration_ns, Relaxed);
    }

    fn million() -> Value {
        const FLOWS: u64 = 1_000_000;
        /// By then all that is remembered, of 4,096 processes too, is at its bound; and sizes are
        /// compared at the same place between two bursts.
        const WARM_UP: u64 = 490_000;
        let config = Config {
            flows_max: 20_000,
            processes_max: 1_024,
            ..config()
        };
        let (recorder, provider) = launch(config);
        thread::scope(|scope| {
            let recording = scope.spawn(|| recorder.run());
            let mut system = TheSystem::new(&provider);
            let mut sizes = Vec::new();
            for number in 0..FLOWS {
                system.come_and_go(number);
                if number >= WARM_UP && number % 100_000 == 90_000 {
                    sizes.push((resident_kib(), ALLOCATED.load(Relaxed) as u64 / 1_024));
                }
            }
            system.wait_until_told();
            ENDING.store(true, Relaxed);
            let recorder = recording.join().expect("it does not panic");
            let growth = |size: u64, first: u64| size.saturating_sub(first);
            let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
            let peak = sizes.iter().map(|size| size.0).max().unwrap_or_default();
            let tally = recorder.tally;
            json!({
                "flows": FLOWS,
                "reports": system.reports,
                "events": tally.events,
                "records": tally.records,
                "opens_lost": tally.opens_lost,
                "reports_lost": tally.reports_lost,
                "opens_unaccounted": FLOWS as i64 - (tally.opens + tally.opens_lost) as i64,
                "reports_unaccounted":
                    system.reports as i64 - (tally.reports + tally.reports_lost) as i64,
                "warm_kib": first.0,
                "peak_growth_kib": growth(peak, first.0),
                "final_growth_kib": growth(last.0, first.0),
                "allocated_growth_kib": growth(last.1, first.1),
            })
        })
    }

    fn live() -> Value {
        const FLOWS: u64 = 100_000;
        const PROCESSES: u64 = 2_000;
        let tokens: Vec<_> = (0..PROCESSES).map(add_process).collect();
        let before = ALLOCATED.load(Relaxed);
        let resident_before_kib = resident_kib();
        ALLOCATED_MAX.store(before, Relaxed);
        let (recorder, provider) = launch(config());
        thread::scope(|scope| {
            let recording = scope.spawn(|| recorder.run());
            let mut system = TheSystem::new(&provider);
            for number in 0..FLOWS {
                let token = tokens[(number % PROCESSES) as usize];
                let flow = system.open(&spec(number, token));
                flow.set_local(Some(&Endpoint::host("192.0.2.7", 50_123)));
                system.report(&flow, NEFilterReportEvent::Statistics);
                system.pace();
            }
            system.wait_until_told();
            ENDING.store(true, Relaxed);
            let recorder = recording.join().expect("it does not panic");
            let ours = |allocated: usize| allocated.saturating_sub(before) / 1_024;
            json!({
                "live": recorder.table.counters().live,
                "processes": recorder.table.counters().processes,
                "opens_lost": recorder.tally.opens_lost,
                "allocated_kib": ours(ALLOCATED.load(Relaxed)),
                "allocated_peak_kib": ours(ALLOCATED_MAX.load(Relaxed)),
                "resident_growth_kib": resident_kib().saturating_sub(resident_before_kib),
            })
        })
    }

    /// As the recorder has it on macOS.
    fn config() -> Config {
        Config {
            identity_wait_ns: 2 * SECOND_NS,
            age_max_ns: 86_400 * SECOND_NS,
            datagram_idle_ns: 60 * SECOND_NS,
            ..Config::default()
        }
    }

    fn launch(config: Config) -> (Recorder, Provider) {
        let options = Options::new(clock, FilterSettings::default());
        launch_with(options, config)
    }

    fn launch_with(options: Options, config: Config) -> (Recorder, Provider) {
        let sensor = prepare(options);
        let provider = Provider::launch(PROVIDER_CLASS).expect("the adapter registered it");
        assert_eq!(provider.start().wait_for_end(), [None]);
        let recorder = Recorder {
            sensor,
            table: FlowTable::new(config, 1, clock()),
            tally: Tally::default(),
        };
        (recorder, provider)
    }

    fn add_process(number: u64) -> [u8; 32] {
        machine::add(Process::new(pid(number)))
    }

    fn pid(number: u64) -> i32 {
        2_000 + (number % 30_000) as i32
    }

    fn spec(number: u64, token: [u8; 32]) -> FlowSpec {
        let spec = match number % 8 {
            0 => FlowSpec::inbound_tcp(number),
            1 | 2 => FlowSpec::outbound_udp(number).over_v6(),
            _ => FlowSpec::outbound_tcp(number),
        };
        let is_named = number % 2 == 1;
        FlowSpec {
            app_token: Some(token.to_vec()),
            process_token: Some(token.to_vec()),
            hostname: is_named.then(|| format!("service-{}.example.com", number % 500)),
            ..spec
        }
    }

    /// From `/proc/self/status`, in KiB.
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What the system does: flows, reports, processes that come and go.
    struct TheSystem<'a> {
        provider: &'a Provider,
        sent: u64,
        reports: u64,
        open: VecDeque<(u64, Flow)>,
        token: [u8; 32],
    }

    impl<'a> TheSystem<'a> {
        fn new(provider: &'a Provider) -> TheSystem<'a> {
            TheSystem {
                provider,
                sent: 0,
                reports: 0,
                open: VecDeque::new(),
                token: [0; 32],
            }
        }

        /// Opens a flow, and lets one end that was opened 500 flows ago.
        fn come_and_go(&mut self, number: u64) {
            /// A process makes so many flows; so many processes live at a time.
            const FLOWS_EACH: u64 = 50;
            const PROCESSES: u64 = 200;
            if number.is_multiple_of(FLOWS_EACH) {
                let process = number / FLOWS_EACH;
                self.token = add_process(process);
                if let Some(gone) = process.checked_sub(PROCESSES) {
                    machine::exit(pid(gone));
                }
            }
            if number % 100_000 < 20_000 {
                let spec = FlowSpec::outbound_udp(number);
                let token = Some(self.token.to_vec());
                drop(self.open(&FlowSpec {
                    process_token: token.clone(),
                    app_token: token,
                    ..spec
                }));
                return;
            }
            let flow = self.open(&spec(number, self.token));
            self.open.push_back((number, flow));
            if self.open.len() > 500
                && let Some((number, flow)) = self.open.pop_front()
            {
                self.end(number, &flow);
            }
            self.pace();
        }

        fn end(&mut self, number: u64, flow: &Flow) {
            if number.is_multiple_of(2) {
                self.report(flow, NEFilterReportEvent::Statistics);
            }
            if number % 4 != 3 {
                self.report(flow, NEFilterReportEvent::FlowClosed);
            }
        }

        fn open(&mut self, spec: &FlowSpec) -> Flow {
            pass(FLOW_NS);
            let flow = Flow::new(spec);
            assert!(self.provider.new_flow(&flow).is_observed());
            self.sent += 1;
            flow
        }

        fn report(&mut self, flow: &Flow, event: NEFilterReportEvent) {
            self.provider.report(Some(flow), event, 1_000, 2_000);
            self.sent += 1;
            self.reports += 1;
        }

        /// On a busy machine the recorder may not get its turn for long.
        fn pace(&self) {
            self.wait(BACKLOG_MAX);
        }

        fn wait_until_told(&self) {
            self.wait(0);
        }

        fn wait(&self, backlog_max: u64) {
            let began = Instant::now();
            while self.sent.saturating_sub(TOLD.load(Relaxed)) > backlog_max {
                assert!(began.elapsed() < ENOUGH, "what was put in is not told");
                thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// What the recorder does with the sensor, but for writing records down.
    struct Recorder {
        sensor: FilterSensor,
        table: FlowTable,
        tally: Tally,
    }

    #[derive(Default)]
    struct Tally {
        events: u64,
        records: u64,
        opens: u64,
        reports: u64,
        opens_lost: u64,
        reports_lost: u64,
    }

    impl Recorder {
        fn run(mut self) -> Recorder {
            let mut events = Vec::new();
            while !ENDING.load(Relaxed) {
                self.step(&mut events);
            }
            self
        }

        fn step(&mut self, events: &mut Vec<Event>) {
            let polled = self.sensor.poll(Duration::from_millis(20), events);
            polled.expect("the filter cannot fail");
            for event in events.drain(..) {
                self.tally.count(&event);
                self.table.handle(event, clock().mono);
                self.write();
            }
            self.table.handle_timeout(clock().mono);
            self.write();
            let Tally {
                opens,
                reports,
                opens_lost,
                reports_lost,
                ..
            } = self.tally;
            TOLD.store(opens + reports + opens_lost + reports_lost, Relaxed);
        }

        fn write(&mut self) {
            while let Some(output) = self.table.poll_output() {
                match output {
                    Output::Record(_) => self.tally.records += 1,
                    Output::Want(Want::UserName { uid }) => {
                        let name = Some(Arc::from("anna"));
                        let now = clock().mono;
                        self.table.handle(Event::UserNamed { uid, name }, now);
                    }
                }
            }
        }
    }

    impl Tally {
        fn count(&mut self, event: &Event) {
            self.events += 1;
            if let Event::Lost {
                cause: LossCause::QueueFull,
                what,
                count: Some(count),
                ..
            } = event
            {
                self.opens_lost += count * u64::from(*what == LostKind::Opens);
                let is_report = [LostKind::Closes, LostKind::Events].contains(what);
                self.reports_lost += count * u64::from(is_report);
            }
            self.opens += u64::from(matches!(event, Event::Opened(_)));
            let is_report = matches!(event, Event::Updated { .. } | Event::Closed(_));
            self.reports += u64::from(is_report);
        }
    }

    /// What hangs, and what the flows notice of it.
    mod stalls {
        use super::*;

        /// Something hangs now.
        static HANGS: AtomicBool = AtomicBool::new(false);

        static SENSOR_SHALL: AtomicBool = AtomicBool::new(false);
        static CONFIGURATION_SHALL: AtomicBool = AtomicBool::new(false);

        /// Functions of the system in which a worker, or the sensor for its meter, can hang.
        const FUNCTIONS: [&str; 4] = [
            "proc_pidpath_audittoken",
            "SecCodeCopyGuestWithAttributes",
            "proc_listallpids",
            "sysctlbyname",
        ];

        pub(super) fn run() -> Value {
            let settings = FilterSettings::default();
            let mut options = Options::new(clock, settings);
            options.on_vendor_config = Arc::new(move |_| {
                hang_if(&CONFIGURATION_SHALL);
                settings
            });
            let (mut recorder, provider) = launch_with(options, config());
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut events = Vec::new();
                    while !ENDING.load(Relaxed) {
                        hang_if(&SENSOR_SHALL);
                        recorder.step(&mut events);
                    }
                });
                let mut system = TheSystem::new(&provider);
                let mut stages = Vec::new();
                SENSOR_SHALL.store(true, Relaxed);
                stages.push(measure("sensor", &mut system));
                CONFIGURATION_SHALL.store(true, Relaxed);
                stages.push(measure("configuration", &mut system));
                for function in FUNCTIONS {
                    machine::on(function).nth(1).run(hang);
                    stages.push(measure(function, &mut system));
                }
                ENDING.store(true, Relaxed);
                json!({ "stages": stages })
            })
        }

        fn hang_if(shall: &AtomicBool) {
            if shall.swap(false, Relaxed) {
                hang();
            }
        }

        fn hang() {
            HANGS.store(true, Relaxed);
            thread::sleep(STALL);
            HANGS.store(false, Relaxed);
        }

        /// Offers flows until the stage has hung; the verdicts while it did count.
        fn measure(stage: &str, system: &mut TheSystem) -> Value {
            let began = Instant::now();
            let mut hung = None;
            let mut times_ns = Vec::new();
            for number in (system.sent..).step_by(8) {
                assert!(began.elapsed() < ENOUGH, "{stage} does not hang");
                let is_hanging = HANGS.load(Relaxed);
                let token = add_process(number);
                // From outside, so that somebody looks who holds the socket.
                let flow = Flow::new(&spec(number, token));
                let verdict = system.provider.new_flow(&flow);
                assert!(verdict.is_observed());
                // So that all that is periodic falls due meanwhile.
                pass(SECOND_NS / 10);
                match (is_hanging, hung) {
                    (true, _) => {
                        hung.get_or_insert_with(Instant::now);
                        times_ns.push(verdict.elapsed_ns);
                    }
                    (false, Some(since)) => return report(stage, since, times_ns),
                    (false, None) => {}
                }
                thread::sleep(Duration::from_micros(200));
            }
            unreachable!("numbers do not end");
        }

        fn report(stage: &str, since: Instant, mut times_ns: Vec<u64>) -> Value {
            times_ns.sort_unstable();
            json!({
                "stage": stage,
                "stalled_ms": since.elapsed().as_millis() as u64,
                "verdicts": times_ns.len(),
                "median_ns": times_ns[times_ns.len() / 2],
                "p99_ns": times_ns[times_ns.len() * 99 / 100],
                "slowest_ns": times_ns[times_ns.len() - 1],
            })
        }
    }
}
