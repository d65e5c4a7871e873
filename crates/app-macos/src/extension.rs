//! Asks the system to activate, to remove or to describe the extension in this app's bundle.
//!
//! The system answers from threads of its own, late, twice or never. [`submit`] turns whatever
//! comes into one [`Outcome`] or [`Error`], within the time it is given. It keeps the request and
//! the object that is answered alive until then: the request holds it weakly, and without it there
//! is no answer at all.

mod code;
mod delegate;

pub use code::Code;

use crate::words;
use delegate::{Delegate, Message};
use dispatch2::{DispatchQueue, DispatchRetained};
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_system_extensions::{OSSystemExtensionManager, OSSystemExtensionRequest};
use std::fmt;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// That the extension be active. If it is already, the system says so in short order.
    Activate(Replace),
    /// That the extension be removed.
    Deactivate,
    /// What is installed under the identifier.
    Properties,
}

/// What to say when another version is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Replace it, which resets the TCP connections that are open.
    Allowed,
    /// Leave it.
    Refused,
}

/// What to do when the user must approve first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Wait for it until the time is over.
    Wait,
    /// Say so at once.
    Leave,
}

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For everything together.
    pub timeout: Duration,
    /// Whether for the user too.
    pub approval: Approval,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done {
        /// The other version that was there before, if the system asked about one.
        replaced: Option<Replacement>,
    },
    /// It will be done at the next start of the machine.
    AfterReboot {
        /// As for `Done`.
        replaced: Option<Replacement>,
    },
    /// The user must approve it first. The system keeps the request while the app runs; some
    /// report that it starts the extension on approval even after that.
    AwaitingApproval,
    /// What is installed; there can be several, as when an old one waits to be removed.
    Found(Vec<Properties>),
}

/// What the system says of an installed extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Its bundle identifier.
    pub identifier: String,
    /// Its version.
    pub version: Version,
    /// Whether it may run.
    pub enabled: bool,
    /// Whether the user must approve it first.
    pub awaiting_approval: bool,
    /// Whether it is being removed.
    pub uninstalling: bool,
}

/// The two versions that a bundle has; the system compares both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `CFBundleShortVersionString`
    pub short: String,
    /// `CFBundleVersion`
    pub build: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { short, build } = self;
        match short == build {
            true => f.write_str(&words::clean(short)),
            false => write!(f, "{} ({})", words::clean(short), words::clean(build)),
        }
    }
}

/// One version in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The one that is active.
    pub from: Version,
    /// The one in the app.
    pub to: Version,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("the system refused: {code}. {}", code.advice())]
    Refused {
        /// Why.
        code: Code,
        /// In the system's words.
        detail: String,
    },
    /// Something below the system's extension manager failed.
    #[error(
        "the request failed with {domain} {code}: {detail}. Try again; if it stays so, restart \
         the machine."
    )]
    Failed {
        /// Whose code it is.
        domain: String,
        /// Which.
        code: isize,
        /// In the system's words.
        detail: String,
    },
    /// Another version is active and was not to be replaced.
    #[error(
        "version {from} is active and this app holds {to}. Replacing it resets the TCP \
         connections that are open; `conntrail upgrade` does it at the right moment.",
        from = .0.from, to = .0.to
    )]
    NotReplaced(Replacement),
    /// No answer came.
    #[error("{}", silence(*after, replacing.as_ref()))]
    TimedOut {
        /// How long was waited.
        after: Duration,
        /// We had agreed to this, and did not hear of its end.
        replacing: Option<Replacement>,
    },
    /// The system said it was done, in a way that this version does not know.
    #[error("the system ended the request with result {0}, which this version does not know")]
    UnknownResult(isize),
    /// A fault in this program, which was caught.
    #[error("the answer of the system could not be understood: {0}")]
    Fault(String),
}

fn silence(after: Duration, replacing: Option<&Replacement>) -> String {
    let after = words::duration(after);
    match replacing {
        None => format!(
            "the system did not answer within {after}. Others have seen no answer at all until \
             the machine was restarted; `conntrail status` says how things stand."
        ),
        Some(Replacement { from, to }) => format!(
            "version {to} was to replace {from}, and the system did not say within {after} that \
             it did; `conntrail status` says how things stand."
        ),
    }
}

/// Asks, and waits for the answer. Must not be called on the main thread, which has to serve the
/// system meanwhile: see [`crate::main_loop`].
///
/// # Errors
/// When the system refuses, fails or does not answer in time. What it says later is ignored, and
/// a replacement that it asks about later is called off.
pub fn submit(identifier: &str, request: Request, options: Options) -> Result<Outcome, Error> {
    let replace = match request {
        Request::Activate(replace) => replace,
        Request::Deactivate | Request::Properties => Replace::Refused,
    };
    autoreleasepool(|_| {
        let (delegate, messages) = Delegate::new(replace);
        let queue = DispatchQueue::new("conntrail.extension", None);
        let submitted = send(identifier, request, &queue, &delegate);
        let mut conversation = Conversation::new(request, options.approval);
        let outcome = conversation.follow(&messages, options.timeout);
        delegate.stop_listening();
        drop(submitted);
        outcome.unwrap_or_else(|| conversation.give_up(&messages, options.timeout))
    })
}

