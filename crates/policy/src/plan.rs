//! What the rules that match a record decide for each of its parts.

use crate::fields::{self, FieldSet};
use crate::{Action, Rule, Truncation};
use record::{PolicyAction, PolicyField};

/// What is done to a record, and by which rules, counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The rule that drops the record.
    pub(crate) drops: Option<u8>,
    /// By the number of the part.
    effects: [Option<(u8, Effect)>; FIELDS],
    /// Who decided, whether anything is done or not; zero is nobody.
    decided_by: [u8; FIELDS],
    /// Something is done to a part of a process.
    pub(crate) touches_processes: bool,
    /// Nothing is done.
    pub(crate) is_empty: bool,
}

const FIELDS: usize = 20;

/// What is done to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Drop,
    Truncate(Truncation),
    Pseudonymise,
}

impl Effect {
    pub(crate) fn mark(self) -> PolicyAction {
        match self {
            Effect::Drop => PolicyAction::Drop,
            Effect::Truncate(_) => PolicyAction::Truncate,
            Effect::Pseudonymise => PolicyAction::Pseudonymise,
        }
    }
}

impl Plan {
    /// `matching` has a bit for each rule that matches. Without a key what should get a pseudonym
    /// is left out.
    pub(crate) fn new(rules: &[Rule], matching: u128, has_key: bool) -> Plan {
        let mut plan = Plan::default();
        let mut decided = FieldSet::EMPTY;
        for (index, rule) in rules.iter().enumerate() {
            if matching & 1 << index == 0 {
                continue;
            }
            let number = index as u8 + 1;
            let newly = rule.fields.without(decided);
            if newly.has(PolicyField::Record) {
                plan.decide(FieldSet::ALL.without(decided), number, None);
                plan.drops = (rule.action != Action::Keep).then_some(number);
                break;
            }
            let told_by = match rule.action {
                Action::Keep => FieldSet::EMPTY,
                Action::Drop | Action::Truncate(_) | Action::Pseudonymise => newly
                    .iter()
                    .map(fields::implied)
                    .fold(newly, FieldSet::with),
            };
            let newly = newly.with(told_by.without(decided));
            plan.decide(newly, number, Some((rule.action, has_key)));
            decided = decided.with(newly);
        }
        plan.is_empty = plan.drops.is_none() && plan.effects.iter().all(Option::is_none);
        plan
    }

    /// Everything but the outline is left out, because of `rule`.
    pub(crate) fn outline(rule: u8) -> Plan {
        let mut plan = Plan::default();
        let parts = FieldSet::ALL.without(FieldSet::of(PolicyField::Record));
        plan.decide(parts, rule, Some((Action::Drop, false)));
        plan
    }

    /// What is done to `field`, and by whom.
    pub(crate) fn effect(&self, field: PolicyField) -> Option<(u8, Effect)> {
        self.effects[field.number() as usize]
    }

    /// Who decided about `field`.
    pub(crate) fn decided_by(&self, field: PolicyField) -> Option<u8> {
        Some(self.decided_by[field.number() as usize]).filter(|it| *it > 0)
    }

    /// The process is left out as a whole: nothing of it is kept, shortened or replaced by a rule
    /// that stands before.
    pub(crate) fn drops_process(&self) -> bool {
        let parts = fields::whole(PolicyField::Process);
        parts
            .iter()
            .all(|part| matches!(self.effect(part), Some((_, Effect::Drop))))
    }

    fn decide(&mut self, fields: FieldSet, rule: u8, action: Option<(Action, bool)>) {
        for field in fields.iter() {
            let place = field.number() as usize;
            self.decided_by[place] = rule;
            let effect = action.and_then(|(action, has_key)| effect(field, action, has_key));
            self.effects[place] = effect.map(|it| (rule, it));
            self.touches_processes |= effect.is_some() && is_of_process(field);
        }
    }
}

/// What is implied by a rule that shortens or replaces, but can be neither, is left out.
fn effect(field: PolicyField, action: Action, has_key: bool) -> Option<Effect> {
    let is_possible = fields::allows(field, action);
    match action {
        Action::Keep => None,
        Action::Drop => Some(Effect::Drop),
        Action::Truncate(truncation) if is_possible => Some(Effect::Truncate(truncation)),
        Action::Pseudonymise if is_possible && has_key => Some(Effect::Pseudonymise),
        Action::Truncate(_) | Action::Pseudonymise => Some(Effect::Drop),
    }
}

fn is_of_process(field: PolicyField) -> bool {
    fields::whole(PolicyField::Process).has(field) || field == PolicyField::Container
}
