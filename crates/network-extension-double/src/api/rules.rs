//! Rules that decide which flows the provider is asked about.

use objc2::ffi::NSUInteger;
use objc2::rc::{Allocated, Retained};
use objc2_foundation::{NSArray, NSObject};

use super::{
    NEFilterAction, NENetworkRuleProtocol, NETrafficDirection, NWHostEndpoint, api, framework_class,
};

framework_class! { value NENetworkRule: NSObject }

api! { NENetworkRule;
    #[deprecated]
    init fn initWithDestinationNetwork_prefix_protocol
        [initWithDestinationNetwork:prefix:protocol:](
        this: Allocated<Self>,
        network_endpoint: &NWHostEndpoint,
        destination_prefix: NSUInteger,
        protocol: NENetworkRuleProtocol
    ) -> Retained<Self>;
    #[deprecated]
    init fn initWithDestinationHost_protocol[initWithDestinationHost:protocol:](
        this: Allocated<Self>,
        host_endpoint: &NWHostEndpoint,
        protocol: NENetworkRuleProtocol
    ) -> Retained<Self>;
    #[deprecated]
    init fn initWithRemoteNetwork_remotePrefix_localNetwork_localPrefix_protocol_direction
        [initWithRemoteNetwork:remotePrefix:localNetwork:localPrefix:protocol:direction:](
        this: Allocated<Self>,
        remote_network: Option<&NWHostEndpoint>,
        remote_prefix: NSUInteger,
        local_network: Option<&NWHostEndpoint>,
        local_prefix: NSUInteger,
        protocol: NENetworkRuleProtocol,
        direction: NETrafficDirection
    ) -> Retained<Self>;
    #[deprecated]
    none fn matchRemoteEndpoint[matchRemoteEndpoint](&self) -> Option<Retained<NWHostEndpoint>>;
    none fn matchRemotePrefix[matchRemotePrefix](&self) -> NSUInteger;
    #[deprecated]
    none fn matchLocalNetwork[matchLocalNetwork](&self) -> Option<Retained<NWHostEndpoint>>;
    none fn matchLocalPrefix[matchLocalPrefix](&self) -> NSUInteger;
    none fn matchProtocol[matchProtocol](&self) -> NENetworkRuleProtocol;
    none fn matchDirection[matchDirection](&self) -> NETrafficDirection;
}

framework_class! { value NEFilterRule: NSObject }

api! { NEFilterRule;
    init fn initWithNetworkRule_action[initWithNetworkRule:action:](
        this: Allocated<Self>,
        network_rule: &NENetworkRule,
        action: NEFilterAction
    ) -> Retained<Self>;
    none fn networkRule[networkRule](&self) -> Retained<NENetworkRule>;
    none fn action[action](&self) -> NEFilterAction;
}

framework_class! { value NEFilterSettings: NSObject }

api! { NEFilterSettings;
    init fn initWithRules_defaultAction[initWithRules:defaultAction:](
        this: Allocated<Self>,
        rules: &NSArray<NEFilterRule>,
        default_action: NEFilterAction
    ) -> Retained<Self>;
    none fn rules[rules](&self) -> Retained<NSArray<NEFilterRule>>;
    none fn defaultAction[defaultAction](&self) -> NEFilterAction;
}
