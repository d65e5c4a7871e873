//! Every message of the bindings that no other test sends, once: in a debug build objc2 compares
//! each with the types of the method that answers.

use objc2::rc::{Retained, autoreleasepool};
use objc2::{AnyThread, Message};
use objc2_foundation::{NSArray, NSData, NSString};
use objc2_network_extension::driver::{Flow, FlowSpec, VerdictKind, alone, verdicts_made};
use objc2_network_extension::*;

fn text(text: &str) -> Retained<NSString> {
    NSString::from_str(text)
}

#[test]
fn every_verdict_for_a_new_flow_is_counted_by_its_kind() {
    type Verdict = NEFilterNewFlowVerdict;
    let _alone = alone();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let verdicts = [
            Verdict::allowVerdict(),
            Verdict::dropVerdict(),
            Verdict::needRulesVerdict(),
            Verdict::pauseVerdict(),
            Verdict::remediateVerdictWithRemediationURLMapKey_remediationButtonTextMapKey(
                &text("a"),
                &text("b"),
            ),
            Verdict::URLAppendStringVerdictWithMapKey(&text("a")),
            filter_data_verdict(),
            Verdict::new(),
        ];
        for verdict in verdicts {
            assert!(!verdict.shouldReport());
            assert_eq!(
                verdict.statisticsReportFrequency(),
                NEFilterReportFrequency::None
            );
            verdict.setStatisticsReportFrequency(NEFilterReportFrequency::High);
            assert_eq!(
                verdict.statisticsReportFrequency(),
                NEFilterReportFrequency::High
            );
        }
    });
    let others = VerdictKind::FORBIDDEN
        .iter()
        .filter(|kind| **kind != VerdictKind::Data);
    assert!(others.into_iter().all(|kind| verdicts_made(*kind) == 1));
    assert_eq!(verdicts_made(VerdictKind::Allow), 1);
}

fn filter_data_verdict() -> Retained<NEFilterNewFlowVerdict> {
    /// A shorter name, for a long method.
    type New = NEFilterNewFlowVerdict;
    // SAFETY: this method asks nothing of its callers.
    unsafe {
        New::filterDataVerdictWithFilterInbound_peekInboundBytes_filterOutbound_peekOutboundBytes(
            true,
            1,
            false,
            usize::MAX,
        )
    }
}

#[test]
fn every_other_verdict_is_counted_too() {
    type Verdict = NEFilterDataVerdict;
    let _alone = alone();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let verdicts = [
            Verdict::allowVerdict(),
            Verdict::dropVerdict(),
            Verdict::needRulesVerdict(),
            Verdict::pauseVerdict(),
            Verdict::dataVerdictWithPassBytes_peekBytes(1, 2),
            Verdict::remediateVerdictWithRemediationURLMapKey_remediationButtonTextMapKey(
                None, None,
            ),
        ];
        for verdict in verdicts {
            verdict.setStatisticsReportFrequency(NEFilterReportFrequency::Low);
            assert_eq!(
                verdict.statisticsReportFrequency(),
                NEFilterReportFrequency::Low
            );
        }
        drop([
            NEFilterRemediationVerdict::allowVerdict(),
            NEFilterRemediationVerdict::dropVerdict(),
            NEFilterRemediationVerdict::needRulesVerdict(),
        ]);
        drop(NEFilterControlVerdict::new());
    });
    assert_eq!(verdicts_made(VerdictKind::Data), 6);
    assert_eq!(verdicts_made(VerdictKind::Remediate), 3);
    assert_eq!(verdicts_made(VerdictKind::Blank), 1);
    assert_eq!(verdicts_made(VerdictKind::Allow), 0);
}

#[test]
fn rules_say_what_they_were_made_of() {
    let _alone = alone();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let host = NWHostEndpoint::endpointWithHostname_port(&text("192.0.2.0"), &text("53"));
        let udp = NENetworkRuleProtocol::UDP;
        let network = NENetworkRule::initWithDestinationNetwork_prefix_protocol(
            NENetworkRule::alloc(),
            &host,
            24,
            udp,
        );
        assert_eq!(
            network.matchRemoteEndpoint().unwrap().port().to_string(),
            "53"
        );
        assert_eq!(
            (network.matchRemotePrefix(), network.matchProtocol()),
            (24, udp)
        );
        assert!(network.matchLocalNetwork().is_none());
        assert_eq!(network.matchDirection(), NETrafficDirection::Outbound);
        let name = NWHostEndpoint::endpointWithHostname_port(&text("example.org"), &text("0"));
        let name =
            NENetworkRule::initWithDestinationHost_protocol(NENetworkRule::alloc(), &name, udp);
        assert_eq!(name.matchRemotePrefix(), isize::MAX as usize);
        assert_eq!(name.matchLocalPrefix(), isize::MAX as usize);

        let action = NEFilterAction::Allow;
        let rule =
            NEFilterRule::initWithNetworkRule_action(NEFilterRule::alloc(), &network, action);
        assert_eq!((rule.networkRule(), rule.action()), (network, action));
        let rules = NSArray::from_retained_slice(&[rule]);
        let settings = NEFilterSettings::initWithRules_defaultAction(
            NEFilterSettings::alloc(),
            &rules,
            action,
        );
        assert_eq!(
            (settings.rules().len(), settings.defaultAction()),
            (1, action)
        );
        assert_eq!(
            NEFilterSettings::new().defaultAction(),
            NEFilterAction::FilterData
        );
    });
}

