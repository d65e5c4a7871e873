//! The filter's configuration, and who keeps it.

use block2::DynBlock;
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2_foundation::{NSData, NSDictionary, NSError, NSObject, NSString};

use super::{NEFilterManagerGrade, api, framework_class};

// SAFETY: the double exports constants of these names and types.
unsafe extern "C" {
    pub static NEFilterErrorDomain: &'static NSString;
    pub static NEFilterConfigurationDidChangeNotification: &'static NSString;
}

framework_class! { NEFilterManager: NSObject }

api! { NEFilterManager;
    none fn sharedManager[sharedManager]() -> Retained<NEFilterManager>;
    none fn loadFromPreferencesWithCompletionHandler[loadFromPreferencesWithCompletionHandler:](
        &self,
        completion_handler: &DynBlock<dyn Fn(*mut NSError)>
    );
    none fn removeFromPreferencesWithCompletionHandler
        [removeFromPreferencesWithCompletionHandler:](
        &self,
        completion_handler: &DynBlock<dyn Fn(*mut NSError)>
    );
    none fn saveToPreferencesWithCompletionHandler[saveToPreferencesWithCompletionHandler:](
        &self,
        completion_handler: &DynBlock<dyn Fn(*mut NSError)>
    );
    none fn localizedDescription[localizedDescription](&self) -> Option<Retained<NSString>>;
    none fn setLocalizedDescription[setLocalizedDescription:](
        &self,
        localized_description: Option<&NSString>
    );
    none fn providerConfiguration[providerConfiguration](
        &self
    ) -> Option<Retained<NEFilterProviderConfiguration>>;
    none fn setProviderConfiguration[setProviderConfiguration:](
        &self,
        provider_configuration: Option<&NEFilterProviderConfiguration>
    );
    none fn isEnabled[isEnabled](&self) -> bool;
    none fn setEnabled[setEnabled:](&self, enabled: bool);
    none fn grade[grade](&self) -> NEFilterManagerGrade;
    none fn setGrade[setGrade:](&self, grade: NEFilterManagerGrade);
    none fn disableEncryptedDNSSettings[disableEncryptedDNSSettings](&self) -> bool;
    none fn setDisableEncryptedDNSSettings[setDisableEncryptedDNSSettings:](
        &self,
        disable_encrypted_dns_settings: bool
    );
}

framework_class! { value NEFilterProviderConfiguration: NSObject }

api! { NEFilterProviderConfiguration;
    #[deprecated = "filterBrowsers is not supported on macOS"]
    none fn filterBrowsers[filterBrowsers](&self) -> bool;
    #[deprecated = "filterBrowsers is not supported on macOS"]
    none fn setFilterBrowsers[setFilterBrowsers:](&self, filter_browsers: bool);
    none fn filterSockets[filterSockets](&self) -> bool;
    none fn setFilterSockets[setFilterSockets:](&self, filter_sockets: bool);
    none fn filterPackets[filterPackets](&self) -> bool;
    none fn setFilterPackets[setFilterPackets:](&self, filter_packets: bool);
    none fn vendorConfiguration[vendorConfiguration](
        &self
    ) -> Option<Retained<NSDictionary<NSString, AnyObject>>>;
    none fn setVendorConfiguration[setVendorConfiguration:](
        &self,
        vendor_configuration: Option<&NSDictionary<NSString, AnyObject>>
    );
    none fn serverAddress[serverAddress](&self) -> Option<Retained<NSString>>;
    none fn setServerAddress[setServerAddress:](&self, server_address: Option<&NSString>);
    none fn username[username](&self) -> Option<Retained<NSString>>;
    none fn setUsername[setUsername:](&self, username: Option<&NSString>);
    none fn organization[organization](&self) -> Option<Retained<NSString>>;
    none fn setOrganization[setOrganization:](&self, organization: Option<&NSString>);
    none fn passwordReference[passwordReference](&self) -> Option<Retained<NSData>>;
    none fn setPasswordReference[setPasswordReference:](
        &self,
        password_reference: Option<&NSData>
    );
    none fn identityReference[identityReference](&self) -> Option<Retained<NSData>>;
    none fn setIdentityReference[setIdentityReference:](
        &self,
        identity_reference: Option<&NSData>
    );
    none fn filterDataProviderBundleIdentifier[filterDataProviderBundleIdentifier](
        &self
    ) -> Option<Retained<NSString>>;
    none fn setFilterDataProviderBundleIdentifier[setFilterDataProviderBundleIdentifier:](
        &self,
        filter_data_provider_bundle_identifier: Option<&NSString>
    );
    none fn filterPacketProviderBundleIdentifier[filterPacketProviderBundleIdentifier](
        &self
    ) -> Option<Retained<NSString>>;
    none fn setFilterPacketProviderBundleIdentifier[setFilterPacketProviderBundleIdentifier:](
        &self,
        filter_packet_provider_bundle_identifier: Option<&NSString>
    );
}
