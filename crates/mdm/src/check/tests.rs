//! Planted mistakes: each gives exactly its findings, and no rule is without one.

use super::*;
use crate::identity::{APP, EXTENSION, Identity, Signer};
use crate::profile::{self, MINIMUM_MACOS, Removal, Wanted};
use crate::value::{dictionary, to_xml};
use std::collections::BTreeSet;

const TEAM: &str = "AB12CD34EF";
const DOMAIN: &str = "com.conntrail.agent";

/// A set of profiles, and what is told of them.
struct Set {
    /// Ours, combined.
    top: Dictionary,
    /// Beside it.
    others: Vec<Input>,
    macos: Option<Version>,
    is_told: bool,
}

fn wanted() -> Wanted {
    Wanted {
        identity: Identity {
            app: APP.parse().unwrap(),
            extension: EXTENSION.parse().unwrap(),
            team: TEAM.parse().unwrap(),
            signer: Signer::DeveloperId,
        },
        organization: None,
        grade: profile::Grade::Inspector,
        removal: Removal::ByNobody,
        minimum_macos: "15".parse().unwrap(),
        preferences_domain: DOMAIN.to_owned(),
        settings: [("filter.loopback".to_owned(), true.into())].into(),
        vendor_settings: [("flow.flows_max".to_owned(), 5_000.into())].into(),
    }
}

fn correct() -> Set {
    let combined = &profile::write(&wanted()).files[0];
    let value = document::read(&combined.contents).unwrap().value;
    Set {
        top: value.as_dictionary().unwrap().clone(),
        others: Vec::new(),
        macos: None,
        is_told: true,
    }
}

impl Set {
    /// The payload of this type.
    fn of(&mut self, kind: &str) -> &mut Dictionary {
        let Some(Value::List(payloads)) = self.top.get_mut("PayloadContent") else {
            panic!("there are payloads");
        };
        let found = payloads.iter_mut().find_map(|payload| {
            let Value::Dictionary(keys) = payload else {
                return None;
            };
            let is_it = keys["PayloadType"].as_text().unwrap().ends_with(kind);
            is_it.then_some(keys)
        });
        found.unwrap()
    }

    fn filter(&mut self) -> &mut Dictionary {
        self.of("webcontent-filter")
    }

    fn policy(&mut self) -> &mut Dictionary {
        self.of("system-extension-policy")
    }

    fn rule(&mut self) -> &mut Dictionary {
        let Some(Value::List(rules)) = self.of("servicemanagement").get_mut("Rules") else {
            panic!("there are rules");
        };
        let Value::Dictionary(rule) = &mut rules[0] else {
            panic!("a rule is a dictionary");
        };
        rule
    }

    fn without(&mut self, kind: &str) {
        if let Some(Value::List(payloads)) = self.top.get_mut("PayloadContent") {
            payloads.retain(|it| {
                let payload_type = &it.as_dictionary().unwrap()["PayloadType"];
                !payload_type.as_text().unwrap().ends_with(kind)
            });
        }
    }

    fn beside(&mut self, name: &str, contents: impl Into<Vec<u8>>) {
        self.others.push(Input {
            name: name.to_owned(),
            contents: Ok(contents.into()),
        });
    }

    /// A further profile with one payload.
    fn beside_payload<const N: usize>(&mut self, kind: &str, keys: [(&str, Value); N]) {
        let number = self.others.len();
        let head = |kind: &str, level: &str| {
            dictionary([
                ("PayloadType", kind.into()),
                ("PayloadVersion", 1.into()),
                (
                    "PayloadIdentifier",
                    format!("other.{number}.{level}").into(),
                ),
                ("PayloadUUID", format!("OTHER-{number}-{level}").into()),
            ])
        };
        let mut payload = head(kind, "payload").as_dictionary().unwrap().clone();
        payload.extend(keys.map(|(key, value)| (key.to_owned(), value)));
        let mut top = head("Configuration", "top")
            .as_dictionary()
            .unwrap()
            .clone();
        let content = Value::List(vec![Value::Dictionary(payload)]);
        top.insert("PayloadContent".to_owned(), content);
        self.beside(&format!("other-{number}"), to_xml(&Value::Dictionary(top)));
    }

    fn beside_filter(&mut self, app: &str, grade: &str) {
        self.beside_payload(
            "com.apple.webcontent-filter",
            [
                ("FilterType", "Plugin".into()),
                ("UserDefinedName", app.into()),
                ("PluginBundleID", app.into()),
                ("FilterSockets", true.into()),
                (
                    "FilterDataProviderBundleIdentifier",
                    format!("{app}.net").into(),
                ),
                (
                    "FilterDataProviderDesignatedRequirement",
                    "anchor apple".into(),
                ),
                ("FilterGrade", grade.into()),
            ],
        );
    }

    fn check(&self) -> Report {
        let mut inputs = vec![Input {
            name: "ours".to_owned(),
            contents: Ok(to_xml(&Value::Dictionary(self.top.clone())).into_bytes()),
        }];
        inputs.extend(self.others.iter().cloned());
        check_told(&inputs, self.is_told, self.macos)
    }
}

