//! Applies a policy to one record after the other, remembers what that needs, and counts.

use crate::fields::FieldSet;
use crate::plan::Plan;
use crate::pseudonym::PseudonymKey;
use crate::slots::Slots;
use crate::treat::Treatment;
use crate::{Policy, RULES_MAX};
use record::{
    Connection, ConnectionId, NoticeKind, Phase, PolicyAction, PolicyCounts, PolicyField, Process,
    Record, RuleCount, Stamp, Tally, Treated,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is as it was.
    Kept,
    /// It is to be kept as it is now; [`Connection::treated`] says by which rules.
    Changed,
    /// It is not to be kept, because of the rule of this number, counted from 1.
    Dropped(u8),
}

/// What may be shown of a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It as it is now, and how much passes.
    WithTraffic,
    /// It as it is now, but neither how much passes nor when.
    WithoutTraffic,
    /// Nothing: its record would be dropped.
    Nothing,
}

/// A policy at work.
///
/// The decision about a record depends on the record, the policy and the key alone, with one
/// exception: what was opened is closed. Where a rule would drop the close of a connection whose
/// open was kept, because a name came late or another policy came, the close is kept as an outline,
/// without any part that a rule could name.
#[derive(Debug, Default)]
pub struct Engine {
    policy: Option<Arc<Policy>>,
    key: Option<PseudonymKey>,
    /// The rules that match a process.
    matching: Slots<(Arc<Process>, u128)>,
    /// By the rules that match.
    plans: FxHashMap<u128, Arc<Plan>>,
    treated: Slots<TreatedProcess>,
    /// Connections whose open was kept and whose close was not seen.
    told: FxHashSet<ConnectionId>,
    closes_dropped: u64,
    /// Connections of the aggregates that were dropped.
    aggregated_dropped: u64,
    counts: Counts,
}

#[derive(Debug)]
struct TreatedProcess {
    original: Arc<Process>,
    plan: Arc<Plan>,
    kept: Arc<Process>,
    changed: FieldSet,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    since: Option<Stamp>,
    records: u64,
    dropped: u64,
    changed: u64,
    /// By rule: dropped and changed.
    rules: Vec<(u64, u64)>,
}

/// Plans that are remembered; policies have few, as most rules match together.
const PLANS_MAX: usize = 4_096;

impl Engine {
    /// Puts `policy` in force from the next record on; `None` keeps everything. What was counted
    /// for the one before must have been taken already.
    pub fn set_policy(&mut self, policy: Option<Arc<Policy>>, now: Stamp) {
        self.policy = policy;
        self.counts = Counts {
            since: Some(now),
            rules: vec![(0, 0); RULES_MAX],
            ..Counts::default()
        };
        self.forget();
    }

