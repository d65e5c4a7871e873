//! Plays the system: what is installed, what the user and device management say, and all the ways
//! in which an answer comes late, twice, elsewhere or never.
//!
//! There is one machine a process; tests that use it run one at a time, from [`reset`] to
//! [`settle`].

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dispatch2::{DispatchQueue, DispatchRetained};
use objc_double::foundation::array;
use objc_double::{Strong, responds_to, selector};
use objc2::msg_send;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::AnyObject;

use crate::api::{
    OSSystemExtensionErrorCode, OSSystemExtensionProperties, OSSystemExtensionReplacementAction,
    OSSystemExtensionRequestResult,
};
use crate::classes::{DOMAIN, PROPERTIES, REQUEST, WeakObject, error, make_manager};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be active.
    Activation,
    /// To be removed.
    Deactivation,
    /// To be described.
    Properties,
}

/// An extension that is installed, or is in the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// `CFBundleIdentifier`
    pub identifier: String,
    /// `CFBundleShortVersionString`; `None` answers nil, against the header.
    pub short: Option<String>,
    /// `CFBundleVersion`; `None` answers nil, against the header.
    pub build: Option<String>,
    /// Whether it may run.
    pub enabled: bool,
    /// Whether the user must approve it first.
    pub awaiting_approval: bool,
    /// Whether it is being removed.
    pub uninstalling: bool,
}

impl Installed {
    /// One that is active.
    pub fn new(identifier: &str, version: &str) -> Installed {
        Installed {
            identifier: identifier.to_owned(),
            short: Some(version.to_owned()),
            build: Some(version.to_owned()),
            enabled: true,
            awaiting_approval: false,
            uninstalling: false,
        }
    }
}

/// Why a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose code it is.
    pub domain: String,
    /// Which.
    pub code: isize,
}

/// What the system does with requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// What the rest of the machine says.
    #[default]
    Usual,
    /// It fails: documented, header; codes 1 to 13. Others can come from below.
    Fail(Failure),
    /// It ends with this result. Those of the header are 0 and 1.
    Result(isize),
    /// Nothing ever comes: reported, EgressView, 200 seconds without a callback.
    Silence,
    /// Activations fail with this code of the header, and the rest is as usual.
    FailActivation(isize),
    /// Only questions for properties are not answered: that is where it was reported.
    SilenceOnProperties,
    /// The user is asked, whatever was asked for, and never answers.
    AskUser,
    /// Nothing comes until [`release`]; then the usual.
    Hold,
}

/// Whether the user must approve, and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approval {
    /// It was approved before, or device management did.
    #[default]
    NotNeeded,
    /// The request waits until [`approve`]: documented, header.
    Needed,
}

/// Whether the end of a properties request is said too, and when: not confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropertiesEnd {
    /// After what was found.
    #[default]
    After,
    /// Before what was found.
    Before,
    /// Not at all.
    Never,
}

/// Everything that a request can depend on.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Extensions in `Contents/Library/SystemExtensions` of the app. A request for another fails
    /// with code 4: documented, header; forum 742236.
    pub in_app: Vec<Installed>,
    /// Extensions that the system knows.
    pub installed: Vec<Installed>,
    /// The question whether to replace comes for the same version too: documented, header.
    pub developer_mode: bool,
    /// What becomes of requests.
    pub answer: Answer,
    /// Whether the user must approve activations.
    pub approval: Approval,
    /// Activations take effect after a reboot: documented, header.
    pub after_reboot: bool,
    /// A removal waits for the user. The header speaks of activations only; not confirmed.
    pub removal_asks_user: bool,
    /// Deactivation fails with code 13: documented, header; device management can lift it.
    pub removal_needs_administrator: bool,
    /// Every last answer comes twice. Nobody promises that it does not.
    pub answers_twice: bool,
    /// Answers come on another queue than the request's. Against the header, and harmless.
    pub on_another_queue: bool,
    /// The manager keeps a request alive until it is answered. By default it does not: reported,
    /// EgressView, whose advice is to keep the request.
    pub keeps_requests: bool,
    /// When a properties request is said to have ended.
    pub properties_end: PropertiesEnd,
}

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What was asked for.
    pub submitted: Vec<(Kind, String)>,
    /// What delegates said to the question whether to replace.
    pub decisions: Vec<OSSystemExtensionReplacementAction>,
    /// Answers that found no delegate, or no request, alive.
    pub unheard: usize,
    /// Panics that came out of a delegate: on a Mac each would end the process.
    pub escaped_panics: usize,
}