#[test]
fn a_configuration_keeps_every_property() {
    let _alone = alone();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let configuration = NEFilterProviderConfiguration::new();
        configuration.setFilterBrowsers(true);
        configuration.setFilterPackets(true);
        assert!(configuration.filterBrowsers() && configuration.filterPackets());
        assert!(!configuration.filterSockets());
        let (word, data) = (text("word"), NSData::with_bytes(b"data"));
        configuration.setServerAddress(Some(&word));
        configuration.setUsername(Some(&word));
        configuration.setFilterPacketProviderBundleIdentifier(Some(&word));
        configuration.setPasswordReference(Some(&data));
        configuration.setIdentityReference(Some(&data));
        assert_eq!(configuration.serverAddress(), Some(word.clone()));
        assert_eq!(configuration.username(), Some(word.clone()));
        assert_eq!(
            configuration.filterPacketProviderBundleIdentifier(),
            Some(word.clone())
        );
        assert_eq!(configuration.passwordReference(), Some(data.clone()));
        assert_eq!(configuration.identityReference(), Some(data));
        configuration.setUsername(None);
        assert_eq!(configuration.username(), None);
        assert_eq!(configuration.organization(), None);
        assert_eq!(configuration.filterDataProviderBundleIdentifier(), None);
    });
}

#[test]
fn a_manager_keeps_every_property() {
    let _alone = alone();
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let manager = NEFilterManager::sharedManager();
        assert_eq!(manager, NEFilterManager::sharedManager());
        manager.setDisableEncryptedDNSSettings(true);
        assert!(manager.disableEncryptedDNSSettings());
        manager.setGrade(NEFilterManagerGrade::Inspector);
        assert_eq!(manager.grade(), NEFilterManagerGrade::Inspector);
        assert!(manager.providerConfiguration().is_none());
        manager.setLocalizedDescription(Some(&text("words")));
        assert_eq!(manager.localizedDescription(), Some(text("words")));
        assert_eq!(
            NEFilterConfigurationDidChangeNotification.to_string(),
            "NEFilterConfigurationDidChangeNotification"
        );
    });
}

#[test]
fn the_base_class_answers_what_a_filter_does_not_override() {
    let _alone = alone();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let browser = FlowSpec {
        is_browser: true,
        ..FlowSpec::outbound_tcp(2)
    };
    let browser = Flow::new(&browser);
    // SAFETY: these methods ask nothing of their callers.
    autoreleasepool(|_| unsafe {
        let provider = NEFilterDataProvider::new();
        let socket = flow.object().downcast_ref::<NEFilterSocketFlow>().unwrap();
        let bytes = NSData::with_bytes(b"payload");
        drop(provider.handleInboundDataFromFlow_readBytesStartOffset_readBytes(socket, 0, &bytes));
        drop(provider.handleOutboundDataFromFlow_readBytesStartOffset_readBytes(socket, 0, &bytes));
        drop(provider.handleInboundDataCompleteForFlow(socket));
        drop(provider.handleOutboundDataCompleteForFlow(socket));
        drop(provider.handleRemediationForFlow(socket));
        provider.handleRulesChanged();
        let (verdict, any) = (NEFilterDataVerdict::new(), NETrafficDirection::Any);
        provider.updateFlow_usingVerdict_forDirection(socket, &verdict, any);
        assert_eq!(
            objc2_network_extension::driver::forbidden_messages().len(),
            7
        );
        drop(provider.handleNewFlow(socket));

        let browser = browser
            .object()
            .downcast_ref::<NEFilterBrowserFlow>()
            .unwrap();
        assert!(browser.request().is_none() && browser.response().is_none());
        assert!(browser.parentURL().is_none());
        assert!(browser.sourceAppUniqueIdentifier().is_none());
        assert!(browser.sourceAppVersion().is_none());
        assert_eq!(browser.sourceAppIdentifier(), Some(text("com.example.app")));
        assert_eq!(browser.retain().identifier(), browser.identifier());

        let service = NWBonjourServiceEndpoint::endpointWithName_type_domain(
            &text("printer"),
            &text("_ipp._tcp"),
            &text("local."),
        );
        let words = [service.name(), service.r#type(), service.domain()];
        assert_eq!(
            words.map(|word| word.to_string()),
            ["printer", "_ipp._tcp", "local."]
        );
    });
}
