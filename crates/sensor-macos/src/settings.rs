//! What can be set while the filter runs, and where that comes from.

use crate::provider;
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2_foundation::{NSArray, NSData, NSDictionary, NSNumber, NSString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What can be set while the filter runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterSettings {
    /// Connections of this machine with itself are told too.
    pub loopback: bool,
    /// The kill switch: the system lets every connection pass without asking us, and we see none.
    pub stand_aside: bool,
    /// Command lines of processes are read.
    pub command_lines: bool,
}

/// A value of the filter's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text of at most [`TEXT_BYTES_MAX`] bytes.
    Text(String),
    /// Something that no setting of ours is; says what.
    Other(&'static str),
}

/// Turns the `VendorConfig` of the filter's configuration into settings. It is called from
/// `startFilter` and must only compute: no file, no lock that is held for long, no waiting.
pub type VendorConfigured = Arc<dyn Fn(Vec<(String, ConfigValue)>) -> FilterSettings + Send + Sync>;

/// Keys at most; what is beyond is told as one key more.
pub(crate) const KEYS_MAX: usize = 256;

/// Bytes of a text or of a key at most.
pub(crate) const TEXT_BYTES_MAX: usize = 4_096;

/// What the system is told to do with flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterMode {
    /// Ask us about everything but loopback: the system's own default.
    Default,
    /// Ask us about loopback too.
    Loopback,
    /// Ask us about nothing.
    StandAside,
}

/// [`FilterSettings`] that several threads read and write, and what the system was told of them.
pub(crate) struct LiveSettings {
    loopback: AtomicBool,
    stand_aside: AtomicBool,
    command_lines: AtomicBool,
    /// Does not change: the breaker is decided before the filter starts.
    tripped: bool,
    told: AtomicU8,
}

impl FilterMode {
    const ALL: [FilterMode; 3] = [
        FilterMode::Default,
        FilterMode::Loopback,
        FilterMode::StandAside,
    ];

    fn number(self) -> u8 {
        match self {
            FilterMode::Default => 0,
            FilterMode::Loopback => 1,
            FilterMode::StandAside => 2,
        }
    }
}

impl LiveSettings {
    /// With the breaker `tripped`, the filter stands aside whatever is set.
    pub(crate) fn new(settings: FilterSettings, tripped: bool) -> LiveSettings {
        LiveSettings {
            loopback: AtomicBool::new(settings.loopback),
            stand_aside: AtomicBool::new(settings.stand_aside),
            command_lines: AtomicBool::new(settings.command_lines),
            tripped,
            told: AtomicU8::new(FilterMode::Default.number()),
        }
    }

    /// Changes them.
    pub(crate) fn set(&self, settings: FilterSettings) {
        self.loopback.store(settings.loopback, Ordering::Relaxed);
        self.stand_aside
            .store(settings.stand_aside, Ordering::Relaxed);
        self.command_lines
            .store(settings.command_lines, Ordering::Relaxed);
    }

    /// What holds now.
    pub(crate) fn get(&self) -> FilterSettings {
        FilterSettings {
            loopback: self.loopback.load(Ordering::Relaxed),
            stand_aside: self.stand_aside.load(Ordering::Relaxed),
            command_lines: self.command_lines.load(Ordering::Relaxed),
        }
    }

    /// What the system should do.
    pub(crate) fn mode(&self) -> FilterMode {
        let settings = self.get();
        if self.tripped || settings.stand_aside {
            FilterMode::StandAside
        } else if settings.loopback {
            FilterMode::Loopback
        } else {
            FilterMode::Default
        }
    }

    /// What the system should do; notes that it is told so now.
    pub(crate) fn tell(&self) -> FilterMode {
        let mode = self.mode();
        self.told.store(mode.number(), Ordering::Relaxed);
        mode
    }

    /// What the system was told last.
    pub(crate) fn told(&self) -> FilterMode {
        let told = self.told.load(Ordering::Relaxed);
        FilterMode::ALL
            .into_iter()
            .find(|mode| mode.number() == told)
            .unwrap_or(FilterMode::Default)
    }
}

/// The keys and values of `dictionary`, sorted; those of a dictionary in it as `section.key`.
///
/// Whatever is in it, there is an answer: too many keys, too long texts and values of another kind
/// are named as what they are.
pub(crate) fn values(dictionary: &NSDictionary) -> Vec<(String, ConfigValue)> {
    let mut values = Vec::new();
    gather(dictionary, None, &mut values);
    values.sort_by(|(left, _), (right, _)| left.cmp(right));
    values
}

