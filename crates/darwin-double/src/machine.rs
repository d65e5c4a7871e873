//! The machine that the doubled functions answer from.
//!
//! There is one a program, as there is one kernel. A test takes [`lock`] first: it waits for the
//! tests before it, and starts from a machine just booted, on which only the kernel (pid 0),
//! `launchd` (pid 1) and the test's own process run.
//!
//! ```
//! use darwin_double::machine::{self, Process, Socket};
//!
//! let _machine = machine::lock();
//! let token = machine::add(Process::new(501).at("/usr/bin/curl"));
//! machine::exit(501);
//! assert_eq!(machine::processes(), [0, 1, std::process::id().cast_signed()]);
//! assert_eq!(token.len(), 32);
//! ```

mod calls;
mod process;
mod socket;
mod tcp;
mod value;

pub use calls::{Hold, On, called_on_this_thread, calls_of, on};
pub(crate) use calls::{enter, note};
pub use process::{Code, FLAG_ADHOC, FLAG_RUNTIME, Process, STATUS_PLATFORM, STATUS_VALID};
pub use socket::{AF_INET, AF_INET6, AF_SYSTEM, AF_UNIX, AF_VSOCK, File, FileKind, Socket};
pub use tcp::{TCP_STATS_MACOS_12, TCP_STATS_MACOS_13, TCP_STATS_MACOS_15, TcpStats};
pub use value::Value;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What the Security framework answers, as an `OSStatus` (`Security/CSCommon.h`).
pub mod status {
    /// `errSecSuccess`.
    pub const SUCCESS: i32 = 0;
    /// `errSecCSInvalidObjectRef`.
    pub const INVALID_OBJECT: i32 = -67071;
    /// `errSecCSInvalidFlags`.
    pub const INVALID_FLAGS: i32 = -67070;
    /// `errSecCSObjectRequired`.
    pub const OBJECT_REQUIRED: i32 = -67069;
    /// `errSecCSStaticCodeNotFound`.
    pub const STATIC_CODE_NOT_FOUND: i32 = -67068;
    /// `errSecCSUnsupportedGuestAttributes`.
    pub const UNSUPPORTED_ATTRIBUTES: i32 = -67067;
    /// `errSecCSInvalidAttributeValues`.
    pub const INVALID_ATTRIBUTE_VALUES: i32 = -67066;
    /// `errSecCSNoSuchCode`.
    pub const NO_SUCH_CODE: i32 = -67065;
    /// `errSecCSGuestInvalid`.
    pub const GUEST_INVALID: i32 = -67063;
    /// `errSecCSUnsigned`.
    pub const UNSIGNED: i32 = -67062;
    /// `errSecCSSignatureFailed`.
    pub const SIGNATURE_FAILED: i32 = -67061;
    /// `errSecCSReqInvalid`.
    pub const REQUIREMENT_INVALID: i32 = -67052;
    /// `errSecCSReqFailed`.
    pub const REQUIREMENT_FAILED: i32 = -67050;
    /// `errSecCSStaticCodeChanged`.
    pub const STATIC_CODE_CHANGED: i32 = -67034;
    /// `errno` EPERM as the framework hands it on: 100000 is added.
    pub const EPERM: i32 = 100_001;
    /// `errno` ENOENT: the executable has been deleted.
    pub const ENOENT: i32 = 100_002;
    /// `errno` ESRCH: there is no such process.
    pub const ESRCH: i32 = 100_003;
}

static LOCK: Mutex<()> = Mutex::new(());
static MACHINE: LazyLock<Mutex<Machine>> = LazyLock::new(|| Mutex::new(Machine::just_booted()));

/// All the state there is.
pub(crate) struct Machine {
    /// Whether we run as root, which may look into every process.
    pub(crate) root: bool,
    /// Who we are if we are not root.
    pub(crate) user: u32,
    pub(crate) processes: BTreeMap<i32, Process>,
    next_version: u32,
    pub(crate) variables: BTreeMap<String, Vec<u8>>,
    pub(crate) tcp: TcpStats,
    pub(crate) preferences: Preferences,
    pub(crate) bundle: Bundle,
    pub(crate) registry: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) clock: Clock,
}

/// What preferences are stored, and how they are handed out.
#[derive(Clone, Debug, Default)]
pub struct Preferences {
    /// Values that a configuration profile forces, by domain.
    pub forced: BTreeMap<String, BTreeMap<String, Value>>,
    /// Values of the current user, by domain.
    pub user: BTreeMap<String, BTreeMap<String, Value>>,
    /// Values for any user (`/Library/Preferences`), by domain.
    pub computer: BTreeMap<String, BTreeMap<String, Value>>,
    /// Whether lists of keys, and many values at once, have forced ones among them.
    /// Apple does not say; both are to be tried.
    pub lists_hold_forced: bool,
    /// Whether a change is seen only after `CFPreferencesAppSynchronize`, as on older systems.
    pub cached: bool,
}