#[derive(Default)]
struct World {
    machine: Machine,
    history: History,
    held: VecDeque<Ticket>,
    waiting_for_user: VecDeque<(Ticket, Installed)>,
    /// Answers that are on a queue.
    under_way: usize,
    /// Which [`reset`] it is of: what was begun before one changes nothing after it.
    generation: u64,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// Longer than any machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Begins anew with this machine. To be called before objects are counted: it makes the manager.
pub fn reset(machine: Machine) {
    make_manager();
    let mut world = lock();
    let generation = world.as_ref().map_or(0, |world| world.generation) + 1;
    let under_way = world.as_ref().map_or(0, |world| world.under_way);
    *world = Some(World {
        machine,
        generation,
        under_way,
        ..World::default()
    });
}

/// Changes the machine, or reads it.
pub fn with<T>(change: impl FnOnce(&mut Machine) -> T) -> T {
    change(&mut lock().get_or_insert_default().machine)
}

/// What happened since [`reset`].
pub fn history() -> History {
    lock().get_or_insert_default().history.clone()
}

/// Waits until a request waits for the user.
///
/// # Panics
///
/// When none does for two minutes.
pub fn wait_until_user_is_asked() {
    wait_until(|world| !world.waiting_for_user.is_empty());
}

/// Waits until [`Answer::Hold`] holds a request.
///
/// # Panics
///
/// When it holds none for two minutes.
pub fn wait_until_held() {
    wait_until(|world| !world.held.is_empty());
}

/// The user approves what waits: the requests go on.
pub fn approve() {
    let waiting = std::mem::take(&mut lock().get_or_insert_default().waiting_for_user);
    for (ticket, new) in waiting {
        ticket.install(new);
    }
}

/// Goes on with what [`Answer::Hold`] held.
pub fn release() {
    let held = std::mem::take(&mut lock().get_or_insert_default().held);
    for ticket in held {
        ticket.answer_as_usual();
    }
}

/// Waits until no answer is on its way. Before that, what answers hold is not yet given back.
///
/// # Panics
///
/// When one is on its way for two minutes.
pub fn settle() {
    wait_until(|world| world.under_way == 0);
}

/// An object as the system makes it, for delegates that are called without the system.
pub fn properties(installed: Installed) -> Retained<OSSystemExtensionProperties> {
    PROPERTIES.create(installed).into_retained()
}

fn wait_until(done: impl Fn(&World) -> bool) {
    let not_done = |world: &mut Option<World>| !done(world.get_or_insert_default());
    let (_world, waited) = CHANGED
        .wait_timeout_while(lock(), PATIENCE, not_done)
        .unwrap_or_else(PoisonError::into_inner);
    assert!(!waited.timed_out(), "the doubled system is stuck");
}

fn lock() -> MutexGuard<'static, Option<World>> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `submitRequest:` was sent.
pub(crate) fn submitted(request: &AnyObject) {
    let asked = REQUEST.of(request);
    let mut world = lock();
    let world_now = world.get_or_insert_default();
    world_now
        .history
        .submitted
        .push((asked.kind, asked.identifier.clone()));
    let ticket = Ticket {
        kept: world_now
            .machine
            .keeps_requests
            .then(|| Strong::to(request)),
        request: WeakObject::to(request),
        kind: asked.kind,
        identifier: asked.identifier.clone(),
        queue: match world_now.machine.on_another_queue {
            true => DispatchQueue::new("another", None),
            false => asked.queue.clone(),
        },
        generation: world_now.generation,
    };
    let answer = world_now.machine.answer.clone();
    if answer == Answer::Hold {
        world_now.held.push_back(ticket);
        CHANGED.notify_all();
        return;
    }
    drop(world);
    match answer {
        Answer::Usual => ticket.answer_as_usual(),
        Answer::Fail(failure) => ticket.last(Call::Failed(failure)),
        Answer::Result(result) => ticket.last(Call::Finished(result)),
        Answer::FailActivation(code) if ticket.kind == Kind::Activation => {
            ticket.last(Call::Failed(Failure::code(code)));
        }
        Answer::FailActivation(_) => ticket.answer_as_usual(),
        Answer::SilenceOnProperties if ticket.kind == Kind::Properties => {}
        Answer::SilenceOnProperties => ticket.answer_as_usual(),
        Answer::AskUser => ticket.call(Call::NeedsApproval, 1),
        Answer::Silence | Answer::Hold => {}
    }
}

/// A request as the system remembers it.
struct Ticket {
    kept: Option<Strong>,
    request: WeakObject,
    kind: Kind,
    identifier: String,
    queue: DispatchRetained<DispatchQueue>,
    generation: u64,
}

/// One call of the delegate.
#[derive(Clone)]
enum Call {
    NeedsApproval,
    Finished(isize),
    Failed(Failure),
    Found(Vec<Installed>),
}

impl Ticket {
    fn answer_as_usual(self) {
        match self.kind {
            Kind::Activation => self.activate(),
            Kind::Deactivation => self.deactivate(),
            Kind::Properties => self.describe(),
        }
    }

