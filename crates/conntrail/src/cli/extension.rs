//! `conntrail activate`, `deactivate`, `status` and `upgrade`: the app's side of macOS.
//!
//! What they do is in `app-macos`; here they are given their arguments, the trail and the terminal.

mod receipts;
mod trail;

use self::trail::FlowWatch;
use anyhow::Context;
use app_macos::bundle::{self, ExtensionBundle};
use app_macos::command::{self, Code, FilterBy, Surroundings, Told};
use app_macos::extension::{Approval, Options};
use app_macos::filter::Wanted;
use app_macos::main_loop::with_main_loop;
use app_macos::management::{self, Management, Ours};
use app_macos::moment::{Moment, Situation, SleepWatch, When, Window};
use app_macos::neighbours;
use app_macos::upgrade::{Resets, Shell, Timeouts};
use host::config::{Layers, ManagedValue, UpgradeMoment, VENDOR_CONFIG, parse_duration};
use host::preferences;
use jiff::Zoned;
use receipts::Receipts;
use record::{ExtensionReplaced, Stamp};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the system's settings show.
const NAME: &str = "Conntrail";

/// Beyond the sum of all timeouts: whatever hangs then is not one of them.
const MARGIN: Duration = Duration::from_secs(10);

/// What to do with the system extension.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 the user or device management must approve
/// the extension, 4 done at the next start of the machine, 5 the moment has not come, 6 connections
/// are not seen.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Activates the system extension and switches the filter on, unless a profile owns it.
    Activate(Activate),
    /// Switches the filter off, unless a profile owns it, and removes the system extension.
    Deactivate(Deactivate),
    /// Says whether connections are seen, how extension and filter stand, and who else is there.
    Status(Status),
    /// Replaces a running version of the extension by the one in this app.
    Upgrade(Upgrade),
}

/// How to activate.
#[derive(clap::Args)]
pub(crate) struct Activate {
    /// How long to wait for the system.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// End at once when the user must approve the extension.
    #[arg(long)]
    no_wait: bool,
    /// Never save a configuration of the filter: device management installs one.
    #[arg(long)]
    filter_by_profile: bool,
    /// Ask nothing of the system, and so nothing of the user, unless an installed profile allows
    /// the extension; implies --filter-by-profile. Needs root, which alone sees all profiles.
    #[arg(long)]
    only_if_managed: bool,
}

/// How to deactivate.
#[derive(clap::Args)]
pub(crate) struct Deactivate {
    /// How long to wait for the system.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Status {
    /// How long to wait for each answer of the system.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// When to upgrade.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// The moment: wake, reboot, a window of the day such as 02:00-05:30, now, or configured.
    /// Replacing the extension resets the TCP connections that are open then. With "configured" it
    /// is the setting filter.upgrade_when, and where nothing is installed yet, the extension is
    /// activated as soon as device management allows it.
    #[arg(long, value_name = "MOMENT", default_value = "wake")]
    when: When,
    /// How long to wait for the moment.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
    wait: Duration,
    /// How long to wait for the system to replace it.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Does it, and returns the exit code of [`Command`].
///
/// # Errors
/// When this program is in no app, or does not come to an end in time.
pub(crate) fn run(state_dir: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let (code, text) = answer(state_dir, command)?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::from(code.number()))
}

fn answer(state_dir: &Path, command: Command) -> anyhow::Result<(Code, String)> {
    let app = own_bundle()?;
    Ok(match command {
        Command::Activate(arguments) => printed(activate(app?, &arguments, SYSTEM)?),
        Command::Deactivate(arguments) => printed(deactivate(app?, &arguments)?),
        Command::Status(arguments) => status(app, state_dir, &arguments)?,
        Command::Upgrade(arguments) => printed(upgrade(app?, state_dir, &arguments, SYSTEM)?),
    })
}

