//! The system's filter manager: one object a process, asked with blocks that it calls later, twice
//! or never.

use super::{Code, Error, Grade, Operation, Owner, State, Wanted};
use block2::{DynBlock, RcBlock};
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2_foundation::{NSDictionary, NSError, NSString};
use objc2_network_extension::{
    NEFilterManager, NEFilterManagerGrade, NEFilterProviderConfiguration,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The domain of the manager's codes.
const DOMAIN: &str = "NEFilterErrorDomain";

type Done = DynBlock<dyn Fn(*mut NSError)>;

/// The manager, and until when it may answer.
pub(super) struct Manager {
    manager: Retained<NEFilterManager>,
    begun: Instant,
    timeout: Duration,
}

impl Manager {
    pub(super) fn with_timeout(timeout: Duration) -> Manager {
        Manager {
            // SAFETY: it takes nothing, may be called from any thread, and always returns the
            // process's one manager.
            manager: unsafe { NEFilterManager::sharedManager() },
            begun: Instant::now(),
            timeout,
        }
    }

    /// Reads the configuration that is in force.
    pub(super) fn load(&self) -> Result<State, Error> {
        // SAFETY: the block is of the type that the header asks for.
        self.ask(Operation::Load, |done| unsafe {
            self.manager.loadFromPreferencesWithCompletionHandler(done);
        })?;
        self.state()
    }

    /// Sets all that is wanted and saves it.
    pub(super) fn save_enabled(&self, wanted: &Wanted<'_>) -> Result<(), Error> {
        // SAFETY: all of these take objects of the types that the header asks for and copy or
        // retain them.
        unsafe {
            let configuration = NEFilterProviderConfiguration::new();
            configuration.setFilterSockets(true);
            configuration.setFilterPackets(false);
            let extension = NSString::from_str(wanted.extension);
            configuration.setFilterDataProviderBundleIdentifier(Some(&extension));
            configuration.setOrganization(Some(&NSString::from_str(wanted.organization)));
            configuration.setVendorConfiguration(Some(&mark()));
            self.manager.setProviderConfiguration(Some(&configuration));
            self.manager
                .setLocalizedDescription(Some(&NSString::from_str(wanted.description)));
            self.manager.setGrade(NEFilterManagerGrade::Inspector);
        }
        self.save_as(true)
    }

    /// Saves the configuration that was loaded, switched on or off.
    pub(super) fn save_as(&self, enabled: bool) -> Result<(), Error> {
        // SAFETY: a plain property.
        unsafe { self.manager.setEnabled(enabled) };
        // SAFETY: the block is of the type that the header asks for.
        self.ask(Operation::Save, |done| unsafe {
            self.manager.saveToPreferencesWithCompletionHandler(done);
        })
    }

    pub(super) fn remove(&self) -> Result<(), Error> {
        // SAFETY: the block is of the type that the header asks for.
        self.ask(Operation::Remove, |done| unsafe {
            self.manager
                .removeFromPreferencesWithCompletionHandler(done);
        })
    }

    /// Sends one message that answers through a block, and waits for the first answer. Later ones
    /// find nobody: the system holds a reference to the block and all that is in it.
    fn ask(&self, operation: Operation, send: impl FnOnce(&Done)) -> Result<(), Error> {
        let (give, take) = mpsc::sync_channel(1);
        let done = RcBlock::new(move |error: *mut NSError| {
            let refusal = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: the system gives nil or an error that lives as long as the call.
                unsafe { error.as_ref() }.map(|error| refusal(operation, error))
            }));
            let told = refusal.unwrap_or_else(|fault| {
                let text = crate::fault_text(&*fault);
                Some(Error::Fault { operation, text })
            });
            // Full is an answer for the second time; without a receiver nobody waits.
            let _ = give.try_send(told);
        });
        send(&done);
        drop(done);
        let left = self.timeout.saturating_sub(self.begun.elapsed());
        match take.recv_timeout(left) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Err(Error::TimedOut {
                operation,
                after: self.timeout,
            }),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Unanswered { operation }),
        }
    }

    fn state(&self) -> Result<State, Error> {
        let read = catch_unwind(AssertUnwindSafe(|| read(&self.manager)));
        read.map_err(|fault| Error::Fault {
            operation: Operation::Load,
            text: crate::fault_text(&*fault),
        })
    }
}