fn check_told(inputs: &[Input], is_told: bool, macos: Option<Version>) -> Report {
    let problems = |settings: &Dictionary| {
        let known = ["filter.loopback", "filter", "flow.flows_max"];
        let unknown = settings.keys().filter(|it| !known.contains(&it.as_str()));
        unknown
            .map(|key| format!("there is no setting {key}"))
            .collect()
    };
    let expected = Expected {
        app: is_told.then(|| APP.parse().unwrap()),
        extension: is_told.then(|| EXTENSION.parse().unwrap()),
        team: is_told.then(|| TEAM.parse().unwrap()),
        macos,
        preferences_domain: DOMAIN,
        problems_of_settings: &problems,
    };
    check(inputs, &expected)
}

fn names(report: &Report) -> Vec<&'static str> {
    let mut names: Vec<_> = report.findings.iter().map(|it| it.rule.name).collect();
    names.sort_unstable();
    names
}

fn set(keys: &mut Dictionary, key: &str, value: impl Into<Value>) {
    keys.insert(key.to_owned(), value.into());
}

fn by_team(team: &str, values: &[&str]) -> Value {
    let values = values.iter().map(|it| Value::from(*it)).collect();
    dictionary([(team, Value::List(values))])
}

fn list(values: &[&str]) -> Value {
    Value::List(values.iter().map(|it| Value::from(*it)).collect())
}

fn replace(keys: &mut Dictionary, key: &str, from: &str, to: &str) {
    let text = keys[key].as_text().unwrap();
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "{from}");
    set(keys, key, changed);
}