/// Where questions go that tests answer themselves.
#[derive(Clone, Copy)]
struct System {
    say: fn(&str),
    management: fn(Ours<'_>, Duration) -> Management,
    layers: fn() -> Layers,
}

const SYSTEM: System = System {
    say,
    management: management::ask,
    layers,
};

/// A file that cannot be read must not keep the management's word from being heard.
fn layers() -> Layers {
    Layers::of_this_machine(None).unwrap_or_else(|error| {
        say(&error.to_string());
        let mut layers = Layers::default();
        layers.add_managed(preferences::MANAGED_PREFERENCES, preferences::managed());
        layers
    })
}

/// Whoever stopped reading does not stop the command.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// How things stand, as `conntrail status --json` says it.
///
/// # Errors
/// When the system does not answer in time.
pub(super) fn status_json(state_dir: &Path, timeout: Duration) -> anyhow::Result<String> {
    let json = true;
    let (_, text) = answer(state_dir, Command::Status(Status { timeout, json }))?;
    Ok(text)
}

/// The extension in the app that this program is in.
pub(super) fn own_bundle() -> anyhow::Result<Result<ExtensionBundle, bundle::Error>> {
    let executable = std::env::current_exe().context("this program does not know its own path")?;
    let executable = executable.canonicalize().unwrap_or(executable);
    Ok(bundle::extension_of(&executable))
}

fn printed(told: Told) -> (Code, String) {
    let lines = told.lines.into_iter().map(|line| line + "\n");
    (told.code, lines.collect())
}

fn wanted(app: &ExtensionBundle) -> Wanted<'_> {
    Wanted {
        extension: &app.identifier,
        organization: NAME,
        description: NAME,
    }
}

fn ours(app: &ExtensionBundle) -> Ours<'_> {
    Ours {
        extension: &app.identifier,
        team: app.team.as_deref(),
    }
}

fn activate(app: ExtensionBundle, arguments: &Activate, system: System) -> anyhow::Result<Told> {
    let by = match arguments.filter_by_profile {
        true => FilterBy::Profile,
        false => FilterBy::App,
    };
    let timeout = arguments.timeout;
    let approval = match arguments.no_wait {
        true => Approval::Leave,
        false => Approval::Wait,
    };
    let options = Options { timeout, approval };
    let only_if_managed = arguments.only_if_managed;
    let told = with_main_loop(Some(3 * timeout + MARGIN), move || match only_if_managed {
        true => {
            let management = (system.management)(ours(&app), timeout);
            command::activate_if_managed(&wanted(&app), &management, options, timeout)
        }
        false => command::activate(&wanted(&app), by, options, timeout),
    })?;
    Ok(told)
}

fn deactivate(app: ExtensionBundle, arguments: &Deactivate) -> anyhow::Result<Told> {
    let timeout = arguments.timeout;
    let approval = Approval::Wait;
    let told = with_main_loop(Some(2 * timeout + MARGIN), move || {
        command::deactivate(&app.identifier, Options { timeout, approval }, timeout)
    })?;
    Ok(told)
}

/// Works outside of an app too, as far as it goes: the trail and the neighbours can be read.
fn status(
    app: Result<ExtensionBundle, bundle::Error>,
    state_dir: &Path,
    arguments: &Status,
) -> anyhow::Result<(Code, String)> {
    let evidence = trail::evidence(state_dir);
    let timeout = arguments.timeout;
    let status = with_main_loop(Some(4 * timeout + MARGIN), move || {
        let identifier = app.as_ref().map(|it| it.identifier.as_str());
        let around = neighbours::look_around(identifier.unwrap_or_default(), timeout);
        let now = host::clock::stamp();
        command::status(
            identifier.map_err(|error| error.to_string()),
            evidence.as_ref().map_err(String::clone),
            around,
            timeout,
            now,
        )
    })?;
    let text = match arguments.json {
        true => format!("{}\n", status.json()),
        false => {
            let shipper = super::status::lines_of(state_dir);
            let lines = status.lines().into_iter().chain(shipper);
            lines.map(|line| line + "\n").collect()
        }
    };
    Ok((command::status_code(&status), text))
}