    fn activate(self) {
        let (in_app, existing, developer_mode) = self.machine(|machine| {
            let same = |it: &&Installed| it.identifier == self.identifier;
            (
                machine.in_app.iter().find(same).cloned(),
                machine
                    .installed
                    .iter()
                    .filter(|it| !it.uninstalling)
                    .find(same)
                    .cloned(),
                machine.developer_mode,
            )
        });
        let Some(new) = in_app else {
            self.last(Call::Failed(
                OSSystemExtensionErrorCode::ExtensionNotFound.into(),
            ));
            return;
        };
        match existing {
            Some(old) if is_same_version(&old, &new) && !developer_mode => self.finish(),
            Some(old) => self.ask(old, new),
            None => self.ask_user(new),
        }
    }

    /// Asks whether to replace, on the queue, and goes on with the answer.
    fn ask(self, old: Installed, new: Installed) {
        let queue = self.queue.clone();
        on(&queue, move || {
            let decision = self.with_delegate(|request, delegate| {
                let existing = PROPERTIES.create(old.clone());
                let offered = PROPERTIES.create(new.clone());
                // SAFETY: the message and its types are those of the protocol, which the
                // delegate's class was checked against when it was registered.
                unsafe {
                    msg_send![delegate, request: request,
                        actionForReplacingExtension: &*existing, withExtension: &*offered]
                }
            });
            // Nobody there is nil, and nil says zero.
            let decision = decision.unwrap_or(OSSystemExtensionReplacementAction::Cancel);
            self.history(|history| history.decisions.push(decision));
            if decision == OSSystemExtensionReplacementAction::Replace {
                self.retire(&old);
                self.ask_user(new);
            } else {
                self.last(Call::Failed(
                    OSSystemExtensionErrorCode::RequestCanceled.into(),
                ));
            }
        });
    }

    /// The old version waits to be uninstalled at the next reboot: reported, EgressView.
    fn retire(&self, old: &Installed) {
        self.machine(|machine| {
            for installed in machine.installed.iter_mut().filter(|it| *it == old) {
                installed.uninstalling = true;
                installed.enabled = false;
            }
        });
    }

    fn ask_user(self, new: Installed) {
        if self.machine(|machine| machine.approval) == Approval::NotNeeded {
            self.install(new);
            return;
        }
        self.call(Call::NeedsApproval, 1);
        let mut world = lock();
        world
            .get_or_insert_default()
            .waiting_for_user
            .push_back((self, new));
        CHANGED.notify_all();
    }

    fn install(self, new: Installed) {
        self.machine(|machine| machine.installed.push(new));
        self.finish();
    }

    fn deactivate(self) {
        if self.machine(|machine| machine.removal_asks_user) {
            self.call(Call::NeedsApproval, 1);
            return;
        }
        let removed = self.machine(|machine| {
            let count = machine.installed.len();
            if machine.removal_needs_administrator {
                return None;
            }
            machine
                .installed
                .retain(|it| it.identifier != self.identifier);
            Some(machine.installed.len() < count)
        });
        match removed {
            Some(true) => self.finish(),
            Some(false) => {
                self.last(Call::Failed(
                    OSSystemExtensionErrorCode::ExtensionNotFound.into(),
                ));
            }
            None => {
                self.last(Call::Failed(
                    OSSystemExtensionErrorCode::AuthorizationRequired.into(),
                ));
            }
        }
    }

