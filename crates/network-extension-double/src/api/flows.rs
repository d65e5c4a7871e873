//! Flows, and reports about them.

use std::ffi::c_int;

use objc2::ffi::NSUInteger;
use objc2::rc::Retained;
use objc2_foundation::{NSData, NSObject, NSString, NSURL, NSURLRequest, NSURLResponse, NSUUID};

use super::{
    NEFilterAction, NEFilterReportEvent, NETrafficDirection, NWEndpoint, api, framework_class,
};

framework_class! { value NEFilterFlow: NSObject }

api! { NEFilterFlow;
    none fn URL[URL](&self) -> Option<Retained<NSURL>>;
    none fn sourceAppUniqueIdentifier[sourceAppUniqueIdentifier](&self) -> Option<Retained<NSData>>;
    none fn sourceAppIdentifier[sourceAppIdentifier](&self) -> Option<Retained<NSString>>;
    none fn sourceAppVersion[sourceAppVersion](&self) -> Option<Retained<NSString>>;
    none fn direction[direction](&self) -> NETrafficDirection;
    none fn sourceAppAuditToken[sourceAppAuditToken](&self) -> Option<Retained<NSData>>;
    none fn sourceProcessAuditToken[sourceProcessAuditToken](&self) -> Option<Retained<NSData>>;
    none fn identifier[identifier](&self) -> Retained<NSUUID>;
}

framework_class! { value NEFilterBrowserFlow: NEFilterFlow, NSObject }

api! { NEFilterBrowserFlow;
    none fn request[request](&self) -> Option<Retained<NSURLRequest>>;
    none fn response[response](&self) -> Option<Retained<NSURLResponse>>;
    none fn parentURL[parentURL](&self) -> Option<Retained<NSURL>>;
}

framework_class! { value NEFilterSocketFlow: NEFilterFlow, NSObject }

api! { NEFilterSocketFlow;
    #[deprecated]
    none fn remoteEndpoint[remoteEndpoint](&self) -> Option<Retained<NWEndpoint>>;
    none fn remoteHostname[remoteHostname](&self) -> Option<Retained<NSString>>;
    #[deprecated]
    none fn localEndpoint[localEndpoint](&self) -> Option<Retained<NWEndpoint>>;
    none fn socketFamily[socketFamily](&self) -> c_int;
    none fn socketType[socketType](&self) -> c_int;
    none fn socketProtocol[socketProtocol](&self) -> c_int;
}

framework_class! { value NEFilterReport: NSObject }

api! { NEFilterReport;
    none fn flow[flow](&self) -> Option<Retained<NEFilterFlow>>;
    none fn action[action](&self) -> NEFilterAction;
    none fn event[event](&self) -> NEFilterReportEvent;
    none fn bytesInboundCount[bytesInboundCount](&self) -> NSUInteger;
    none fn bytesOutboundCount[bytesOutboundCount](&self) -> NSUInteger;
}
