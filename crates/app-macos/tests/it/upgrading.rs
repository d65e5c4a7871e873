//! Replacing a running version, and failing at each step of it.

use crate::world::{
    EXTENSION, SOON, TIMEOUTS, WANTED, World, filter_is_on, of_app, of_profile, version,
};
use app_macos::upgrade::{Ending, Report, Resets, Shell, Timeouts, report_words, run};
use objc_double::{Reaction, on_send};
use objc2_network_extension::NEFilterManagerError;
use objc2_network_extension::driver::{
    self as network, Answer, ManagerCall, Stored, answer_manager, manager_calls, set_stored, stored,
};
use objc2_system_extensions::driver::{self as system, Failure, Kind};
use record::AppCount;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Flows arrive at the look of this number; what is noted stays.
#[derive(Default)]
pub(crate) struct Notebook {
    pub(crate) looks: u32,
    pub(crate) flow_at_look: Option<u32>,
    pub(crate) is_off: bool,
    pub(crate) was_off: bool,
}

impl Shell for Notebook {
    fn flow_arrived(&mut self) -> bool {
        self.looks += 1;
        self.flow_at_look.is_some_and(|at| self.looks >= at)
    }

    fn note_switched_off(&mut self, is_off: bool) {
        self.is_off = is_off;
        self.was_off |= is_off;
    }

    fn was_left_off(&mut self) -> bool {
        self.is_off
    }
}

fn resets() -> Resets {
    Resets {
        count: 3,
        by_app: vec![AppCount {
            app: "Mail".to_owned(),
            count: 3,
        }],
    }
}

fn upgrade(notebook: &mut Notebook) -> Report {
    run(&WANTED, Some(&version("2")), resets(), TIMEOUTS, notebook)
}

fn with_flows() -> Notebook {
    Notebook {
        flow_at_look: Some(3),
        ..Notebook::default()
    }
}

fn asked_to_activate() -> usize {
    let submitted = system::history().submitted;
    submitted
        .iter()
        .filter(|(kind, _)| *kind == Kind::Activation)
        .count()
}

/// Does something when a selector is sent for the `nth` time, before it is answered.
fn at(selector: &str, nth: usize, act: impl Fn() + Send + Sync + 'static) {
    let sent = AtomicUsize::new(0);
    let count = move || {
        if sent.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            act();
        }
    };
    on_send(selector, Reaction::Call(Arc::new(count)));
}

fn at_save(nth: usize, act: impl Fn() + Send + Sync + 'static) {
    at("saveToPreferencesWithCompletionHandler:", nth, act);
}

fn at_load(nth: usize, act: impl Fn() + Send + Sync + 'static) {
    at("loadFromPreferencesWithCompletionHandler:", nth, act);
}

/// Both managers are asked for by the same selector, the filter's and that of requests.
fn at_manager(nth: usize, act: impl Fn() + Send + Sync + 'static) {
    at("sharedManager", nth, act);
}

// facts: rule-12-upgrade-when-it-hurts-least, crash-resets-connections, preserve-connections/a
#[test]
fn our_filter_is_switched_off_replaced_switched_on_and_proven() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let mut notebook = with_flows();
    let report = upgrade(&mut notebook);
    let receipt = report.receipt.clone().unwrap();
    assert_eq!((receipt.from.as_deref(), &*receipt.to), (Some("1"), "2"));
    assert_eq!(
        (receipt.reset_estimate, receipt.flows_arrive),
        (3, Some(true))
    );
    assert_eq!(receipt.by_app, resets().by_app);
    assert_eq!((report.left_disabled, report.troubles.len()), (false, 0));
    assert!(filter_is_on());
    assert!(notebook.was_off && !notebook.is_off);
    use ManagerCall::{Load, Save};
    assert_eq!(manager_calls(), [Load, Load, Save, Load, Load, Save, Load]);
    assert!(report_words(&report)[0].contains("Version 2 runs in place of 1"));
}

// facts: profile-owns-the-filter
#[test]
fn a_profiles_filter_stays_on_all_the_time() {
    let _world = World::with_old_version();
    set_stored(of_profile(true));
    let mut notebook = with_flows();
    let report = upgrade(&mut notebook);
    assert!(matches!(
        report.ending,
        Ending::Replaced {
            flows_arrive: true,
            ..
        }
    ));
    assert_eq!(manager_calls(), [ManagerCall::Load], "it was only read");
    assert!(!notebook.was_off);
    assert_eq!(asked_to_activate(), 1);
}