fn refusal(operation: Operation, error: &NSError) -> Error {
    let domain = error.domain().to_string();
    let detail = error.localizedDescription().to_string();
    match domain == DOMAIN {
        true => Error::Refused {
            operation,
            code: Code::from_number(error.code()),
            detail,
        },
        false => Error::Failed {
            operation,
            domain,
            code: error.code(),
            detail,
        },
    }
}

fn read(manager: &NEFilterManager) -> State {
    // SAFETY: plain properties of an object that is documented to be thread safe.
    unsafe {
        let configuration = manager.providerConfiguration();
        let configuration = configuration.as_deref();
        State {
            owner: configuration.map_or(Owner::Nobody, owner),
            enabled: manager.isEnabled(),
            grade: grade(manager.grade()),
            sockets: configuration.is_some_and(|it| it.filterSockets()),
            packets: configuration.is_some_and(|it| it.filterPackets()),
            extension: configuration
                .and_then(|it| it.filterDataProviderBundleIdentifier())
                .map(|it| it.to_string()),
            organization: configuration
                .and_then(|it| it.organization())
                .map(|it| it.to_string()),
            description: manager.localizedDescription().map(|it| it.to_string()),
        }
    }
}

fn grade(grade: NEFilterManagerGrade) -> Grade {
    match grade {
        NEFilterManagerGrade::Firewall => Grade::Firewall,
        NEFilterManagerGrade::Inspector => Grade::Inspector,
        other => Grade::Other(other.0),
    }
}

/// What this app puts into a configuration that it saves, and a profile does not.
fn mark() -> Retained<NSDictionary<NSString, AnyObject>> {
    let key = NSString::from_str(super::MARK_KEY);
    let value = NSString::from_str(super::MARK);
    NSDictionary::from_slices(&[&*key], &[AsRef::<AnyObject>::as_ref(&*value)])
}

fn owner(configuration: &NEFilterProviderConfiguration) -> Owner {
    // SAFETY: a plain property.
    let vendor = unsafe { configuration.vendorConfiguration() };
    let key = NSString::from_str(super::MARK_KEY);
    let value = vendor.and_then(|vendor| vendor.objectForKey(&key));
    let is_ours = value
        .and_then(|value| value.downcast::<NSString>().ok())
        .is_some_and(|value| value.to_string() == super::MARK);
    match is_ours {
        true => Owner::App,
        false => Owner::Profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use objc2::rc::autoreleasepool;
    use std::ptr::null_mut;

    fn ask(send: impl FnOnce(&Done)) -> Result<(), Error> {
        autoreleasepool(|_| {
            Manager::with_timeout(Duration::from_secs(120)).ask(Operation::Save, send)
        })
    }

    #[test]
    fn an_answer_that_comes_twice_counts_once() {
        let error = NSError::new(6, &NSString::from_str(DOMAIN));
        let error = std::ptr::from_ref(&*error).cast_mut();
        let answer = ask(|done| {
            done.call((null_mut(),));
            done.call((error,));
        });
        assert_eq!(answer, Ok(()));
    }

    // facts: manager-silent
    #[test]
    fn a_question_that_is_dropped_is_not_waited_for() {
        let begun = Instant::now();
        let operation = Operation::Save;
        assert_eq!(ask(|_| {}), Err(Error::Unanswered { operation }));
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(
            Error::Unanswered { operation }
                .to_string()
                .contains("dropped")
        );
    }
}