    fn describe(self) {
        let (found, end) = self.machine(|machine| {
            let installed = machine
                .installed
                .iter()
                .filter(|it| it.identifier == self.identifier);
            (installed.cloned().collect(), machine.properties_end)
        });
        if end == PropertiesEnd::Before {
            self.call(
                Call::Finished(OSSystemExtensionRequestResult::Completed.0),
                1,
            );
        }
        self.last(Call::Found(found));
        if end == PropertiesEnd::After {
            self.call(
                Call::Finished(OSSystemExtensionRequestResult::Completed.0),
                1,
            );
        }
    }

    fn finish(self) {
        let later = self.machine(|machine| machine.after_reboot);
        let result = match later {
            false => OSSystemExtensionRequestResult::Completed,
            true => OSSystemExtensionRequestResult::WillCompleteAfterReboot,
        };
        self.last(Call::Finished(result.0));
    }

    fn last(&self, call: Call) {
        let times = if self.machine(|machine| machine.answers_twice) {
            2
        } else {
            1
        };
        self.call(call, times);
    }

    /// Calls the delegate on the queue, later.
    fn call(&self, call: Call, times: usize) {
        let ticket = self.again();
        on(&self.queue, move || {
            for _ in 0..times {
                ticket.with_delegate(|request, delegate| say(request, delegate, &call));
            }
        });
    }

    /// Calls with the delegate, if it and the request are alive. A panic that comes out of it is
    /// counted.
    fn with_delegate<T>(&self, call: impl FnOnce(&AnyObject, &AnyObject) -> T) -> Option<T> {
        let request = self.request.load();
        let delegate = request
            .as_ref()
            .and_then(|request| REQUEST.of(request).delegate());
        let Some((request, delegate)) = request.zip(delegate) else {
            self.history(|history| history.unheard += 1);
            return None;
        };
        let said = catch_unwind(AssertUnwindSafe(|| call(&request, &delegate)));
        if said.is_err() {
            self.history(|history| history.escaped_panics += 1);
        }
        said.ok()
    }

    fn again(&self) -> Ticket {
        Ticket {
            kept: self.kept.clone(),
            request: self
                .request
                .load()
                .as_deref()
                .map(WeakObject::to)
                .unwrap_or_default(),
            kind: self.kind,
            identifier: self.identifier.clone(),
            queue: self.queue.clone(),
            generation: self.generation,
        }
    }

    /// The machine; what was begun before a reset has one of its own, which nobody sees.
    fn machine<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut world = lock();
        let world = world.get_or_insert_default();
        match world.generation == self.generation {
            true => change(&mut world.machine),
            false => change(&mut Machine::default()),
        }
    }

    fn history(&self, change: impl FnOnce(&mut History)) {
        let mut world = lock();
        let world = world.get_or_insert_default();
        if world.generation == self.generation {
            change(&mut world.history);
        }
        CHANGED.notify_all();
    }
}

fn is_same_version(one: &Installed, other: &Installed) -> bool {
    (&one.short, &one.build) == (&other.short, &other.build)
}

/// Does the work on the queue, later, and counts it until it and all it holds is gone.
fn on(queue: &DispatchQueue, work: impl FnOnce() + Send + 'static) {
    lock().get_or_insert_default().under_way += 1;
    queue.exec_async(move || {
        autoreleasepool(|_| work());
        lock().get_or_insert_default().under_way -= 1;
        CHANGED.notify_all();
    });
}

fn say(request: &AnyObject, delegate: &AnyObject, call: &Call) {
    // SAFETY: the messages and their types are those of the protocol, which the delegate's class
    // was checked against when it was registered.
    unsafe {
        match call {
            Call::NeedsApproval => msg_send![delegate, requestNeedsUserApproval: request],
            Call::Finished(result) => {
                let result = OSSystemExtensionRequestResult(*result);
                msg_send![delegate, request: request, didFinishWithResult: result]
            }
            Call::Failed(Failure { domain, code }) => {
                let error = error(domain, *code);
                msg_send![delegate, request: request, didFailWithError: &*error]
            }
            Call::Found(found) => {
                if !responds_to(delegate, selector("request:foundProperties:")) {
                    return;
                }
                let found = array(
                    found
                        .iter()
                        .cloned()
                        .map(|it| PROPERTIES.create(it))
                        .collect(),
                );
                msg_send![delegate, request: request, foundProperties: &*found]
            }
        }
    }
}

impl Failure {
    /// One of the header's codes.
    pub fn code(code: isize) -> Failure {
        Failure {
            domain: DOMAIN.to_owned(),
            code,
        }
    }
}
