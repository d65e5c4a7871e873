//! Launching, starting, stopping; what becomes of completion blocks.

use std::time::Duration;

use objc2_network_extension::driver::{
    Answer, LaunchError, Provider, When, alone, answer_apply_settings, cue, settings_in_force,
    system_extension_mode_starts, wait_for_system_extension_mode,
};
use objc2_network_extension::{NEFilterManagerError, NEProvider, NEProviderStopReason};

use crate::filter::{Habit, filter, told};

#[test]
fn a_provider_is_launched_by_the_name_of_its_class() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    assert_eq!(provider.payload_methods(), [""; 0]);
    let refused = |name: &str| Provider::launch(name).err();
    assert_eq!(refused("NoSuchFilter"), Some(LaunchError::NoSuchClass));
    assert_eq!(refused("NSObject"), Some(LaunchError::NotAFilter));
}

#[test]
fn a_start_that_completes_once_is_told_from_all_others() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let completion = provider.start();
    assert_eq!(completion.wait_for_end(), [None]);
    let call = &completion.calls()[0];
    assert_eq!(call.thread, std::thread::current().id());
    assert!(call.after_ns <= completion.returned_after_ns);

    assert_eq!(filter(Habit::Silent).start().wait_for_end(), []);
    assert_eq!(filter(Habit::Twice).start().wait_for_end(), [None, None]);
    assert_eq!(filter(Habit::Refuses).start().wait_for_end(), [Some(9)]);
}

#[test]
fn a_start_that_waits_for_settings_ends_when_they_are_answered() {
    let _alone = alone();
    let provider = filter(Habit::StandsAside);
    let completion = provider.start();
    assert_eq!(completion.wait_for_end(), [None]);
    assert_ne!(completion.calls()[0].thread, std::thread::current().id());
    assert!(settings_in_force().is_some());

    answer_apply_settings(Answer::error("SomeDomain", 4));
    assert_eq!(provider.start().wait_for_end(), [Some(4)]);

    answer_apply_settings(Answer::OK.when(When::AtOnce));
    assert_eq!(provider.start().calls().len(), 1);

    answer_apply_settings(Answer::OK.when(When::OnCue));
    let waiting = provider.start();
    assert_eq!(waiting.calls(), []);
    assert_eq!(cue(), 1);
    assert_eq!(waiting.wait_for_end(), [None]);

    answer_apply_settings(Answer::NEVER);
    let waiting = provider.start();
    assert_eq!(waiting.wait_for_call(Duration::from_millis(20)), None);
    let stale = NEFilterManagerError::ConfigurationStale;
    assert_eq!(Answer::manager_error(stale).failure.unwrap().code, 3);
}

#[test]
fn stop_sleep_and_wake_reach_the_provider() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let reason = NEProviderStopReason::AppUpdate;
    assert_eq!(provider.stop(reason).wait_for_end(), [None]);
    assert_eq!(provider.sleep().wait_for_end(), [None]);
    provider.wake();
    assert_eq!(told(), ["stop 16", "wake"]);
}

#[test]
fn the_extension_reports_for_duty() {
    let _alone = alone();
    assert!(!wait_for_system_extension_mode(Duration::ZERO));
    // SAFETY: nothing is asked of the caller.
    unsafe { NEProvider::startSystemExtensionMode() };
    assert!(wait_for_system_extension_mode(Duration::ZERO));
    assert_eq!(system_extension_mode_starts(), 1);
}
