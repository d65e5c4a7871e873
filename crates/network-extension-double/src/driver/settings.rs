//! Settings a provider applies, and which flows it is asked about then.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use block2::DynBlock;
use objc2::runtime::AnyObject;
use objc2_foundation::NSError;

use super::answers::{Answer, Failure, answer};
use super::flow::{Endpoint, FlowSpec};
use crate::classes::{lock, rules};
use crate::{NEFilterAction, NEFilterManagerError, NENetworkRuleProtocol, NETrafficDirection};

/// *Documented* in the header of `NEFilterSettings`.
pub const RULES_MAX: usize = 1000;

const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

/// One call of `applySettings:completionHandler:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedSettings {
    /// The rules in their order; none for nil settings.
    pub rules: Vec<Rule>,
    /// What becomes of the rest.
    pub default_action: NEFilterAction,
    /// Whether settings were given at all; nil stands for the default ones.
    pub is_nil: bool,
    /// Whether the system accepts them; if not, the answer is an error, whatever was ordered.
    ///
    /// *Documented*: at most 1000 rules, and at least one if the default is to allow or to drop.
    /// *Not confirmed*: how the refusal shows; here, as error code 1.
    pub is_valid: bool,
}

/// Traffic, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The traffic.
    pub network: NetworkRule,
    /// What becomes of it.
    pub action: NEFilterAction,
}

/// Which traffic a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRule {
    /// Address (or name) and port of the remote end; any if none.
    pub remote: Option<(String, String)>,
    /// How many bits of the remote address count.
    pub remote_prefix: usize,
    /// Address and port of the local end; any if none.
    pub local: Option<(String, String)>,
    /// How many bits of the local address count.
    pub local_prefix: usize,
    /// Which protocol.
    pub protocol: NENetworkRuleProtocol,
    /// Which direction.
    pub direction: NETrafficDirection,
    /// The remote end is a name.
    pub is_by_name: bool,
}

/// Who decides about a flow.
pub(super) enum Consulted {
    Provider,
    Nobody(NEFilterAction),
}

static ORDERED: Mutex<Answer> = Mutex::new(Answer::OK);

static APPLIED: Mutex<Vec<AppliedSettings>> = Mutex::new(Vec::new());

static IN_FORCE: Mutex<Option<AppliedSettings>> = Mutex::new(None);

static ANY_COVERS_RAW: AtomicBool = AtomicBool::new(true);

/// From now on `applySettings:completionHandler:` is answered like this.
///
/// With success the settings are in force just before the block is called, and decide about the
/// flows of [`Provider::offer`](super::Provider::offer), as *documented* in the headers of
/// `NEFilterSettings` and `NENetworkRule`:
///
/// - The first rule that matches decides; otherwise the default action.
/// - Loopback is allowed unless a rule names a loopback network; the default cannot change that.
/// - A rule without networks, or with `0.0.0.0` or `::`, matches everything but loopback.
/// - Port 0 or none is any port.
/// - Without settings, or with nil: no rules, and the provider is asked.
pub fn answer_apply_settings(answer: Answer) {
    *lock(&ORDERED) = answer;
}

/// Every call of `applySettings:completionHandler:`, oldest first.
pub fn applied_settings() -> Vec<AppliedSettings> {
    lock(&APPLIED).clone()
}

/// The settings in force; none are the default ones.
pub fn settings_in_force() -> Option<AppliedSettings> {
    lock(&IN_FORCE).clone()
}

/// Whether a rule for any protocol matches what is neither TCP nor UDP.
///
/// *Not confirmed*: the header speaks of all TCP and UDP traffic. After a reset it does.
pub fn let_any_protocol_cover_raw(covers: bool) {
    ANY_COVERS_RAW.store(covers, Ordering::Relaxed);
}

pub(crate) fn settings_applied(
    settings: Option<&AnyObject>,
    done: &DynBlock<dyn Fn(*mut NSError)>,
) {
    let applied = describe(settings);
    let mut ordered = *lock(&ORDERED);
    if !applied.is_valid {
        let code = NEFilterManagerError::ConfigurationInvalid.0;
        let domain = "NEFilterErrorDomain";
        ordered.failure = Some(Failure { domain, code });
    }
    lock(&APPLIED).push(applied.clone());
    answer(ordered, done, move || *lock(&IN_FORCE) = Some(applied));
}

pub(super) fn reset() {
    *lock(&ORDERED) = Answer::OK;
    lock(&APPLIED).clear();
    *lock(&IN_FORCE) = None;
    ANY_COVERS_RAW.store(true, Ordering::Relaxed);
}

