//! What a new flow costs: the time in `handleNewFlow:`, and what is allocated there.
//!
//! ```sh
//! cargo run --release -p sensor-macos --example verdict_cost
//! ```
//!
//! A flow waits for its verdict, so this is what a connection of everybody's is later for us.
//!
//! **Time.** Two providers run on the same doubles: ours, and an empty one that makes the same
//! verdict and looks at nothing. They are called in turn with the same flow, all of whose fields
//! are set, and the order within a pair alternates, so that whatever else the machine does meets
//! both. Our share is the difference within a pair; its median and 99th percentile are what counts.
//! A thread takes the events all the while, as at work: this is the steady state, and nothing may
//! be lost in it. The doubles' messages are in our share, because the empty provider sends none of
//! them.
//!
//! **Allocations.** The allocator counts what the calling thread asks for. What the doubles
//! allocate to answer is known from asking the same without us: an empty provider's call, and our
//! getters sent from here. What is left is ours. The last line is JSON.
//!
//! These are figures of the doubled runtime. They say nothing about a Mac.

#[cfg(target_vendor = "apple")]
fn main() {
    println!("this measures the adapter on the doubles, which are not for a Mac");
}

#[cfg(not(target_vendor = "apple"))]
fn main() {
    off_mac::main();
}

#[cfg(not(target_vendor = "apple"))]
mod off_mac {
    #![expect(
        deprecated,
        reason = "as in the provider: the endpoints that still answer"
    )]
    #![expect(
        unsafe_code,
        reason = "an empty provider, an allocator that counts, plain getters"
    )]

    use darwin_double as _;
    use flow::Event;
    use objc2::rc::{Retained, autoreleasepool};
    use objc2::runtime::{AnyObject, NSObjectProtocol};
    use objc2::{ClassType, define_class};
    use objc2_network_extension::driver::{Endpoint, Flow, FlowSpec, Provider, alone};
    use objc2_network_extension::{
        NEFilterDataProvider, NEFilterFlow, NEFilterNewFlowVerdict, NEFilterReportFrequency,
        NEFilterSocketFlow, NWEndpoint, NWHostEndpoint,
    };
    use record::{Mono, Stamp, Wall};
    use sensor_macos::{FilterSensor, FilterSettings, Options, PROVIDER_CLASS, Sensor, prepare};
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::hint::{self, black_box};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    const WARM_UP: usize = 20_000;
    const PAIRS: usize = 200_000;

    /// After every 64 pairs.
    const PAUSE: Duration = Duration::from_micros(100);

    /// Half of what the queue holds.
    const BACKLOG_MAX: u64 = 4_096;

    const MEDIAN_NS_MAX: i64 = 300;
    const P99_NS_MAX: i64 = 3_000;

    struct Counting;

    thread_local! {
        static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: everything is left to the system's allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    define_class!(
        // SAFETY: as the provider that is measured, but for what it looks at.
        #[unsafe(super(NEFilterDataProvider))]
        #[name = "EmptyFilterProvider"]
        struct EmptyProvider;

        // SAFETY: NSObjectProtocol asks for nothing.
        unsafe impl NSObjectProtocol for EmptyProvider {}

        impl EmptyProvider {
            // SAFETY: the types are those of the method that it overrides.
            #[unsafe(method_id(handleNewFlow:))]
            fn handle_new_flow(&self, _flow: &NEFilterFlow) -> Retained<NEFilterNewFlowVerdict> {
                // SAFETY: plain factory and setters.
                unsafe {
                    let verdict = NEFilterNewFlowVerdict::allowVerdict();
                    verdict.setShouldReport(true);
                    verdict.setStatisticsReportFrequency(NEFilterReportFrequency::Low);
                    verdict
                }
            }
        }
    );

    pub(super) fn main() {
        let _alone = alone();
        // As Apple's runtime does where both sides cooperate; the doubles count the worse case
        // unless told otherwise.
        objc_double::hand_over_returned_objects(true);
        let _ = EmptyProvider::class();
        let settings = FilterSettings::default();
        let sensor = prepare(Options::new(clock, settings));
        let ours = Provider::launch(PROVIDER_CLASS).expect("the adapter registered it");
        let empty = Provider::launch("EmptyFilterProvider").expect("it is registered above");
        let flow = Flow::new(&whole_flow());
        let told = AtomicU64::new(0);
        let ending = AtomicBool::new(false);
        let (shares, allocations, lost) = thread::scope(|scope| {
            let taker = scope.spawn(|| take(sensor, &told, &ending));
            let bench = Bench {
                ours,
                empty,
                flow,
                told: &told,
            };
            bench.measure(WARM_UP);
            let shares = bench.measure(PAIRS);
            let allocations = bench.count_allocations();
            ending.store(true, Ordering::Relaxed);
            let lost = taker.join().expect("it does not panic");
            (shares, allocations, lost)
        });
        tell(&shares, allocations, lost);
    }

    fn clock() -> Stamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall_ns = wall.map_or(0, |since| since.as_nanos() as i64);
        Stamp {
            wall: Wall(wall_ns),
            mono: Mono(wall_ns as u64),
        }
    }

    fn whole_flow() -> FlowSpec {
        FlowSpec {
            remote: Some(Endpoint::host("2001:db8:85a3::8a2e:370:7334", 443)),
            local: Some(Endpoint::host("192.0.2.7", 50_123)),
            hostname: Some("a-service.of.example.org".to_owned()),
            url: Some("https://a-service.of.example.org/path".to_owned()),
            ..FlowSpec::outbound_tcp(1)
        }
    }

    /// Takes events until it ends, and counts the flows; returns how many were lost.
    fn take(mut sensor: FilterSensor, told: &AtomicU64, ending: &AtomicBool) -> u64 {
        let mut lost = 0;
        let mut events = Vec::new();
        while !ending.load(Ordering::Relaxed) {
            let polled = sensor.poll(Duration::from_millis(50), &mut events);
            polled.expect("the filter cannot fail");
            let opened = events.iter().filter(|it| matches!(it, Event::Opened(_)));
            told.fetch_add(opened.count() as u64, Ordering::Relaxed);
            for event in events.drain(..) {
                if let Event::Lost { count, .. } = event {
                    lost += count.unwrap_or(1);
                }
            }
        }
        lost
    }

    struct Bench<'a> {
        ours: Provider,
        empty: Provider,
        flow: Flow,
        told: &'a AtomicU64,
    }

    impl Bench<'_> {
        /// Nanoseconds of each pair: in the empty provider, and in ours.
        fn measure(&self, pairs: usize) -> Vec<[i64; 2]> {
            let mut shares = Vec::with_capacity(pairs);
            let before = self.told.load(Ordering::Relaxed);
            let time =
                |provider: &Provider| black_box(provider.new_flow(&self.flow)).elapsed_ns as i64;
            for pair in 0..pairs {
                if pair % 2 == 0 {
                    let first = time(&self.empty);
                    shares.push([first, time(&self.ours)]);
                } else {
                    let first = time(&self.ours);
                    shares.push([time(&self.empty), first]);
                }
                if pair % 64 == 0 {
                    self.pause(before + pair as u64);
                }
            }
            while self.told.load(Ordering::Relaxed) < before + pairs as u64 {
                thread::sleep(Duration::from_millis(1));
            }
            shares
        }

        fn pause(&self, sent: u64) {
            // Without sleep, which would let the processor rest and wake it up slow.
            let began = Instant::now();
            while began.elapsed() < PAUSE {
                hint::spin_loop();
            }
            // On a busy machine the taker may not get its turn for long.
            while sent.saturating_sub(self.told.load(Ordering::Relaxed)) > BACKLOG_MAX {
                thread::sleep(Duration::from_millis(1));
            }
        }

        /// Allocations of one call: in the empty provider, in ours, and of our getters alone.
        fn count_allocations(&self) -> [f64; 3] {
            const CALLS: u64 = 1_000;
            let count = |call: &dyn Fn()| {
                call();
                let before = ALLOCATIONS.get();
                for _ in 0..CALLS {
                    call();
                }
                (ALLOCATIONS.get() - before) as f64 / CALLS as f64
            };
            [
                count(&|| _ = black_box(self.empty.new_flow(&self.flow))),
                count(&|| _ = black_box(self.ours.new_flow(&self.flow))),
                count(&|| autoreleasepool(|_| get_all(self.flow.object()))),
            ]
        }
    }

    /// The getters that the adapter sends for a flow of a socket.
    fn get_all(object: &AnyObject) {
        let flow = object.downcast_ref::<NEFilterSocketFlow>();
        let flow = flow.expect("it is a flow of a socket");
        // SAFETY: plain getters.
        unsafe {
            black_box(flow.identifier().as_bytes());
            black_box(flow.direction());
            for data in [flow.sourceAppAuditToken(), flow.sourceProcessAuditToken()] {
                black_box(data.map(|data| data.as_bytes_unchecked().len()));
            }
            get_endpoint(flow.remoteEndpoint());
            get_endpoint(flow.localEndpoint());
            black_box(flow.remoteHostname().map(|name| name.UTF8String()));
            black_box((flow.socketType(), flow.socketProtocol()));
        }
    }

    fn get_endpoint(endpoint: Option<Retained<NWEndpoint>>) {
        let endpoint = endpoint.and_then(|endpoint| endpoint.downcast::<NWHostEndpoint>().ok());
        // SAFETY: plain getters.
        let texts = endpoint.map(|host| unsafe { [host.hostname(), host.port()] });
        for text in texts.into_iter().flatten() {
            black_box(text.UTF8String());
        }
    }

    fn tell(shares: &[[i64; 2]], [empty, ours, getters]: [f64; 3], lost: u64) {
        let column = |which: usize| shares.iter().map(|pair| pair[which]).collect();
        let of_empty = percentiles(column(0));
        let of_ours = percentiles(column(1));
        let share = percentiles(shares.iter().map(|[empty, ours]| ours - empty).collect());
        let left = ours - empty - getters;
        println!("{} pairs, {lost} lost", shares.len());
        println!(
            "{:24}{:>12}{:>12}",
            "ns per handleNewFlow:", "median", "p99"
        );
        for (name, [median, p99]) in [
            ("empty provider", of_empty),
            ("our provider", of_ours),
            ("our share", share),
        ] {
            println!("{name:24}{median:>12}{p99:>12}");
        }
        println!("allocations per call: empty {empty}, ours {ours}, doubles' getters {getters}");
        println!("allocations of ours: {left}");
        let good = share[0] < MEDIAN_NS_MAX && share[1] < P99_NS_MAX && left <= 0.0;
        println!(
            "target: median < {MEDIAN_NS_MAX} ns, p99 < {P99_NS_MAX} ns, no allocation: {}",
            if good { "met" } else { "missed" }
        );
        assert_eq!(lost, 0, "not the steady state");
        let figures = serde_json::json!({
            "empty_median_ns": of_empty[0],
            "ours_median_ns": of_ours[0],
            "share_median_ns": share[0],
            "share_p99_ns": share[1],
            "allocations": left,
        });
        println!("{figures}");
    }

    fn percentiles(mut values: Vec<i64>) -> [i64; 2] {
        values.sort_unstable();
        [values[values.len() / 2], values[values.len() * 99 / 100]]
    }
}
