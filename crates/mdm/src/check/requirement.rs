//! The requirement of our filter against the one that our signature has.

use super::ours::Ours;
use super::{Findings, Payload, rules, shown};
use crate::requirement::{
    Certificate, Clause, DEVELOPER_ID_APPLICATION, DEVELOPER_ID_AUTHORITY,
    DEVELOPER_RELATIONS_AUTHORITY, Requirement, parse,
};

const KEY: &str = "FilterDataProviderDesignatedRequirement";

pub(super) fn check(ours: &Ours, payload: &Payload<'_>, findings: &mut Findings) {
    let Some(text) = payload.text(KEY).filter(|it| !it.is_empty()) else {
        return;
    };
    let requirement = match parse(text) {
        Ok(requirement) => requirement,
        Err(error) => {
            let message = format!("the requirement could not be compared with ours: {error}");
            let advice = "Compare it by eye with what codesign -d -r- says of the extension.";
            findings.add(
                rules::REQUIREMENT_UNREAD,
                payload.place(KEY),
                message,
                advice,
            );
            return;
        }
    };
    let mut compare = Compare {
        ours,
        payload,
        findings,
    };
    compare.identifier(&requirement);
    compare.team(&requirement);
    compare.certificates(&requirement);
}

struct Compare<'a> {
    ours: &'a Ours,
    payload: &'a Payload<'a>,
    findings: &'a mut Findings,
}

impl Compare<'_> {
    fn add(&mut self, rule: rules::Rule, message: String, advice: &str) {
        self.findings
            .add(rule, self.payload.place(KEY), message, advice);
    }

    fn identifier(&mut self, requirement: &Requirement) {
        let advice = format!("Write identifier \"{}\".", self.ours.extension);
        let identifiers = requirement
            .clauses
            .iter()
            .filter_map(|clause| match clause {
                Clause::Identifier(identifier) => Some(identifier),
                Clause::AnchorAppleGeneric | Clause::Extension { .. } | Clause::Subject { .. } => {
                    None
                }
            });
        let identifiers: Vec<_> = identifiers.collect();
        if identifiers.is_empty() {
            let message = "the requirement names no identifier: any program of the team meets it";
            self.add(rules::REQUIREMENT_WEAK, message.to_owned(), &advice);
        }
        for identifier in identifiers {
            if *identifier == self.ours.extension {
                continue;
            }
            if *identifier == self.ours.app {
                let message = "the requirement is that of the app, and the extension filters";
                self.add(rules::REQUIREMENT_APP, message.to_owned(), &advice);
            } else {
                let message = format!("the requirement names {}", shown(identifier));
                self.add(rules::REQUIREMENT_IDENTIFIER, message, &advice);
            }
        }
    }

    fn team(&mut self, requirement: &Requirement) {
        let team = |clause: &Clause| match clause {
            Clause::Subject {
                certificate: Certificate::Leaf,
                field,
                value,
            } if field == "OU" => Some(value.clone()),
            Clause::Subject { .. }
            | Clause::Identifier(_)
            | Clause::AnchorAppleGeneric
            | Clause::Extension { .. } => None,
        };
        for named in requirement.clauses.iter().filter_map(team) {
            if let Some(team) = self.ours.team.as_ref().filter(|it| **it != named) {
                let message = format!("the requirement asks for the team {}", shown(&named));
                let advice = format!("Write {team}, who signs the extension.");
                self.add(rules::REQUIREMENT_TEAM, message, &advice);
            }
        }
    }

    /// Everything but the values of identifier and team.
    fn certificates(&mut self, requirement: &Requirement) {
        let has = |clause: &Clause| requirement.clauses.iter().any(|it| is_alike(it, clause));
        let is_development = has(&extension(
            Certificate::Issuer,
            DEVELOPER_RELATIONS_AUTHORITY,
        ));
        if is_development {
            let message = "the requirement is that of a build signed for development";
            let advice = "Write that of the release before it goes to the fleet.";
            self.add(rules::REQUIREMENT_DEVELOPMENT, message.to_owned(), advice);
        }
        let expected = match is_development {
            true => vec![
                Clause::AnchorAppleGeneric,
                subject("CN"),
                extension(Certificate::Issuer, DEVELOPER_RELATIONS_AUTHORITY),
            ],
            false => vec![
                Clause::AnchorAppleGeneric,
                extension(Certificate::Issuer, DEVELOPER_ID_AUTHORITY),
                extension(Certificate::Leaf, DEVELOPER_ID_APPLICATION),
                subject("OU"),
            ],
        };
        let lacking: Vec<_> = expected.iter().filter(|it| !has(it)).map(words).collect();
        if !lacking.is_empty() {
            let message = format!("the requirement lacks: {}", lacking.join("; "));
            let advice = "Write the whole requirement, as conntrail profile write does.";
            self.add(rules::REQUIREMENT_WEAK, message, advice);
        }
        let is_extra = |clause: &&Clause| {
            !matches!(clause, Clause::Identifier(_))
                && !expected.iter().any(|it| is_alike(it, clause))
        };
        let extra: Vec<_> = requirement
            .clauses
            .iter()
            .filter(is_extra)
            .map(words)
            .collect();
        if !extra.is_empty() {
            let message = format!(
                "the requirement asks for what our signature does not have: {}",
                extra.join("; ")
            );
            let advice = "Write the requirement as conntrail profile write does.";
            self.add(rules::REQUIREMENT_EXTRA, message, advice);
        }
    }
}

fn extension(certificate: Certificate, oid: &str) -> Clause {
    Clause::Extension {
        certificate,
        oid: oid.to_owned(),
    }
}

fn subject(field: &str) -> Clause {
    Clause::Subject {
        certificate: Certificate::Leaf,
        field: field.to_owned(),
        value: String::new(),
    }
}

/// The same clause, whatever value it compares a subject with.
fn is_alike(one: &Clause, other: &Clause) -> bool {
    match (one, other) {
        (
            Clause::Subject {
                certificate: one,
                field: one_field,
                ..
            },
            Clause::Subject {
                certificate: other,
                field: other_field,
                ..
            },
        ) => one == other && one_field == other_field,
        _ => one == other,
    }
}

fn words(clause: &Clause) -> String {
    let text = match clause {
        Clause::Subject {
            certificate, field, ..
        } => format!("certificate {certificate}[subject.{field}]"),
        Clause::Extension { certificate, oid } => format!("certificate {certificate}[field.{oid}]"),
        Clause::Identifier(_) | Clause::AnchorAppleGeneric => clause.to_string(),
    };
    super::shown_plain(&text)
}
