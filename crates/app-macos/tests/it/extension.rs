//! Requests about the extension.

use crate::world::{EXTENSION, PLENTY, SOON, WAIT, WAIT_BRIEFLY, World, version};
use app_macos::extension::{
    Approval, Code, Error, Options, Outcome, Properties, Replace, Replacement, Request, submit,
};
use objc_double::{Reaction, on_send};
use objc2_system_extensions::OSSystemExtensionReplacementAction as Decision;
use objc2_system_extensions::driver::{
    self as system, Answer, Failure, Installed, Kind, Machine, PropertiesEnd,
};
use std::thread;
use std::time::Instant;

const ACTIVATE: Request = Request::Activate(Replace::Refused);
const REPLACE: Request = Request::Activate(Replace::Allowed);

fn replacement() -> Replacement {
    Replacement {
        from: version("1"),
        to: version("2"),
    }
}

fn answers(answer: Answer) -> World {
    World::with(Machine {
        answer,
        ..Machine::default()
    })
}

// facts: every-delegate-answer
#[test]
fn a_completed_activation_is_done() {
    let _world = World::new();
    let done = Outcome::Done { replaced: None };
    assert_eq!(submit(EXTENSION, ACTIVATE, WAIT), Ok(done));
    let asked = system::history().submitted;
    assert_eq!(asked, [(Kind::Activation, EXTENSION.to_owned())]);
    assert_eq!(system::with(|machine| machine.installed.len()), 1);
}

// facts: every-delegate-answer
#[test]
fn an_activation_may_need_a_restart_of_the_machine() {
    let _world = World::with(Machine {
        after_reboot: true,
        ..Machine::default()
    });
    let outcome = submit(EXTENSION, ACTIVATE, WAIT);
    assert_eq!(outcome, Ok(Outcome::AfterReboot { replaced: None }));
}

// facts: every-delegate-answer
#[test]
fn every_code_is_told_with_its_meaning_and_advice() {
    for number in 1..=14 {
        let _world = answers(Answer::Fail(Failure::code(number)));
        let error = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err();
        let Error::Refused { code, detail } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*code, Code::from_number(number));
        assert!(detail.contains(&number.to_string()), "{detail}");
        let words = error.to_string();
        assert!(
            words.contains(code.meaning()) && words.contains(code.advice()),
            "{words}"
        );
    }
}