/// What is planted, and exactly what is found.
type Case = (&'static str, fn(&mut Set), &'static [&'static str]);

const REQUIREMENT: &str = "FilterDataProviderDesignatedRequirement";
const PROVIDER: &str = "FilterDataProviderBundleIdentifier";

const FILES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    (
        "a file that cannot be read",
        |it| {
            it.others.push(Input {
                name: "folder".to_owned(),
                contents: Err("it is a folder".to_owned()),
            });
        },
        &["file-not-read"],
    ),
    ("an empty file", |it| it.beside("x", ""), &["not-a-profile"]),
    ("a text", |it| it.beside("x", "hello"), &["not-a-profile"]),
    (
        "a cut file",
        |it| it.beside("x", "<plist><dict><key>a"),
        &["not-a-profile"],
    ),
    (
        "not UTF-8",
        |it| it.beside("x", b"<plist>\xff".to_vec()),
        &["not-a-profile"],
    ),
    (
        "another list",
        |it| it.beside("x", "<plist><dict/></plist>"),
        &["not-a-profile"],
    ),
    (
        "a list of lists",
        |it| it.beside("x", "<plist><array/></plist>"),
        &["not-a-profile"],
    ),
    (
        "the same file again",
        |it| {
            let same = to_xml(&Value::Dictionary(it.top.clone()));
            it.beside("again", same);
        },
        &["file-twice"],
    ),
    (
        "an encrypted profile",
        |it| {
            it.beside_payload("x", []);
            let text = String::from_utf8(it.others[0].contents.clone().unwrap()).unwrap();
            let from = text.find("<key>PayloadContent").unwrap();
            let to = text.rfind("</array>").unwrap() + "</array>".len();
            let text = format!(
                "{}<key>IsEncrypted</key><true/>{}",
                &text[..from],
                &text[to..]
            );
            it.others[0].contents = Ok(text.into_bytes());
        },
        &["encrypted"],
    ),
    (
        "a key that stands twice",
        |it| {
            it.beside_payload("x", []);
            let text = String::from_utf8(it.others[0].contents.clone().unwrap()).unwrap();
            let text = text.replace(
                "<dict>\n\t\t\t<key>",
                "<dict><key>a</key><true/><key>a</key><true/><key>",
            );
            it.others[0].contents = Ok(text.into_bytes());
        },
        &["key-twice"],
    ),
];

const SCHEMA: &[Case] = &[
    (
        "no UUID",
        |it| drop(it.filter().remove("PayloadUUID")),
        &["key-missing"],
    ),
    (
        "no UUID at the top",
        |it| drop(it.top.remove("PayloadUUID")),
        &["key-missing"],
    ),
    (
        "no rule type",
        |it| drop(it.rule().remove("RuleType")),
        &["key-missing", "service-missing"],
    ),
    (
        "no payloads",
        |it| drop(it.top.remove("PayloadContent")),
        &[
            "filter-missing",
            "key-missing",
            "policy-missing",
            "service-missing",
            "service-missing",
        ],
    ),
    (
        "a misspelt key",
        |it| set(it.filter(), "FilterSocket", true),
        &["key-unknown"],
    ),
    (
        "a misspelt key at the top",
        |it| set(&mut it.top, "PayloadName", "x"),
        &["key-unknown"],
    ),
    (
        "a strange key in a rule",
        |it| set(it.rule(), "Team", "x"),
        &["key-unknown"],
    ),
    (
        "the legacy key",
        |it| set(it.filter(), "PayloadEnabled", true),
        &[],
    ),
    (
        "a text for true",
        |it| set(it.filter(), "FilterPackets", "false"),
        &["key-type"],
    ),
    (
        "a version as a real",
        |it| set(it.filter(), "PayloadVersion", Value::Real("1.0".into())),
        &[],
    ),
    (
        "a payload that is a text",
        |it| {
            if let Some(Value::List(all)) = it.top.get_mut("PayloadContent") {
                all.push("x".into());
            }
        },
        &["key-type"],
    ),
    (
        "extensions as a text",
        |it| {
            set(
                it.policy(),
                "NonRemovableSystemExtensions",
                dictionary([(TEAM, EXTENSION.into())]),
            )
        },
        &["key-type"],
    ),
    (
        "a version that is none",
        |it| set(it.filter(), "PayloadVersion", 2),
        &["key-value"],
    ),
    (
        "a grade that is none",
        |it| set(it.filter(), "FilterGrade", "Inspector"),
        &["filter-grade", "key-value"],
    ),
    (
        "no UUID of a certificate",
        |it| set(it.filter(), "PayloadCertificateUUID", "x"),
        &["key-form"],
    ),
    (
        "a UUID of a certificate",
        |it| {
            set(
                it.filter(),
                "PayloadCertificateUUID",
                "01234567-89ab-cdef-0123-456789abcdef",
            )
        },
        &[],
    ),
    (
        "a key of another system",
        |it| set(it.filter(), "FilterBrowsers", false),
        &["key-not-for-macos"],
    ),
    (
        "keys of macOS 15 on 14",
        |it| it.macos = Some("14.6".parse().unwrap()),
        &["key-too-new", "key-too-new"],
    ),
    (
        "service management on 12",
        |it| it.macos = Some("12".parse().unwrap()),
        &["key-too-new", "key-too-new", "payload-too-new"],
    ),
    (
        "for users",
        |it| set(&mut it.top, "PayloadScope", "User"),
        &["scope", "scope", "scope"],
    ),
    (
        "a UUID twice",
        |it| {
            let uuid = it.policy()["PayloadUUID"].as_text().unwrap().to_lowercase();
            set(it.filter(), "PayloadUUID", uuid);
        },
        &["uuid-twice"],
    ),
    (
        "a UUID twice, in small letters first",
        |it| {
            let uuid = it.policy()["PayloadUUID"].as_text().unwrap().to_owned();
            set(it.policy(), "PayloadUUID", uuid.to_lowercase());
            set(it.filter(), "PayloadUUID", uuid);
        },
        &["uuid-twice"],
    ),
    (
        "an identifier twice",
        |it| {
            let identifier = it.policy()["PayloadIdentifier"].clone();
            set(it.filter(), "PayloadIdentifier", identifier);
        },
        &["identifier-twice"],
    ),
];

const PROSE: &[Case] = &[
    (
        "no filter type",
        |it| drop(it.filter().remove("FilterType")),
        &["filter-type"],
    ),
    (
        "the default filter type",
        |it| set(it.filter(), "FilterType", "BuiltIn"),
        &["filter-type"],
    ),
    (
        "no name",
        |it| drop(it.filter().remove("UserDefinedName")),
        &["filter-name"],
    ),
    (
        "an empty name",
        |it| set(it.filter(), "UserDefinedName", ""),
        &["filter-name"],
    ),
    (
        "no app",
        |it| drop(it.filter().remove("PluginBundleID")),
        &["filter-plugin"],
    ),
    (
        "nothing to filter",
        |it| set(it.filter(), "FilterSockets", false),
        &["filter-nothing", "filter-sockets"],
    ),
    (
        "no provider",
        |it| drop(it.filter().remove(PROVIDER)),
        &["filter-sockets-provider"],
    ),
    (
        "no requirement",
        |it| drop(it.filter().remove(REQUIREMENT)),
        &["filter-sockets-requirement"],
    ),
    (
        "packets without all",
        |it| set(it.filter(), "FilterPackets", true),
        &[
            "filter-packets",
            "filter-packets-provider",
            "filter-packets-requirement",
        ],
    ),
    (
        "a password",
        |it| set(it.filter(), "Password", "x"),
        &["secret"],
    ),
    (
        "a token within",
        |it| {
            set(
                it.filter(),
                "VendorConfig",
                dictionary([("filter", dictionary([("api-Token", "x".into())]))]),
            );
        },
        &["secret"],
    ),
    (
        "a team twice",
        |it| set(it.policy(), "AllowedTeamIdentifiers", list(&[TEAM])),
        &["policy-team-twice"],
    ),
    (
        "a team that is none",
        |it| set(it.policy(), "AllowedTeamIdentifiers", list(&["Example"])),
        &["other-policy", "policy-team-form"],
    ),
    (
        "a type that is none",
        |it| {
            set(
                it.policy(),
                "AllowedSystemExtensionTypes",
                by_team(TEAM, &["NetworkExtension", "ContentFilter"]),
            )
        },
        &["policy-extension-type"],
    ),
    (
        "all three types",
        |it| {
            set(
                it.policy(),
                "AllowedSystemExtensionTypes",
                by_team(
                    TEAM,
                    &[
                        "NetworkExtension",
                        "DriverExtension",
                        "EndpointSecurityExtension",
                    ],
                ),
            )
        },
        &[],
    ),
    (
        "removable and not",
        |it| {
            set(
                it.policy(),
                "RemovableSystemExtensions",
                by_team(TEAM, &[EXTENSION]),
            )
        },
        &["policy-removable-and-not"],
    ),
    (
        "removable there and not here",
        |it| {
            it.beside_payload(
                "com.apple.system-extension-policy",
                [("RemovableSystemExtensions", by_team(TEAM, &[EXTENSION]))],
            )
        },
        &["policy-removable-and-not"],
    ),
    (
        "removable, and not by hand",
        |it| {
            it.policy().remove("NonRemovableSystemExtensions");
            set(
                it.policy(),
                "RemovableSystemExtensions",
                by_team(TEAM, &[EXTENSION]),
            );
        },
        &[],
    ),
];

const OURS: &[Case] = &[
    ("nothing told", |it| it.is_told = false, &["inferred"]),
    (
        "no policy",
        |it| it.without("system-extension-policy"),
        &["policy-missing"],
    ),
    (
        "no policy, and no choice",
        |it| {
            it.without("system-extension-policy");
            it.beside_payload(
                "com.apple.system-extension-policy",
                [("AllowUserOverrides", false.into())],
            );
        },
        &["policy-closed"],
    ),
    (
        "no choice, and allowed",
        |it| set(it.policy(), "AllowUserOverrides", false),
        &[],
    ),
    (
        "the team as a whole",
        |it| {
            it.policy().remove("AllowedSystemExtensions");
            set(it.policy(), "AllowedTeamIdentifiers", list(&[TEAM]));
        },
        &[],
    ),
    (
        "the app in the policy",
        |it| {
            set(
                it.policy(),
                "AllowedSystemExtensions",
                by_team(TEAM, &[APP]),
            )
        },
        &["policy-names-app"],
    ),
    (
        "another team in the policy",
        |it| {
            set(
                it.policy(),
                "AllowedSystemExtensions",
                by_team("ZZ12CD34EF", &[EXTENSION]),
            )
        },
        &["policy-team"],
    ),
    (
        "other types only",
        |it| {
            set(
                it.policy(),
                "AllowedSystemExtensionTypes",
                by_team(TEAM, &["DriverExtension"]),
            )
        },
        &["policy-type"],
    ),
    (
        "no filter",
        |it| it.without("webcontent-filter"),
        &["filter-missing"],
    ),
    (
        "the single filter too",
        |it| {
            let file = profile::write(&wanted()).files.swap_remove(2);
            it.beside(&file.name, file.contents);
        },
        &["filter-twice"],
    ),
    (
        "another filter of ours",
        |it| {
            let wanted = Wanted {
                vendor_settings: Dictionary::new(),
                ..wanted()
            };
            let file = profile::write(&wanted).files.swap_remove(2);
            it.beside(&file.name, file.contents);
        },
        &["filter-conflict"],
    ),
    (
        "the extension as the app",
        |it| set(it.filter(), "PluginBundleID", EXTENSION),
        &["filter-app"],
    ),
    (
        "the app as the provider",
        |it| set(it.filter(), PROVIDER, APP),
        &["filter-provider"],
    ),
    (
        "firewall",
        |it| set(it.filter(), "FilterGrade", "firewall"),
        &["filter-grade"],
    ),
    (
        "no grade",
        |it| drop(it.filter().remove("FilterGrade")),
        &["filter-grade"],
    ),
    (
        "no rule",
        |it| it.without("servicemanagement"),
        &["service-missing", "service-missing"],
    ),
    (
        "a rule for another label",
        |it| set(it.rule(), "RuleValue", "com.conntrail.agent.x"),
        &["service-missing"],
    ),
    (
        "a rule for the prefix",
        |it| {
            set(it.rule(), "RuleType", "LabelPrefix");
            set(it.rule(), "RuleValue", "com.conntrail.");
        },
        &[],
    ),
    (
        "a rule for the team",
        |it| {
            set(it.rule(), "RuleType", "TeamIdentifier");
            set(it.rule(), "RuleValue", TEAM);
        },
        &[],
    ),
    (
        "a rule for another team",
        |it| set(it.rule(), "TeamIdentifier", "ZZ12CD34EF"),
        &["service-team"],
    ),
    (
        "a setting that is none",
        |it| set(it.of(DOMAIN), "filter.x", true),
        &["setting"],
    ),
    (
        "a vendor setting that is none",
        |it| {
            set(
                it.filter(),
                "VendorConfig",
                dictionary([("x", true.into())]),
            )
        },
        &["setting"],
    ),
    (
        "a setting with two values",
        |it| {
            it.beside_payload(
                DOMAIN,
                [("filter", dictionary([("loopback", false.into())]))],
            )
        },
        &["conflict"],
    ),
    (
        "a setting with two values, wrapped",
        |it| {
            let settings = dictionary([("filter.loopback", false.into())]);
            let forced = Value::List(vec![dictionary([("mcx_preference_settings", settings)])]);
            let domain = dictionary([("Forced", forced)]);
            it.beside_payload(
                "com.apple.ManagedClient.preferences",
                [("PayloadContent", dictionary([(DOMAIN, domain)]))],
            );
        },
        &["conflict"],
    ),
    (
        "users may and may not",
        |it| {
            set(it.policy(), "AllowUserOverrides", true);
            it.beside_payload(
                "com.apple.system-extension-policy",
                [("AllowUserOverrides", false.into())],
            );
        },
        &["conflict"],
    ),
    (
        "notifications on and off",
        |it| {
            let item = dictionary([
                ("BundleIdentifier", APP.into()),
                ("NotificationsEnabled", true.into()),
            ]);
            it.beside_payload(
                "com.apple.notificationsettings",
                [("NotificationSettings", Value::List(vec![item]))],
            );
        },
        &["conflict"],
    ),
];

const REQUIREMENTS: &[Case] = &[
    (
        "of the app",
        |it| replace(it.filter(), REQUIREMENT, EXTENSION, APP),
        &["requirement-app"],
    ),
    (
        "of another",
        |it| replace(it.filter(), REQUIREMENT, EXTENSION, "org.x.y"),
        &["requirement-identifier"],
    ),
    (
        "of another team",
        |it| replace(it.filter(), REQUIREMENT, TEAM, "ZZ12CD34EF"),
        &["requirement-team"],
    ),
    (
        "without the authority",
        |it| {
            replace(
                it.filter(),
                REQUIREMENT,
                "and certificate 1[field.1.2.840.113635.100.6.2.6]",
                "",
            )
        },
        &["requirement-weak"],
    ),
    (
        "without an identifier",
        |it| {
            replace(
                it.filter(),
                REQUIREMENT,
                "identifier \"com.conntrail.agent.filter\" and ",
                "",
            )
        },
        &["requirement-weak"],
    ),
    (
        "of the App Store",
        |it| replace(it.filter(), REQUIREMENT, "6.1.13", "6.1.9"),
        &["requirement-extra", "requirement-weak"],
    ),
    (
        "with more",
        |it| {
            replace(
                it.filter(),
                REQUIREMENT,
                "= \"AB12CD34EF\"",
                "= AB12CD34EF and certificate leaf[subject.CN] = \"x\"",
            )
        },
        &["requirement-extra"],
    ),
    (
        "with or",
        |it| replace(it.filter(), REQUIREMENT, " and ", " or "),
        &["requirement-not-compared"],
    ),
    (
        "of development",
        |it| {
            let wanted = wanted();
            let signer = Signer::Development {
                common_name: "Apple Development: X".to_owned(),
            };
            let requirement = crate::requirement::Requirement::designated(
                &wanted.identity.extension,
                &wanted.identity.team,
                &signer,
            );
            set(it.filter(), REQUIREMENT, requirement.to_string());
        },
        &["requirement-development"],
    ),
    (
        "without quotes",
        |it| {
            replace(it.filter(), REQUIREMENT, "\"", "");
        },
        &[],
    ),
];

const OTHERS: &[Case] = &[
    (
        "a firewall",
        |it| it.beside_filter("org.firewall.app", "firewall"),
        &["other-filter"],
    ),
    (
        "five firewalls",
        |it| {
            (0..5).for_each(|number| it.beside_filter(&format!("org.f{number}.app"), "firewall"));
        },
        &[
            "filters-of-grade",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
        ],
    ),
    (
        "seven filters more",
        |it| {
            (0..4).for_each(|number| it.beside_filter(&format!("org.f{number}.app"), "firewall"));
            (0..3).for_each(|number| it.beside_filter(&format!("org.i{number}.app"), "inspector"));
        },
        &["other-filter"; 7],
    ),
    (
        "eight filters more",
        |it| {
            (0..4).for_each(|number| it.beside_filter(&format!("org.f{number}.app"), "firewall"));
            (0..4).for_each(|number| it.beside_filter(&format!("org.i{number}.app"), "inspector"));
        },
        &[
            "filters-in-all",
            "filters-of-grade",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
            "other-filter",
        ],
    ),
    (
        "a transparent proxy",
        |it| {
            it.beside_payload(
                "com.apple.vpn.managed",
                [("VPNType", "TransparentProxy".into())],
            )
        },
        &["other-proxy"],
    ),
    (
        "an app proxy",
        |it| {
            it.beside_payload(
                "com.apple.vpn.managed",
                [
                    ("VPNType", "VPN".into()),
                    ("VPN", dictionary([("ProviderType", "app-proxy".into())])),
                ],
            )
        },
        &["other-proxy"],
    ),
    (
        "a VPN",
        |it| it.beside_payload("com.apple.vpn.managed", [("VPNType", "IKEv2".into())]),
        &["other-vpn"],
    ),
    (
        "a relay",
        |it| it.beside_payload("com.apple.relay.managed", []),
        &["other-proxy"],
    ),
    (
        "a DNS proxy",
        |it| it.beside_payload("com.apple.dnsProxy.managed", []),
        &["other-dns-proxy"],
    ),
    (
        "extensions of others",
        |it| {
            it.beside_payload(
                "com.apple.system-extension-policy",
                [(
                    "AllowedSystemExtensions",
                    by_team("ZZ12CD34EF", &["org.x.one", "org.x.two"]),
                )],
            )
        },
        &["other-policy"],
    ),
    (
        "something unrelated",
        |it| it.beside_payload("com.apple.dock", [("autohide", true.into())]),
        &[],
    ),
];

/// The payload types, keys and kinds of values that products document for their roll-out, beside
/// ours; the values are of our own making where nothing depends on them.
const PRODUCTS: &[Case] = &[
    (
        "Santa",
        |it| {
            it.beside_payload(
                "com.apple.webcontent-filter",
                [
                    ("FilterType", "Plugin".into()),
                    ("UserDefinedName", "Santa".into()),
                    ("PluginBundleID", "com.northpolesec.santa".into()),
                    (PROVIDER, "com.northpolesec.santa.netd".into()),
                    (
                        REQUIREMENT,
                        "identifier \"com.northpolesec.santa.netd\" and anchor apple generic"
                            .into(),
                    ),
                    ("FilterSockets", true.into()),
                    ("FilterPackets", false.into()),
                    ("FilterGrade", "inspector".into()),
                ],
            );
            it.beside_payload(
                "com.apple.dnsProxy.managed",
                [
                    ("AppBundleIdentifier", "com.northpolesec.santa".into()),
                    (
                        "ProviderBundleIdentifier",
                        "com.northpolesec.santa.netd".into(),
                    ),
                ],
            );
        },
        &["other-dns-proxy", "other-filter"],
    ),
    (
        "Microsoft Defender",
        |it| {
            it.beside_payload(
                "com.apple.webcontent-filter",
                [
                    ("PayloadEnabled", true.into()),
                    ("FilterType", "Plugin".into()),
                    ("UserDefinedName", "Microsoft Defender".into()),
                    ("PluginBundleID", "com.microsoft.wdav".into()),
                    ("FilterSockets", true.into()),
                    (PROVIDER, "com.microsoft.wdav.netext".into()),
                    (
                        REQUIREMENT,
                        "identifier \"com.microsoft.wdav.netext\" and anchor apple generic".into(),
                    ),
                ],
            );
            it.beside_payload(
                "com.apple.system-extension-policy",
                [
                    ("AllowUserOverrides", true.into()),
                    (
                        "AllowedSystemExtensions",
                        by_team(
                            "UBF8T346G9",
                            &["com.microsoft.wdav.epsext", "com.microsoft.wdav.netext"],
                        ),
                    ),
                ],
            );
        },
        &["other-filter", "other-policy"],
    ),
    (
        "CrowdStrike Falcon",
        |it| {
            it.beside_payload(
                "com.apple.webcontent-filter",
                [
                    ("FilterType", "Plugin".into()),
                    ("UserDefinedName", "Falcon".into()),
                    ("PluginBundleID", "com.crowdstrike.falcon.App".into()),
                    ("FilterBrowsers", false.into()),
                    ("FilterSockets", true.into()),
                    ("FilterPackets", false.into()),
                    (PROVIDER, "com.crowdstrike.falcon.Agent".into()),
                    (REQUIREMENT, "anchor apple generic".into()),
                    (
                        "FilterPacketProviderBundleIdentifier",
                        "com.crowdstrike.falcon.Agent".into(),
                    ),
                    (
                        "FilterPacketProviderDesignatedRequirement",
                        "anchor apple generic".into(),
                    ),
                    ("FilterGrade", "inspector".into()),
                    ("Organization", "CrowdStrike".into()),
                ],
            );
            it.beside_payload(
                "com.apple.system-extension-policy",
                [
                    (
                        "AllowedSystemExtensions",
                        by_team("X9E956P446", &["com.crowdstrike.falcon.Agent"]),
                    ),
                    (
                        "AllowedSystemExtensionTypes",
                        by_team(
                            "X9E956P446",
                            &["EndpointSecurityExtension", "NetworkExtension"],
                        ),
                    ),
                    (
                        "NonRemovableFromUISystemExtensions",
                        by_team("X9E956P446", &["com.crowdstrike.falcon.Agent"]),
                    ),
                ],
            );
            it.beside_payload(
                "com.apple.system-extensions.admin",
                [("AllowedTeamIdentifiers", list(&["X9E956P446"]))],
            );
        },
        &["key-not-for-macos", "other-filter", "other-policy"],
    ),
    (
        "Cisco Secure Client",
        |it| {
            it.beside_payload(
                "com.apple.webcontent-filter",
                [
                    ("AutoFilterEnabled", false.into()),
                    ("FilterType", "Plugin".into()),
                    (
                        "UserDefinedName",
                        "Cisco Secure Client Content Filter".into(),
                    ),
                    ("PluginBundleID", "com.cisco.anyconnect.macos.acsock".into()),
                    ("FilterBrowsers", false.into()),
                    ("FilterSockets", true.into()),
                    ("FilterPackets", false.into()),
                    ("FilterGrade", "firewall".into()),
                    (PROVIDER, "com.cisco.anyconnect.macos.acsockext".into()),
                    (
                        REQUIREMENT,
                        "anchor apple generic and (certificate leaf[field.1.2] or anchor apple)"
                            .into(),
                    ),
                ],
            );
            it.beside_payload(
                "com.apple.vpn.managed",
                [
                    ("VPNType", "TransparentProxy".into()),
                    ("VPNSubType", "com.cisco.anyconnect.macos.acsock".into()),
                    ("UserDefinedName", "Cisco Secure Client App Proxy".into()),
                    (
                        "TransparentProxy",
                        dictionary([
                            (
                                "ProviderBundleIdentifier",
                                "com.cisco.anyconnect.macos.acsockext".into(),
                            ),
                            ("ProviderType", "app-proxy".into()),
                        ]),
                    ),
                ],
            );
            it.beside_payload(
                "com.apple.dnsProxy.managed",
                [(
                    "AppBundleIdentifier",
                    "com.cisco.anyconnect.macos.acsock".into(),
                )],
            );
        },
        &[
            "key-not-for-macos",
            "key-not-for-macos",
            "other-dns-proxy",
            "other-filter",
            "other-proxy",
        ],
    ),
    (
        "Zscaler and other tunnels",
        |it| {
            it.beside_payload(
                "com.apple.vpn.managed",
                [
                    ("VPNType", "VPN".into()),
                    ("VPNSubType", "com.zscaler.zscaler".into()),
                    (
                        "VPN",
                        dictionary([("ProviderType", "packet-tunnel".into())]),
                    ),
                ],
            )
        },
        &["other-vpn"],
    ),
    (
        "LuLu and Little Snitch",
        |it| {
            it.beside_filter("com.objective-see.lulu.app", "firewall");
            it.beside_filter("at.obdev.littlesnitch", "firewall");
            it.beside_payload(
                "com.apple.system-extension-policy",
                [(
                    "AllowedTeamIdentifiers",
                    list(&["VBG97UB4TA", "MLZF7K7B5R"]),
                )],
            );
        },
        &[
            "other-filter",
            "other-filter",
            "other-policy",
            "other-policy",
        ],
    ),
    (
        "our requirement as Xcode writes it for two kinds of certificates",
        |it| {
            replace(
                it.filter(),
                REQUIREMENT,
                "certificate 1[",
                "(certificate leaf[field.1.2.840.113635.100.6.1.9] or certificate 1[",
            );
            replace(it.filter(), REQUIREMENT, "\"AB12CD34EF\"", "AB12CD34EF)");
        },
        &["requirement-not-compared"],
    ),
];

fn all() -> impl Iterator<Item = &'static Case> {
    let lists = [FILES, SCHEMA, PROSE, OURS, REQUIREMENTS, OTHERS, PRODUCTS];
    lists.into_iter().flatten()
}

