//! A configuration that its management changes while the program runs.

use host::config::{Layers, ManagedValue, VENDOR_CONFIG};
use host::preferences::MANAGED_PREFERENCES;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The layers that stay as they are, and those that change.
pub(crate) struct Managed {
    fixed: Layers,
    values: Mutex<Values>,
}

type Dictionary = Vec<(String, ManagedValue)>;

#[derive(Default)]
struct Values {
    preferences: Dictionary,
    /// `None` until the system gave the filter's configuration.
    vendor: Option<Dictionary>,
}

/// Settings that apply as soon as they change; the others apply to what is begun later.
const AT_ONCE: [&str; 5] = [
    "filter.loopback",
    "filter.stand_aside",
    "privacy.policy",
    "privacy.policy_file",
    "sensor.command_lines",
];

/// Settings that are the shipper's alone.
const SHIPPER: &str = "ship.";

impl Managed {
    /// Nothing is managed yet.
    pub(crate) fn new(fixed: Layers) -> Managed {
        Managed {
            fixed,
            values: Mutex::default(),
        }
    }

    /// What is in force now.
    pub(crate) fn layers(&self) -> Layers {
        let (preferences, vendor) = {
            let values = self.values();
            (values.preferences.clone(), values.vendor.clone())
        };
        let mut layers = self.fixed.clone();
        layers.add_managed(MANAGED_PREFERENCES, preferences);
        layers.add_managed(VENDOR_CONFIG, vendor.unwrap_or_default());
        layers
    }

    /// Replaces the managed preferences.
    pub(crate) fn set_preferences(&self, preferences: Dictionary) {
        self.values().preferences = preferences;
    }

    /// Replaces what came with the filter's configuration.
    pub(crate) fn set_vendor(&self, vendor: Dictionary) {
        self.values().vendor = Some(vendor);
    }

    /// The system gave the filter's configuration.
    pub(crate) fn has_vendor(&self) -> bool {
        self.values().vendor.is_some()
    }

    /// Nothing panics while it holds the lock; and if, whole dictionaries are what it protects.
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became different, a line each: values in force, and new problems.
pub(crate) fn changes(before: &Layers, after: &Layers) -> Vec<String> {
    let mut lines = Vec::new();
    for (old, new) in before.rows().zip(after.rows()) {
        if (&old.value, old.origin) != (&new.value, new.origin) {
            let when = match AT_ONCE.contains(&new.key) {
                true => "at once",
                false if new.key.starts_with(SHIPPER) => "where the shipper reads it",
                false => "from the next start of recording on",
            };
            lines.push(format!(
                "configuration: {} = {} ({}) applies {when}",
                new.key, new.value, new.origin
            ));
        }
    }
    let known = before.problems();
    let new = after
        .problems()
        .into_iter()
        .filter(|it| !known.contains(it));
    lines.extend(new.map(|problem| format!("configuration: {problem}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn values(key: &str, value: ManagedValue) -> Dictionary {
        vec![(key.to_owned(), value)]
    }

    // facts: vendor-configuration
    #[test]
    fn what_management_takes_back_is_as_if_it_had_never_been_set() {
        let mut fixed = Layers::default();
        fixed.add_file(Path::new("c.toml"), "[filter]\nloopback = true\n");
        let managed = Managed::new(fixed.clone());
        assert!(!managed.has_vendor());
        assert_eq!(managed.layers(), fixed);
        managed.set_preferences(values("filter.stand_aside", ManagedValue::Boolean(true)));
        managed.set_vendor(values("filter.loopback", ManagedValue::Boolean(false)));
        assert!(managed.has_vendor());
        let config = managed.layers().config;
        assert!(config.stand_aside && !config.loopback);
        managed.set_preferences(Vec::new());
        managed.set_vendor(Vec::new());
        assert_eq!(managed.layers(), fixed);
    }

    #[test]
    fn changes_are_told_with_who_made_them_and_when_they_apply() {
        let managed = Managed::new(Layers::default());
        let before = managed.layers();
        managed.set_preferences(values("filter.stand_aside", ManagedValue::Boolean(true)));
        managed.set_vendor(vec![
            ("flow.flows_max".to_owned(), ManagedValue::Integer(2_000)),
            ("flow.flow_max".to_owned(), ManagedValue::Integer(2_000)),
        ]);
        let after = managed.layers();
        assert_eq!(
            changes(&before, &after),
            [
                "configuration: filter.stand_aside = true (managed preferences \
                 com.conntrail.agent) applies at once",
                "configuration: flow.flows_max = 2000 (VendorConfig of the filter profile) \
                 applies from the next start of recording on",
                "configuration: VendorConfig of the filter profile: there is no setting \
                 flow.flow_max; the nearest is flow.flows_max",
            ]
        );
        assert_eq!(changes(&after, &after), [""; 0]);
    }
}
