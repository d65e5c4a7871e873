//! The commands from end to end.

use crate::upgrading::Notebook;
use crate::world::{
    EXTENSION, PLENTY, SOON, TIMEOUTS, WAIT, WAIT_BRIEFLY, WANTED, World, filter_is_on, of_app,
    of_profile, version,
};
use app_macos::command::{
    Code, FilterBy, Surroundings, Told, Upgrade, activate, activate_if_managed, deactivate, status,
    status_code, upgrade,
};
use app_macos::filter::Owner;
use app_macos::management::{Management, Permission};
use app_macos::moment::{Moment, Situation, When};
use app_macos::neighbours::Neighbours;
use app_macos::status::{Evidence, Health};
use app_macos::upgrade::{Resets, Shell, Timeouts};
use objc_double::{Reaction, on_send};
use objc2_network_extension::NEFilterManagerError;
use objc2_network_extension::driver::{
    Answer, ManagerCall, Stored, answer_manager, manager_calls, set_stored, stored,
};
use objc2_system_extensions::driver::{self as system, Failure, Installed, Kind, Machine};
use record::{AppCount, ExtensionReplaced, Notice, NoticeKind, Record, SensorKind, Stamp};
use std::sync::Arc;
use std::time::Duration;

fn told(told: &Told, code: Code, words: &str) {
    let text = told.lines.join("\n");
    assert_eq!(told.code, code, "{text}");
    assert!(text.contains(words), "no \"{words}\" in {text}");
}

#[test]
fn activating_installs_the_extension_and_switches_the_filter_on() {
    let _world = World::new();
    let done = activate(&WANTED, FilterBy::App, WAIT, PLENTY);
    told(
        &done,
        Code::Done,
        "The extension is active.\nThe filter is on.",
    );
    assert!(filter_is_on());
    let again = activate(&WANTED, FilterBy::App, WAIT, PLENTY);
    told(&again, Code::Done, "The filter is on.");
}

// facts: profile-owns-the-filter
#[test]
fn activating_beside_a_profile_saves_nothing() {
    for (by, is_enabled, code, words) in [
        (
            FilterBy::App,
            true,
            Code::Done,
            "a configuration profile owns it",
        ),
        (
            FilterBy::Profile,
            true,
            Code::Done,
            "a configuration profile owns it",
        ),
        (FilterBy::App, false, Code::Failed, "only device management"),
        (
            FilterBy::Profile,
            false,
            Code::Failed,
            "only device management",
        ),
    ] {
        let _world = World::new();
        set_stored(of_profile(is_enabled));
        told(&activate(&WANTED, by, WAIT, PLENTY), code, words);
        assert_eq!(manager_calls(), [ManagerCall::Load]);
    }
}

// facts: profile-alone-enables/b
#[test]
fn whoever_leaves_the_filter_to_a_profile_saves_none_even_before_it_comes() {
    for before in [Stored::Nothing, of_app(false)] {
        let _world = World::new();
        set_stored(before.clone());
        let done = activate(&WANTED, FilterBy::Profile, WAIT, PLENTY);
        told(&done, Code::Done, "begins when one is");
        assert_eq!(stored(), before);
    }
    let _world = World::new();
    set_stored(of_app(true));
    let done = activate(&WANTED, FilterBy::Profile, WAIT, PLENTY);
    told(&done, Code::Done, "The filter is on.");
}

// facts: manager-silent, manager-errors
#[test]
fn an_active_extension_with_a_filter_that_cannot_be_set_is_a_failure() {
    let _world = World::new();
    let internal = NEFilterManagerError::ConfigurationInternalError;
    answer_manager(ManagerCall::Save, Answer::manager_error(internal));
    let failed = activate(&WANTED, FilterBy::App, WAIT, PLENTY);
    told(
        &failed,
        Code::Failed,
        "The extension is active.\nthe filter's configuration could not",
    );
}