/// Who decides about a flow, by the settings in force.
pub(super) fn consulted(spec: &FlowSpec) -> Consulted {
    let in_force = lock(&IN_FORCE);
    let rules = in_force.iter().flat_map(|settings| &settings.rules);
    let mut matching = rules.filter(|rule| rule.network.matches(spec));
    let action = match matching.next() {
        Some(rule) => rule.action,
        None if is_loopback(spec) => NEFilterAction::Allow,
        None => in_force
            .as_ref()
            .map_or(NEFilterAction::FilterData, |settings| {
                settings.default_action
            }),
    };
    match action {
        NEFilterAction::FilterData => Consulted::Provider,
        decided => Consulted::Nobody(decided),
    }
}

fn describe(settings: Option<&AnyObject>) -> AppliedSettings {
    let (rules, default_action) = match settings {
        Some(settings) => rules::described(settings),
        None => (Vec::new(), NEFilterAction::FilterData),
    };
    let needs_rule = [NEFilterAction::Allow, NEFilterAction::Drop].contains(&default_action);
    AppliedSettings {
        is_valid: rules.len() <= RULES_MAX && !(needs_rule && rules.is_empty()),
        is_nil: settings.is_none(),
        default_action,
        rules,
    }
}

fn is_loopback(spec: &FlowSpec) -> bool {
    let ends = [&spec.remote, &spec.local];
    ends.into_iter()
        .filter_map(address)
        .any(|address| address.is_loopback())
}

fn address(end: &Option<Endpoint>) -> Option<IpAddr> {
    match end {
        Some(Endpoint::Host { address, .. }) => address.split('%').next()?.parse().ok(),
        Some(Endpoint::Service { .. }) | None => None,
    }
}

fn port(end: &Option<Endpoint>) -> Option<&str> {
    match end {
        Some(Endpoint::Host { port, .. }) => Some(port),
        Some(Endpoint::Service { .. }) | None => None,
    }
}

impl NetworkRule {
    fn matches(&self, spec: &FlowSpec) -> bool {
        let direction = [NETrafficDirection::Any, spec.direction].contains(&self.direction);
        direction && self.matches_protocol(spec) && self.matches_ends(spec)
    }

    fn matches_protocol(&self, spec: &FlowSpec) -> bool {
        let is_raw = ![IPPROTO_TCP, IPPROTO_UDP].contains(&spec.protocol);
        match self.protocol {
            NENetworkRuleProtocol::TCP => spec.protocol == IPPROTO_TCP,
            NENetworkRuleProtocol::UDP => spec.protocol == IPPROTO_UDP,
            _ => !is_raw || ANY_COVERS_RAW.load(Ordering::Relaxed),
        }
    }

    fn matches_ends(&self, spec: &FlowSpec) -> bool {
        if self.is_by_name {
            return self.matches_name(spec);
        }
        let names_loopback = [&self.remote, &self.local]
            .into_iter()
            .flatten()
            .any(|(host, _)| {
                host.parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
            });
        if is_loopback(spec) && !names_loopback {
            return false;
        }
        covers(&self.remote, self.remote_prefix, &spec.remote)
            && covers(&self.local, self.local_prefix, &spec.local)
    }

    /// A name of one label is that host; a longer one is a domain with all its hosts.
    fn matches_name(&self, spec: &FlowSpec) -> bool {
        let (Some((name, wanted)), Some(host)) = (&self.remote, &spec.hostname) else {
            return false;
        };
        let is_below = name.contains('.')
            && host
                .strip_suffix(name.as_str())
                .is_some_and(|rest| rest.ends_with('.'));
        let is_port = is_any_port(wanted) || port(&spec.remote) == Some(wanted);
        (host == name || is_below) && is_port
    }
}

fn is_any_port(port: &str) -> bool {
    port.is_empty() || port == "0"
}

/// Whether a network with a port covers one end of a flow; no network covers everything.
fn covers(network: &Option<(String, String)>, prefix: usize, end: &Option<Endpoint>) -> bool {
    let Some((network, wanted)) = network else {
        return true;
    };
    let Ok(network) = network.parse::<IpAddr>() else {
        return false;
    };
    if !is_any_port(wanted) && port(end) != Some(wanted) {
        return false;
    }
    if network.is_unspecified() {
        return true;
    }
    match (network, address(end)) {
        (IpAddr::V4(network), Some(IpAddr::V4(address))) => is_same_prefix(
            network.to_bits().into(),
            address.to_bits().into(),
            prefix,
            32,
        ),
        (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
            is_same_prefix(network.to_bits(), address.to_bits(), prefix, 128)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), Some(_) | None) => false,
    }
}

fn is_same_prefix(one: u128, other: u128, prefix: usize, bits: usize) -> bool {
    let ignored = bits.saturating_sub(prefix) as u32;
    one.checked_shr(ignored) == other.checked_shr(ignored)
}