    /// Makes pseudonyms under `key` from the next record on. Without a key, what should get a
    /// pseudonym is left out.
    pub fn set_key(&mut self, key: Option<PseudonymKey>) {
        self.key = key;
        self.forget();
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Looks at a record before anything is written, and changes in it what the policy says.
    pub fn apply(&mut self, record: &mut Record) -> Decision {
        let connection = match record {
            Record::Notice(notice) => {
                self.settle(&mut notice.kind);
                return Decision::Kept;
            }
            Record::Connection(connection) => connection,
        };
        let decision = match self.policy.clone() {
            Some(policy) => self.judge(&policy, connection),
            None => Decision::Kept,
        };
        self.remember(connection, &decision);
        decision
    }

    /// Changes a live connection as the record of an update would be, and says what may be shown of
    /// it. Nothing is counted or remembered, because nothing is recorded.
    pub fn show(&mut self, connection: &mut Connection) -> Shown {
        let Some(policy) = self.policy.clone() else {
            return Shown::WithTraffic;
        };
        let matching = self.matching(&policy, connection);
        if matching == 0 {
            return Shown::WithTraffic;
        }
        let plan = self.plan(&policy, matching);
        if plan.drops.is_some() {
            return Shown::Nothing;
        }
        if !plan.is_empty {
            connection.treated = self.treat(&plan, connection);
        }
        match plan.effect(PolicyField::Traffic) {
            Some(_) => Shown::WithoutTraffic,
            None => Shown::WithTraffic,
        }
    }

    /// Corrects the books of the flow table, which does not know what was dropped after it.
    fn settle(&self, kind: &mut NoticeKind) {
        let Some(tally) = kind.tally_mut() else {
            return;
        };
        let Tally {
            closes_recorded,
            closes_aggregated,
            closes_dropped,
            ..
        } = tally;
        let dropped = self.closes_dropped.min(*closes_recorded);
        *closes_recorded -= dropped;
        let aggregated = self.aggregated_dropped.min(*closes_aggregated);
        *closes_aggregated -= aggregated;
        *closes_dropped += dropped + aggregated;
    }

    /// As [`Engine::apply`], but without any memory of other records: the same record always comes
    /// out the same. For records that were written already, of which some may be looked at twice,
    /// or alone. The books that notices tell are left as they are.
    pub fn apply_alone(&mut self, record: &mut Record) -> Decision {
        let Record::Connection(connection) = record else {
            return Decision::Kept;
        };
        let Some(policy) = self.policy.clone() else {
            return Decision::Kept;
        };
        let was_told = self.told.remove(&connection.id);
        let decision = self.judge(&policy, connection);
        if was_told {
            self.told.insert(connection.id);
        }
        decision
    }

    fn judge(&mut self, policy: &Policy, connection: &mut Connection) -> Decision {
        self.counts.records += 1;
        let matching = self.matching(policy, connection);
        if matching == 0 {
            return Decision::Kept;
        }
        let plan = self.plan(policy, matching);
        if let Some(rule) = plan.drops {
            return self.dropped(rule, connection);
        }
        if plan.is_empty {
            return Decision::Kept;
        }
        let Some(marks) = self.treat(&plan, connection) else {
            return Decision::Kept;
        };
        self.counts.changed_by(&marks);
        connection.treated = Some(marks);
        Decision::Changed
    }

    /// The rules that match, a bit each. A rule about a process matches when the process that made
    /// the connection fits, or the one on whose behalf.
    fn matching(&mut self, policy: &Policy, connection: &Connection) -> u128 {
        let rest = policy.matcher.rest(connection);
        if rest == 0 {
            return 0;
        }
        let Some(process) = &connection.process else {
            return rest & policy.matcher.process(None);
        };
        let mut by_process = self.by_process(policy, process);
        if let Some(responsible) = &connection.responsible {
            by_process |= self.by_process(policy, responsible);
        }
        rest & by_process
    }

    fn by_process(&mut self, policy: &Policy, process: &Arc<Process>) -> u128 {
        let slot = self.matching.at(process, 0);
        match slot {
            Some((known, rules)) if Arc::ptr_eq(known, process) => *rules,
            Some(_) | None => {
                let rules = policy.matcher.process(Some(process));
                *slot = Some((Arc::clone(process), rules));
                rules
            }
        }
    }

    fn plan(&mut self, policy: &Policy, matching: u128) -> Arc<Plan> {
        if let Some(plan) = self.plans.get(&matching) {
            return Arc::clone(plan);
        }
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        let plan = Arc::new(Plan::new(&policy.rules, matching, self.key.is_some()));
        self.plans.insert(matching, Arc::clone(&plan));
        plan
    }

    fn treat(&mut self, plan: &Arc<Plan>, connection: &mut Connection) -> Option<Arc<[Treated]>> {
        let key = self.key.clone();
        let treatment = Treatment {
            plan,
            key: key.as_ref(),
        };
        let mut changed = treatment.connection(connection);
        if plan.touches_processes {
            changed = changed.with(self.processes(plan, &treatment, connection));
        }
        treatment.marks(changed)
    }

    fn processes(
        &mut self,
        plan: &Arc<Plan>,
        treatment: &Treatment<'_>,
        connection: &mut Connection,
    ) -> FieldSet {
        if plan.drops_process() {
            let known = [
                connection.process.take().is_some(),
                connection.responsible.take().is_some(),
                connection.closer_pid.take().is_some(),
            ];
            return match known.contains(&true) {
                true => FieldSet::of(PolicyField::Process),
                false => FieldSet::EMPTY,
            };
        }
        let mut changed = FieldSet::EMPTY;
        if treatment.drops(PolicyField::Responsible) && connection.responsible.take().is_some() {
            changed = FieldSet::of(PolicyField::Responsible);
        }
        let both = [&mut connection.process, &mut connection.responsible];
        for process in both.into_iter().flatten() {
            let (kept, what) = self.process(plan, treatment, process);
            *process = kept;
            changed = changed.with(what);
        }
        changed
    }

    /// One process makes many connections, and is put together once.
    fn process(
        &mut self,
        plan: &Arc<Plan>,
        treatment: &Treatment<'_>,
        process: &Arc<Process>,
    ) -> (Arc<Process>, FieldSet) {
        let slot = self.treated.at(process, Arc::as_ptr(plan) as usize >> 4);
        if let Some(known) = slot
            && Arc::ptr_eq(&known.original, process)
            && Arc::ptr_eq(&known.plan, plan)
        {
            return (Arc::clone(&known.kept), known.changed);
        }
        let (kept, changed) = treatment.process(process);
        let kept = match changed.is_empty() {
            true => Arc::clone(process),
            false => Arc::new(kept),
        };
        *slot = Some(TreatedProcess {
            original: Arc::clone(process),
            plan: Arc::clone(plan),
            kept: Arc::clone(&kept),
            changed,
        });
        (kept, changed)
    }

    fn dropped(&mut self, rule: u8, connection: &mut Connection) -> Decision {
        let is_close = matches!(connection.phase, Phase::Close(_));
        if !is_close || !self.told.contains(&connection.id) {
            self.counts.dropped_by(rule);
            match &connection.aggregate {
                Some(aggregate) => self.aggregated_dropped += aggregate.connections,
                None => self.closes_dropped += u64::from(is_close),
            }
            return Decision::Dropped(rule);
        }
        let plan = Arc::new(Plan::outline(rule));
        self.treat(&plan, connection);
        let mark = Treated {
            field: PolicyField::Record,
            action: PolicyAction::Drop,
            rule,
        };
        connection.treated = Some([mark].into());
        self.counts.changed_by(&[mark]);
        Decision::Changed
    }

    fn remember(&mut self, connection: &Connection, decision: &Decision) {
        match connection.phase {
            Phase::Open | Phase::Update if !matches!(decision, Decision::Dropped(_)) => {
                self.told.insert(connection.id);
            }
            Phase::Open | Phase::Update => {}
            Phase::Close(_) => {
                self.told.remove(&connection.id);
            }
        }
    }

    fn forget(&mut self) {
        self.matching.clear();
        self.plans.clear();
        self.treated.clear();
    }

    /// What was done since the last call, or since the policy came; `None` where there is no policy
    /// or no record came.
    pub fn take_counts(&mut self, now: Stamp) -> Option<PolicyCounts> {
        let policy = self.policy.as_ref()?;
        if self.counts.records == 0 {
            return None;
        }
        let next = Counts {
            since: Some(now),
            rules: vec![(0, 0); RULES_MAX],
            ..Counts::default()
        };
        let counts = std::mem::replace(&mut self.counts, next);
        let rules = counts.rules.iter().zip(1u8..);
        let rules = rules.filter(|((dropped, changed), _)| dropped + changed > 0);
        Some(PolicyCounts {
            since: counts.since.unwrap_or(now),
            hash: policy.hash(),
            records: counts.records,
            dropped: counts.dropped,
            changed: counts.changed,
            rules: rules
                .map(|((dropped, changed), rule)| RuleCount {
                    rule,
                    dropped: *dropped,
                    changed: *changed,
                })
                .collect(),
        })
    }
}

impl Counts {
    fn dropped_by(&mut self, rule: u8) {
        self.dropped += 1;
        self.rules[usize::from(rule) - 1].0 += 1;
    }

    /// Each rule once, however many parts it changed.
    fn changed_by(&mut self, marks: &[Treated]) {
        self.changed += 1;
        let mut counted = 0u128;
        for mark in marks {
            let rule = usize::from(mark.rule) - 1;
            if counted & 1 << rule == 0 {
                counted |= 1 << rule;
                self.rules[rule].1 += 1;
            }
        }
    }
}
