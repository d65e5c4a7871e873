//! Who is behind the audit tokens of flows, found out beside the sensor.
//!
//! A lookup asks the system several times and can hang, so it happens on a thread of its own. The
//! sensor puts a token into a queue of 1,024, and collects what was found when it comes by. Nothing
//! here makes it wait.
//!
//! Processes that may be gone in a moment are looked at first; their signatures, which take
//! milliseconds, come when nobody is left in the queue.

mod live;
mod process;
pub(crate) mod worker;

pub(crate) use self::process::{Reader, key_by_start};

use self::live::Living;
use self::process::Begun;
use self::worker::Worker;
use crate::Clock;
use crate::token::Token;
use flow::{Event, Introduction};
use record::{LossCause, LossStage, LostKind, Mono};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, TrySendError, sync_channel};

/// How to find out who.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentityOptions {
    /// Reads both clocks.
    pub(crate) clock: Clock,
    /// Whether command lines are read.
    pub(crate) command_lines: bool,
}

/// Finds out who is behind audit tokens. Dropping it ends its thread and waits for that, but not
/// for ever.
pub(crate) struct Identities {
    clock: Clock,
    asked: Asked,
    check_due: Mono,
    lost_full: u64,
    lost_ended: u64,
    command_lines: Arc<AtomicBool>,
    // The worker ends when it can neither be asked nor tell, so it is dropped last.
    asks: SyncSender<Ask>,
    told: Receiver<Event>,
    _worker: Worker,
}

/// What the sensor asks for.
enum Ask {
    /// Who is this?
    Who(Token),
    /// Who is still there? For those where it is time to look.
    Check,
}

impl Identities {
    /// Begins to work.
    pub(crate) fn start(options: IdentityOptions) -> Identities {
        let (asks, asked) = sync_channel(WAITING_MAX);
        let (tell, told) = sync_channel(TOLD_MAX);
        let command_lines = Arc::new(AtomicBool::new(options.command_lines));
        let work = Work {
            clock: options.clock,
            command_lines: Arc::clone(&command_lines),
            asks: asked,
            tell,
            begun: VecDeque::new(),
            living: Living::default(),
            is_checking: false,
        };
        Identities {
            clock: options.clock,
            asked: Asked::default(),
            check_due: Mono::default(),
            lost_full: 0,
            lost_ended: 0,
            command_lines,
            asks,
            told,
            _worker: Worker::start("identities", move || work.run()),
        }
    }

    /// Asks who is behind a token, unless that was asked before or nobody is.
    pub(crate) fn ask(&mut self, token: &Token) {
        if token.is_zero() || self.asked.knows(token) {
            return;
        }
        match self.asks.try_send(Ask::Who(*token)) {
            Ok(()) => self.asked.add(*token),
            Err(TrySendError::Full(_)) => self.lost_full += 1,
            Err(TrySendError::Disconnected(_)) => self.lost_ended += 1,
        }
    }

    /// Appends what was found out since the last call. Never waits.
    pub(crate) fn collect(&mut self, events: &mut Vec<Event>) {
        events.extend(self.told.try_iter());
        let lost = [
            (&mut self.lost_full, LossCause::QueueFull),
            (&mut self.lost_ended, LossCause::Fault),
        ];
        for (count, cause) in lost {
            let count = std::mem::take(count);
            if count != 0 {
                events.push(Event::Lost {
                    stage: LossStage::SensorQueue,
                    cause,
                    what: LostKind::Processes,
                    count: Some(count),
                });
            }
        }
        self.remind();
    }

    /// Whether command lines are read from now on.
    pub(crate) fn set_command_lines(&self, command_lines: bool) {
        self.command_lines.store(command_lines, Ordering::Relaxed);
    }

    /// The worker has no clock that wakes it: it is told when a second has passed.
    fn remind(&mut self) {
        let now = (self.clock)().mono;
        if now >= self.check_due {
            self.check_due = now.plus_ns(CHECK_INTERVAL_NS);
            // With a full queue the worker is awake, and the next second comes soon.
            let _ = self.asks.try_send(Ask::Check);
        }
    }
}