// facts: every-delegate-answer, approval-pending
#[test]
fn activating_ends_as_the_system_says() {
    let machines = [
        (
            Machine {
                after_reboot: true,
                ..Machine::default()
            },
            Code::AfterReboot,
            "after the next start",
        ),
        (
            Machine {
                approval: system::Approval::Needed,
                ..Machine::default()
            },
            Code::AwaitingApproval,
            "System Settings",
        ),
        (
            Machine {
                answer: system::Answer::Fail(Failure::code(10)),
                ..Machine::default()
            },
            Code::Failed,
            "com.apple.system-extension-policy",
        ),
        (
            Machine {
                installed: vec![Installed::new(EXTENSION, "1")],
                ..Machine::default()
            },
            Code::NotYet,
            "conntrail upgrade",
        ),
    ];
    for (machine, code, words) in machines {
        let _world = World::with(machine);
        let ended = activate(&WANTED, FilterBy::App, WAIT_BRIEFLY, PLENTY);
        told(&ended, code, words);
        assert_eq!(stored(), Stored::Nothing, "no filter without its extension");
    }
}

// facts: only-the-app-may-ask
#[test]
fn deactivating_removes_the_filter_first_and_then_the_extension() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let done = deactivate(EXTENSION, WAIT, PLENTY);
    told(
        &done,
        Code::Done,
        "configuration is removed.\nThe extension is removed.",
    );
    assert_eq!(stored(), Stored::Nothing);
    let again = deactivate(EXTENSION, WAIT, PLENTY);
    told(
        &again,
        Code::Failed,
        "There was no configuration of the filter.\nthe system refused",
    );
}

// facts: profile-owns-the-filter
#[test]
fn deactivating_leaves_a_profiles_filter() {
    let _world = World::with_old_version();
    set_stored(of_profile(true));
    let done = deactivate(EXTENSION, WAIT, PLENTY);
    told(&done, Code::Done, "it stays: remove the profile");
    assert_eq!(stored(), of_profile(true));

    system::with(|machine| machine.installed.push(Installed::new(EXTENSION, "1")));
    set_stored(of_app(true));
    let cannot = NEFilterManagerError::ConfigurationCannotBeRemoved;
    answer_manager(ManagerCall::Remove, Answer::manager_error(cannot));
    told(
        &deactivate(EXTENSION, WAIT, PLENTY),
        Code::Done,
        "it stays: remove the profile",
    );
}

#[test]
fn deactivating_ends_as_the_system_says() {
    let world = World::with_old_version();
    answer_manager(ManagerCall::Load, Answer::NEVER);
    told(
        &deactivate(EXTENSION, WAIT, SOON),
        Code::Failed,
        "did not answer",
    );
    assert_eq!(
        system::history().submitted,
        [],
        "not under a filter that may be on"
    );
    drop(world);

    let _world = World::with_old_version();
    system::with(|machine| machine.after_reboot = true);
    told(
        &deactivate(EXTENSION, WAIT, PLENTY),
        Code::AfterReboot,
        "at the next start",
    );
}

#[test]
fn a_removal_that_waits_for_the_user_is_told() {
    let _world = World::with_old_version();
    system::with(|machine| machine.removal_asks_user = true);
    let ended = deactivate(EXTENSION, WAIT_BRIEFLY, PLENTY);
    told(
        &ended,
        Code::AwaitingApproval,
        "waits for the user's approval",
    );
}

fn evidence() -> Evidence {
    let mut evidence = Evidence::default();
    let kind = NoticeKind::SensorStarted {
        sensor: SensorKind::MacosFilter,
        limits: Vec::new(),
    };
    evidence.apply(&Record::Notice(Notice {
        at: Stamp::default(),
        kind,
    }));
    evidence
}

fn status_now(
    identifier: Result<&str, String>,
    evidence: Result<&Evidence, String>,
    timeout: Duration,
) -> app_macos::status::Status {
    let neighbours = Neighbours::default();
    status(identifier, evidence, neighbours, timeout, Stamp::default())
}

