//! Why a policy does what it does to a record.

use crate::engine::{Decision, Engine};
use crate::matcher::CRITERIA;
use crate::plan::Plan;
use crate::{Action, Policy, PseudonymKey, fields};
use record::{Connection, PolicyAction, PolicyField, Record};
use std::sync::Arc;

/// Why a policy does what it does to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What each rule had to say, in their order.
    pub rules: Vec<Verdict>,
    /// What became of the record.
    pub decision: Decision,
    /// What became of each part, those that were there.
    pub parts: Vec<Part>,
}

/// What one rule has to say to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule, counted from 1.
    pub rule: u8,
    /// Its name.
    pub name: String,
    /// Its line in the text.
    pub line: Option<usize>,
    /// What it does, in a word.
    pub action: &'static str,
    /// The criteria that the record does not meet; the rule matches when there are none.
    pub misses: Vec<&'static str>,
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub field: PolicyField,
    /// The rule that decided, and what it did; nothing where it keeps.
    pub decided: Option<(u8, Option<PolicyAction>)>,
    /// As it came.
    pub before: String,
    /// As it is kept.
    pub after: Option<String>,
}

/// Explains what `policy` does to `connection` when it comes alone.
pub fn explain(
    policy: &Arc<Policy>,
    key: Option<&PseudonymKey>,
    connection: &Connection,
) -> Explanation {
    let mut engine = Engine::default();
    engine.set_policy(Some(Arc::clone(policy)), connection.at);
    engine.set_key(key.cloned());
    let mut record = Record::Connection(connection.clone());
    let decision = engine.apply(&mut record);
    let rules = verdicts(policy, connection);
    let matching = rules.iter().filter(|it| it.misses.is_empty());
    let matching = matching.fold(0u128, |bits, it| bits | 1 << (it.rule - 1));
    let plan = Plan::new(&policy.rules, matching, key.is_some());
    let after = match &record {
        Record::Connection(after) if !matches!(decision, Decision::Dropped(_)) => Some(after),
        Record::Connection(_) | Record::Notice(_) => None,
    };
    let parts = PolicyField::ALL.iter().filter_map(|field| {
        let before = fields::shown(connection, *field)?;
        let decided = plan
            .decided_by(*field)
            .map(|rule| (rule, plan.effect(*field).map(|(_, effect)| effect.mark())));
        Some(Part {
            field: *field,
            decided,
            before,
            after: after.and_then(|after| fields::shown(after, *field)),
        })
    });
    Explanation {
        parts: parts.collect(),
        rules,
        decision,
    }
}

fn verdicts(policy: &Policy, connection: &Connection) -> Vec<Verdict> {
    let process = connection.process.as_deref();
    let responsible = connection.responsible.as_deref();
    let mut views = vec![policy.matcher.by_criterion(process, connection)];
    if process.is_some() && responsible.is_some() {
        views.push(policy.matcher.by_criterion(responsible, connection));
    }
    let verdicts = policy.rules.iter().enumerate().map(|(index, rule)| {
        let misses = |view: &crate::matcher::ByCriterion| -> Vec<&'static str> {
            let criteria = view.iter().zip(CRITERIA);
            let missed = criteria.filter(|(rules, _)| **rules & 1 << index == 0);
            missed.map(|(_, name)| name).collect()
        };
        Verdict {
            rule: index as u8 + 1,
            name: rule.name.clone(),
            line: policy.rule_line(index as u8 + 1),
            action: word(rule.action),
            misses: views
                .iter()
                .map(misses)
                .min_by_key(Vec::len)
                .unwrap_or_default(),
        }
    });
    verdicts.collect()
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Drop => "drop",
        Action::Truncate(_) => "truncate",
        Action::Pseudonymise => "pseudonymise",
        Action::Keep => "keep",
    }
}
