//! Flows and reports.

use std::ffi::c_int;
use std::ptr::{self, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use objc_double::foundation::{self, returned};
use objc_double::{Id, NS_OBJECT, Strong, class};
use objc2::runtime::{AnyObject, NSZone};

use super::{endpoints, lock};
use crate::driver::{Endpoint, FlowSpec, is_macos_11, is_macos_13, is_macos_15};
use crate::{NEFilterAction, NEFilterReportEvent, NETrafficDirection};

/// What every flow tells.
pub(crate) struct Flow {
    identifier: Option<Strong>,
    direction: NETrafficDirection,
    url: Option<Strong>,
    app_token: Option<Strong>,
    process_token: Option<Strong>,
    app_identifier: Option<Strong>,
    app_unique_identifier: Option<Strong>,
    app_version: Option<Strong>,
}

class! {
    /// The base of all flows.
    pub(crate) static NE_FILTER_FLOW: Flow = "NEFilterFlow": NS_OBJECT;

    - "identifier" (this) -> Id { returned(NE_FILTER_FLOW.of(this).identifier.as_ref()) }
    - "direction" (this) -> NETrafficDirection { NE_FILTER_FLOW.of(this).direction }
    - "URL" (this) -> Id { returned(NE_FILTER_FLOW.of(this).url.as_ref()) }
    - "sourceAppAuditToken" (this) -> Id { returned(NE_FILTER_FLOW.of(this).app_token.as_ref()) }
    - when is_macos_13 => "sourceProcessAuditToken" (this) -> Id {
        returned(NE_FILTER_FLOW.of(this).process_token.as_ref())
    }
    - "sourceAppIdentifier" (this) -> Id {
        returned(NE_FILTER_FLOW.of(this).app_identifier.as_ref())
    }
    - "sourceAppUniqueIdentifier" (this) -> Id {
        returned(NE_FILTER_FLOW.of(this).app_unique_identifier.as_ref())
    }
    - "sourceAppVersion" (this) -> Id { returned(NE_FILTER_FLOW.of(this).app_version.as_ref()) }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

/// What a flow of a socket tells besides.
pub(crate) struct Socket {
    pub(crate) remote: Late,
    pub(crate) local: Late,
    pub(crate) hostname: Late,
    family: c_int,
    socket_type: c_int,
    protocol: c_int,
}

class! {
    /// A flow that belongs to a socket.
    pub(crate) static NE_FILTER_SOCKET_FLOW: Socket = "NEFilterSocketFlow": NE_FILTER_FLOW;

    - "remoteEndpoint" (this) -> Id { NE_FILTER_SOCKET_FLOW.of(this).remote.returned() }
    - "localEndpoint" (this) -> Id { NE_FILTER_SOCKET_FLOW.of(this).local.returned() }
    - when is_macos_15 => "remoteFlowEndpoint" (this) -> Id {
        NE_FILTER_SOCKET_FLOW.of(this).remote.opaque()
    }
    - when is_macos_15 => "localFlowEndpoint" (this) -> Id {
        NE_FILTER_SOCKET_FLOW.of(this).local.opaque()
    }
    - when is_macos_11 => "remoteHostname" (this) -> Id {
        NE_FILTER_SOCKET_FLOW.of(this).hostname.returned()
    }
    - "socketFamily" (this) -> c_int { NE_FILTER_SOCKET_FLOW.of(this).family }
    - "socketType" (this) -> c_int { NE_FILTER_SOCKET_FLOW.of(this).socket_type }
    - "socketProtocol" (this) -> c_int { NE_FILTER_SOCKET_FLOW.of(this).protocol }
}

class! {
    /// A flow of WebKit. macOS delivers none; a provider must live with one all the same.
    pub(crate) static NE_FILTER_BROWSER_FLOW: () = "NEFilterBrowserFlow": NE_FILTER_FLOW;

    - "request" (_this) -> Id { null_mut() }
    - "response" (_this) -> Id { null_mut() }
    - "parentURL" (_this) -> Id { null_mut() }
}

/// A value that is nil at first and may come, or change, while others read it.
///
/// What was there before stays alive with the flow, so that reading needs no lock.
pub(crate) struct Late {
    now: AtomicPtr<AnyObject>,
    kept: Mutex<Vec<Strong>>,
}

impl Late {
    fn new(object: Option<Strong>) -> Late {
        let late = Late {
            now: AtomicPtr::new(null_mut()),
            kept: Mutex::default(),
        };
        late.set(object);
        late
    }

    pub(crate) fn set(&self, object: Option<Strong>) {
        let now = object.as_deref().map_or(ptr::null(), ptr::from_ref);
        lock(&self.kept).extend(object);
        self.now.store(now.cast_mut(), Ordering::Release);
    }

    fn get(&self) -> Option<&AnyObject> {
        // SAFETY: `kept` keeps alive whatever `now` ever pointed at.
        unsafe { self.now.load(Ordering::Acquire).as_ref() }
    }

    fn returned(&self) -> Id {
        self.get()
            .map_or(null_mut(), |object| Strong::to(object).returned())
    }

    fn opaque(&self) -> Id {
        self.get()
            .map_or(null_mut(), |_| endpoints::opaque_endpoint().returned())
    }
}

/// A flow object.
pub(crate) fn flow(spec: &FlowSpec) -> Strong {
    let class = match spec.is_browser {
        true => NE_FILTER_BROWSER_FLOW.class(),
        false => NE_FILTER_SOCKET_FLOW.class(),
    };
    let object = class.allocate();
    let text = |text: &Option<String>| text.as_deref().map(foundation::string);
    let data = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(foundation::data);
    let flow = Flow {
        identifier: spec.has_identifier.then(|| foundation::uuid(spec.id)),
        direction: spec.direction,
        url: spec.url.as_deref().map(foundation::url),
        app_token: data(&spec.app_token),
        process_token: data(&spec.process_token),
        app_identifier: text(&spec.app_identifier),
        app_unique_identifier: data(&spec.app_unique_identifier),
        app_version: text(&spec.app_version),
    };
    NE_FILTER_FLOW.fill(&object, flow);
    if !spec.is_browser {
        let endpoint = |end: &Option<Endpoint>| Late::new(end.as_ref().map(endpoints::endpoint));
        let socket = Socket {
            remote: endpoint(&spec.remote),
            local: endpoint(&spec.local),
            hostname: Late::new(text(&spec.hostname)),
            family: spec.family,
            socket_type: spec.socket_type,
            protocol: spec.protocol,
        };
        NE_FILTER_SOCKET_FLOW.fill(&object, socket);
    }
    object
}

/// What a report tells.
pub(crate) struct Report {
    pub(crate) flow: Option<Strong>,
    pub(crate) action: NEFilterAction,
    pub(crate) event: NEFilterReportEvent,
    pub(crate) bytes_inbound: usize,
    pub(crate) bytes_outbound: usize,
}

class! {
    /// Something that happened to a flow.
    pub(crate) static NE_FILTER_REPORT: Report = "NEFilterReport": NS_OBJECT;

    - "flow" (this) -> Id { returned(NE_FILTER_REPORT.of(this).flow.as_ref()) }
    - "action" (this) -> NEFilterAction { NE_FILTER_REPORT.of(this).action }
    - "event" (this) -> NEFilterReportEvent { NE_FILTER_REPORT.of(this).event }
    - "bytesInboundCount" (this) -> usize { NE_FILTER_REPORT.of(this).bytes_inbound }
    - "bytesOutboundCount" (this) -> usize { NE_FILTER_REPORT.of(this).bytes_outbound }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}