#[test]
fn status_tells_of_extension_filter_and_health() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let found = evidence();
    let status = status_now(Ok(EXTENSION), Ok(&found), PLENTY);
    assert_eq!(status.extension.as_ref().unwrap()[0].version, version("1"));
    assert_eq!(status.filter.as_ref().unwrap().owner, Owner::App);
    assert!(matches!(status.health, Health::TooEarly(_)));
    assert_eq!(status_code(&status), Code::Done);
}

// facts: request-kept-alive, manager-silent
#[test]
fn status_is_told_even_where_nobody_answers() {
    let _world = World::with(Machine {
        answer: system::Answer::Silence,
        ..Machine::default()
    });
    answer_manager(ManagerCall::Load, Answer::NEVER);
    let status = status_now(Ok(EXTENSION), Err("no trail".to_owned()), SOON);
    assert!(status.extension.unwrap_err().contains("did not answer"));
    assert!(status.filter.unwrap_err().contains("did not answer"));
    assert_eq!(status.health, Health::NoTrail("no trail".to_owned()));
    let outside = status_now(Err("not in an app".to_owned()), Err(String::new()), SOON);
    assert_eq!(outside.extension, Err("not in an app".to_owned()));
    assert_eq!(status_code(&outside), Code::Unhealthy);
}

#[test]
fn an_odd_end_of_a_question_for_properties_is_nothing_installed() {
    let _world = World::with(Machine {
        approval: system::Approval::Needed,
        answer: system::Answer::AskUser,
        ..Machine::default()
    });
    let status = status_now(Ok(EXTENSION), Err(String::new()), SOON);
    assert_eq!(status.extension, Ok(Vec::new()));
}

#[derive(Default)]
struct Office {
    notebook: Notebook,
    knows_nothing_open: bool,
    situations: Vec<Situation>,
    kept: Vec<ExtensionReplaced>,
    is_full: bool,
    told: Vec<String>,
    configured: Vec<Moment>,
    management: Vec<Management>,
}

impl Shell for Office {
    fn flow_arrived(&mut self) -> bool {
        self.notebook.flow_arrived()
    }

    fn note_switched_off(&mut self, is_off: bool) {
        self.notebook.note_switched_off(is_off);
    }

    fn was_left_off(&mut self) -> bool {
        self.notebook.was_left_off()
    }
}

impl Surroundings for Office {
    fn situation(&mut self) -> Situation {
        match self.situations.len() {
            0 => Situation::default(),
            1 => self.situations[0],
            _ => self.situations.remove(0),
        }
    }

    fn resets(&mut self) -> Resets {
        if self.knows_nothing_open {
            return Resets::default();
        }
        Resets {
            count: 2,
            by_app: vec![AppCount {
                app: "Mail\n".to_owned(),
                count: 2,
            }],
        }
    }

    fn keep(&mut self, receipt: &ExtensionReplaced) -> Result<(), String> {
        if self.is_full {
            return Err("the disk is full".to_owned());
        }
        self.kept.push(receipt.clone());
        Ok(())
    }

    fn configured(&mut self) -> Moment {
        match self.configured.len() {
            1 => self.configured[0],
            _ => self.configured.remove(0),
        }
    }

    fn management(&mut self) -> Management {
        match self.management.len() {
            1 => self.management[0].clone(),
            _ => self.management.remove(0),
        }
    }