/// The main bundle: whose code we are.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its directory; `None` for a program that is in no bundle.
    pub path: Option<String>,
    /// The executable.
    pub executable: String,
    /// `Info.plist`.
    pub information: BTreeMap<String, Value>,
}

/// The clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What `mach_continuous_time` reads, in ticks; `None`: time passes.
    pub continuous_ticks: Option<u64>,
    /// What `mach_absolute_time` reads, in ticks, which stands still during sleep; `None`: time
    /// passes.
    pub absolute_ticks: Option<u64>,
    /// A tick is this many nanoseconds, as numerator and denominator: 125/3 on Apple silicon, 1/1
    /// on Intel.
    pub timebase: (u32, u32),
}

/// Holds the machine for one test.
#[must_use = "the next test begins when it is dropped"]
pub struct Guard {
    _held: MutexGuard<'static, ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        reset();
    }
}

/// Waits until no other test has the machine, and boots it anew.
pub fn lock() -> Guard {
    let held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    reset();
    Guard { _held: held }
}

/// Boots the machine anew: processes, rules, counts, clocks, preferences, queues.
pub fn reset() {
    calls::reset();
    crate::dispatch::reset();
    crate::cf::reset();
    crate::registry::reset();
    *machine() = Machine::just_booted();
}

/// Starts a process, in the place of one that has its pid. Its audit token.
pub fn add(mut process: Process) -> [u8; 32] {
    let mut machine = machine();
    if process.version == 0 {
        process.version = machine.take_version();
    }
    let token = process.token();
    machine.processes.insert(process.pid, process);
    token
}

/// Ends a process: nothing is known of it any more.
pub fn exit(pid: i32) {
    machine().processes.remove(&pid);
}

/// Ends a process whose parent does not ask how it ended: it stays in lists.
pub fn exit_unreaped(pid: i32) {
    change(pid, |process| process.zombie = true);
}

/// Changes a process as it runs.
///
/// # Panics
/// If there is no such process.
pub fn change(pid: i32, change: impl FnOnce(&mut Process)) {
    let mut machine = machine();
    change(machine.process_mut(pid));
}

/// The process becomes another program: a new counter, and with it a new token, which is returned.
///
/// # Panics
/// If there is no such process.
pub fn exec(pid: i32, change: impl FnOnce(&mut Process)) -> [u8; 32] {
    let mut machine = machine();
    let version = machine.take_version();
    let process = machine.process_mut(pid);
    process.version = version;
    change(process);
    process.token()
}

/// The audit token of a process.
///
/// # Panics
/// If there is no such process.
pub fn token(pid: i32) -> [u8; 32] {
    machine().process_mut(pid).token()
}

/// The pids, in order.
pub fn processes() -> Vec<i32> {
    machine().processes.keys().copied().collect()
}

/// Whether we are root; if not, we are user 501.
pub fn set_root(root: bool) {
    let mut machine = machine();
    machine.root = root;
    let user = if root { 0 } else { machine.user };
    let own = machine.process_mut(own_pid());
    (own.effective_user, own.real_user) = (user, user);
}

/// Sets a kernel variable to these bytes.
pub fn set_variable(name: &str, bytes: &[u8]) {
    machine().variables.insert(name.to_owned(), bytes.to_vec());
}

/// Sets a kernel variable to a string, whose end is stored with it.
pub fn set_text_variable(name: &str, text: &str) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    set_variable(name, &bytes);
}

/// Makes a kernel variable unknown: reading it fails with `ENOENT`.
pub fn remove_variable(name: &str) {
    machine().variables.remove(name);
}

/// Changes the counters of TCP.
pub fn tcp(change: impl FnOnce(&mut TcpStats)) {
    change(&mut machine().tcp);
}

/// Changes the preferences.
pub fn preferences(change: impl FnOnce(&mut Preferences)) {
    change(&mut machine().preferences);
}

/// Forces a preference, as a configuration profile does.
pub fn force(domain: &str, key: &str, value: impl Into<Value>) {
    let value = value.into();
    preferences(|all| {
        all.forced
            .entry(domain.to_owned())
            .or_default()
            .insert(key.to_owned(), value);
    });
}

/// Changes the main bundle. A bundle that was asked for before keeps what it had.
pub fn bundle(change: impl FnOnce(&mut Bundle)) {
    change(&mut machine().bundle);
}

/// Changes the registry of devices: properties by class.
pub fn registry(change: impl FnOnce(&mut BTreeMap<String, BTreeMap<String, Value>>)) {
    change(&mut machine().registry);
}

/// How many services were found in the registry and not let go.
pub fn services_held() -> usize {
    crate::registry::held()
}

/// Changes the clocks.
pub fn clock(change: impl FnOnce(&mut Clock)) {
    change(&mut machine().clock);
}

/// The pid of the test itself, which is a process of the machine too.
pub fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Why a process is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchProcess,
    AnotherUsers,
}