#[test]
fn a_failure_from_below_keeps_its_domain() {
    let domain = "NSCocoaErrorDomain".to_owned();
    let _world = answers(Answer::Fail(Failure { domain, code: 4097 }));
    let error = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err();
    assert!(
        matches!(error, Error::Failed { code: 4097, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("NSCocoaErrorDomain 4097"),
        "{error}"
    );
}

#[test]
fn an_unknown_result_is_not_taken_for_success() {
    let _world = answers(Answer::Result(2));
    let error = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err();
    assert_eq!(error, Error::UnknownResult(2));
    assert!(error.to_string().contains("result 2"));
}

// facts: only-the-app-may-ask
#[test]
fn an_extension_that_is_not_in_this_app_is_not_found() {
    let _world = World::new();
    for request in [ACTIVATE, Request::Deactivate] {
        let error = submit("org.example.of.others", request, WAIT).unwrap_err();
        let code = Code::ExtensionNotFound;
        assert!(
            matches!(error, Error::Refused { code: told, .. } if told == code),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("Contents/Library/SystemExtensions"),
            "{error}"
        );
    }
}

// facts: no-policy
#[test]
fn the_wrong_folder_is_said_to_be_perhaps_the_wrong_signature() {
    let _world = answers(Answer::Fail(Failure::code(3)));
    let words = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err().to_string();
    assert!(
        words.contains("/Applications") && words.contains("notarized"),
        "{words}"
    );
}

// facts: five-extensions/a
#[test]
fn many_other_extensions_are_no_hindrance() {
    let others = (0..6).map(|number| Installed::new(&format!("org.example.n{number}"), "1"));
    let _world = World::with(Machine {
        installed: others.collect(),
        ..Machine::default()
    });
    let done = Outcome::Done { replaced: None };
    assert_eq!(submit(EXTENSION, ACTIVATE, WAIT), Ok(done));
}

// facts: five-extensions/b
#[test]
fn a_refusal_for_too_many_extensions_is_told_like_any_other() {
    let _world = answers(Answer::Fail(Failure::code(1)));
    let words = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err().to_string();
    assert!(
        words.contains("does not say why") && words.contains("sysextd"),
        "{words}"
    );
}

// facts: request-kept-alive
#[test]
fn silence_ends_with_the_time_that_was_given() {
    let _world = answers(Answer::Silence);
    let begun = Instant::now();
    let error = submit(EXTENSION, ACTIVATE, WAIT_BRIEFLY).unwrap_err();
    assert!(begun.elapsed() >= SOON);
    let after = SOON;
    assert_eq!(
        error,
        Error::TimedOut {
            after,
            replacing: None
        }
    );
    assert!(error.to_string().contains("150 ms"), "{error}");
    assert_eq!(system::history().unheard, 0, "there was nothing to hear");
}

// facts: request-kept-alive
#[test]
fn request_and_delegate_live_until_the_answer_and_no_longer() {
    // What methods return is kept by the pool, or handed over without it, as on a Mac.
    for (keeps_requests, hands_over) in [(false, false), (false, true), (true, true)] {
        let _world = World::with(Machine {
            answer: Answer::Hold,
            keeps_requests,
            ..Machine::default()
        });
        objc_double::hand_over_returned_objects(hands_over);
        let later = thread::spawn(|| {
            system::wait_until_held();
            system::release();
        });
        assert!(submit(EXTENSION, ACTIVATE, WAIT).is_ok());
        later.join().unwrap();
        assert_eq!(system::history().unheard, 0, "who listened was there");
    }
}

// facts: request-kept-alive
#[test]
fn an_answer_after_the_time_is_harmless() {
    for keeps_requests in [false, true] {
        let _world = World::with(Machine {
            answer: Answer::Hold,
            keeps_requests,
            ..Machine::default()
        });
        let error = submit(EXTENSION, ACTIVATE, WAIT_BRIEFLY).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        system::release();
        system::settle();
        assert_eq!(system::history().unheard, 1);
    }
}

#[test]
fn an_answer_that_comes_twice_counts_once() {
    for (request, answer) in [
        (ACTIVATE, Answer::Usual),
        (ACTIVATE, Answer::Fail(Failure::code(9))),
        (Request::Properties, Answer::Usual),
    ] {
        let _world = World::with(Machine {
            answer,
            answers_twice: true,
            installed: vec![Installed::new(EXTENSION, "2")],
            ..Machine::default()
        });
        let first = submit(EXTENSION, request, WAIT);
        system::settle();
        assert_eq!(submit(EXTENSION, request, WAIT), first);
    }
}

#[test]
fn an_answer_on_another_queue_is_heard() {
    let _world = World::with(Machine {
        on_another_queue: true,
        ..Machine::default()
    });
    assert!(submit(EXTENSION, ACTIVATE, WAIT).is_ok());
}

// facts: approval-pending
#[test]
fn an_approval_that_comes_in_time_completes_the_activation() {
    let _world = World::with(Machine {
        approval: system::Approval::Needed,
        ..Machine::default()
    });
    let user = thread::spawn(|| {
        system::wait_until_user_is_asked();
        system::approve();
    });
    let outcome = submit(EXTENSION, ACTIVATE, WAIT);
    user.join().unwrap();
    assert_eq!(outcome, Ok(Outcome::Done { replaced: None }));
}

// facts: approval-pending
#[test]
fn an_approval_that_does_not_come_is_said_to_be_awaited() {
    let _world = World::with(Machine {
        approval: system::Approval::Needed,
        ..Machine::default()
    });
    let outcome = submit(EXTENSION, ACTIVATE, WAIT_BRIEFLY);
    assert_eq!(outcome, Ok(Outcome::AwaitingApproval));
    system::approve();
    system::settle();
    assert_eq!(system::history().unheard, 1, "it came after the time");
}

// facts: approval-pending
#[test]
fn whoever_does_not_wait_for_the_user_is_told_at_once() {
    let _world = World::with(Machine {
        approval: system::Approval::Needed,
        ..Machine::default()
    });
    let approval = Approval::Leave;
    let timeout = PLENTY;
    let begun = Instant::now();
    let outcome = submit(EXTENSION, ACTIVATE, Options { timeout, approval });
    assert_eq!(outcome, Ok(Outcome::AwaitingApproval));
    assert!(begun.elapsed() < PLENTY / 2);
}

// facts: same-version-no-question
#[test]
fn the_same_version_is_no_question() {
    let _world = World::with(Machine {
        installed: vec![Installed::new(EXTENSION, "2")],
        ..Machine::default()
    });
    let done = Outcome::Done { replaced: None };
    assert_eq!(submit(EXTENSION, REPLACE, WAIT), Ok(done));
    assert_eq!(system::history().decisions, []);
}

// facts: same-version-no-question
#[test]
fn in_developer_mode_the_same_version_is_a_question_and_no_failure() {
    let _world = World::with(Machine {
        installed: vec![Installed::new(EXTENSION, "2")],
        developer_mode: true,
        ..Machine::default()
    });
    let outcome = submit(EXTENSION, ACTIVATE, WAIT);
    assert_eq!(outcome, Ok(Outcome::Done { replaced: None }));
    assert_eq!(system::history().decisions, [Decision::Cancel]);
}

// facts: every-delegate-answer, crash-resets-connections
#[test]
fn another_version_is_replaced_only_when_that_is_allowed() {
    let world = World::with_old_version();
    let error = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err();
    assert_eq!(error, Error::NotReplaced(replacement()));
    let words = error.to_string();
    assert!(
        words.contains("conntrail upgrade") && words.contains("resets"),
        "{words}"
    );
    assert_eq!(system::history().decisions, [Decision::Cancel]);
    drop(world);

    let _world = World::with_old_version();
    let replaced = Some(replacement());
    assert_eq!(
        submit(EXTENSION, REPLACE, WAIT),
        Ok(Outcome::Done { replaced })
    );
    assert_eq!(system::history().decisions, [Decision::Replace]);
}

#[test]
fn a_replacement_after_a_restart_says_what_it_replaces() {
    let _world = World::with_old_version();
    system::with(|machine| machine.after_reboot = true);
    let replaced = Some(replacement());
    assert_eq!(
        submit(EXTENSION, REPLACE, WAIT),
        Ok(Outcome::AfterReboot { replaced })
    );
}

#[test]
fn a_replacement_whose_end_is_not_heard_is_not_forgotten() {
    let _world = World::with_old_version();
    system::with(|machine| machine.approval = system::Approval::Needed);
    let error = submit(EXTENSION, REPLACE, WAIT_BRIEFLY).unwrap_err();
    let replacing = Some(replacement());
    let after = SOON;
    assert_eq!(error, Error::TimedOut { after, replacing });
    assert!(
        error.to_string().contains("version 2 was to replace 1"),
        "{error}"
    );
}

#[test]
fn a_question_that_comes_after_the_time_is_answered_no() {
    let _world = World::with_old_version();
    system::with(|machine| {
        machine.answer = Answer::Hold;
        machine.keeps_requests = true;
    });
    assert!(submit(EXTENSION, REPLACE, WAIT_BRIEFLY).is_err());
    system::release();
    system::settle();
    assert_eq!(system::history().decisions, [Decision::Cancel]);
}

#[test]
fn deactivating_removes_it_or_says_that_an_administrator_must_agree() {
    let _world = World::with_old_version();
    system::with(|machine| machine.removal_needs_administrator = true);
    let error = submit(EXTENSION, Request::Deactivate, WAIT).unwrap_err();
    assert!(
        error.to_string().contains("RemovableSystemExtensions"),
        "{error}"
    );
    system::with(|machine| machine.removal_needs_administrator = false);
    let done = Outcome::Done { replaced: None };
    assert_eq!(submit(EXTENSION, Request::Deactivate, WAIT), Ok(done));
    assert_eq!(system::with(|machine| machine.installed.len()), 0);
}

// facts: replaced-but-no-flows
#[test]
fn properties_are_told_as_they_are_whatever_the_order_of_answers() {
    for properties_end in [
        PropertiesEnd::After,
        PropertiesEnd::Before,
        PropertiesEnd::Never,
    ] {
        let _world = World::with(Machine {
            installed: vec![
                Installed {
                    uninstalling: true,
                    enabled: false,
                    ..Installed::new(EXTENSION, "1")
                },
                Installed {
                    awaiting_approval: true,
                    short: Some("2.0".to_owned()),
                    ..Installed::new(EXTENSION, "2")
                },
                Installed::new("org.example.of.others", "7"),
            ],
            properties_end,
            ..Machine::default()
        });
        let outcome = submit(EXTENSION, Request::Properties, WAIT).unwrap();
        let Outcome::Found(found) = outcome else {
            panic!("{outcome:?}")
        };
        let [old, new] = &found[..] else {
            panic!("{found:?}")
        };
        let expected = Properties {
            identifier: EXTENSION.to_owned(),
            version: version("1"),
            enabled: false,
            awaiting_approval: false,
            uninstalling: true,
        };
        assert_eq!(*old, expected);
        assert!(new.enabled && new.awaiting_approval && !new.uninstalling);
        assert_eq!(new.version.to_string(), "2.0 (2)");
    }
}

// facts: request-kept-alive
#[test]
fn properties_that_never_come_are_waited_for_no_longer_than_asked() {
    let _world = answers(Answer::Silence);
    let error = submit(EXTENSION, Request::Properties, WAIT_BRIEFLY).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[test]
fn answers_that_belong_to_another_kind_of_request_are_no_end() {
    let _world = answers(Answer::Result(0));
    let error = submit(EXTENSION, Request::Properties, WAIT_BRIEFLY).unwrap_err();
    assert!(
        matches!(error, Error::TimedOut { .. }),
        "the end without what was found: {error:?}"
    );
}

// facts: rule-3-panics-caught
#[test]
fn a_fault_in_any_callback_is_caught_and_told() {
    let installed = Installed {
        short: None,
        ..Installed::new(EXTENSION, "1")
    };
    for (request, decisions) in [(Request::Properties, 0), (REPLACE, 1)] {
        let _world = World::with(Machine {
            installed: vec![installed.clone()],
            ..Machine::default()
        });
        let error = submit(EXTENSION, request, WAIT).unwrap_err();
        assert!(matches!(error, Error::Fault(_)), "{error:?}");
        system::settle();
        let history = system::history();
        assert_eq!(history.decisions, vec![Decision::Cancel; decisions]);
        assert_eq!(history.escaped_panics, 0);
    }
    for selector in ["domain", "code", "localizedDescription"] {
        let _world = answers(Answer::Fail(Failure::code(9)));
        on_send(selector, Reaction::Panic("a fault"));
        let error = submit(EXTENSION, ACTIVATE, WAIT).unwrap_err();
        assert_eq!(error, Error::Fault("a fault".to_owned()), "{selector}");
    }
}

#[test]
fn eight_requests_at_once_do_not_mix() {
    let _world = World::with(Machine {
        installed: vec![Installed::new(EXTENSION, "2")],
        ..Machine::default()
    });
    let threads: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                let request = if number % 2 == 0 {
                    ACTIVATE
                } else {
                    Request::Properties
                };
                (request, submit(EXTENSION, request, WAIT))
            })
        })
        .collect();
    for thread in threads {
        let (request, outcome) = thread.join().unwrap();
        match (request, outcome.unwrap()) {
            (Request::Activate(_), Outcome::Done { replaced: None }) => {}
            (Request::Properties, Outcome::Found(found)) => assert_eq!(found.len(), 1),
            (request, outcome) => panic!("{request:?}: {outcome:?}"),
        }
    }
}
