//! The doubled system, one test at a time.

use app_macos::extension::{Approval, Options, Version};
use app_macos::filter::{MARK_KEY, Wanted};
use app_macos::upgrade::Timeouts;
use objc2_network_extension::NEFilterManagerGrade;
use objc2_network_extension::driver::{
    self as network, Configuration, ProviderConfiguration, Stored, Value,
};
use objc2_system_extensions::driver as system;
use std::time::Duration;

pub(crate) const EXTENSION: &str = "org.example.filter.extension";

pub(crate) const WANTED: Wanted<'static> = Wanted {
    extension: EXTENSION,
    organization: "Example",
    description: "Example filter",
};

/// Never reached: an answer comes. A machine that is slow does not make a test fail.
pub(crate) const PLENTY: Duration = Duration::from_secs(60);

/// Reached: no answer comes.
pub(crate) const SOON: Duration = Duration::from_millis(150);

pub(crate) const WAIT: Options = Options {
    timeout: PLENTY,
    approval: Approval::Wait,
};

pub(crate) const WAIT_BRIEFLY: Options = Options {
    timeout: SOON,
    approval: Approval::Wait,
};

pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    filter: PLENTY,
    request: PLENTY,
    proof: SOON,
    proof_step: Duration::from_millis(10),
};

pub(crate) fn version(text: &str) -> Version {
    Version {
        short: text.to_owned(),
        build: text.to_owned(),
    }
}

/// A system of its own for one test. At its end everything must have been given back, and nothing
/// done that a Mac answers with the end of the process.
pub(crate) struct World {
    _network: network::Alone,
    _machine: darwin_double::machine::Guard,
}

impl World {
    /// Version 2 is in the app and nothing is installed.
    pub(crate) fn new() -> World {
        World::with(system::Machine::default())
    }

    /// Version 2 is in the app, and the rest is as given.
    pub(crate) fn with(machine: system::Machine) -> World {
        let whole = darwin_double::machine::lock();
        let in_app = vec![system::Installed::new(EXTENSION, "2")];
        system::reset(system::Machine { in_app, ..machine });
        let network = network::alone();
        World {
            _network: network,
            _machine: whole,
        }
    }

    /// Version 1 runs, version 2 is in the app.
    pub(crate) fn with_old_version() -> World {
        World::with(system::Machine {
            installed: vec![system::Installed::new(EXTENSION, "1")],
            ..system::Machine::default()
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        objc_double::hand_over_returned_objects(false);
        system::settle();
        let escaped_panics = system::history().escaped_panics;
        system::reset(system::Machine::default());
        if !std::thread::panicking() {
            assert_eq!(escaped_panics, 0, "on a Mac each ends the process");
        }
    }
}

/// A configuration as a profile brings it.
pub(crate) fn of_profile(is_enabled: bool) -> Stored {
    Stored::ByProfile(configuration(is_enabled, None))
}

/// A configuration as this app saves it.
pub(crate) fn of_app(is_enabled: bool) -> Stored {
    let mark = (MARK_KEY.to_owned(), Value::Text("conntrail-app".to_owned()));
    Stored::ByApp(configuration(is_enabled, Some(vec![mark])))
}

fn configuration(is_enabled: bool, vendor: Option<Vec<(String, Value)>>) -> Configuration {
    Configuration {
        is_enabled,
        description: Some(WANTED.description.to_owned()),
        grade: NEFilterManagerGrade::Inspector,
        provider: Some(ProviderConfiguration {
            filter_sockets: true,
            vendor,
            organization: Some(WANTED.organization.to_owned()),
            data_provider: Some(EXTENSION.to_owned()),
            ..ProviderConfiguration::default()
        }),
        disables_encrypted_dns: false,
    }
}

/// Whether the filter is on, as the system has it.
pub(crate) fn filter_is_on() -> bool {
    match network::stored() {
        Stored::ByApp(it) | Stored::ByProfile(it) => it.is_enabled,
        Stored::Nothing => false,
    }
}