/// The tokens that were asked about, whatever the answer was; the most recently used ones at least.
#[derive(Default)]
struct Asked {
    last_uses: FxHashMap<Token, u64>,
    uses: u64,
}

impl Asked {
    fn knows(&mut self, token: &Token) -> bool {
        self.uses += 1;
        match self.last_uses.get_mut(token) {
            Some(last_use) => {
                *last_use = self.uses;
                true
            }
            None => false,
        }
    }

    /// Lets go of a quarter at once when it is full, so that the cost of finding the least used is
    /// shared by many tokens.
    fn add(&mut self, token: Token) {
        self.last_uses.insert(token, self.uses);
        if self.last_uses.len() > ASKED_MAX {
            let mut uses: Vec<u64> = self.last_uses.values().copied().collect();
            let (_, &mut quarter, _) = uses.select_nth_unstable(ASKED_MAX / 4);
            self.last_uses.retain(|_, last_use| *last_use > quarter);
        }
    }
}

/// What the thread does.
struct Work {
    clock: Clock,
    command_lines: Arc<AtomicBool>,
    asks: Receiver<Ask>,
    tell: SyncSender<Event>,
    /// Whose signatures are still to be looked at.
    begun: VecDeque<Begun>,
    living: Living,
    is_checking: bool,
}

/// The sensor has gone.
struct Ended;

impl Work {
    fn run(mut self) {
        let mut reader = Reader::new();
        while self.step(&mut reader).is_ok() {}
    }

    /// Takes one ask, or else does one piece of what is left to do.
    fn step(&mut self, reader: &mut Reader) -> Result<(), Ended> {
        let is_idle = self.begun.is_empty() && !self.is_checking;
        let ask = match is_idle {
            true => self
                .asks
                .recv()
                .map_err(|RecvError| TryRecvError::Disconnected),
            false if self.begun.len() < BEGUN_MAX => self.asks.try_recv(),
            false => Err(TryRecvError::Empty),
        };
        match ask {
            Ok(Ask::Who(token)) => self.begin(&token, reader),
            Ok(Ask::Check) => {
                self.is_checking = true;
                Ok(())
            }
            Err(TryRecvError::Empty) => match self.begun.pop_front() {
                Some(begun) => self.tell(Event::ProcessSeen(reader.finish(begun))),
                None => self.check(),
            },
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
    }

    fn begin(&mut self, token: &Token, reader: &mut Reader) -> Result<(), Ended> {
        let now = (self.clock)();
        let mut parents = Vec::new();
        let command_lines = self.command_lines.load(Ordering::Relaxed);
        let begun = reader.begin(token, command_lines, &mut parents);
        self.living.add(*token, begun.start(), now.wall, now.mono);
        self.begun.push_back(begun);
        self.tell_all(parents)
    }

    /// Looks at those where it is time, and lets whoever asks in between go first.
    fn check(&mut self) -> Result<(), Ended> {
        let now = (self.clock)().mono;
        let mut keys = Vec::new();
        for _ in 0..CHECKS_AT_ONCE_MAX {
            self.is_checking = self.living.is_due(now);
            if !self.is_checking {
                break;
            }
            keys.extend(self.living.look(now));
        }
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        self.tell(Event::ProcessesGone { keys })
    }

    fn tell_all(&self, introductions: Vec<Introduction>) -> Result<(), Ended> {
        introductions
            .into_iter()
            .try_for_each(|introduction| self.tell(Event::ProcessSeen(introduction)))
    }

    /// Waits where the sensor does not come by.
    fn tell(&self, event: Event) -> Result<(), Ended> {
        self.tell.send(event).map_err(|_| Ended)
    }
}

/// Tokens remembered; about 0.3 MB.
const ASKED_MAX: usize = 4_096;

/// Tokens that wait to be looked up; about 40 kB.
const WAITING_MAX: usize = 1_024;

/// Processes that wait for their signature; about 0.3 MB.
const BEGUN_MAX: usize = 1_024;

/// Events that wait to be collected; about 2 MB.
const TOLD_MAX: usize = 4_096;

/// How often the worker is reminded, in nanoseconds. It looks at each process less often.
const CHECK_INTERVAL_NS: u64 = 1_000_000_000;

/// A look takes some microseconds, so a token waits less than a millisecond for them.
const CHECKS_AT_ONCE_MAX: usize = 32;

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use crate::token;
    use darwin_double::cf;
    use darwin_double::machine::{self, Code, Process, Value, status};
    use record::{ProcessKey, SignatureValidity, Stamp, Wall};
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::{Duration, Instant};

