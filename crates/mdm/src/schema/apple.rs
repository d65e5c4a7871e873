//! The table against Apple's own files.

use super::{
    Availability, COMMON, Key, Kind, Literal, PAYLOADS, PayloadRules, Presence, Source, TOP_LEVEL,
    Version,
};
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

/// What differs, a line each.
type Differences = Vec<String>;

fn compare(rules: &PayloadRules, file: &Yaml) -> Differences {
    let mut out = Vec::new();
    let payload = &file["payload"];
    let macos = &payload["supportedOS"]["macOS"];
    let mut same = |what: &str, ours: Option<String>, theirs: Option<String>| {
        if ours != theirs {
            let name = rules.name;
            out.push(format!(
                "{name}: {what} is {theirs:?}, the table has {ours:?}"
            ));
        }
    };
    let terms = &rules.macos;
    let name = payload["payloadtype"].as_str().map(str::to_owned);
    same("payloadtype", Some(rules.name.to_owned()), name);
    for (what, ours) in [
        ("introduced", Some(terms.introduced)),
        ("deprecated", terms.deprecated),
        ("removed", terms.removed),
    ] {
        let theirs = macos[what].as_str().map(str::to_owned);
        same(what, ours.map(|it| it.to_string()), theirs);
    }
    for (what, ours) in [
        ("multiple", terms.multiple),
        ("devicechannel", terms.device_channel),
        ("userchannel", terms.user_channel),
        ("userapprovedmdm", terms.user_approved),
        ("allowmanualinstall", terms.manual_install),
    ] {
        let theirs = macos[what].as_bool().map(|it| it.to_string());
        same(what, ours.map(|it| it.to_string()), theirs);
    }
    compare_keys(rules.name, rules.keys, &file["payloadkeys"], &mut out);
    out
}

fn compare_keys(within: &str, keys: &[Key], file: &Yaml, out: &mut Differences) {
    let none = Vec::new();
    let theirs = file.as_vec().unwrap_or(&none);
    for entry in theirs {
        let name = entry["key"].as_str().unwrap_or_default();
        match keys.iter().find(|key| key.name == name) {
            Some(key) => compare_key(&format!("{within}.{name}"), key, entry, out),
            None => out.push(format!("{within}.{name} is not in the table")),
        }
    }
    for key in keys {
        let is_theirs = |entry: &Yaml| entry["key"].as_str() == Some(key.name);
        if !theirs.iter().any(is_theirs) {
            out.push(format!("{within}.{} is not in Apple's file", key.name));
        }
    }
}

fn compare_key(place: &str, key: &Key, entry: &Yaml, out: &mut Differences) {
    let mut same = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        if ours != theirs {
            out.push(format!("{place}: {what} is {theirs}, the table has {ours}"));
        }
    };
    same("type", &Some(key.kind), &kind(entry));
    same("presence", &key.presence, &presence(entry));
    let macos = &entry["supportedOS"]["macOS"];
    same("introduced", &key.macos, &availability(macos));
    same(
        "deprecated",
        &key.deprecated,
        &version(&macos["deprecated"]),
    );
    same("removed", &key.removed, &version(&macos["removed"]));
    let none = Vec::new();
    let allowed = entry["rangelist"].as_vec().unwrap_or(&none);
    let allowed: Vec<_> = allowed.iter().map(literal).collect();
    let ours: Vec<_> = key.allowed.iter().map(|it| it.to_string()).collect();
    same("rangelist", &ours, &allowed);
    let default = &entry["default"];
    let default = (!default.is_badvalue()).then(|| literal(default));
    same(
        "default",
        &key.default.as_ref().map(Literal::to_string),
        &default,
    );
    same("format", &key.format, &entry["format"].as_str());
    same("range", &true, &entry["range"].is_badvalue());
    same("repetition", &true, &entry["repetition"].is_badvalue());
    compare_keys(place, key.keys, &entry["subkeys"], out);
}

fn kind(entry: &Yaml) -> Option<Kind> {
    Some(match entry["type"].as_str()? {
        "<string>" => Kind::Text,
        "<integer>" => Kind::Integer,
        "<real>" => Kind::Real,
        "<boolean>" => Kind::Boolean,
        "<date>" => Kind::Date,
        "<data>" => Kind::Data,
        "<array>" => Kind::List,
        "<dictionary>" => Kind::Dictionary,
        "<any>" => Kind::Any,
        _ => return None,
    })
}

fn presence(entry: &Yaml) -> Presence {
    match entry["presence"].as_str() {
        Some("required") => Presence::Required,
        Some("optional") => Presence::Optional,
        Some(_) | None => Presence::Unsaid,
    }
}