fn send(
    identifier: &str,
    request: Request,
    queue: &DispatchRetained<DispatchQueue>,
    delegate: &Retained<Delegate>,
) -> Retained<OSSystemExtensionRequest> {
    let identifier = NSString::from_str(identifier);
    // SAFETY: the queue is a serial one of our own, alive as long as the request needs it because
    // the request retains it; the delegate may be called on any thread.
    unsafe {
        let request = match request {
            Request::Activate(_) => {
                OSSystemExtensionRequest::activationRequestForExtension_queue(&identifier, queue)
            }
            Request::Deactivate => {
                OSSystemExtensionRequest::deactivationRequestForExtension_queue(&identifier, queue)
            }
            Request::Properties => {
                OSSystemExtensionRequest::propertiesRequestForExtension_queue(&identifier, queue)
            }
        };
        request.setDelegate(Some(ProtocolObject::from_ref(&**delegate)));
        OSSystemExtensionManager::sharedManager().submitRequest(&request);
        request
    }
}

/// What was said so far about one request.
struct Conversation {
    request: Request,
    approval: Approval,
    approval_asked: bool,
    /// What the system asked to replace, and whether we agreed.
    replacing: Option<(Replacement, bool)>,
}

impl Conversation {
    fn new(request: Request, approval: Approval) -> Conversation {
        Conversation {
            request,
            approval,
            approval_asked: false,
            replacing: None,
        }
    }

    /// Listens until there is an outcome; `None` when the time is over before.
    fn follow(
        &mut self,
        messages: &Receiver<Message>,
        timeout: Duration,
    ) -> Option<Result<Outcome, Error>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = messages.recv_timeout(left).ok()?;
            if let Some(outcome) = self.hear(message) {
                return Some(outcome);
            }
        }
    }

    /// Takes in what was still said while we stopped listening, and says what is known.
    fn give_up(&mut self, messages: &Receiver<Message>, after: Duration) -> Result<Outcome, Error> {
        while let Ok(message) = messages.try_recv() {
            if let Some(outcome) = self.hear(message) {
                return outcome;
            }
        }
        let agreed = self.replacing.take().filter(|(_, allowed)| *allowed);
        match agreed {
            None if self.approval_asked => Ok(Outcome::AwaitingApproval),
            agreed => Err(Error::TimedOut {
                after,
                replacing: agreed.map(|(replacement, _)| replacement),
            }),
        }
    }

    fn hear(&mut self, message: Message) -> Option<Result<Outcome, Error>> {
        match message {
            Message::Replacing {
                replacement,
                allowed,
            } => {
                self.replacing = Some((replacement, allowed));
                None
            }
            Message::NeedsApproval => {
                self.approval_asked = true;
                (self.approval == Approval::Leave).then_some(Ok(Outcome::AwaitingApproval))
            }
            Message::Finished(result) => self.finished(result),
            Message::Failed {
                domain,
                code,
                detail,
            } => Some(self.failed(domain, code, detail)),
            Message::Found(found) => {
                (self.request == Request::Properties).then_some(Ok(Outcome::Found(found)))
            }
            Message::Fault(text) => Some(Err(Error::Fault(text))),
        }
    }

    fn finished(&mut self, result: isize) -> Option<Result<Outcome, Error>> {
        if self.request == Request::Properties {
            // Whether the end is said before or after what was found is not confirmed.
            return None;
        }
        let agreed = self.replacing.take().filter(|(_, allowed)| *allowed);
        let replaced = agreed.map(|(replacement, _)| replacement);
        Some(match result {
            0 => Ok(Outcome::Done { replaced }),
            1 => Ok(Outcome::AfterReboot { replaced }),
            other => Err(Error::UnknownResult(other)),
        })
    }

    fn failed(&mut self, domain: String, code: isize, detail: String) -> Result<Outcome, Error> {
        if domain != code::DOMAIN {
            return Err(Error::Failed {
                domain,
                code,
                detail,
            });
        }
        let code = Code::from_number(code);
        match self.replacing.take() {
            // In the system's developer mode it asks about the same version too.
            Some((Replacement { from, to }, false)) if code == Code::RequestCanceled => {
                match from == to {
                    true => Ok(Outcome::Done { replaced: None }),
                    false => Err(Error::NotReplaced(Replacement { from, to })),
                }
            }
            Some(_) | None => Err(Error::Refused { code, detail }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn what_is_said_while_we_stop_listening_is_not_lost() {
        let (say, messages) = mpsc::sync_channel(4);
        let request = Request::Activate(Replace::Allowed);
        let mut conversation = Conversation::new(request, Approval::Wait);
        say.try_send(Message::NeedsApproval).unwrap();
        say.try_send(Message::Finished(0)).unwrap();
        let outcome = conversation.give_up(&messages, Duration::ZERO);
        assert_eq!(outcome, Ok(Outcome::Done { replaced: None }));
        let outcome = conversation.give_up(&messages, Duration::ZERO);
        assert_eq!(outcome, Ok(Outcome::AwaitingApproval));
    }
}