fn gather(
    dictionary: &NSDictionary,
    section: Option<&str>,
    values: &mut Vec<(String, ConfigValue)>,
) {
    let (keys, objects) = dictionary.to_vecs();
    for (key, object) in keys.into_iter().zip(objects) {
        if values.len() >= KEYS_MAX {
            let more = (
                "…".to_owned(),
                ConfigValue::Other("more keys than are read"),
            );
            values.push(more);
            return;
        }
        let name = key_name(&key, section);
        match (section, object.downcast_ref::<NSDictionary>()) {
            (None, Some(inner)) => gather(inner, Some(&name), values),
            _ => values.push((name, value(&object))),
        }
        if values.len() > KEYS_MAX {
            return;
        }
    }
}

fn key_name(key: &Retained<AnyObject>, section: Option<&str>) -> String {
    let name = key
        .downcast_ref::<NSString>()
        .and_then(text)
        .unwrap_or_else(|| "?".to_owned());
    match section {
        Some(section) => format!("{section}.{name}"),
        None => name,
    }
}

fn value(object: &AnyObject) -> ConfigValue {
    if let Some(string) = object.downcast_ref::<NSString>() {
        return text(string).map_or(
            ConfigValue::Other("a text that is too long or not one"),
            ConfigValue::Text,
        );
    }
    if let Some(number) = object.downcast_ref::<NSNumber>() {
        return number_value(number);
    }
    if object.downcast_ref::<NSArray>().is_some() {
        return ConfigValue::Other("a list");
    }
    if object.downcast_ref::<NSDictionary>().is_some() {
        return ConfigValue::Other("a dictionary in a dictionary in a dictionary");
    }
    if object.downcast_ref::<NSData>().is_some() {
        return ConfigValue::Other("data");
    }
    ConfigValue::Other("a value of another kind")
}

/// A property list has two kinds of whole numbers: booleans, whose type is a character, and
/// integers, whose type never is. Apple's `NSNumber` documents that `objCType` of a boolean is `c`.
fn number_value(number: &NSNumber) -> ConfigValue {
    match (**number).encoding() {
        Some("c" | "B" | "C") => ConfigValue::Boolean(number.as_bool()),
        Some("f" | "d") => ConfigValue::Other("a number with a fraction"),
        Some("Q" | "L") if number.as_u64() > i64::MAX.unsigned_abs() => {
            ConfigValue::Other("a number beyond all settings")
        }
        Some(_) => ConfigValue::Integer(number.as_i64()),
        None => ConfigValue::Other("a number of another kind"),
    }
}

