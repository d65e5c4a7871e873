//! The filter's configuration.

use crate::world::{EXTENSION, PLENTY, SOON, WANTED, World, filter_is_on, of_app, of_profile};
use app_macos::filter::{
    Change, Code, Error, Grade, Operation, Owner, Wanted, disable, enable, read, remove,
};
use objc_double::{Reaction, on_send};
use objc2_network_extension::driver::{
    self as network, Answer, Configuration, ManagerCall, ProviderConfiguration, Stored, When,
    answer_manager, manager_calls, set_stored, stored,
};
use objc2_network_extension::{NEFilterManagerError, NEFilterManagerGrade};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Does something when the configuration is loaded for the `nth` time, before it is.
fn at_load(nth: usize, act: impl Fn() + Send + Sync + 'static) {
    let loads = AtomicUsize::new(0);
    let count = move || {
        if loads.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            act();
        }
    };
    let selector = "loadFromPreferencesWithCompletionHandler:";
    on_send(selector, Reaction::Call(Arc::new(count)));
}

fn refused(call: ManagerCall, code: isize) {
    answer_manager(call, Answer::manager_error(NEFilterManagerError(code)));
}

#[test]
fn a_first_configuration_is_saved_on_and_as_it_must_be() {
    let _world = World::new();
    let Ok(Change::Made(state)) = enable(&WANTED, PLENTY) else {
        panic!("it is made")
    };
    assert_eq!((state.owner, state.enabled), (Owner::App, true));
    let Stored::ByApp(saved) = stored() else {
        panic!("{:?}", stored())
    };
    assert!(saved.is_enabled);
    assert_eq!(saved.description.as_deref(), Some(WANTED.description));
    let provider = saved.provider.unwrap();
    assert!(provider.filter_sockets);
    assert_eq!(provider.data_provider.as_deref(), Some(EXTENSION));
    assert_eq!(provider.organization.as_deref(), Some(WANTED.organization));
    assert_eq!((provider.server_address, provider.username), (None, None));
}

// facts: packet-provider-costs
#[test]
fn packets_are_never_filtered() {
    let _world = World::new();
    enable(&WANTED, PLENTY).unwrap();
    let provider = network::app_configuration().unwrap().provider.unwrap();
    assert!(!provider.filter_packets);
    assert_eq!(provider.packet_provider, None);
}

// facts: encrypted-dns-left-alone
#[test]
fn encrypted_dns_is_never_spoken_of_on_any_version() {
    for version in [(13, 0), (15, 4)] {
        let _world = World::new();
        network::set_os_version(version.0, version.1);
        on_send(
            "setDisableEncryptedDNSSettings:",
            Reaction::Panic("it was spoken of"),
        );
        enable(&WANTED, PLENTY).unwrap();
        assert!(!network::app_configuration().unwrap().disables_encrypted_dns);
        disable(PLENTY).unwrap();
    }
}

// facts: firewall-grade/a
#[test]
fn the_grade_is_inspector_where_any_grade_may_be_asked_for() {
    let _world = World::new();
    let change = enable(&WANTED, PLENTY).unwrap();
    assert_eq!(change.state().grade, Grade::Inspector);
}

// facts: firewall-grade/b
#[test]
fn the_grade_of_firewalls_is_never_saved_so_no_entitlement_for_it_is_missed() {
    let _world = World::new();
    let Stored::ByApp(of_firewall) = of_app(true) else {
        unreachable!("it is the app's")
    };
    set_stored(Stored::ByApp(Configuration {
        grade: NEFilterManagerGrade::Firewall,
        ..of_firewall
    }));
    assert_eq!(read(PLENTY).unwrap().grade, Grade::Firewall);
    assert!(
        matches!(enable(&WANTED, PLENTY), Ok(Change::Made(_))),
        "it is set right"
    );
    let saved = network::app_configuration().unwrap().grade;
    assert_eq!(saved, NEFilterManagerGrade::Inspector);
}

#[test]
fn a_grade_of_a_later_system_is_told_as_it_is() {
    let _world = World::new();
    let grade = NEFilterManagerGrade(9);
    set_stored(Stored::ByApp(Configuration {
        grade,
        ..Configuration::default()
    }));
    assert_eq!(read(PLENTY).unwrap().grade, Grade::Other(9));
}

#[test]
fn what_is_on_and_right_is_not_saved_again() {
    let _world = World::new();
    set_stored(of_app(true));
    assert!(matches!(enable(&WANTED, PLENTY), Ok(Change::None(_))));
    assert_eq!(manager_calls(), [ManagerCall::Load]);
}

#[test]
fn our_own_configuration_is_set_right_when_it_is_off_or_names_another_extension() {
    let _world = World::new();
    set_stored(of_app(false));
    assert!(matches!(enable(&WANTED, PLENTY), Ok(Change::Made(_))));
    let other = Wanted {
        extension: "org.example.newer",
        ..WANTED
    };
    let Ok(Change::Made(state)) = enable(&other, PLENTY) else {
        panic!("it is made")
    };
    assert_eq!(state.extension.as_deref(), Some("org.example.newer"));
}