fn upgrade(
    app: ExtensionBundle,
    state_dir: &Path,
    arguments: &Upgrade,
    system: System,
) -> anyhow::Result<Told> {
    let mut here = Here::new(state_dir, app.clone(), system);
    let timeouts = Timeouts {
        request: arguments.timeout,
        ..Timeouts::default()
    };
    let (when, patience) = (arguments.when, arguments.wait);
    // Each part of it has a timeout; the whole may take days.
    let told = with_main_loop(None, move || {
        let order = command::Upgrade {
            wanted: wanted(&app),
            in_app: app.version.as_ref(),
            when,
            patience,
            timeouts,
        };
        let told = command::upgrade(order, &mut here);
        here.receipts.ended(told.code);
        told
    })?;
    Ok(told)
}

/// How long the settings are believed, while the moment is waited for.
const SETTINGS_STEP: Duration = Duration::from_secs(600);

/// How long the tool that shows profiles may take.
const PROFILES_TIMEOUT: Duration = Duration::from_secs(30);

/// The trail, the clocks, the settings and the terminal.
struct Here {
    state_dir: PathBuf,
    app: ExtensionBundle,
    /// The moment that is configured, and when it was read.
    configured: Option<(Moment, Instant)>,
    receipts: Receipts,
    rebooted: bool,
    sleep: SleepWatch,
    /// The standard library's clock stands still in sleep, as the kernel's does that it reads:
    /// `CLOCK_UPTIME_RAW` on macOS.
    begun: Instant,
    flows: Option<FlowWatch>,
    system: System,
}

impl Here {
    fn new(state_dir: &Path, app: ExtensionBundle, system: System) -> Here {
        let receipts = Receipts::of(state_dir);
        Here {
            state_dir: state_dir.to_owned(),
            rebooted: receipts.rebooted_since_order(host::device::boot_id()),
            receipts,
            sleep: SleepWatch::new(host::clock::mono(), 0),
            begun: Instant::now(),
            flows: None,
            app,
            configured: None,
            system,
        }
    }

    fn read_moment(&mut self) -> Moment {
        let mut layers = (self.system.layers)();
        // The filter's own profile says it where only the recorder can read it otherwise.
        let vendor = self.management().upgrade_when;
        let vendor = vendor.map(|it| (UPGRADE_WHEN.to_owned(), ManagedValue::Text(it)));
        layers.add_managed(VENDOR_CONFIG, vendor);
        moment_of(layers.config.upgrade_when)
    }
}

const UPGRADE_WHEN: &str = "filter.upgrade_when";

fn moment_of(configured: UpgradeMoment) -> Moment {
    match configured {
        UpgradeMoment::Wake => Moment::Wake,
        UpgradeMoment::Reboot => Moment::Reboot,
        UpgradeMoment::Now => Moment::Now,
        UpgradeMoment::Window {
            from_minute,
            until_minute,
        } => Moment::Window(Window {
            from: from_minute,
            to: until_minute,
        }),
    }
}

impl Shell for Here {
    fn flow_arrived(&mut self) -> bool {
        let state_dir = &self.state_dir;
        let flows = self
            .flows
            .get_or_insert_with(|| FlowWatch::begin(state_dir, now()));
        flows.arrived()
    }

    fn note_switched_off(&mut self, is_off: bool) {
        self.receipts.note_switched_off(is_off);
    }

    fn was_left_off(&mut self) -> bool {
        self.receipts.was_left_off()
    }
}

impl Surroundings for Here {
    fn situation(&mut self) -> Situation {
        let awake_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let time = Zoned::now().time();
        let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
        Situation {
            minute_of_day: u16::try_from(minute).ok(),
            woke: self.sleep.slept(host::clock::mono(), awake_ns),
            rebooted: self.rebooted,
        }
    }

    fn resets(&mut self) -> Resets {
        trail::resets(&self.state_dir)
    }

    fn keep(&mut self, receipt: &ExtensionReplaced) -> Result<(), String> {
        self.receipts
            .keep(receipt, now())
            .map_err(|error| format!("{error:#}"))
    }

    fn configured(&mut self) -> Moment {
        let known = self.configured.take();
        let known = known.filter(|(_, read)| read.elapsed() < SETTINGS_STEP);
        let (moment, read) = known.unwrap_or_else(|| (self.read_moment(), Instant::now()));
        self.configured = Some((moment, read));
        moment
    }

    fn management(&mut self) -> Management {
        (self.system.management)(ours(&self.app), PROFILES_TIMEOUT)
    }