    const SECOND_NS: u64 = 1_000_000_000;

    /// Later than all processes of the machine were forked.
    const MET: Wall = Wall(1_800_000_000_000_000_000);

    static NOW_NS: AtomicU64 = AtomicU64::new(0);

    fn clock() -> Stamp {
        let now_ns = NOW_NS.load(Ordering::SeqCst);
        Stamp {
            wall: Wall(MET.0 + now_ns.cast_signed()),
            mono: Mono(now_ns),
        }
    }

    fn pass(seconds: u64) {
        NOW_NS.fetch_add(seconds * SECOND_NS, Ordering::SeqCst);
    }

    fn start() -> Identities {
        start_with(false)
    }

    fn start_with(command_lines: bool) -> Identities {
        Identities::start(IdentityOptions {
            clock,
            command_lines,
        })
    }

    fn token(process: Process) -> Token {
        Token(machine::add(process))
    }

    /// Collects until there is something of which `find` finds what it seeks.
    fn collect_until<T>(identities: &mut Identities, find: impl Fn(&[Event]) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut events = Vec::new();
        loop {
            identities.collect(&mut events);
            if let Some(found) = find(&events) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "not told within a minute: {events:?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn introductions(events: &[Event]) -> impl Iterator<Item = &Introduction> {
        events.iter().filter_map(|event| {
            let Event::ProcessSeen(introduction) = event else {
                return None;
            };
            Some(introduction)
        })
    }

    fn seen(events: &[Event], pid: u32) -> Option<Introduction> {
        introductions(events)
            .find(|it| it.process.key.pid == pid)
            .cloned()
    }

    fn introduction(identities: &mut Identities, token: &Token) -> Introduction {
        identities.ask(token);
        collect_until(identities, |events| {
            seen(events, token.pid()).filter(|it| it.process.key == token::process_key(token))
        })
    }

    fn introduce(process: Process) -> Introduction {
        let token = token(process);
        introduction(&mut start(), &token)
    }

    // facts: user-from-token, token-keys-the-process, code-lookup-by-token, rule-6-both-tokens
    #[test]
    fn a_process_is_introduced_with_all_that_can_be_known() {
        let _machine = machine::lock();
        let mut process = Process::new(700).at("/usr/bin/curl").child_of(600);
        (process.effective_user, process.login_user) = (0, 502);
        let token = token(process);
        let Introduction { process, parent } = introduction(&mut start(), &token);
        assert_eq!(
            process.key,
            ProcessKey {
                pid: 700,
                start_ns: 0,
                exec_id: token.pid_version()
            }
        );
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.name.as_deref(), Some("curl"));
        assert_eq!(process.user.map(|user| user.uid), Some(501));
        assert_eq!(
            (process.effective_uid, process.login_uid),
            (Some(0), Some(502))
        );
        assert_eq!(process.audit_session, Some(100_003));
        assert_eq!(process.started, Some(Wall(1_700_000_700_250_000_000)));
        assert_eq!((process.command_line, process.vanished), (None, false));
        let signature = process.signature.unwrap();
        assert_eq!(
            (signature.validity, signature.status),
            (SignatureValidity::Valid, None)
        );
        assert_eq!(signature.signing_id.as_deref(), Some("com.example.program"));
        assert_eq!(signature.team_id.as_deref(), Some("ABCDE12345"));
        assert_eq!(signature.cdhash.map(|hash| hash[19]), Some(19));
        assert_eq!(signature.platform, Some(false));
        assert_eq!(parent, None, "there is no process 600");
    }