    fn tell(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

fn office() -> Office {
    Office {
        notebook: Notebook {
            flow_at_look: Some(1),
            ..Notebook::default()
        },
        ..Office::default()
    }
}

fn upgrade_at(moment: Moment, patience: Duration, office: &mut Office) -> Told {
    upgrade_when(When::At(moment), patience, office)
}

fn upgrade_when(when: When, patience: Duration, office: &mut Office) -> Told {
    let in_app = version("2");
    let order = Upgrade {
        wanted: WANTED,
        in_app: Some(&in_app),
        when,
        patience,
        timeouts: TIMEOUTS,
    };
    upgrade(order, office)
}

// facts: rule-12-upgrade-when-it-hurts-least, crash-resets-connections
#[test]
fn an_upgrade_counts_what_it_resets_and_keeps_its_receipt() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let mut office = office();
    let done = upgrade_at(Moment::Now, PLENTY, &mut office);
    told(&done, Code::Done, "Flows arrive.");
    assert_eq!(
        office.told,
        ["About 2 open TCP connections are reset by this: Mail· 2."]
    );
    assert_eq!(office.kept.len(), 1);
    assert_eq!(
        (office.kept[0].reset_estimate, office.kept[0].flows_arrive),
        (2, Some(true))
    );
}

// facts: same-version-no-question
#[test]
fn nothing_is_replaced_by_itself_and_nothing_where_nothing_is() {
    let world = World::with(Machine {
        installed: vec![Installed::new(EXTENSION, "2")],
        ..Machine::default()
    });
    set_stored(of_app(true));
    let done = upgrade_at(Moment::Now, PLENTY, &mut office());
    told(&done, Code::Done, "runs already");
    assert_eq!(manager_calls(), []);
    drop(world);

    let _world = World::new();
    let failed = upgrade_at(Moment::Now, PLENTY, &mut office());
    told(&failed, Code::Failed, "Run `conntrail activate`");
}

fn managed(extension: Permission, filter: bool) -> Management {
    Management {
        extension,
        filter,
        upgrade_when: None,
    }
}

fn missing() -> Permission {
    Permission::Missing("no payload is installed".to_owned())
}

#[test]
fn where_device_management_does_not_allow_it_nothing_is_asked_of_the_system() {
    let unknown = Permission::Unknown("the tool hangs".to_owned());
    for (permission, code, words) in [
        (missing(), Code::AwaitingApproval, "yet: no payload is"),
        (unknown, Code::Failed, "is not known: the tool hangs."),
    ] {
        let _world = World::new();
        let management = managed(permission, true);
        let ended = activate_if_managed(&WANTED, &management, WAIT, PLENTY);
        told(&ended, code, words);
        told(&ended, code, "Nothing was asked of the system.");
        assert_eq!(
            (system::history().submitted, manager_calls()),
            (vec![], vec![])
        );
    }
}

#[test]
fn where_device_management_allows_it_the_filter_is_left_to_a_profile() {
    let _world = World::new();
    set_stored(of_profile(true));
    let management = managed(Permission::Granted, true);
    let done = activate_if_managed(&WANTED, &management, WAIT, PLENTY);
    told(&done, Code::Done, "a configuration profile owns it");
    set_stored(Stored::Nothing);
    let management = managed(Permission::Granted, false);
    let done = activate_if_managed(&WANTED, &management, WAIT, PLENTY);
    told(
        &done,
        Code::Done,
        "No payload com.apple.webcontent-filter names",
    );
    assert_eq!(stored(), Stored::Nothing);
}

fn configured(moments: &[Moment], management: Vec<Management>) -> Office {
    Office {
        configured: moments.to_vec(),
        management,
        ..office()
    }
}

#[test]
fn the_configured_upgrade_activates_first_where_device_management_allows_it() {
    let _world = World::new();
    set_stored(of_profile(true));
    // Allowed only after a while.
    let answers = vec![
        managed(missing(), false),
        managed(Permission::Granted, true),
    ];
    let mut office = configured(&[Moment::Reboot], answers);
    let done = upgrade_when(When::Configured, SOON, &mut office);
    told(&done, Code::Done, "The extension is active.");
    assert_eq!(office.told[1..], ["Waiting for device management."]);
    assert_eq!(system::with(|machine| machine.installed.len()), 1);
    assert!(
        system::history().decisions.is_empty(),
        "nothing is replaced"
    );
}

#[test]
fn the_configured_upgrade_never_asks_the_user() {
    let waiting = Installed {
        enabled: false,
        awaiting_approval: true,
        ..Installed::new(EXTENSION, "1")
    };
    for installed in [vec![], vec![waiting]] {
        let _world = World::with(Machine {
            installed,
            ..Machine::default()
        });
        let mut office = configured(&[Moment::Now], vec![managed(missing(), true)]);
        let ended = upgrade_when(When::Configured, SOON, &mut office);
        told(&ended, Code::AwaitingApproval, "no payload is installed");
        assert!(
            system::history()
                .submitted
                .iter()
                .all(|(kind, _)| *kind == Kind::Properties),
            "only a question"
        );
    }
}

// facts: request-kept-alive
#[test]
fn where_nobody_says_what_is_installed_the_configured_upgrade_needs_permission() {
    let _world = World::with_old_version();
    system::with(|machine| machine.answer = system::Answer::SilenceOnProperties);
    let mut office = configured(&[Moment::Now], vec![managed(missing(), true)]);
    let order = Upgrade {
        wanted: WANTED,
        in_app: None,
        when: When::Configured,
        patience: SOON,
        timeouts: Timeouts {
            filter: SOON,
            ..TIMEOUTS
        },
    };
    let ended = upgrade(order, &mut office);
    told(&ended, Code::AwaitingApproval, "no payload is installed");
    assert!(
        office.told[0].contains("did not answer"),
        "{:?}",
        office.told
    );
}

#[test]
fn a_version_that_is_installed_but_not_at_work_is_replaced_at_the_moment_too() {
    let _world = World::with(Machine {
        installed: vec![Installed {
            enabled: false,
            ..Installed::new(EXTENSION, "1")
        }],
        ..Machine::default()
    });
    let allowed = managed(Permission::Granted, true);
    let mut office = configured(&[Moment::Reboot], vec![allowed]);
    let ended = upgrade_when(When::Configured, PLENTY, &mut office);
    told(&ended, Code::NotYet, "after the next start");
}

// facts: rule-12-upgrade-when-it-hurts-least
#[test]
fn the_configured_moment_may_change_while_it_is_waited_for() {
    let _world = World::with_old_version();
    set_stored(of_profile(true));
    let mut office = configured(&[Moment::Wake, Moment::Now], Vec::new());
    let done = upgrade_when(When::Configured, PLENTY, &mut office);
    told(&done, Code::Done, "Flows arrive.");
    let first = "The version is replaced when the machine wakes.";
    assert_eq!(office.told[0], first);
}

// facts: request-kept-alive
#[test]
fn an_upgrade_goes_on_when_nobody_says_what_is_installed() {
    let _world = World::with_old_version();
    system::with(|machine| machine.answer = system::Answer::SilenceOnProperties);
    let mut office = office();
    let in_app = version("2");
    let mut timeouts = TIMEOUTS;
    timeouts.filter = SOON;
    let order = Upgrade {
        wanted: WANTED,
        in_app: Some(&in_app),
        when: When::At(Moment::Now),
        patience: PLENTY,
        timeouts,
    };
    told(
        &upgrade(order, &mut office),
        Code::Done,
        "Version 2 runs in place of 1",
    );
    assert!(
        office.told[0].contains("did not answer"),
        "{:?}",
        office.told
    );
}

// facts: rule-12-upgrade-when-it-hurts-least
#[test]
fn an_upgrade_waits_for_its_moment() {
    let _world = World::with_old_version();
    let mut office = office();
    office.situations = vec![
        Situation::default(),
        Situation {
            woke: true,
            ..Situation::default()
        },
    ];
    let done = upgrade_at(Moment::Wake, PLENTY, &mut office);
    told(&done, Code::Done, "Flows arrive.");
    assert_eq!(
        office.told[0],
        "The version is replaced when the machine wakes."
    );
}

// facts: rule-12-upgrade-when-it-hurts-least
#[test]
fn a_moment_that_does_not_come_leaves_everything_as_it_is() {
    let _world = World::with_old_version();
    set_stored(of_app(true));
    let late = upgrade_at(Moment::Wake, SOON, &mut office());
    told(&late, Code::NotYet, "did not come");
    let reboot = upgrade_at(Moment::Reboot, PLENTY, &mut office());
    told(&reboot, Code::NotYet, "after the next start of the machine");
    assert_eq!(manager_calls(), []);
    assert_eq!(system::with(|machine| machine.installed.len()), 1);
}

#[test]
fn an_upgrade_ends_as_the_system_says() {
    for (machine, code, words) in [
        (
            Machine {
                after_reboot: true,
                ..Machine::default()
            },
            Code::AfterReboot,
            "after the next start",
        ),
        (
            Machine {
                approval: system::Approval::Needed,
                ..Machine::default()
            },
            Code::AwaitingApproval,
            "System Settings",
        ),
    ] {
        let _world = World::with(Machine {
            installed: vec![Installed::new(EXTENSION, "1")],
            ..machine
        });
        told(&upgrade_at(Moment::Now, PLENTY, &mut office()), code, words);
    }
    let _world = World::with_old_version();
    let mut blind = Office {
        knows_nothing_open: true,
        ..Office::default()
    };
    let ended = upgrade_at(Moment::Now, PLENTY, &mut blind);
    told(&ended, Code::Unhealthy, "no flow has arrived");
    assert!(
        blind.told[0].contains("No open TCP connection is known"),
        "{:?}",
        blind.told
    );
}

#[test]
fn an_upgrade_that_fails_or_leaves_the_filter_off_is_a_failure() {
    let world = World::with_old_version();
    set_stored(of_app(true));
    system::with(|machine| machine.answer = system::Answer::FailActivation(8));
    let failed = upgrade_at(Moment::Now, PLENTY, &mut office());
    told(&failed, Code::Failed, "The version was not replaced.");
    assert!(filter_is_on());
    drop(world);

    let _world = World::with_old_version();
    set_stored(of_app(true));
    let busy = NEFilterManagerError::ConfigurationInternalError;
    let after_switching_off = move || {
        if !filter_is_on() {
            answer_manager(ManagerCall::Save, Answer::manager_error(busy));
        }
    };
    let selector = "saveToPreferencesWithCompletionHandler:";
    on_send(selector, Reaction::Call(Arc::new(after_switching_off)));
    let failed = upgrade_at(Moment::Now, PLENTY, &mut office());
    told(&failed, Code::Failed, "SWITCHED OFF");
}

// facts: same-version-no-question
#[test]
fn a_version_that_proves_to_be_the_same_is_done() {
    let _world = World::with(Machine {
        installed: vec![Installed::new(EXTENSION, "2")],
        ..Machine::default()
    });
    let order = Upgrade {
        wanted: WANTED,
        in_app: None,
        when: When::At(Moment::Now),
        patience: PLENTY,
        timeouts: TIMEOUTS,
    };
    told(&upgrade(order, &mut office()), Code::Done, "Flows arrive.");
}

#[test]
fn a_receipt_that_cannot_be_kept_is_a_failure_that_is_told() {
    let _world = World::with_old_version();
    let mut office = office();
    office.is_full = true;
    let ended = upgrade_at(Moment::Now, PLENTY, &mut office);
    told(
        &ended,
        Code::Failed,
        "The receipt could not be written: the disk is full",
    );
}

#[test]
fn exit_codes_are_different_and_none_is_that_of_wrong_arguments() {
    let codes = [
        Code::Done,
        Code::Failed,
        Code::AwaitingApproval,
        Code::AfterReboot,
        Code::NotYet,
        Code::Unhealthy,
    ];
    let numbers = codes.map(Code::number);
    assert_eq!(numbers, [0, 1, 3, 4, 5, 6]);
}