    fn tell(&mut self, line: &str) {
        (self.system.say)(line);
    }
}

fn now() -> Stamp {
    host::clock::stamp()
}

#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod tests {
    use super::*;
    use ::trail::{Item, TrailReader, TrailWriter, WriterOptions, segments_dir};
    use app_macos::extension::Version;
    use app_macos::management::Permission;
    use objc2_network_extension::driver as network;
    use objc2_system_extensions::driver::{self as system, Installed, Machine};
    use record::{
        Connection, Notice, NoticeKind, Origin, Phase, Protocol, Record, SensorKind, sample,
    };
    use std::thread;

    const EXTENSION: &str = "org.example.filter";
    const LONG: Duration = Duration::from_secs(120);

    /// A machine with version 1 of the extension, and version 2 in the app.
    struct World {
        state: tempfile::TempDir,
        _network: network::Alone,
        _machine: darwin_double::machine::Guard,
    }

    impl World {
        fn new() -> World {
            let machine = darwin_double::machine::lock();
            system::reset(Machine {
                in_app: vec![Installed::new(EXTENSION, "2")],
                installed: vec![Installed::new(EXTENSION, "1")],
                ..Machine::default()
            });
            World {
                state: tempfile::tempdir().unwrap(),
                _network: network::alone(),
                _machine: machine,
            }
        }

        /// The recorder's trail, in which a sensor has begun to watch.
        fn recorder(&self) -> TrailWriter {
            let options = WriterOptions::new(sample::device(), 1 << 30);
            let mut writer = TrailWriter::open(self.state.path(), options, now()).unwrap();
            let previous = writer.previous();
            let sensor = SensorKind::MacosFilter;
            let limits = Vec::new();
            let kinds = [
                NoticeKind::RecorderStarted { previous },
                NoticeKind::SensorStarted { sensor, limits },
            ];
            let notice = |kind| Record::Notice(Notice { at: now(), kind });
            write(&mut writer, &kinds.map(notice));
            writer
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            system::settle();
            system::reset(Machine::default());
        }
    }

    fn app() -> ExtensionBundle {
        let version = Version {
            short: "2".to_owned(),
            build: "2".to_owned(),
        };
        ExtensionBundle {
            identifier: EXTENSION.to_owned(),
            version: Some(version),
            app: None,
            team: None,
        }
    }

    /// Nobody manages this machine, and nothing is said.
    const QUIET: System = System {
        say: |_| {},
        management: |_, _| managed(Permission::Missing("no payload".to_owned()), None),
        layers: Layers::default,
    };

    fn managed(extension: Permission, upgrade_when: Option<&str>) -> Management {
        Management {
            extension,
            filter: true,
            upgrade_when: upgrade_when.map(str::to_owned),
        }
    }

    fn write(writer: &mut TrailWriter, records: &[Record]) {
        for record in records {
            writer.append(record, now().mono).unwrap();
        }
        let flushed = writer.flush(now()).unwrap();
        drop(flushed);
    }

    fn open_connection(protocol: Protocol) -> Record {
        let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        Record::Connection(Connection {
            at: now(),
            opened: Some(now().mono),
            phase: Phase::Open,
            origin: Origin::Live,
            protocol,
            ..connection
        })
    }

    #[test]
    fn activating_says_what_it_did_and_ends_with_its_code() {
        let world = World::new();
        system::with(|machine| machine.installed.clear());
        let arguments = Activate {
            timeout: LONG,
            no_wait: true,
            filter_by_profile: false,
            only_if_managed: false,
        };
        let (code, text) = printed(activate(app(), &arguments, QUIET).unwrap());
        assert_eq!(
            (code, text.as_str()),
            (Code::Done, "The extension is active.\nThe filter is on.\n")
        );
        let arguments = Deactivate { timeout: LONG };
        let (code, text) = printed(deactivate(app(), &arguments).unwrap());
        assert_eq!(code, Code::Done, "{text}");
        drop(world);
    }

    // facts: only-the-app-may-ask
    #[test]
    fn outside_of_an_app_only_the_status_is_told() {
        let world = World::new();
        let state = world.state.path();
        let timeout = LONG;
        let deactivate = Command::Deactivate(Deactivate { timeout });
        let error = run(state, deactivate).unwrap_err().to_string();
        assert!(error.contains("/Applications/Conntrail.app"), "{error}");
        let json = true;
        let (code, _) = answer(state, Command::Status(Status { timeout, json })).unwrap();
        assert_eq!(code, Code::Unhealthy);
    }

    // facts: replaced-but-no-flows
    #[test]
    fn status_reads_the_trail_and_works_outside_of_an_app() {
        let world = World::new();
        let mut arguments = Status {
            timeout: LONG,
            json: true,
        };
        let nowhere = || Err(bundle::Error::NoApp(PathBuf::from("/usr/bin/conntrail")));
        let (code, text) = status(nowhere(), world.state.path(), &arguments).unwrap();
        assert_eq!(code, Code::Unhealthy);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["health"]["state"], "no_trail");
        assert!(
            json["health"]["reason"].as_str().unwrap().contains("sudo"),
            "{text}"
        );
        assert!(
            json["extension"]["trouble"]
                .as_str()
                .unwrap()
                .contains("not in an app")
        );

        let mut writer = world.recorder();
        write(&mut writer, &[open_connection(Protocol::Tcp)]);
        arguments.json = false;
        let (code, text) = status(Ok(app()), world.state.path(), &arguments).unwrap();
        assert_eq!(code, Code::Done, "{text}");
        assert!(text.contains("good: the newest connection began"), "{text}");
        assert!(text.contains("Extension  version 1 is enabled"), "{text}");
    }

    // facts: rule-12-upgrade-when-it-hurts-least, crash-resets-connections
    #[test]
    fn an_upgrade_counts_by_the_trail_is_proven_by_it_and_leaves_a_receipt() {
        let world = World::new();
        let mut writer = world.recorder();
        write(&mut writer, &[open_connection(Protocol::Tcp)]);
        let recorder = thread::spawn(move || {
            while system::history().decisions.is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
            // The new version opens an epoch of its own, later.
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(100));
                write(&mut writer, &[open_connection(Protocol::Udp)]);
            }
        });
        let arguments = Upgrade {
            when: When::At(Moment::Now),
            wait: LONG,
            timeout: LONG,
        };
        let told = upgrade(app(), world.state.path(), &arguments, QUIET).unwrap();
        recorder.join().unwrap();
        assert_eq!(told.code, Code::Done, "{told:?}");

        let receipts = segments_dir(&world.state.path().join("upgrades"));
        let mut reader = TrailReader::open(&receipts).unwrap();
        let mut kept = Vec::new();
        while let Some(Item::Record { record, .. }) = reader.next_item().unwrap() {
            if let Record::Notice(Notice { kind, .. }) = record {
                kept.push(kind);
            }
        }
        let NoticeKind::ExtensionReplaced(receipt) = &kept[1] else {
            panic!("{kept:?}")
        };
        assert_eq!((receipt.from.as_deref(), &*receipt.to), (Some("1"), "2"));
        assert_eq!(
            (receipt.reset_estimate, receipt.flows_arrive),
            (1, Some(true))
        );
    }

    // facts: rule-12-upgrade-when-it-hurts-least
    #[test]
    fn an_upgrade_at_the_next_start_is_remembered() {
        let world = World::new();
        let arguments = Upgrade {
            when: When::At(Moment::Reboot),
            wait: LONG,
            timeout: LONG,
        };
        let told = upgrade(app(), world.state.path(), &arguments, QUIET).unwrap();
        assert_eq!(told.code, Code::NotYet, "{told:?}");
        let note = world.state.path().join("upgrades/ordered-on-boot");
        assert!(note.exists());
        // The note is of another boot now.
        std::fs::write(&note, "1").unwrap();
        let mut here = Here::new(world.state.path(), app(), QUIET);
        assert!(here.situation().rebooted);
        assert!(!here.situation().woke);
        assert!(here.situation().minute_of_day.unwrap() < 1_440);
    }

    #[test]
    fn only_if_managed_asks_device_management_first() {
        let _world = World::new();
        system::with(|machine| machine.installed.clear());
        let arguments = Activate {
            timeout: LONG,
            no_wait: true,
            filter_by_profile: false,
            only_if_managed: true,
        };
        let told = activate(app(), &arguments, QUIET).unwrap();
        assert_eq!(told.code, Code::AwaitingApproval, "{told:?}");
        assert_eq!(system::history().submitted, []);
        let allowed = System {
            management: |ours, _| {
                assert_eq!((ours.extension, ours.team), (EXTENSION, None));
                managed(Permission::Granted, None)
            },
            ..QUIET
        };
        let told = activate(app(), &arguments, allowed).unwrap();
        assert_eq!(told.code, Code::Done, "{told:?}");
        assert_eq!(network::stored(), network::Stored::Nothing, "no question");
    }

    #[test]
    fn the_configured_moment_is_the_setting_in_force() {
        let moment = |system: System| {
            let state = tempfile::tempdir().unwrap();
            let mut here = Here::new(state.path(), app(), system);
            let first = here.configured();
            assert_eq!(here.configured(), first, "it is believed for a while");
            first
        };
        assert_eq!(moment(QUIET), Moment::Reboot, "the default");
        let by_profile = System {
            management: |_, _| managed(Permission::Granted, Some("23:00-05:30")),
            ..QUIET
        };
        let night = "23:00-05:30".parse().unwrap();
        assert_eq!(moment(by_profile), night);
        let by_preferences = System {
            layers: || {
                let mut layers = Layers::default();
                let wake = ManagedValue::Text("wake".to_owned());
                let values = [(UPGRADE_WHEN.to_owned(), wake)];
                layers.add_managed(preferences::MANAGED_PREFERENCES, values);
                layers
            },
            ..by_profile
        };
        assert_eq!(moment(by_preferences), Moment::Wake);
        assert_eq!(moment_of(UpgradeMoment::Now), Moment::Now);
        assert_eq!(moment_of(UpgradeMoment::Reboot), Moment::Reboot);
    }

    // facts: rule-12-upgrade-when-it-hurts-least
    #[test]
    fn the_configured_upgrade_notes_the_order_and_goes_at_the_next_start() {
        let world = World::new();
        let mut writer = world.recorder();
        let arguments = Upgrade {
            when: When::Configured,
            wait: LONG,
            timeout: LONG,
        };
        let told = upgrade(app(), world.state.path(), &arguments, QUIET).unwrap();
        assert_eq!(told.code, Code::NotYet, "{told:?}");
        assert!(system::history().decisions.is_empty());
        std::fs::write(world.state.path().join("upgrades/ordered-on-boot"), "1").unwrap();
        let recorder = thread::spawn(move || {
            while system::history().decisions.is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(100));
                write(&mut writer, &[open_connection(Protocol::Udp)]);
            }
        });
        let told = upgrade(app(), world.state.path(), &arguments, QUIET).unwrap();
        recorder.join().unwrap();
        assert_eq!(told.code, Code::Done, "{told:?}");
        let again = upgrade(app(), world.state.path(), &arguments, QUIET).unwrap();
        assert_eq!(again.lines, ["The version in this app runs already."]);
    }

    #[test]
    fn the_words_of_the_job_are_arguments_of_this_program() {
        use clap::Parser;
        #[derive(Parser)]
        struct Program {
            #[command(subcommand)]
            command: Command,
        }
        let parsed = |words: &[&str]| Program::try_parse_from(words).unwrap().command;
        let job = parsed(&[
            "conntrail",
            "upgrade",
            "--when",
            "configured",
            "--wait",
            "30d",
        ]);
        let Command::Upgrade(upgrade) = job else {
            panic!("another command")
        };
        assert_eq!(upgrade.when, When::Configured);
        let installer = ["conntrail", "activate", "--only-if-managed", "--no-wait"];
        let Command::Activate(activate) = parsed(&installer) else {
            panic!("another command")
        };
        assert!(activate.only_if_managed && activate.no_wait);
    }

    #[test]
    fn nothing_is_counted_and_nothing_arrives_where_there_is_no_trail() {
        let nowhere = Path::new("/nowhere");
        assert_eq!(trail::resets(nowhere), Resets::default());
        assert!(!FlowWatch::begin(nowhere, now()).arrived());
    }
}