// facts: replaced-but-no-flows
#[test]
fn a_version_that_runs_and_sees_nothing_is_told_as_such() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let mut notebook = Notebook::default();
    let report = upgrade(&mut notebook);
    assert_eq!(report.receipt.clone().unwrap().flows_arrive, Some(false));
    assert!(notebook.looks >= 2, "it was looked for more than once");
    assert!(report_words(&report)[0].contains("restart the machine"));
    assert!(filter_is_on());
}

// facts: preserve-connections/b
#[test]
fn the_count_is_an_estimate_even_where_connections_would_be_kept() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let report = upgrade(&mut with_flows());
    let words = report_words(&report);
    assert!(words[0].contains("about 3 TCP connections"), "{words:?}");
    assert_eq!(report.receipt.unwrap().reset_estimate, 3);
}

#[test]
fn when_the_filter_cannot_be_read_it_is_not_switched() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    answer_manager(ManagerCall::Load, Answer::NEVER);
    let timeouts = Timeouts {
        filter: SOON,
        ..TIMEOUTS
    };
    let report = run(&WANTED, None, resets(), timeouts, &mut with_flows());
    assert!(matches!(report.ending, Ending::Replaced { .. }));
    assert_eq!(report.troubles.len(), 1);
    assert_eq!(stored(), of_app(true));
}

// facts: profile-owns-the-filter
#[test]
fn a_filter_that_may_not_be_switched_off_is_replaced_under() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let denied = NEFilterManagerError::ConfigurationPermissionDenied;
    answer_manager(ManagerCall::Save, Answer::manager_error(denied));
    let mut notebook = with_flows();
    let report = upgrade(&mut notebook);
    assert!(matches!(
        report.ending,
        Ending::Replaced {
            flows_arrive: true,
            ..
        }
    ));
    assert!(!report.left_disabled && !notebook.is_off);
    assert_eq!(
        manager_calls().len(),
        3,
        "looked at twice, tried once, and then let alone"
    );
}

// facts: profile-owns-the-filter
#[test]
fn a_profile_that_comes_while_it_is_to_be_switched_off_is_let_alone() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    at_load(2, || set_stored(of_profile(true)));
    let report = upgrade(&mut with_flows());
    assert!(matches!(
        report.ending,
        Ending::Replaced {
            flows_arrive: true,
            ..
        }
    ));
    assert_eq!(stored(), of_profile(true));
}

#[test]
fn when_switching_off_fails_nothing_is_replaced_and_the_filter_is_on() {
    for answer in [
        Answer::manager_error(NEFilterManagerError::ConfigurationInternalError),
        Answer::NEVER,
    ] {
        let _world = World::with_old_version();
        set_stored(of_app(true));
        answer_manager(ManagerCall::Save, answer);
        let timeouts = Timeouts {
            filter: SOON,
            ..TIMEOUTS
        };
        let mut notebook = with_flows();
        let report = run(&WANTED, None, resets(), timeouts, &mut notebook);
        assert_eq!((&report.ending, report.receipt), (&Ending::Failed, None));
        assert_eq!(asked_to_activate(), 0);
        assert!(filter_is_on());
        assert!(!report.left_disabled && !notebook.is_off);
    }
}

#[test]
fn a_filter_that_went_off_without_a_word_is_switched_on_again() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    answer_manager(ManagerCall::Save, Answer::NEVER);
    at_save(1, || set_stored(of_app(false)));
    let timeouts = Timeouts {
        filter: SOON,
        ..TIMEOUTS
    };
    // Look, off, on.
    at_manager(3, || answer_manager(ManagerCall::Save, Answer::OK));
    let report = run(&WANTED, None, resets(), timeouts, &mut with_flows());
    assert_eq!(report.ending, Ending::Failed);
    assert!(filter_is_on() && !report.left_disabled, "{report:?}");
}