#[test]
fn each_planted_mistake_gives_exactly_its_findings() {
    let mut wrong = Vec::new();
    for (what, plant, expected) in all() {
        let mut set = correct();
        plant(&mut set);
        let report = set.check();
        if names(&report) != *expected {
            wrong.push(format!("{what}: {:#?}", report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_is_broken_by_a_planted_mistake() {
    let planted: BTreeSet<&str> = all().flat_map(|(_, _, found)| *found).copied().collect();
    let elsewhere = ["signature-not-verified"];
    for rule in rules::ALL {
        let is_planted = planted.contains(rule.name) || elsewhere.contains(&rule.name);
        assert!(is_planted, "nothing breaks {}", rule.name);
    }
    for name in planted {
        assert!(rules::ALL.iter().any(|rule| rule.name == name), "{name}");
    }
}

#[test]
fn the_page_on_profiles_names_every_rule_and_every_key_that_is_written() {
    const PAGE: &str = include_str!("../../../../docs/profiles.md");
    for rule in rules::ALL {
        let Rule { name, grade, about } = rule;
        let line = format!("| `{name}` | {} | {about} |", grade.name());
        assert!(PAGE.contains(&line), "{line}");
    }
    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::List(values) => values.iter().for_each(|it| keys(it, found)),
            Value::Dictionary(entries) => {
                found.extend(entries.keys().cloned());
                entries.values().for_each(|it| keys(it, found));
            }
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Data(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    for file in profile::write(&wanted()).files {
        keys(&document::read(&file.contents).unwrap().value, &mut found);
    }
    for key in found.iter().filter(|it| !it.contains('.') && *it != TEAM) {
        assert!(PAGE.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn what_is_written_passes_its_own_check() {
    let development = Signer::Development {
        common_name: "Apple Development: X (Y)".to_owned(),
    };
    for removal in [
        Removal::ByAdministrator,
        Removal::ByAnybody,
        Removal::ByNobody,
    ] {
        for (minimum_macos, signer) in [
            (MINIMUM_MACOS, Signer::DeveloperId),
            ("15".parse().unwrap(), development.clone()),
        ] {
            let is_development = signer != Signer::DeveloperId;
            let mut wanted = Wanted {
                removal,
                minimum_macos,
                ..wanted()
            };
            wanted.identity.signer = signer;
            let files = profile::write(&wanted).files;
            let inputs = files.into_iter().map(|file| Input {
                name: file.name,
                contents: Ok(file.contents),
            });
            let inputs: Vec<Input> = inputs.collect();
            let expected = match is_development {
                true => vec!["requirement-development"],
                false => vec![],
            };
            let combined = check_told(&inputs[..1], true, Some(minimum_macos));
            assert_eq!(names(&combined), expected, "{combined:?}");
            let single = check_told(&inputs[1..], true, None);
            assert_eq!(names(&single), expected, "{single:?}");
        }
    }
}

#[test]
fn a_signed_profile_is_read_and_its_signature_left_alone() {
    let mut set = correct();
    set.beside_payload("com.apple.dock", []);
    let plain = set.others[0].contents.clone().unwrap();
    set.others[0].contents = Ok(document::signed_in_a_test(&plain));
    let report = set.check();
    assert_eq!(names(&report), ["signature-not-verified"]);
    assert_eq!(report.profiles, 2);
}

#[test]
fn identifiers_of_a_renamed_agent_are_inferred_by_its_name() {
    let mut set = correct();
    let mut wanted = wanted();
    wanted.identity.app = "org.example.agent".parse().unwrap();
    wanted.identity.extension = "org.example.agent.filter".parse().unwrap();
    let file = profile::write(&wanted).files.swap_remove(0);
    let value = document::read(&file.contents).unwrap().value;
    set.top = value.as_dictionary().unwrap().clone();
    set.is_told = false;
    let report = set.check();
    assert_eq!(names(&report), ["inferred"]);
    let message = &report.findings[0].message;
    for part in ["org.example.agent\"", "org.example.agent.filter", TEAM] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_near_miss_is_named() {
    let mut set = correct();
    self::set(set.filter(), "FilterSocket", true);
    let report = set.check();
    assert!(
        report.findings[0].advice.contains("FilterSockets"),
        "{report:?}"
    );
}

#[test]
fn what_others_wrote_reaches_no_terminal_as_it_is() {
    let mut set = correct();
    let hostile = format!("\u{1b}[2J\n\u{202e}{}", "x".repeat(100_000));
    self::set(set.filter(), &hostile, true);
    self::set(set.filter(), "PluginBundleID", hostile.clone());
    self::set(set.filter(), REQUIREMENT, hostile.clone());
    self::set(set.of(DOMAIN), "PayloadIdentifier", hostile);
    for finding in set.check().findings {
        let text = format!("{:?} {}{}", finding.place, finding.message, finding.advice);
        assert!(text.len() < 2_000, "{text}");
        for text in [&finding.message, &finding.advice] {
            let is_safe = |it: char| !it.is_control() && it != '\u{202e}';
            assert!(text.chars().all(is_safe), "{text}");
        }
    }
}

#[test]
fn a_file_full_of_nonsense_takes_no_more_than_a_look_at_each_part() {
    const MANY: usize = 5_000;
    let mut set = correct();
    for number in 0..MANY {
        self::set(set.filter(), &format!("Key{number}"), true);
    }
    let names: Vec<String> = (0..MANY).map(|it| format!("org.x{it}.y")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for key in ["RemovableSystemExtensions", "NonRemovableSystemExtensions"] {
        self::set(set.policy(), key, by_team(TEAM, &names));
    }
    let teams = names.iter().map(|it| (it.to_string(), list(&[])));
    let teams = Value::Dictionary(teams.collect());
    self::set(set.policy(), "AllowedSystemExtensions", teams);
    self::set(set.policy(), "AllowedTeamIdentifiers", list(&names));
    let begun = std::time::Instant::now();
    let report = set.check();
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert!(report.left_off > 4 * MANY, "{}", report.left_off);
    // A second at most where nothing else runs; it would be hours if parts were compared in pairs.
    assert!(begun.elapsed().as_secs() < 120);
}

#[test]
fn thousands_of_mistakes_are_counted_and_not_all_told() {
    let mut set = correct();
    for number in 0..5_000 {
        self::set(set.filter(), &format!("Key{number}"), true);
    }
    let report = set.check();
    assert_eq!(report.findings.len() + report.left_off, 5_000);
    assert!(report.findings.len() <= FINDINGS_MAX);
}