/// `None` when it is too long, or no text.
fn text(string: &NSString) -> Option<String> {
    provider::with_text(string, |text| {
        let text = str::from_utf8(text?).ok()?;
        (text.len() <= TEXT_BYTES_MAX).then(|| text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use objc2::rc::autoreleasepool;
    use objc2_foundation::NSObject;

    fn any<T: objc2::ClassType + 'static>(object: Retained<T>) -> Retained<AnyObject> {
        object.into()
    }

    fn text(text: &str) -> Retained<AnyObject> {
        any(NSString::from_str(text))
    }

    fn dictionary(pairs: Vec<(&str, Retained<AnyObject>)>) -> Retained<NSDictionary> {
        let keys: Vec<_> = pairs
            .iter()
            .map(|(key, _)| NSString::from_str(key))
            .collect();
        let keys: Vec<&NSString> = keys.iter().map(|key| &**key).collect();
        let values: Vec<Retained<AnyObject>> = pairs.into_iter().map(|(_, value)| value).collect();
        let typed = NSDictionary::<NSString, AnyObject>::from_retained_objects(&keys, &values);
        Retained::into_super(typed).downcast().unwrap()
    }

    fn read(pairs: Vec<(&str, Retained<AnyObject>)>) -> Vec<(String, ConfigValue)> {
        autoreleasepool(|_| values(&dictionary(pairs)))
    }

    // facts: vendor-configuration
    #[test]
    fn sections_may_be_dictionaries_or_dots() {
        let filter = dictionary(vec![
            ("loopback", any(NSNumber::new_bool(true))),
            ("limit", any(NSNumber::new_i64(-5))),
        ]);
        let read = read(vec![
            ("filter", any(filter)),
            ("privacy.argv", any(NSNumber::new_bool(false))),
            ("name", text("exämple")),
        ]);
        let expected = [
            ("filter.limit", ConfigValue::Integer(-5)),
            ("filter.loopback", ConfigValue::Boolean(true)),
            ("name", ConfigValue::Text("exämple".into())),
            ("privacy.argv", ConfigValue::Boolean(false)),
        ];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    // facts: vendor-configuration
    #[test]
    fn what_is_no_setting_is_named_as_what_it_is() {
        let inner = dictionary(vec![("b", any(dictionary(vec![("c", text("d"))])))]);
        let read = read(vec![
            ("a", any(inner)),
            ("e", any(NSArray::<NSString>::new())),
            ("f", any(NSData::with_bytes(&[1, 2]))),
            ("g", any(NSNumber::new_f64(0.5))),
            ("h", any(NSNumber::new_u64(u64::MAX))),
            ("i", any(NSObject::new())),
            ("j", text(&"x".repeat(TEXT_BYTES_MAX + 1))),
            ("k", text(&"é".repeat(TEXT_BYTES_MAX - 1))),
            ("l", any(NSNumber::new_u64(7))),
        ]);
        let others = read.iter().filter_map(|(key, value)| match value {
            ConfigValue::Other(what) => Some(format!("{key} {what}")),
            ConfigValue::Boolean(_) | ConfigValue::Integer(_) | ConfigValue::Text(_) => None,
        });
        let expected = [
            "a.b a dictionary in a dictionary in a dictionary",
            "e a list",
            "f data",
            "g a number with a fraction",
            "h a number beyond all settings",
            "i a value of another kind",
            "j a text that is too long or not one",
            "k a text that is too long or not one",
        ];
        assert_eq!(others.collect::<Vec<_>>(), expected);
        assert_eq!(read.last().unwrap().1, ConfigValue::Integer(7));
    }

    #[test]
    fn only_so_many_keys_are_read_and_the_rest_is_mentioned() {
        let keys: Vec<String> = (0..2 * KEYS_MAX).map(|key| format!("key{key}")).collect();
        let pairs = |section: &str| {
            let value = |key: &String| format!("{section}{key}");
            keys.iter().map(value).collect::<Vec<_>>()
        };
        let flat = pairs("");
        let flat = flat.iter().map(|key| (&**key, text("")));
        let flat = read(flat.collect());
        let nested = dictionary(keys.iter().map(|key| (&**key, text(""))).collect());
        let nested = read(vec![("a", any(nested.clone())), ("b", any(nested))]);
        for read in [flat, nested] {
            assert_eq!(read.len(), KEYS_MAX + 1);
            let more = ConfigValue::Other("more keys than are read");
            assert_eq!(read.last().unwrap(), &("…".to_owned(), more));
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_told_without_it() {
        let key = "x".repeat(TEXT_BYTES_MAX + 1);
        let read = read(vec![(&key, any(NSNumber::new_bool(true)))]);
        assert_eq!(read, [("?".to_owned(), ConfigValue::Boolean(true))]);
    }

    // facts: breaker-settings
    #[test]
    fn a_tripped_breaker_stands_aside_whatever_is_set() {
        let all = FilterSettings {
            loopback: true,
            stand_aside: true,
            command_lines: true,
        };
        let settings = LiveSettings::new(FilterSettings::default(), false);
        assert_eq!(settings.mode(), FilterMode::Default);
        settings.set(FilterSettings {
            stand_aside: false,
            ..all
        });
        assert_eq!(settings.mode(), FilterMode::Loopback);
        settings.set(all);
        assert_eq!(settings.get(), all);
        assert_eq!(settings.mode(), FilterMode::StandAside);
        settings.set(FilterSettings::default());
        assert_eq!(settings.mode(), FilterMode::Default);
        let tripped = LiveSettings::new(FilterSettings::default(), true);
        assert_eq!(tripped.mode(), FilterMode::StandAside);
    }

    #[test]
    fn what_the_system_was_told_is_remembered() {
        let settings = LiveSettings::new(FilterSettings::default(), false);
        assert_eq!(settings.told(), FilterMode::Default);
        for mode in FilterMode::ALL {
            settings.set(FilterSettings {
                loopback: mode == FilterMode::Loopback,
                stand_aside: mode == FilterMode::StandAside,
                command_lines: false,
            });
            assert_eq!(settings.tell(), mode);
            assert_eq!(settings.told(), mode);
        }
    }
}