impl Machine {
    fn just_booted() -> Self {
        let mut machine = Self {
            root: true,
            user: 501,
            processes: BTreeMap::new(),
            next_version: 1_000,
            variables: BTreeMap::new(),
            tcp: TcpStats::default(),
            preferences: Preferences::default(),
            bundle: Bundle::of_extension(),
            registry: first_registry(),
            clock: Clock {
                continuous_ticks: None,
                absolute_ticks: None,
                timebase: (125, 3),
            },
        };
        machine.add_first_processes();
        machine.set_first_variables();
        machine
    }

    fn add_first_processes(&mut self) {
        let kernel = Process {
            version: 1,
            parent: 0,
            session: 0,
            name: "kernel_task".to_owned(),
            path: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            code: Code {
                guest: status::ESRCH,
                ..Code::unsigned()
            },
            ..Process::new(0).of_user(0, 0)
        };
        let launchd = Process {
            parent: 0,
            version: 2,
            restricted: true,
            ..Process::new(1).at("/sbin/launchd").of_user(0, 0)
        };
        let launchd = launchd.with_code(Code::platform("com.apple.xpc.launchd"));
        let own = Process::new(own_pid())
            .at("/Library/SystemExtensions/1/com.example.agent.filter")
            .of_user(0, 0)
            .with_version(900)
            .with_code(Code::signed("com.example.agent.filter", "ABCDE12345"));
        for process in [kernel, launchd, own] {
            self.processes.insert(process.pid, process);
        }
    }

    fn set_first_variables(&mut self) {
        let texts = [
            (
                "kern.bootsessionuuid",
                "6B29FC40-CA47-1067-B31D-00DD010662DA",
            ),
            ("kern.osproductversion", "15.4"),
            ("kern.osrelease", "24.4.0"),
            ("kern.osversion", "24E248"),
            ("kern.ostype", "Darwin"),
            ("kern.hostname", "annas-mac.example.com"),
            ("kern.uuid", "11111111-2222-3333-4444-555555555555"),
            ("hw.model", "Mac14,2"),
            ("hw.machine", "arm64"),
        ];
        for (name, text) in texts {
            self.variables
                .insert(name.to_owned(), [text.as_bytes(), &[0]].concat());
        }
        let boot_time = [1_700_000_000_i64.to_ne_bytes(), 0_i64.to_ne_bytes()].concat();
        self.variables.insert("kern.boottime".to_owned(), boot_time);
        let argument_size_max = crate::sysctl::ARGUMENT_SIZE_MAX.to_ne_bytes().to_vec();
        self.variables
            .insert("kern.argmax".to_owned(), argument_size_max);
    }

    fn take_version(&mut self) -> u32 {
        self.next_version += 1;
        self.next_version
    }

    fn process_mut(&mut self, pid: i32) -> &mut Process {
        self.processes
            .get_mut(&pid)
            .unwrap_or_else(|| panic!("no process {pid} on the machine"))
    }

    /// A process that runs: `proc_find` of the kernel, which does not find one that has ended.
    pub(crate) fn running(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid).filter(|process| !process.zombie)
    }

    /// A process that runs and that we may look into.
    pub(crate) fn open_to_us(&self, pid: i32) -> Result<&Process, Refusal> {
        let process = self.running(pid).ok_or(Refusal::NoSuchProcess)?;
        self.may_look_into(process)
            .then_some(process)
            .ok_or(Refusal::AnotherUsers)
    }

    /// The same-user check (`bsd/kern/proc_info.c`, `proc_security_policy`).
    pub(crate) fn may_look_into(&self, process: &Process) -> bool {
        self.root || process.effective_user == self.user
    }
}

impl Bundle {
    fn of_extension() -> Self {
        let path = "/Library/SystemExtensions/1/com.example.agent.filter.systemextension";
        let information = [
            ("CFBundleIdentifier", "com.example.agent.filter"),
            ("CFBundleExecutable", "com.example.agent.filter"),
            ("CFBundleVersion", "1"),
            ("CFBundleShortVersionString", "0.1.0"),
            ("CFBundlePackageType", "SYSX"),
        ];
        Self {
            path: Some(path.to_owned()),
            executable: format!("{path}/Contents/MacOS/com.example.agent.filter"),
            information: information
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .into(),
        }
    }
}

fn first_registry() -> BTreeMap<String, BTreeMap<String, Value>> {
    let platform = [
        ("IOPlatformSerialNumber", "C02EXAMPLE01"),
        ("IOPlatformUUID", "11111111-2222-3333-4444-555555555555"),
    ];
    let platform = platform.map(|(key, value)| (key.to_owned(), Value::from(value)));
    BTreeMap::from([("IOPlatformExpertDevice".to_owned(), platform.into())])
}

/// The machine, for as long as it takes to read or change it: no call out is made meanwhile.
pub(crate) fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
