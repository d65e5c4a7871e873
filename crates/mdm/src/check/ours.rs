//! What the agent needs, and what the set says of it.

use super::prose::{BY_TEAM, pairs};
use super::set::words;
use super::{Expected, Findings, Payload, Place, requirement, rules, shown};
use crate::identity::{APP, EXTENSION};
use crate::jobs::JOBS;
use crate::requirement::{Clause, parse};
use crate::schema::{FILTER, POLICY, SERVICES};
use crate::value::{Dictionary, Value};

/// Which identifiers are ours.
pub(super) struct Ours {
    pub(super) app: String,
    pub(super) extension: String,
    /// `None` when nothing in the set names one.
    pub(super) team: Option<String>,
}

impl Ours {
    /// As it was told, and for the rest as the set has it.
    pub(super) fn find(
        expected: &Expected<'_>,
        payloads: &[Payload<'_>],
        findings: &mut Findings,
    ) -> Ours {
        let named = named_after_us(payloads);
        let inferred = |key: &str, default: &str| {
            let text = named
                .and_then(|it| it.text(key))
                .filter(|it| !it.is_empty());
            text.unwrap_or(default).to_owned()
        };
        let told = |it: &Option<_>| it.as_ref().map(ToString::to_string);
        let app = told(&expected.app).unwrap_or_else(|| inferred("PluginBundleID", APP));
        let extension = expected.extension.as_ref().map_or_else(
            || inferred("FilterDataProviderBundleIdentifier", EXTENSION),
            ToString::to_string,
        );
        let team = expected.team.as_ref().map(ToString::to_string);
        let team = team.or_else(|| team_in(payloads, &app, &extension));
        let ours = Ours {
            app,
            extension,
            team,
        };
        if expected.app.is_none() || expected.extension.is_none() || expected.team.is_none() {
            ours.tell(findings);
        }
        ours
    }

    fn tell(&self, findings: &mut Findings) {
        let team = match &self.team {
            Some(team) => format!("team {}", shown(team)),
            None => "no team, because none is named with them".to_owned(),
        };
        let message = format!(
            "taken for Conntrail's: app {}, extension {}, {team}",
            shown(&self.app),
            shown(&self.extension)
        );
        let advice = "Name them with --app, --extension and --team to be sure.";
        findings.add(rules::INFERRED, Place::default(), message, advice);
    }

    pub(super) fn has(&self, payload: &Payload<'_>) -> bool {
        let ids = [Some(self.app.as_str()), Some(self.extension.as_str())];
        let keys = ["PluginBundleID", "FilterDataProviderBundleIdentifier"];
        payload.kind == FILTER.name && keys.iter().any(|key| ids.contains(&payload.text(key)))
    }
}

/// A filter that has our name, where none has the identifiers that we have if nobody changed them.
fn named_after_us<'a, 'b>(payloads: &'b [Payload<'a>]) -> Option<&'b Payload<'a>> {
    let default = Ours {
        app: APP.to_owned(),
        extension: EXTENSION.to_owned(),
        team: None,
    };
    if payloads.iter().any(|it| default.has(it)) {
        return None;
    }
    let has_name = |payload: &&Payload<'_>| {
        let names = ["UserDefinedName", "PayloadDisplayName"];
        let mut names = names.iter().filter_map(|key| payload.text(key));
        payload.kind == FILTER.name && names.any(|it| it.to_lowercase().contains("conntrail"))
    };
    payloads.iter().find(has_name)
}

