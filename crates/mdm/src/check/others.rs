//! Whatever else the set brings that stands in the path of connections.

use super::ours::Ours;
use super::prose::pairs;
use super::{Findings, Payload, Place, Rule, rules, shown_plain};
use crate::schema::{FILTER, POLICY};
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Filter configurations of one grade that macOS enables at the same time
/// (`NEFilterManager.grade`).
const OF_A_GRADE_MAX: usize = 4;

/// Filters that its kernel takes (`MAX_CONTENT_FILTER` in `bsd/net/content_filter.c`).
const IN_ALL_MAX: usize = 8;

pub(super) fn check(ours: &Ours, payloads: &[Payload<'_>], findings: &mut Findings) {
    for payload in payloads {
        match payload.kind {
            it if it == FILTER.name && !ours.has(payload) => filter(payload, findings),
            it if it == POLICY.name => policy(ours, payload, findings),
            "com.apple.vpn.managed" | "com.apple.vpn.managed.applayer" => vpn(payload, findings),
            "com.apple.relay.managed" => {
                let message = "a relay carries connections of others".to_owned();
                let advice = "Expect the relay's address in place of the one behind it.";
                findings.add(rules::OTHER_PROXY, payload.place(""), message, advice);
            }
            "com.apple.dnsProxy.managed" => {
                let name = payload.text("AppBundleIdentifier").unwrap_or("an app");
                let message = format!("{} answers look-ups of names", shown_plain(name));
                let advice = "Expect queries under its name; macOS runs one DNS proxy at a time.";
                findings.add(rules::OTHER_DNS_PROXY, payload.place(""), message, advice);
            }
            _ => {}
        }
    }
    limits(payloads, findings);
}

fn filter(payload: &Payload<'_>, findings: &mut Findings) {
    let name = payload.text("UserDefinedName").unwrap_or("without a name");
    let plugin = payload.text("PluginBundleID").unwrap_or("no app");
    let grade = payload.text("FilterGrade").unwrap_or("firewall");
    let order = match grade {
        "inspector" => "The order among inspectors is not defined",
        _ => "It is asked before an inspector, which never sees what it drops",
    };
    let message = format!(
        "another filter is configured: {} for {}, grade {}",
        shown_plain(name),
        shown_plain(plugin),
        shown_plain(grade)
    );
    let advice = format!("{order}. Test both together before the roll-out.");
    findings.add(rules::OTHER_FILTER, payload.place(""), message, &advice);
}

fn policy(ours: &Ours, payload: &Payload<'_>, findings: &mut Findings) {
    let mut others: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (team, id) in pairs(payload, "AllowedSystemExtensions") {
        if id != ours.extension && id != ours.app {
            others.entry(team).or_default().insert(shown_plain(id));
        }
    }
    let teams = payload
        .keys
        .get("AllowedTeamIdentifiers")
        .and_then(Value::as_list);
    for team in teams.unwrap_or_default().iter().filter_map(Value::as_text) {
        let is_ours = ours.team.as_deref() == Some(team);
        if !is_ours {
            others.entry(team).or_default().insert("all".to_owned());
        }
    }
    for (team, ids) in others {
        let ids: Vec<String> = ids.into_iter().take(10).collect();
        let message = format!(
            "extensions of team {} may load: {}",
            shown_plain(team),
            ids.join(", ")
        );
        let advice = "Look up whether one of them filters or proxies connections too.";
        findings.add(rules::OTHER_POLICY, payload.place(""), message, advice);
    }
}

fn vpn(payload: &Payload<'_>, findings: &mut Findings) {
    let kind = payload.text("VPNType").unwrap_or("VPN");
    let section = |name: &str| {
        let section = payload.keys.get(name).and_then(Value::as_dictionary)?;
        section.get("ProviderType").and_then(Value::as_text)
    };
    let is_proxy = kind == "TransparentProxy"
        || section("VPN") == Some("app-proxy")
        || section("TransparentProxy").is_some();
    let name = payload
        .text("UserDefinedName")
        .or(payload.text("VPNSubType"));
    let name = shown_plain(name.unwrap_or("without a name"));
    let (rule, message, advice): (Rule, _, _) = match is_proxy {
        true => (
            rules::OTHER_PROXY,
            format!("a proxy carries connections of others: {name}"),
            "Expect each of them twice: of the app, and of the proxy. Filters beside a transparent \
             proxy have known bugs; test both together.",
        ),
        false => (
            rules::OTHER_VPN,
            format!(
                "a VPN is configured: {name}, of the type {}",
                shown_plain(kind)
            ),
            "Expect connections before the tunnel, and the tunnel's own as one more.",
        ),
    };
    findings.add(rule, payload.place(""), message, advice);
}

fn limits(payloads: &[Payload<'_>], findings: &mut Findings) {
    // Two configurations of one app are a mistake of their own, and count once.
    let filters = payloads.iter().filter(|it| it.kind == FILTER.name);
    let filters = filters.map(|it| (it.text("FilterGrade").unwrap_or("firewall"), it));
    let apps: BTreeSet<(&str, Option<&str>)> = filters
        .map(|(grade, it)| (grade, it.text("PluginBundleID")))
        .collect();
    for grade in ["firewall", "inspector"] {
        let number = apps.iter().filter(|(it, _)| *it == grade).count();
        if number > OF_A_GRADE_MAX {
            let message = format!(
                "{number} filters are of the grade {grade}, and macOS runs {OF_A_GRADE_MAX} of one"
            );
            let advice = "Decide which of them a machine gets.";
            findings.add(rules::GRADE_FULL, Place::default(), message, advice);
        }
    }
    if apps.len() > IN_ALL_MAX {
        let message = format!(
            "{} filters are configured, and macOS runs {IN_ALL_MAX}",
            apps.len()
        );
        let advice = "Decide which of them a machine gets.";
        findings.add(rules::FILTERS_FULL, Place::default(), message, advice);
    }
}