// facts: profile-owns-the-filter
#[test]
fn a_profiles_configuration_is_never_touched() {
    for is_enabled in [true, false] {
        let _world = World::new();
        let before = of_profile(is_enabled);
        set_stored(before.clone());
        for change in [enable(&WANTED, PLENTY), disable(PLENTY), remove(PLENTY)] {
            let change = change.unwrap();
            assert!(matches!(change, Change::LeftToProfile(_)), "{change:?}");
            assert_eq!(change.state().owner, Owner::Profile);
            assert_eq!(change.state().enabled, is_enabled);
        }
        assert_eq!(manager_calls(), [ManagerCall::Load; 3], "it was only read");
        assert_eq!(stored(), before);
    }
}

// facts: profile-owns-the-filter
#[test]
fn a_configuration_without_our_mark_counts_as_a_profiles() {
    let settings = vec![("flow.flows_max".to_owned(), network::Value::Integer(5))];
    let wrong_mark = vec![(
        app_macos::filter::MARK_KEY.to_owned(),
        network::Value::Integer(1),
    )];
    for vendor in [None, Some(Vec::new()), Some(settings), Some(wrong_mark)] {
        let _world = World::new();
        set_stored(Stored::ByApp(Configuration {
            is_enabled: true,
            provider: Some(ProviderConfiguration {
                vendor,
                ..ProviderConfiguration::default()
            }),
            ..Configuration::default()
        }));
        assert_eq!(read(PLENTY).unwrap().owner, Owner::Profile);
        assert!(matches!(disable(PLENTY), Ok(Change::LeftToProfile(_))));
        assert!(filter_is_on());
    }
}

// facts: profile-owns-the-filter, manager-errors
#[test]
fn a_configuration_that_proves_not_to_be_ours_is_left_alone_and_said_so() {
    let _world = World::new();
    set_stored(of_app(true));
    refused(ManagerCall::Save, 5);
    let error = disable(PLENTY).unwrap_err();
    assert!(error.says_not_ours(), "{error:?}");
    assert!(
        error.to_string().contains("configuration profile"),
        "{error}"
    );
    assert!(filter_is_on());
    assert_eq!(
        read(PLENTY).unwrap().owner,
        Owner::App,
        "nothing of ours stays in memory"
    );
}

// facts: profile-alone-enables/a
#[test]
fn a_profile_that_enables_the_filter_by_itself_is_enough() {
    let _world = World::new();
    set_stored(of_profile(true));
    let change = enable(&WANTED, PLENTY).unwrap();
    assert!(change.state().enabled);
    assert_eq!(manager_calls(), [ManagerCall::Load]);
}

// facts: profile-alone-enables/b
#[test]
fn a_profile_that_the_manager_does_not_show_leaves_room_for_our_own() {
    let _world = World::new();
    assert!(matches!(enable(&WANTED, PLENTY), Ok(Change::Made(_))));
    assert!(filter_is_on());
    set_stored(of_profile(false));
    let change = enable(&WANTED, PLENTY).unwrap();
    assert!(
        !change.state().enabled,
        "one that it shows is left as it is, and told"
    );
}

// facts: manager-errors
#[test]
fn every_code_of_every_operation_is_told_with_its_meaning_and_advice() {
    for number in 1..=7 {
        for (call, operation) in [
            (ManagerCall::Load, Operation::Load),
            (ManagerCall::Save, Operation::Save),
            (ManagerCall::Remove, Operation::Remove),
        ] {
            let _world = World::new();
            set_stored(of_app(true));
            refused(call, number);
            let error = match operation {
                Operation::Load => read(PLENTY).unwrap_err(),
                Operation::Save => disable(PLENTY).unwrap_err(),
                Operation::Remove => remove(PLENTY).unwrap_err(),
            };
            let Error::Refused {
                operation: told,
                code,
                detail,
            } = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!((*told, *code), (operation, Code::from_number(number)));
            assert!(detail.contains(&number.to_string()), "{detail}");
            let words = error.to_string();
            assert!(words.contains(&operation.to_string()), "{words}");
            assert!(
                words.contains(code.meaning()) && words.contains(code.advice()),
                "{words}"
            );
        }
    }
}