fn team_in(payloads: &[Payload<'_>], app: &str, extension: &str) -> Option<String> {
    let requirements = payloads.iter().filter_map(|payload| {
        let is_ours = payload.text("FilterDataProviderBundleIdentifier") == Some(extension)
            || payload.text("PluginBundleID") == Some(app);
        let key = "FilterDataProviderDesignatedRequirement";
        let requirement = parse(payload.text(key).filter(|_| is_ours)?).ok()?;
        requirement
            .clauses
            .into_iter()
            .find_map(|clause| match clause {
                Clause::Subject { field, value, .. } if field == "OU" => Some(value),
                Clause::Subject { .. }
                | Clause::Identifier(_)
                | Clause::AnchorAppleGeneric
                | Clause::Extension { .. } => None,
            })
    });
    let policies = payloads.iter().filter(|it| it.kind == POLICY.name);
    let mut allowed = policies.flat_map(|it| pairs(it, "AllowedSystemExtensions"));
    let allowed = allowed.find(|(_, id)| *id == extension || *id == app);
    let allowed = allowed.map(|(team, _)| team.to_owned());
    allowed.into_iter().chain(requirements).next()
}

pub(super) fn check(
    ours: &Ours,
    expected: &Expected<'_>,
    payloads: &[Payload<'_>],
    findings: &mut Findings,
) {
    policy(ours, payloads, findings);
    types(ours, payloads, findings);
    let filters: Vec<&Payload<'_>> = payloads.iter().filter(|it| ours.has(it)).collect();
    if filters.is_empty() {
        let message = format!("no content filter is configured for {}", ours.app);
        let advice = "Add the profile conntrail-content-filter; without it a user must allow the \
                      filter, and can switch it off.";
        findings.add(rules::FILTER_MISSING, Place::default(), message, advice);
    }
    for (position, payload) in filters.iter().enumerate() {
        filter(ours, payload, findings);
        if let Some(first) = filters[..position].first() {
            twice(first, payload, findings);
        }
    }
    let knows = |it: crate::schema::Version| it >= SERVICES.macos.introduced;
    if expected.macos.is_none_or(knows) {
        services(ours, payloads, findings);
    }
}

fn policy(ours: &Ours, payloads: &[Payload<'_>], findings: &mut Findings) {
    let policies = || payloads.iter().filter(|it| it.kind == POLICY.name);
    let mut is_allowed = false;
    let mut is_mistaken = false;
    let is_ours = |team: &str| ours.team.as_deref().is_none_or(|it| it == team);
    for payload in policies() {
        let teams = payload
            .keys
            .get("AllowedTeamIdentifiers")
            .and_then(Value::as_list);
        let teams = teams.unwrap_or_default().iter().filter_map(Value::as_text);
        is_allowed |= teams.into_iter().any(|it| ours.team.as_deref() == Some(it));
        for key in BY_TEAM {
            for (team, id) in pairs(payload, key) {
                let place = payload.place(key);
                if id == ours.app && ours.app != ours.extension {
                    is_mistaken = true;
                    app_in_policy(ours, place, findings);
                } else if id == ours.extension && !is_ours(team) {
                    is_mistaken = true;
                    let message = format!("{id} stands under the team {}", shown(team));
                    let team = ours.team.as_deref().unwrap_or_default();
                    let advice = format!("Write it under {team}, who signs it.");
                    findings.add(rules::POLICY_TEAM, place, message, &advice);
                } else if id == ours.extension && *key == "AllowedSystemExtensions" {
                    is_allowed = true;
                }
            }
        }
    }
    let closed = policies().find(|it| it.boolean("AllowUserOverrides") == Some(false));
    match closed {
        _ if is_allowed => {}
        Some(closed) => {
            let message = format!(
                "users may not approve extensions, and no profile allows {}: it cannot load at all",
                ours.extension
            );
            let advice = "Add the profile conntrail-system-extension.";
            let place = closed.place("AllowUserOverrides");
            findings.add(rules::POLICY_CLOSED, place, message, advice);
        }
        None if is_mistaken => {}
        None => {
            let message = format!("no profile allows the system extension {}", ours.extension);
            let advice = "Add the profile conntrail-system-extension; without it an administrator \
                          must approve the extension on every Mac.";
            findings.add(rules::POLICY_MISSING, Place::default(), message, advice);
        }
    }
}

fn app_in_policy(ours: &Ours, place: Place, findings: &mut Findings) {
    let message = format!(
        "the policy names the app {} where an extension must stand",
        ours.app
    );
    let advice = format!("Write the extension, {}.", ours.extension);
    findings.add(rules::POLICY_APP, place, message, &advice);
}

/// A team without an entry may load every type.
fn types(ours: &Ours, payloads: &[Payload<'_>], findings: &mut Findings) {
    const KEY: &str = "AllowedSystemExtensionTypes";
    let Some(team) = &ours.team else { return };
    let limited: Vec<_> = payloads
        .iter()
        .filter(|it| it.kind == POLICY.name)
        .filter(|it| {
            let types = it.keys.get(KEY).and_then(Value::as_dictionary);
            types.is_some_and(|types| types.contains_key(team))
        })
        .collect();
    let allows = |it: &&Payload<'_>| pairs(it, KEY).any(|it| it == (team, "NetworkExtension"));
    if let Some(first) = limited.first().filter(|_| !limited.iter().any(allows)) {
        let message = format!("team {} may not load network extensions", shown(team));
        let advice = "Add NetworkExtension to its types.";
        findings.add(rules::POLICY_TYPE, first.place(KEY), message, advice);
    }
}

fn filter(ours: &Ours, payload: &Payload<'_>, findings: &mut Findings) {
    const APP_KEY: &str = "PluginBundleID";
    const PROVIDER_KEY: &str = "FilterDataProviderBundleIdentifier";
    let mut add = |rule, key: &str, message: String, advice: &str| {
        findings.add(rule, payload.place(key), message, advice);
    };
    if let Some(app) = payload.text(APP_KEY).filter(|it| *it != ours.app) {
        let message = format!(
            "the filter is configured for {}, not for the app",
            shown(app)
        );
        add(
            rules::FILTER_APP,
            APP_KEY,
            message,
            &format!("Write {}.", ours.app),
        );
    }
    if let Some(id) = payload
        .text(PROVIDER_KEY)
        .filter(|it| *it != ours.extension)
    {
        let message = format!("the provider is {}, not the extension", shown(id));
        add(
            rules::FILTER_PROVIDER,
            PROVIDER_KEY,
            message,
            &format!("Write {}.", ours.extension),
        );
    }
    if payload.boolean("FilterSockets") != Some(true) {
        let message = "sockets are not filtered, and nothing else is what Conntrail does";
        add(
            rules::FILTER_SOCKETS,
            "FilterSockets",
            message.to_owned(),
            "Set it to true.",
        );
    }
    if payload.boolean("FilterPackets") == Some(true) {
        let message = "Conntrail has no provider for packets".to_owned();
        add(
            rules::FILTER_PACKETS,
            "FilterPackets",
            message,
            "Set it to false.",
        );
    }
    if payload.text("FilterGrade") != Some("inspector") {
        let message = "the filter is of the grade firewall, before all inspectors: it sees \
                       connections that an inspector then drops, and is asked first";
        let advice = "Write inspector, unless that is what you want.";
        add(
            rules::FILTER_GRADE,
            "FilterGrade",
            message.to_owned(),
            advice,
        );
    }
    requirement::check(ours, payload, findings);
}

fn twice(first: &Payload<'_>, second: &Payload<'_>, findings: &mut Findings) {
    let place = second.place("");
    if first.says() == second.says() {
        let message = format!(
            "the filter is configured in {} too, in the same way",
            words(&first.place(""))
        );
        let advice = "Install one of the two: the combined profile, or the single ones.";
        findings.add(rules::FILTER_TWICE, place, message, advice);
        return;
    }
    let (one, other) = (first.says(), second.says());
    let message = format!(
        "the filter is configured in {} too, in another way: {} differ",
        words(&first.place("")),
        differing(&one, &other)
    );
    let advice = "Keep one of the two: which of them counts is not defined.";
    findings.add(rules::FILTER_CONFLICT, place, message, advice);
}

fn differing(one: &Dictionary, other: &Dictionary) -> String {
    let differs = |key: &&String| one.get(*key) != other.get(*key);
    let new = other.keys().filter(|key| !one.contains_key(*key));
    let keys = one.keys().chain(new).filter(differs).take(10);
    let keys: Vec<String> = keys.map(|it| super::shown_plain(it)).collect();
    keys.join(", ")
}

fn services(ours: &Ours, payloads: &[Payload<'_>], findings: &mut Findings) {
    const KEY: &str = "Rules";
    for job in JOBS {
        let label = format!("{}.{}", ours.app, job.name);
        let mut is_managed = false;
        for payload in payloads.iter().filter(|it| it.kind == SERVICES.name) {
            let rules = payload.keys.get(KEY).and_then(Value::as_list);
            let rules = rules.unwrap_or_default().iter();
            for rule in rules.filter_map(Value::as_dictionary) {
                if !matches(rule, &label, ours) {
                    continue;
                }
                is_managed = true;
                let team = rule.get("TeamIdentifier").and_then(Value::as_text);
                let is_other = |it: &&str| ours.team.as_deref().is_some_and(|team| team != *it);
                if let Some(team) = team.filter(is_other) {
                    let message = format!("the rule for {label} asks for the team {}", shown(team));
                    let advice = "Write the team that signs Conntrail.";
                    findings.add(rules::SERVICE_TEAM, payload.place(KEY), message, advice);
                }
            }
        }
        if !is_managed {
            let message = format!("no rule manages the background job {label}");
            let advice = "Add the profile conntrail-service-management; without it users are told \
                          of the job and can switch it off.";
            findings.add(rules::SERVICE_MISSING, Place::default(), message, advice);
        }
    }
}

fn matches(rule: &Dictionary, label: &str, ours: &Ours) -> bool {
    let text = |key: &str| rule.get(key).and_then(Value::as_text);
    let Some(value) = text("RuleValue") else {
        return false;
    };
    match text("RuleType") {
        Some("Label") => value == label,
        Some("LabelPrefix") => label.starts_with(value),
        Some("BundleIdentifier") => value == ours.app,
        Some("BundleIdentifierPrefix") => ours.app.starts_with(value),
        Some("TeamIdentifier") => ours.team.as_deref() == Some(value),
        Some(_) | None => false,
    }
}
