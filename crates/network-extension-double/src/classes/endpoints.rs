//! Endpoints: hosts, and one kind that is no host.

use objc_double::{Id, NS_OBJECT, Strong, class, foundation};
use objc2::runtime::{AnyObject, NSZone};

use crate::driver::Endpoint;

class! {
    /// The base of all endpoints.
    pub(crate) static NW_ENDPOINT: () = "NWEndpoint": NS_OBJECT;

    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

/// A host's name or address, and its port, both as text.
pub(crate) struct Host {
    hostname: Strong,
    port: Strong,
}

class! {
    /// A host and a port.
    pub(crate) static NW_HOST_ENDPOINT: Host = "NWHostEndpoint": NW_ENDPOINT;

    + "endpointWithHostname:port:" (_class, hostname: &AnyObject, port: &AnyObject) -> Id {
        let host = Host { hostname: Strong::to(hostname), port: Strong::to(port) };
        NW_HOST_ENDPOINT.create(host).returned()
    }
    - "hostname" (this) -> Id { NW_HOST_ENDPOINT.of(this).hostname.clone().returned() }
    - "port" (this) -> Id { NW_HOST_ENDPOINT.of(this).port.clone().returned() }
}

/// Name, type and domain of a service.
pub(crate) struct Service([Strong; 3]);

class! {
    /// A service found by Bonjour: for code that takes every endpoint for a host.
    pub(crate) static NW_BONJOUR_SERVICE_ENDPOINT: Service =
        "NWBonjourServiceEndpoint": NW_ENDPOINT;

    + "endpointWithName:type:domain:"
        (_class, name: &AnyObject, kind: &AnyObject, domain: &AnyObject) -> Id
    {
        let service = Service([name, kind, domain].map(Strong::to));
        NW_BONJOUR_SERVICE_ENDPOINT.create(service).returned()
    }
    - "name" (this) -> Id { NW_BONJOUR_SERVICE_ENDPOINT.of(this).0[0].clone().returned() }
    - "type" (this) -> Id { NW_BONJOUR_SERVICE_ENDPOINT.of(this).0[1].clone().returned() }
    - "domain" (this) -> Id { NW_BONJOUR_SERVICE_ENDPOINT.of(this).0[2].clone().returned() }
}

class! {
    /// What `remoteFlowEndpoint` returns on newer systems; Network.framework's functions, which
    /// alone can read it, are not doubled.
    static OS_NW_ENDPOINT: () = "OS_nw_endpoint": NS_OBJECT;
}

/// An endpoint object.
pub(crate) fn endpoint(endpoint: &Endpoint) -> Strong {
    match endpoint {
        Endpoint::Host { address, port } => NW_HOST_ENDPOINT.create(Host {
            hostname: foundation::string(address),
            port: foundation::string(port),
        }),
        Endpoint::Service { name } => {
            let texts = [name.as_str(), "_http._tcp", "local."];
            NW_BONJOUR_SERVICE_ENDPOINT.create(Service(texts.map(foundation::string)))
        }
    }
}

/// An endpoint in its newer form.
pub(crate) fn opaque_endpoint() -> Strong {
    OS_NW_ENDPOINT.class().allocate()
}

/// Address and port of a host endpoint.
pub(crate) fn host_of(endpoint: &AnyObject) -> (String, String) {
    let host = NW_HOST_ENDPOINT.of(endpoint);
    let text = |object: &Strong| foundation::text(object).to_owned();
    (text(&host.hostname), text(&host.port))
}