    #[test]
    fn parents_are_introduced_before_their_children_and_once() {
        let _machine = machine::lock();
        for pid in 601..=606 {
            machine::add(Process::new(pid).at("/bin/zsh").child_of(pid - 1));
        }
        machine::change(601, |process| process.parent = 1);
        let [first, second] =
            [700, 701].map(|pid| token(Process::new(pid).at("/usr/bin/curl").child_of(606)));
        let mut identities = start();
        identities.ask(&first);
        identities.ask(&second);
        let events = collect_until(&mut identities, |events| {
            seen(events, 701)
                .and(seen(events, 700))
                .map(|_| events.to_vec())
        });
        let told: Vec<&Introduction> = introductions(&events).collect();
        let pids: Vec<u32> = told.iter().map(|it| it.process.key.pid).collect();
        assert_eq!(
            pids,
            [603, 604, 605, 606, 700, 701],
            "four generations, the eldest first"
        );
        for pair in told[..5].windows(2) {
            assert_eq!(pair[1].parent, Some(pair[0].process.key));
        }
        assert_eq!(told[5].parent, told[4].parent);
        let shell = &told[3].process;
        assert_eq!(
            (shell.key.start_ns, shell.key.exec_id),
            (1_700_000_606_250_000_000, 0)
        );
        assert_eq!(shell.path.as_deref(), Some("/bin/zsh"));
        assert_eq!(shell.signature, None, "it is looked up by token only");
    }

    #[test]
    fn a_parent_that_was_told_as_an_ancestor_is_told_again_with_its_own_parents() {
        let _machine = machine::lock();
        for pid in 601..=606 {
            machine::add(Process::new(pid).child_of(pid - 1));
        }
        let mut identities = start();
        let deep = token(Process::new(700).child_of(606));
        introduction(&mut identities, &deep);
        let shallow = token(Process::new(701).child_of(603));
        identities.ask(&shallow);
        let parent = collect_until(&mut identities, |events| {
            seen(events, 701)?;
            seen(events, 603)
        });
        assert_eq!(parent.parent.map(|key| key.pid), Some(602));
    }

    // facts: unsigned-is-not-invalid, code-lookup-refused
    #[test]
    fn what_the_system_says_of_a_signature_is_kept() {
        let _machine = machine::lock();
        let with = |pid, code| {
            introduce(Process::new(pid).with_code(code))
                .process
                .signature
        };
        let unsigned = with(701, Code::unsigned()).unwrap();
        assert_eq!(
            (unsigned.validity, unsigned.status),
            (SignatureValidity::Unsigned, Some(status::UNSIGNED))
        );
        assert_eq!((unsigned.signing_id, unsigned.cdhash), (None, None));
        let signed = Code::signed("com.example.program", "ABCDE12345");
        let broken = with(702, signed.clone().broken(status::SIGNATURE_FAILED)).unwrap();
        assert_eq!(
            (broken.validity, broken.status),
            (SignatureValidity::Invalid, Some(status::SIGNATURE_FAILED))
        );
        assert_eq!(
            broken.signing_id.as_deref(),
            Some("com.example.program"),
            "what it claims"
        );
        let platform = with(703, Code::platform("com.apple.curl")).unwrap();
        assert_eq!((platform.platform, platform.team_id), (Some(true), None));
        let refused = Code {
            guest: status::EPERM,
            ..signed.clone()
        };
        let refused = with(704, refused).unwrap();
        assert_eq!(
            (refused.validity, refused.status),
            (SignatureValidity::Unknown, Some(status::EPERM))
        );
        let silent = Code {
            information: status::STATIC_CODE_NOT_FOUND,
            ..signed.clone()
        };
        let silent = with(705, silent).unwrap();
        assert_eq!(
            (silent.validity, silent.signing_id),
            (SignatureValidity::Valid, None)
        );
        assert_eq!(silent.platform, None);
        let odd = with(706, signed.with_cdhash(&[7; 32])).unwrap();
        assert_eq!(odd.cdhash, None);
    }

    // facts: short-lived-process, token-keys-the-process
    #[test]
    fn a_process_that_is_gone_is_told_by_its_token() {
        let _machine = machine::lock();
        let token = token(Process::new(700));
        machine::exit(700);
        let Introduction { process, parent } = introduction(&mut start(), &token);
        assert!(process.vanished);
        assert_eq!(process.user.map(|user| user.uid), Some(501));
        assert_eq!(
            (process.login_uid, process.audit_session),
            (Some(501), Some(100_003))
        );
        assert_eq!(
            (process.path, process.name, process.signature),
            (None, None, None)
        );
        assert_eq!((process.started, parent), (None, None));
    }

