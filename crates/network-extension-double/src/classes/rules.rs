//! Rules and settings.

use objc_double::foundation::{self, returned};
use objc_double::{Id, NS_OBJECT, Strong, class};
use objc2::runtime::{AnyObject, NSZone};

use super::{endpoints, itself, kept};
use crate::driver::{NetworkRule, Rule};
use crate::{NEFilterAction, NENetworkRuleProtocol, NETrafficDirection};

/// What a network rule matches.
pub(crate) struct Match {
    remote: Option<Strong>,
    remote_prefix: usize,
    local: Option<Strong>,
    local_prefix: usize,
    protocol: NENetworkRuleProtocol,
    direction: NETrafficDirection,
    /// The remote end is a name, not an address.
    is_by_name: bool,
}

class! {
    /// Which traffic a rule is about.
    pub(crate) static NE_NETWORK_RULE: Match = "NENetworkRule": NS_OBJECT;

    - "initWithDestinationNetwork:prefix:protocol:"
        (this, network: &AnyObject, prefix: usize, protocol: NENetworkRuleProtocol) -> Id
    {
        let to = Match::to(network, prefix, protocol, false);
        NE_NETWORK_RULE.fill(this, to);
        itself(this)
    }
    - "initWithDestinationHost:protocol:"
        (this, host: &AnyObject, protocol: NENetworkRuleProtocol) -> Id
    {
        // `NSNotFound`, as the header says for rules without an address.
        let to = Match::to(host, isize::MAX as usize, protocol, true);
        NE_NETWORK_RULE.fill(this, to);
        itself(this)
    }
    - "initWithRemoteNetwork:remotePrefix:localNetwork:localPrefix:protocol:direction:"
        (
            this, remote: Option<&AnyObject>, remote_prefix: usize, local: Option<&AnyObject>,
            local_prefix: usize, protocol: NENetworkRuleProtocol, direction: NETrafficDirection,
        ) -> Id
    {
        NE_NETWORK_RULE.fill(this, Match {
            remote: kept(remote),
            remote_prefix,
            local: kept(local),
            local_prefix,
            protocol,
            direction,
            is_by_name: false,
        });
        itself(this)
    }
    - "matchRemoteEndpoint" (this) -> Id { returned(NE_NETWORK_RULE.of(this).remote.as_ref()) }
    - "matchRemotePrefix" (this) -> usize { NE_NETWORK_RULE.of(this).remote_prefix }
    - "matchLocalNetwork" (this) -> Id { returned(NE_NETWORK_RULE.of(this).local.as_ref()) }
    - "matchLocalPrefix" (this) -> usize { NE_NETWORK_RULE.of(this).local_prefix }
    - "matchProtocol" (this) -> NENetworkRuleProtocol { NE_NETWORK_RULE.of(this).protocol }
    - "matchDirection" (this) -> NETrafficDirection { NE_NETWORK_RULE.of(this).direction }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

impl Match {
    fn to(
        remote: &AnyObject,
        remote_prefix: usize,
        protocol: NENetworkRuleProtocol,
        is_by_name: bool,
    ) -> Match {
        Match {
            remote: Some(Strong::to(remote)),
            remote_prefix,
            local: None,
            local_prefix: isize::MAX as usize,
            protocol,
            direction: NETrafficDirection::Outbound,
            is_by_name,
        }
    }

    fn described(&self) -> NetworkRule {
        let host = |end: &Option<Strong>| end.as_ref().map(|end| endpoints::host_of(end));
        NetworkRule {
            remote: host(&self.remote),
            remote_prefix: self.remote_prefix,
            local: host(&self.local),
            local_prefix: self.local_prefix,
            protocol: self.protocol,
            direction: self.direction,
            is_by_name: self.is_by_name,
        }
    }
}

/// Traffic, and what becomes of it.
pub(crate) struct Decision {
    network_rule: Strong,
    action: NEFilterAction,
}

class! {
    /// What is done about some traffic.
    pub(crate) static NE_FILTER_RULE: Decision = "NEFilterRule": NS_OBJECT;

    - "initWithNetworkRule:action:" (this, rule: &AnyObject, action: NEFilterAction) -> Id {
        NE_FILTER_RULE.fill(this, Decision { network_rule: Strong::to(rule), action });
        itself(this)
    }
    - "networkRule" (this) -> Id { NE_FILTER_RULE.of(this).network_rule.clone().returned() }
    - "action" (this) -> NEFilterAction { NE_FILTER_RULE.of(this).action }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

/// Rules in their order, and what becomes of the rest.
pub(crate) struct Settings {
    rules: Strong,
    default_action: NEFilterAction,
}

class! {
    /// What a provider asks the system to do without it.
    pub(crate) static NE_FILTER_SETTINGS: Settings = "NEFilterSettings": NS_OBJECT;

    - "init" (this) -> Id {
        let rules = foundation::array(Vec::new());
        let default_action = NEFilterAction::FilterData;
        NE_FILTER_SETTINGS.fill(this, Settings { rules, default_action });
        itself(this)
    }
    - "initWithRules:defaultAction:" (this, rules: &AnyObject, action: NEFilterAction) -> Id {
        let rules = Strong::to(rules);
        NE_FILTER_SETTINGS.fill(this, Settings { rules, default_action: action });
        itself(this)
    }
    - "rules" (this) -> Id { NE_FILTER_SETTINGS.of(this).rules.clone().returned() }
    - "defaultAction" (this) -> NEFilterAction { NE_FILTER_SETTINGS.of(this).default_action }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

/// Settings as plain values: the rules, and the default action.
pub(crate) fn described(settings: &AnyObject) -> (Vec<Rule>, NEFilterAction) {
    let settings = NE_FILTER_SETTINGS.of(settings);
    let rules = foundation::elements(&settings.rules).iter();
    let rules = rules.map(|rule| {
        let rule = NE_FILTER_RULE.of(rule);
        Rule {
            network: NE_NETWORK_RULE.of(&rule.network_rule).described(),
            action: rule.action,
        }
    });
    (rules.collect(), settings.default_action)
}