#[test]
fn a_failure_from_below_keeps_its_domain() {
    let _world = World::new();
    answer_manager(ManagerCall::Load, Answer::error("NSCocoaErrorDomain", 4099));
    let error = read(PLENTY).unwrap_err();
    assert!(
        matches!(error, Error::Failed { code: 4099, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("NSCocoaErrorDomain 4099"),
        "{error}"
    );
    assert!(!error.says_not_ours());
}

// facts: manager-errors
#[test]
fn a_stale_configuration_is_loaded_and_judged_once_more() {
    let _world = World::new();
    refused(ManagerCall::Save, 3);
    at_load(2, || answer_manager(ManagerCall::Save, Answer::OK));
    assert!(matches!(enable(&WANTED, PLENTY), Ok(Change::Made(_))));
    assert!(filter_is_on());
}

// facts: manager-errors, profile-owns-the-filter
#[test]
fn a_profile_that_came_in_between_is_found_at_the_second_look() {
    let _world = World::new();
    refused(ManagerCall::Save, 3);
    at_load(2, || set_stored(of_profile(true)));
    assert!(matches!(
        enable(&WANTED, PLENTY),
        Ok(Change::LeftToProfile(_))
    ));
    assert_eq!(stored(), of_profile(true));
}

// facts: manager-errors
#[test]
fn a_configuration_that_stays_stale_is_not_tried_for_ever() {
    let _world = World::new();
    refused(ManagerCall::Save, 3);
    let error = enable(&WANTED, PLENTY).unwrap_err();
    let stale = Code::Stale;
    assert!(
        matches!(error, Error::Refused { code, .. } if code == stale),
        "{error:?}"
    );
    assert_eq!(manager_calls().len(), 4);
}

// facts: two-filters-no-network
#[test]
fn a_configuration_that_somebody_changes_back_is_noticed() {
    let _world = World::new();
    at_load(2, || set_stored(of_app(false)));
    let error = enable(&WANTED, PLENTY).unwrap_err();
    assert!(matches!(error, Error::NotInForce(_)), "{error:?}");
    assert!(error.to_string().contains("switched off"), "{error}");
    at_load(2, || set_stored(of_app(true)));
    set_stored(of_app(true));
    let error = disable(PLENTY).unwrap_err();
    assert!(error.to_string().contains("switched on"), "{error}");
}

// facts: manager-silent
#[test]
fn silence_at_any_step_ends_with_the_time_that_was_given() {
    for (call, operation) in [
        (ManagerCall::Load, Operation::Load),
        (ManagerCall::Save, Operation::Save),
    ] {
        let _world = World::new();
        answer_manager(call, Answer::NEVER);
        let begun = Instant::now();
        let error = enable(&WANTED, SOON).unwrap_err();
        assert!(begun.elapsed() >= SOON);
        let after = SOON;
        assert_eq!(error, Error::TimedOut { operation, after });
        assert!(error.to_string().contains("150 ms"), "{error}");
    }
    let _world = World::new();
    set_stored(of_app(true));
    answer_manager(ManagerCall::Remove, Answer::NEVER);
    assert!(matches!(remove(SOON), Err(Error::TimedOut { .. })));
}

// facts: manager-silent
#[test]
fn an_answer_after_the_time_is_harmless() {
    let _world = World::new();
    answer_manager(ManagerCall::Load, Answer::OK.when(When::OnCue));
    assert!(matches!(read(SOON), Err(Error::TimedOut { .. })));
    assert_eq!(network::cue(), 1);
}

#[test]
fn an_answer_before_the_call_returns_is_heard() {
    for when in [When::AtOnce, When::After(Duration::from_millis(20))] {
        let _world = World::new();
        answer_manager(ManagerCall::Load, Answer::OK.when(when));
        answer_manager(ManagerCall::Save, Answer::OK.when(when));
        assert!(matches!(enable(&WANTED, PLENTY), Ok(Change::Made(_))));
    }
}

#[test]
fn disabling_keeps_the_configuration_and_removing_takes_it_away() {
    let _world = World::new();
    assert!(
        matches!(disable(PLENTY), Ok(Change::None(_))),
        "there is none"
    );
    assert!(
        matches!(remove(PLENTY), Ok(Change::None(_))),
        "there is none"
    );
    set_stored(of_app(true));
    assert!(matches!(disable(PLENTY), Ok(Change::Made(_))));
    assert_eq!(stored(), of_app(false));
    assert!(
        matches!(disable(PLENTY), Ok(Change::None(_))),
        "it is off already"
    );
    assert!(matches!(remove(PLENTY), Ok(Change::Made(_))));
    assert_eq!(stored(), Stored::Nothing);
}

// facts: rule-3-panics-caught
#[test]
fn a_fault_of_ours_is_caught_and_told() {
    let _world = World::new();
    refused(ManagerCall::Load, 6);
    on_send("domain", Reaction::Panic("a fault"));
    let error = read(PLENTY).unwrap_err();
    assert!(matches!(error, Error::Fault { .. }), "{error:?}");
    assert!(error.to_string().contains("a fault"), "{error}");
    answer_manager(ManagerCall::Load, Answer::OK);
    on_send("grade", Reaction::Panic("another fault"));
    assert!(
        read(PLENTY)
            .unwrap_err()
            .to_string()
            .contains("another fault")
    );
}