fn availability(macos: &Yaml) -> Availability {
    match macos["introduced"].as_str() {
        None => Availability::AsPayload,
        Some("n/a") => Availability::Never,
        Some(text) => Availability::Since(text.parse().unwrap()),
    }
}

fn version(text: &Yaml) -> Option<Version> {
    text.as_str().map(|text| text.parse().unwrap())
}

fn literal(value: &Yaml) -> String {
    let text = value.as_str().map(str::to_owned);
    let text = text.or_else(|| value.as_i64().map(|it| it.to_string()));
    text.or_else(|| value.as_bool().map(|it| it.to_string()))
        .unwrap_or_else(|| format!("{value:?}"))
}

fn folder() -> PathBuf {
    let folder = std::env::var_os("CONNTRAIL_APPLE_SCHEMA")
        .expect("CONNTRAIL_APPLE_SCHEMA names the folder of a checkout of Apple's schema");
    PathBuf::from(folder)
}

/// Flat, or as in the repository.
fn find(folder: &Path, name: &str) -> Option<Yaml> {
    let places = [folder.to_owned(), folder.join("mdm/profiles")];
    let mut files = places.iter().map(|it| it.join(format!("{name}.yaml")));
    let text = files.find_map(|file| std::fs::read_to_string(file).ok())?;
    YamlLoader::load_from_str(&text).unwrap().into_iter().next()
}

#[test]
#[ignore = "needs apple: compares the table with Apple's published schema"]
fn the_table_says_what_apples_schema_says_key_by_key() {
    let folder = folder();
    let mut differences = Vec::new();
    for rules in [&TOP_LEVEL, &COMMON].iter().chain(PAYLOADS) {
        match find(&folder, rules.name) {
            Some(file) => differences.extend(compare(rules, &file)),
            None if rules.source == Source::OwnTable => {}
            None => differences.push(format!("there is no file {}.yaml", rules.name)),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_difference_in_any_part_of_an_entry_is_found() {
    const TEXT: &str = "
payload:
  payloadtype: x
  supportedOS: {macOS: {introduced: '10.15', multiple: true, devicechannel: true,
    userchannel: false, userapprovedmdm: false, allowmanualinstall: true}}
payloadkeys:
- {key: One, type: <string>, presence: optional, rangelist: [a, b], default: a, format: ^x$}
- {key: Two, type: <dictionary>, presence: required, supportedOS: {macOS: {introduced: '12.0'}},
   subkeys: [{key: ANY, type: <array>, presence: optional, subkeys: [{key: I, type: <string>}]}]}
";
    const BASE: Key = Key {
        presence: Presence::Optional,
        macos: Availability::AsPayload,
        allowed: &[],
        default: None,
        format: None,
        keys: &[],
        ..super::FILTER.keys[0]
    };
    const ITEM: Key = Key {
        name: "I",
        kind: Kind::Text,
        presence: Presence::Unsaid,
        ..BASE
    };
    const RULES: PayloadRules = PayloadRules {
        name: "x",
        keys: &[
            Key {
                name: "One",
                kind: Kind::Text,
                allowed: &[Literal::Text("a"), Literal::Text("b")],
                default: Some(Literal::Text("a")),
                format: Some("^x$"),
                ..BASE
            },
            Key {
                name: "Two",
                kind: Kind::Dictionary,
                presence: Presence::Required,
                macos: Availability::Since(Version {
                    major: 12,
                    minor: 0,
                }),
                keys: &[Key {
                    name: "ANY",
                    kind: Kind::List,
                    keys: &[ITEM],
                    ..BASE
                }],
                ..BASE
            },
        ],
        ..super::FILTER
    };
    let differences = |text: &str| {
        let file = YamlLoader::load_from_str(text).unwrap();
        compare(&RULES, &file[0])
    };
    assert_eq!(differences(TEXT), Vec::<String>::new());
    for (from, to) in [
        ("payloadtype: x", "payloadtype: y"),
        ("'10.15'", "'11.0'"),
        ("multiple: true", "multiple: false"),
        ("userchannel: false, ", ""),
        ("[a, b]", "[a, b, c]"),
        ("default: a", "default: b"),
        ("^x$", "^y$"),
        ("presence: required", "presence: optional"),
        ("'12.0'", "'12.0', deprecated: '14.0'"),
        ("'12.0'", "'12.0', removed: '14.0'"),
        ("'12.0'", "n/a"),
        ("key: One", "key: Other"),
        ("type: <array>", "type: <any>"),
        ("key: I", "key: J"),
        ("default: a", "range: {min: 1}, default: a"),
    ] {
        let changed = TEXT.replace(from, to);
        assert_ne!(changed, TEXT, "{from}");
        assert!(!differences(&changed).is_empty(), "{from} became {to}");
    }
}
