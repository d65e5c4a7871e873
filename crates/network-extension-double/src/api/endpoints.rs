//! Endpoints in their old form, which Apple deprecated with macOS 15 and still delivers.

use objc2::rc::Retained;
use objc2_foundation::{NSObject, NSString};

use super::{api, framework_class};

framework_class! { value
    #[deprecated = "Use nw_endpoint_t in Network framework instead"]
    NWEndpoint: NSObject
}

framework_class! { value
    #[deprecated = "Use `nw_endpoint_t` in Network framework instead"]
    NWHostEndpoint: NWEndpoint, NSObject
}

api! { NWHostEndpoint;
    #[deprecated = "Use `nw_endpoint_create_host` in Network framework instead"]
    none fn endpointWithHostname_port[endpointWithHostname:port:](
        hostname: &NSString,
        port: &NSString
    ) -> Retained<Self>;
    #[deprecated = "Use `nw_endpoint_get_hostname` in Network framework instead"]
    none fn hostname[hostname](&self) -> Retained<NSString>;
    #[deprecated = "Use `nw_endpoint_get_port` in Network framework instead"]
    none fn port[port](&self) -> Retained<NSString>;
}

framework_class! { value
    #[deprecated = "Use `nw_endpoint_t` in Network framework instead"]
    NWBonjourServiceEndpoint: NWEndpoint, NSObject
}

api! { NWBonjourServiceEndpoint;
    #[deprecated = "Use `nw_endpoint_create_bonjour_service` in Network framework instead"]
    none fn endpointWithName_type_domain[endpointWithName:type:domain:](
        name: &NSString,
        r#type: &NSString,
        domain: &NSString
    ) -> Retained<Self>;
    #[deprecated = "Use `nw_endpoint_get_bonjour_service_name` in Network framework instead"]
    none fn name[name](&self) -> Retained<NSString>;
    #[deprecated = "Use `nw_endpoint_get_bonjour_service_type` in Network framework instead"]
    none fn r#type[type](&self) -> Retained<NSString>;
    #[deprecated = "Use `nw_endpoint_get_bonjour_service_domain` in Network framework instead"]
    none fn domain[domain](&self) -> Retained<NSString>;
}