    // facts: pid-reads-race
    #[test]
    fn what_was_read_by_id_does_not_count_when_the_id_went_to_another() {
        let _machine = machine::lock();
        let token = token(Process::new(700).at("/usr/bin/curl"));
        machine::on("proc_pidinfo").of(700).nth(1).run(|| {
            machine::exit(700);
            machine::add(Process::new(700).at("/bin/other").of_user(502, 20));
        });
        let Introduction { process, parent } = introduction(&mut start_with(true), &token);
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.user.map(|user| user.uid), Some(501));
        assert_eq!(
            (process.started, process.command_line, parent),
            (None, None, None)
        );
        assert!(!process.vanished);
    }

    // facts: pid-reads-race, token-keys-the-process
    #[test]
    fn what_was_read_by_id_does_not_count_when_another_program_runs() {
        let _machine = machine::lock();
        let token = token(Process::new(700).at("/bin/sh").child_of(1));
        machine::on("proc_pidinfo").of(700).nth(1).run(|| {
            machine::exec(700, |process| process.path = Some("/usr/bin/curl".into()));
        });
        let Introduction { process, parent } = introduction(&mut start(), &token);
        assert_eq!(process.path.as_deref(), Some("/bin/sh"));
        assert_eq!((process.started, parent), (None, None));
    }

    // facts: pid-reads-race
    #[test]
    fn a_parent_that_goes_in_between_is_not_mistaken_for_another() {
        let _machine = machine::lock();
        machine::add(Process::new(600).child_of(1));
        let token = token(Process::new(700).child_of(600));
        machine::on("proc_pidinfo").of(600).nth(1).run(|| {
            machine::change(700, |process| process.parent = 1);
            machine::exit(600);
            machine::add(Process::new(600).at("/bin/other"));
        });
        let introduction = introduction(&mut start(), &token);
        assert_eq!(introduction.parent, None);
        assert!(
            introduction.process.started.is_some(),
            "the token was good all the while"
        );
    }

    // facts: deleted-executable
    #[test]
    fn a_process_whose_executable_is_deleted_is_not_gone() {
        let _machine = machine::lock();
        let mut process = Process::new(700).at("/usr/local/bin/tool");
        process.deleted = true;
        let process = introduce(process).process;
        assert!(!process.vanished);
        assert_eq!(
            (process.path, process.name.as_deref()),
            (None, Some("tool"))
        );
        assert!(process.started.is_some());
        assert_eq!(process.signature.unwrap().status, Some(status::ENOENT));
    }

    // facts: deleted-executable
    #[test]
    fn a_process_that_the_kernel_finds_no_path_for_is_not_gone_while_its_code_is_found() {
        let _machine = machine::lock();
        let token = token(Process::new(700));
        machine::on("proc_pidpath_audittoken").of(700).fail(3);
        let process = introduction(&mut start(), &token).process;
        assert!(!process.vanished);
        assert_eq!(
            process.signature.unwrap().validity,
            SignatureValidity::Valid
        );
        assert_eq!((process.path, process.started), (None, None));
    }

    // facts: snapshot-needs-root
    #[test]
    fn without_root_a_process_of_another_user_is_known_by_token_and_path() {
        let _machine = machine::lock();
        machine::set_root(false);
        let process = introduce(Process::new(700).at("/usr/bin/curl").of_user(502, 20)).process;
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.user.map(|user| user.uid), Some(502));
        assert_eq!(process.started, None);
        assert!(!process.vanished);
    }

    #[test]
    fn facts_that_make_no_sense_do_not_count() {
        let _machine = machine::lock();
        let process = Process {
            started: (1_700_000_000, 1_000_000),
            ..Process::new(700)
        };
        let process = introduce(process).process;
        assert_eq!(
            (process.started, process.name.as_deref()),
            (None, Some("program-700"))
        );
    }

    // facts: kernel-made
    #[test]
    fn the_kernel_is_a_process_without_a_file() {
        let _machine = machine::lock();
        let token = Token(machine::token(0));
        let process = introduction(&mut start(), &token).process;
        assert_eq!(
            (process.path, process.name.as_deref()),
            (None, Some("kernel_task"))
        );
        assert!(!process.vanished && process.signature.is_none() && process.started.is_some());
    }

    // facts: arguments-hold-secrets, rule-7-identity-off-the-path
    #[test]
    fn command_lines_are_read_only_where_that_is_asked_for() {
        let _machine = machine::lock();
        let tokens = [701, 702, 703].map(|pid| {
            token(Process::new(pid).with_arguments(&["curl", "-H", "a b", "https://example.com"]))
        });
        let mut identities = start();
        let line = introduction(&mut identities, &tokens[0])
            .process
            .command_line;
        assert_eq!((line, machine::calls_of("sysctl")), (None, 0));
        identities.set_command_lines(true);
        let line = introduction(&mut identities, &tokens[1])
            .process
            .command_line;
        assert_eq!(line.as_deref(), Some("curl -H 'a b' https://example.com"));
        machine::on("sysctl").of(703).fail(22);
        assert_eq!(
            introduction(&mut identities, &tokens[2])
                .process
                .command_line,
            None
        );
    }

    // facts: zero-token
    #[test]
    fn nobody_asks_about_a_zero_token() {
        let _machine = machine::lock();
        let mut identities = start();
        identities.ask(&Token([0; 32]));
        let token = token(Process::new(700));
        introduction(&mut identities, &token);
        assert!(identities.asked.last_uses.len() == 1);
    }

    // facts: short-lived-process
    #[test]
    fn a_token_is_looked_up_once_whatever_the_answer_was() {
        let _machine = machine::lock();
        let [lives, gone] = [701, 702].map(|pid| token(Process::new(pid)));
        machine::exit(702);
        let mut identities = start();
        introduction(&mut identities, &lives);
        introduction(&mut identities, &gone);
        let lookups = machine::calls_of("SecCodeCopyGuestWithAttributes");
        for token in [lives, gone, token(Process::new(703))] {
            identities.ask(&token);
        }
        collect_until(&mut identities, |events| seen(events, 703));
        assert_eq!(
            machine::calls_of("SecCodeCopyGuestWithAttributes"),
            lookups + 1
        );
    }

    // facts: short-lived-process, rule-7-identity-off-the-path
    #[test]
    fn who_may_be_gone_in_a_moment_is_looked_at_before_anybodys_signature() {
        let _machine = machine::lock();
        let tokens = [701, 702, 703].map(|pid| token(Process::new(pid).at("/usr/bin/curl")));
        let held = machine::on("proc_pidpath_audittoken").of(701).nth(1).hold();
        machine::on("SecCodeCopyGuestWithAttributes")
            .of(701)
            .run(|| {
                machine::exit(702);
                machine::exit(703);
            });
        let mut identities = start();
        tokens.iter().for_each(|token| identities.ask(token));
        assert!(held.wait_for(1, Duration::from_secs(60)));
        drop(held);
        let last = collect_until(&mut identities, |events| seen(events, 703));
        assert_eq!(last.process.path.as_deref(), Some("/usr/bin/curl"));
        assert!(last.process.started.is_some());
        assert_eq!(
            last.process.signature.unwrap().validity,
            SignatureValidity::Unknown
        );
    }

    // facts: rule-7-identity-off-the-path, rule-10-bounded
    #[test]
    fn a_lookup_that_hangs_delays_nobody_and_what_does_not_fit_is_counted() {
        let _machine = machine::lock();
        let hanging = token(Process::new(700));
        let held = machine::on("proc_pidpath_audittoken").of(700).hold();
        let mut identities = start();
        identities.ask(&hanging);
        assert!(held.wait_for(1, Duration::from_secs(60)));
        let mut others: Vec<Token> = Vec::new();
        for version in 0..WAITING_MAX as u32 + 10 {
            let process = Process::new(701).with_version(5_000 + version);
            others.push(Token(process.token()));
        }
        let began = Instant::now();
        others.iter().for_each(|token| identities.ask(token));
        let mut events = Vec::new();
        identities.collect(&mut events);
        assert!(began.elapsed() < Duration::from_secs(2), "nobody waited");
        let lost = |count| Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::QueueFull,
            what: LostKind::Processes,
            count: Some(count),
        };
        assert_eq!(events, [lost(10)]);
        drop(held);
        let last = *others.last().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !identities.asked.knows(&last) {
            assert!(
                Instant::now() < deadline,
                "what was lost can be asked again"
            );
            identities.collect(&mut events);
            identities.ask(&last);
        }
    }

    #[test]
    fn what_is_asked_when_the_thread_has_ended_is_lost_to_a_fault() {
        let _machine = machine::lock();
        let mut identities = start();
        identities.asks = sync_channel(1).0;
        identities.ask(&token(Process::new(700)));
        let mut events = Vec::new();
        identities.collect(&mut events);
        let lost = Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::Fault,
            what: LostKind::Processes,
            count: Some(1),
        };
        assert_eq!(events, [lost]);
    }

    #[test]
    fn a_thread_that_nobody_collects_from_ends_all_the_same() {
        let _machine = machine::lock();
        let mut identities = start();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut version = 5_000;
        while machine::calls_of("SecCodeCopyGuestWithAttributes") <= TOLD_MAX as u64 {
            assert!(Instant::now() < deadline, "the thread waits too early");
            identities.ask(&Token(Process::new(701).with_version(version).token()));
            version += 1;
        }
        drop(identities);
    }

    fn gone(events: &[Event]) -> Option<Vec<ProcessKey>> {
        events.iter().find_map(|event| {
            let Event::ProcessesGone { keys } = event else {
                return None;
            };
            Some(keys.clone())
        })
    }

    // facts: close-missing, token-keys-the-process, deleted-executable
    #[test]
    fn a_process_is_gone_when_another_or_none_has_its_id() {
        let _machine = machine::lock();
        let tokens = [701, 702, 703, 704, 705, 706].map(|pid| token(Process::new(pid)));
        let mut identities = start();
        for token in &tokens {
            introduction(&mut identities, token);
        }
        machine::exit(706);
        machine::exit(702);
        machine::add(Process {
            started: (1_750_000_000, 0),
            ..Process::new(702)
        });
        machine::exec(703, |_| ());
        machine::change(704, |process| process.deleted = true);
        machine::exit_unreaped(705);
        pass(29);
        let mut events = Vec::new();
        identities.collect(&mut events);
        pass(2);
        let keys = collect_until(&mut identities, gone);
        assert_eq!(
            keys,
            [1, 4, 5].map(|index| token::process_key(&tokens[index]))
        );
        machine::exit(701);
        pass(31);
        assert_eq!(
            collect_until(&mut identities, gone),
            [token::process_key(&tokens[0])]
        );
    }

    // facts: short-lived-process, token-keys-the-process
    #[test]
    fn a_process_that_vanished_is_gone_unless_it_only_runs_another_program() {
        let _machine = machine::lock();
        let tokens = [701, 702, 703].map(|pid| token(Process::new(pid)));
        machine::exit(701);
        machine::exit(702);
        machine::exec(703, |_| ());
        let mut identities = start();
        for token in &tokens {
            let process = introduction(&mut identities, token).process;
            assert!(process.vanished, "this run of {} is over", token.pid());
        }
        let later = Wall(MET.0 + 100 * SECOND_NS.cast_signed())
            .0
            .cast_unsigned()
            / SECOND_NS;
        machine::add(Process {
            started: (later + 1_000_000, 0),
            ..Process::new(702)
        });
        pass(31);
        let keys = collect_until(&mut identities, gone);
        assert_eq!(keys, [0, 1].map(|index| token::process_key(&tokens[index])));
    }

    #[test]
    fn asking_goes_first_while_many_are_looked_at() {
        let _machine = machine::lock();
        let mut identities = start();
        for pid in 701..=700 + 3 * CHECKS_AT_ONCE_MAX as i32 {
            identities.ask(&token(Process::new(pid)));
        }
        let last = 700 + 3 * CHECKS_AT_ONCE_MAX as u32;
        collect_until(&mut identities, |events| seen(events, last));
        let newcomer = token(Process::new(900));
        let held = machine::on("proc_pidpath_audittoken").of(701).hold();
        machine::exit(last.cast_signed());
        pass(31);
        let mut events = Vec::new();
        identities.collect(&mut events);
        assert!(held.wait_for(1, Duration::from_secs(60)));
        identities.ask(&newcomer);
        drop(held);
        let order = collect_until(&mut identities, |events| {
            gone(events)?;
            seen(events, 900)?;
            events
                .iter()
                .position(|event| matches!(event, Event::ProcessSeen(_)))
        });
        assert_eq!(order, 0);
    }

    #[test]
    fn who_was_not_used_for_long_is_forgotten_first() {
        let token = |version| Token(Process::new(700).with_version(version).token());
        let mut asked = Asked::default();
        let kept = token(u32::MAX);
        asked.knows(&kept);
        asked.add(kept);
        for version in 1..=3 * ASKED_MAX as u32 {
            assert!(asked.knows(&kept));
            assert!(!asked.knows(&token(version)));
            asked.add(token(version));
            assert!(asked.last_uses.len() <= ASKED_MAX);
        }
    }

    // facts: rule-10-bounded
    #[test]
    fn who_is_looked_after_is_bounded() {
        let _machine = machine::lock();
        let mut living = Living::default();
        for version in 1..=3 * ASKED_MAX as u32 {
            let token = Token(Process::new(700).with_version(version).token());
            living.add(token, None, MET, Mono(0));
            living.add(token, None, MET, Mono(0));
        }
        let mut looks = 0;
        while living.is_due(Mono(30 * SECOND_NS)) {
            living.look(Mono(30 * SECOND_NS));
            looks += 1;
        }
        assert_eq!(looks, 2 * ASKED_MAX);
    }

    // facts: code-lookup-by-token
    #[test]
    fn no_object_of_the_system_is_kept_or_released_too_often() {
        let _machine = machine::lock();
        let before = cf::live();
        let mut identities = start();
        for (pid, code) in (701..).zip([
            Code::platform("com.apple.curl"),
            Code::unsigned(),
            Code {
                guest: status::EPERM,
                ..Code::unsigned()
            },
            Code {
                information: status::EPERM,
                ..Code::platform("com.apple.curl")
            },
        ]) {
            introduction(&mut identities, &token(Process::new(pid).with_code(code)));
        }
        drop(identities);
        assert_eq!(cf::live(), before);
        assert_eq!(cf::over_released(), Vec::<&str>::new());
    }

    fn cpid() -> Option<u128> {
        let process = Process {
            started: (1_703_174_125, 741_886),
            ..Process::new(1_330)
        };
        introduce(process).process.cpid.map(u128::from_be_bytes)
    }

    fn platform(properties: &[(&str, Value)]) {
        let properties = properties
            .iter()
            .cloned()
            .map(|(key, value)| (key.to_owned(), value));
        machine::registry(|registry| {
            registry.insert("IOPlatformExpertDevice".to_owned(), properties.collect());
        });
    }

    #[test]
    fn the_common_process_id_is_made_from_machine_boot_and_process() {
        let _machine = machine::lock();
        let serial_number = ("IOPlatformSerialNumber", Value::from("T2T3GKP272"));
        let hardware = (
            "IOPlatformUUID",
            Value::from("8E923375-9510-5729-A6CC-2F66444573C9"),
        );
        platform(&[serial_number.clone(), hardware.clone()]);
        machine::change(0, |process| process.started = (1_703_173_115, 212_514));
        machine::change(1, |process| process.started = (1_703_173_115, 282_857));
        assert_eq!(cpid(), Some(0x6082_233e_8eed_8457_a287_daa4_6ebd_bdf7));
        for properties in [
            vec![],
            vec![serial_number.clone()],
            vec![serial_number, ("IOPlatformUUID", Value::from("no UUID"))],
            vec![("IOPlatformSerialNumber", Value::from(7)), hardware.clone()],
            vec![
                (
                    "IOPlatformSerialNumber",
                    Value::from("longer than it may be"),
                ),
                hardware,
            ],
        ] {
            platform(&properties);
            assert_eq!(cpid(), None, "{properties:?}");
        }
        machine::registry(|registry| registry.clear());
        assert_eq!(cpid(), None);
        machine::on("IOServiceMatching").fail(1);
        assert_eq!(cpid(), None);
        assert_eq!(machine::services_held(), 0);
    }
}