#[test]
fn when_the_new_version_is_refused_the_filter_is_on_again() {
    for answer in [
        system::Answer::Fail(Failure::code(8)),
        system::Answer::Silence,
        system::Answer::Result(7),
    ] {
        let _world = World::with_old_version();
        set_stored(of_app(true));
        system::with(|machine| machine.answer = answer);
        let timeouts = Timeouts {
            request: SOON,
            ..TIMEOUTS
        };
        let mut notebook = with_flows();
        let report = run(&WANTED, None, resets(), timeouts, &mut notebook);
        assert_eq!((&report.ending, &report.receipt), (&Ending::Failed, &None));
        assert_eq!(report.troubles.len(), 1);
        assert!(filter_is_on());
        assert!(notebook.was_off && !notebook.is_off);
        assert_eq!(notebook.looks, 0);
        let words = report_words(&report);
        assert!(
            words.contains(&"The version was not replaced.".to_owned()),
            "{words:?}"
        );
    }
}

// facts: approval-pending
#[test]
fn when_the_user_must_approve_the_filter_is_on_again_meanwhile() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    system::with(|machine| machine.approval = system::Approval::Needed);
    let report = upgrade(&mut with_flows());
    assert_eq!(
        (&report.ending, &report.receipt),
        (&Ending::AwaitingApproval, &None)
    );
    assert!(filter_is_on());
    assert!(report_words(&report)[0].contains("System Settings"));
}

#[test]
fn a_version_that_runs_after_a_restart_resets_nothing_now() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    system::with(|machine| machine.after_reboot = true);
    let report = upgrade(&mut with_flows());
    let receipt = report.receipt.clone().unwrap();
    assert_eq!((receipt.reset_estimate, receipt.flows_arrive), (0, None));
    assert!(filter_is_on());
    assert!(report_words(&report)[0].contains("after the next start"));
}

#[test]
fn switching_on_again_is_tried_until_it_works() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let busy = NEFilterManagerError::ConfigurationInternalError;
    at_save(2, move || {
        answer_manager(ManagerCall::Save, Answer::manager_error(busy))
    });
    // Look, off, the request's own manager, on in vain, on.
    at_manager(5, || answer_manager(ManagerCall::Save, Answer::OK));
    let report = upgrade(&mut with_flows());
    assert!(matches!(
        report.ending,
        Ending::Replaced {
            flows_arrive: true,
            ..
        }
    ));
    assert!(filter_is_on() && !report.left_disabled);
    assert_eq!(report.troubles.len(), 1);
}

#[test]
fn a_filter_that_cannot_be_switched_on_again_is_shouted_about() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let busy = NEFilterManagerError::ConfigurationInternalError;
    at_save(2, move || {
        answer_manager(ManagerCall::Save, Answer::manager_error(busy))
    });
    let mut notebook = with_flows();
    let report = upgrade(&mut notebook);
    assert!(report.left_disabled);
    assert!(notebook.is_off, "the next upgrade knows");
    assert_eq!(report.troubles.len(), 3);
    assert!(
        report_words(&report)
            .last()
            .unwrap()
            .contains("SWITCHED OFF")
    );
    assert!(!filter_is_on());

    answer_manager(ManagerCall::Save, Answer::OK);
    objc_double::clear_reactions();
    let report = upgrade(&mut notebook);
    assert!(!report.left_disabled && !notebook.is_off);
    assert!(filter_is_on(), "the next upgrade switched it on");
}

#[test]
fn a_profile_that_takes_over_in_the_middle_and_is_off_is_told() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    // Look; look, and again after switching off; then to switch on.
    at_load(4, || set_stored(of_profile(false)));
    let report = upgrade(&mut with_flows());
    assert!(report.left_disabled);
    assert!(
        report.troubles[0].contains("a profile owns the filter now"),
        "{report:?}"
    );
    assert_eq!(stored(), of_profile(false));
}

#[test]
fn without_any_configuration_only_the_version_is_replaced() {
    let _world = World::with_old_version();
    let report = upgrade(&mut with_flows());
    assert!(matches!(report.ending, Ending::Replaced { .. }));
    assert_eq!(stored(), Stored::Nothing);
    assert_eq!(network::manager_calls(), [ManagerCall::Load]);
    let (kind, identifier) = &system::history().submitted[0];
    assert_eq!((*kind, identifier.as_str()), (Kind::Activation, EXTENSION));
}
