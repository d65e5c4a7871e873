//! The filter's configuration, as an app meets it.

use std::sync::mpsc;
use std::time::Duration;

use block2::RcBlock;
use objc2::rc::{Retained, autoreleasepool};
use objc2_foundation::{NSDictionary, NSError, NSNumber, NSString};
use objc2_network_extension::driver::{
    Answer, Configuration, ManagerCall, ProviderConfiguration, Stored, Value, alone,
    answer_manager, app_configuration, cue, manager_calls, set_stored, set_vendor_configuration,
    stored,
};
use objc2_network_extension::{
    NEFilterErrorDomain, NEFilterManager, NEFilterManagerError, NEFilterManagerGrade,
    NEFilterProviderConfiguration,
};

use crate::filter::{Habit, filter};

const PATIENCE: Duration = Duration::from_secs(30);

/// Calls the manager and returns what it answers: the code of the error, none for success.
fn call(which: ManagerCall) -> mpsc::Receiver<Option<(String, isize)>> {
    let (sender, answers) = mpsc::channel();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let manager = NEFilterManager::sharedManager();
        let done = RcBlock::new(move |error: *mut NSError| {
            let error = error.as_ref();
            let answer = error.map(|error| (error.domain().to_string(), error.code()));
            let _ = sender.send(answer);
        });
        match which {
            ManagerCall::Load => manager.loadFromPreferencesWithCompletionHandler(&done),
            ManagerCall::Save => manager.saveToPreferencesWithCompletionHandler(&done),
            ManagerCall::Remove => manager.removeFromPreferencesWithCompletionHandler(&done),
        }
    });
    answers
}

fn answered(which: ManagerCall) -> Option<isize> {
    let answer = call(which).recv_timeout(PATIENCE).unwrap();
    answer.map(|(domain, code)| {
        // SAFETY: these methods ask nothing of their callers.
        assert_eq!(domain, unsafe { NEFilterErrorDomain }.to_string());
        code
    })
}

fn configure() {
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let manager = NEFilterManager::sharedManager();
        let configuration = NEFilterProviderConfiguration::new();
        configuration.setFilterSockets(true);
        let bundle = NSString::from_str("com.example.app.filter");
        configuration.setFilterDataProviderBundleIdentifier(Some(&bundle));
        configuration.setOrganization(Some(&NSString::from_str("Example")));
        let key = NSString::from_str("loopback");
        let vendor = NSDictionary::from_retained_objects(&[&*key], &[NSNumber::new_bool(true)]);
        let vendor = Retained::cast_unchecked::<NSDictionary<NSString, _>>(vendor);
        configuration.setVendorConfiguration(Some(&vendor));
        manager.setProviderConfiguration(Some(&configuration));
        manager.setGrade(NEFilterManagerGrade::Inspector);
        manager.setLocalizedDescription(Some(&NSString::from_str("Example Filter")));
        manager.setEnabled(true);
    });
}

#[test]
fn what_an_app_saves_is_kept_and_loaded_again() {
    let _alone = alone();
    assert_eq!(answered(ManagerCall::Load), None);
    configure();
    assert_eq!(answered(ManagerCall::Save), None);
    let expected = Configuration {
        is_enabled: true,
        description: Some("Example Filter".to_owned()),
        grade: NEFilterManagerGrade::Inspector,
        provider: Some(ProviderConfiguration {
            filter_sockets: true,
            vendor: Some(vec![("loopback".to_owned(), Value::Bool(true))]),
            organization: Some("Example".to_owned()),
            data_provider: Some("com.example.app.filter".to_owned()),
            ..ProviderConfiguration::default()
        }),
        disables_encrypted_dns: false,
    };
    assert_eq!(app_configuration(), Some(expected));
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe { NEFilterManager::sharedManager().setEnabled(false) });
    assert_eq!(answered(ManagerCall::Load), None);
    // SAFETY: these methods ask nothing of their callers.
    let is_enabled = || unsafe { NEFilterManager::sharedManager().isEnabled() };
    assert!(autoreleasepool(|_| is_enabled()));
    assert_eq!(answered(ManagerCall::Remove), None);
    assert_eq!(stored(), Stored::Nothing);
    use ManagerCall::{Load, Remove, Save};
    assert_eq!(manager_calls(), [Load, Save, Load, Remove]);
}

#[test]
fn saving_needs_a_load_and_a_configuration() {
    let _alone = alone();
    configure();
    let stale = NEFilterManagerError::ConfigurationStale.0;
    assert_eq!(answered(ManagerCall::Save), Some(stale));
    assert_eq!(answered(ManagerCall::Load), None);
    let invalid = NEFilterManagerError::ConfigurationInvalid.0;
    assert_eq!(answered(ManagerCall::Save), Some(invalid));
}

#[test]
fn what_a_profile_brought_cannot_be_changed() {
    let _alone = alone();
    let brought = Stored::ByProfile(Configuration {
        is_enabled: true,
        ..Configuration::default()
    });
    set_stored(brought.clone());
    assert_eq!(answered(ManagerCall::Load), None);
    configure();
    let denied = NEFilterManagerError::ConfigurationPermissionDenied.0;
    assert_eq!(answered(ManagerCall::Save), Some(denied));
    assert_eq!(answered(ManagerCall::Remove), Some(denied));
    assert_eq!(stored(), brought);
    assert_eq!(app_configuration(), None);
}

#[test]
fn every_answer_can_be_ordered() {
    let _alone = alone();
    for code in 1..=6 {
        let answer = Answer::manager_error(NEFilterManagerError(code));
        answer_manager(ManagerCall::Load, answer);
        assert_eq!(answered(ManagerCall::Load), Some(code));
    }
    answer_manager(ManagerCall::Load, Answer::NEVER);
    let silent = call(ManagerCall::Load);
    assert!(silent.recv_timeout(Duration::from_millis(20)).is_err());
    let on_cue = Answer::OK.when(objc2_network_extension::driver::When::OnCue);
    answer_manager(ManagerCall::Remove, on_cue);
    let waiting = call(ManagerCall::Remove);
    assert!(waiting.try_recv().is_err());
    assert_eq!(cue(), 1);
    assert_eq!(waiting.recv_timeout(PATIENCE).unwrap(), None);
}

#[test]
fn a_provider_is_told_the_keys_of_its_vendor() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let object = provider.object();
    let object = object
        .downcast_ref::<objc2_network_extension::NEFilterProvider>()
        .unwrap();
    let keys = || {
        // SAFETY: these methods ask nothing of their callers.
        autoreleasepool(|_| unsafe {
            let vendor = object.filterConfiguration().vendorConfiguration()?;
            Some(Value::of_object(&vendor))
        })
    };
    assert_eq!(keys(), None);
    let pairs = [
        ("text".to_owned(), Value::Text("words".to_owned())),
        (
            "list".to_owned(),
            Value::Array(vec![Value::Integer(3), Value::Real(0.5)]),
        ),
        ("odd".to_owned(), Value::Alien),
        ("bytes".to_owned(), Value::Data(vec![1, 2])),
    ];
    set_vendor_configuration(Some(&pairs));
    assert_eq!(keys(), Some(Value::Dictionary(pairs.to_vec())));
    set_vendor_configuration(None);
    assert_eq!(keys(), None);
}
