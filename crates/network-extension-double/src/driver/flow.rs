//! Flows as a test describes them, and as the provider sees them.

use objc_double::{Strong, foundation, retain_count};
use objc2::runtime::AnyObject;

use crate::classes::{endpoints, flows};
use crate::{NEFilterFlow, NETrafficDirection};

const AF_INET: i32 = 2;
const AF_INET6: i32 = 30;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
const IPPROTO_ICMP: i32 = 1;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An `NWHostEndpoint`: address (or name) and port, as text. Both may be nonsense.
    Host {
        /// What `hostname` says; usually an address, a link-local one with its zone after `%`.
        address: String,
        /// What `port` says.
        port: String,
    },
    /// An `NWBonjourServiceEndpoint`: an endpoint that is no host.
    Service {
        /// Its name.
        name: String,
    },
}

impl Endpoint {
    /// A host endpoint.
    pub fn host(address: &str, port: u16) -> Endpoint {
        Endpoint::Host {
            address: address.to_owned(),
            port: port.to_string(),
        }
    }
}

/// Everything a flow tells a provider.
///
/// The constructors give what is usual; fields say otherwise. What may be nil is an option.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSpec {
    /// The bytes of its UUID. The same can come back: the kernel makes it of a socket and a hash
    /// of addresses. *Seen in code*: XNU `bsd/net/content_filter.c`, header comment.
    pub id: [u8; 16],
    /// Whether `identifier` gives one. *Documented* as never nil; false shows what a provider
    /// does if that is not so.
    pub has_identifier: bool,
    /// Who spoke first; for UDP, the direction of the first datagram. *Documented* in the header
    /// of `NEFilterFlow`, and *seen in code*: `cfil_sock_udp_get_info`.
    pub direction: NETrafficDirection,
    /// The audit token of the app the flow belongs to, normally 32 bytes. All zero when that
    /// process was gone already. *Seen in code*: `cfil_dispatch_attach_event`.
    pub app_token: Option<Vec<u8>>,
    /// The audit token of the process that made the flow; as above.
    pub process_token: Option<Vec<u8>>,
    /// `sourceAppIdentifier`; may be nil or empty. *Reported*.
    pub app_identifier: Option<String>,
    /// `sourceAppUniqueIdentifier`.
    pub app_unique_identifier: Option<Vec<u8>>,
    /// `sourceAppVersion`.
    pub app_version: Option<String>,
    /// `URL`. *Documented* as nil unless WebKit made the flow; *reported* as there on socket
    /// flows of macOS too (Apple Developer Forums thread 662026, LuLu's log).
    pub url: Option<String>,
    /// `remoteEndpoint`. *Documented*: may be nil until data comes.
    pub remote: Option<Endpoint>,
    /// `localEndpoint`. For outbound TCP nil or `0.0.0.0:0` at first, because the filter attaches
    /// before a port is chosen. *Seen in code*: XNU `bsd/netinet/tcp_usrreq.c` line 654.
    pub local: Option<Endpoint>,
    /// `remoteHostname`. *Documented*: only of flows made with Network.framework or NSURLSession.
    pub hostname: Option<String>,
    /// `socketFamily`, a number of the BSD kernel: 2 is v4, 30 is v6.
    pub family: i32,
    /// `socketType`.
    pub socket_type: i32,
    /// `socketProtocol`.
    pub protocol: i32,
    /// Whether it is a browser flow, which has none of the socket's properties. *Documented*:
    /// not delivered on macOS (Apple Developer Forums thread 703655).
    pub is_browser: bool,
}

impl FlowSpec {
    /// TCP over v4, from here to `192.0.2.1:443`, with no local end and no name yet. The number
    /// makes the id, the remote port and the process's id.
    pub fn outbound_tcp(number: u64) -> FlowSpec {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id[8..].copy_from_slice(&number.rotate_left(32).to_be_bytes());
        FlowSpec {
            id,
            has_identifier: true,
            direction: NETrafficDirection::Outbound,
            app_token: Some(token(1000 + number as u32, 7)),
            process_token: Some(token(1000 + number as u32, 7)),
            app_identifier: Some("com.example.app".to_owned()),
            app_unique_identifier: None,
            app_version: None,
            url: None,
            remote: Some(Endpoint::host("192.0.2.1", 443)),
            local: Some(Endpoint::host("0.0.0.0", 0)),
            hostname: None,
            family: AF_INET,
            socket_type: SOCK_STREAM,
            protocol: IPPROTO_TCP,
            is_browser: false,
        }
    }

    /// TCP over v4, from `198.51.100.9:50000` to port 22 here. Both ends are known, and the
    /// process is that which listens. *Seen in code*: XNU `bsd/netinet/tcp_input.c` line 2907,
    /// `bsd/kern/uipc_socket2.c` line 384.
    pub fn inbound_tcp(number: u64) -> FlowSpec {
        FlowSpec {
            direction: NETrafficDirection::Inbound,
            remote: Some(Endpoint::host("198.51.100.9", 50_000)),
            local: Some(Endpoint::host("192.0.2.7", 22)),
            ..FlowSpec::outbound_tcp(number)
        }
    }

    /// UDP over v4, to `192.0.2.53:53`.
    pub fn outbound_udp(number: u64) -> FlowSpec {
        FlowSpec {
            remote: Some(Endpoint::host("192.0.2.53", 53)),
            socket_type: SOCK_DGRAM,
            protocol: IPPROTO_UDP,
            ..FlowSpec::outbound_tcp(number)
        }
    }

    /// An echo request to `192.0.2.1`. *Seen in code*: raw inet sockets are tracked as datagram
    /// flows whose ports are 0, XNU `bsd/sys/socketvar.h` line 1038.
    pub fn outbound_icmp(number: u64) -> FlowSpec {
        FlowSpec {
            remote: Some(Endpoint::host("192.0.2.1", 0)),
            socket_type: SOCK_RAW,
            protocol: IPPROTO_ICMP,
            ..FlowSpec::outbound_tcp(number)
        }
    }

    /// The same over v6.
    pub fn over_v6(self) -> FlowSpec {
        let end = |end: Option<Endpoint>| match end {
            Some(Endpoint::Host { address, port }) => {
                let address = match address.as_str() {
                    "0.0.0.0" => "::".to_owned(),
                    address => address.replace("192.0.2.", "2001:db8::"),
                };
                Some(Endpoint::Host { address, port })
            }
            Some(Endpoint::Service { .. }) | None => end,
        };
        FlowSpec {
            remote: end(self.remote),
            local: end(self.local),
            family: AF_INET6,
            ..self
        }
    }

    /// The same with everything that may be nil nil.
    pub fn with_nothing_optional(self) -> FlowSpec {
        FlowSpec {
            app_token: None,
            process_token: None,
            app_identifier: None,
            app_unique_identifier: None,
            app_version: None,
            url: None,
            remote: None,
            local: None,
            hostname: None,
            ..self
        }
    }
}

/// An audit token with this process id and version: the layout of XNU
/// `bsd/kern/kern_prot.c`, `proc_calc_audit_token` (*seen in code*).
fn token(pid: u32, version: u32) -> Vec<u8> {
    let words = [501, 501, 20, 501, 20, pid, 100_000, version];
    words
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect()
}

/// A flow of the pretended system, which holds one reference to the flow's object.
pub struct Flow {
    object: Strong,
    spec: FlowSpec,
}

impl Flow {
    /// A flow as described.
    pub fn new(spec: &FlowSpec) -> Flow {
        Flow {
            object: flows::flow(spec),
            spec: spec.clone(),
        }
    }

    /// How it was described when it was made.
    pub fn spec(&self) -> &FlowSpec {
        &self.spec
    }

    /// How many references the flow's object has: one, unless somebody holds it.
    pub fn retain_count(&self) -> usize {
        retain_count(&self.object)
    }

    /// From now on this is the local end. *Seen in code*: the kernel tells it with the first
    /// statistics or with the close, XNU `bsd/net/content_filter.c`, `cfc_laddr` and `cfs_laddr`.
    pub fn set_local(&self, end: Option<&Endpoint>) {
        let socket = flows::NE_FILTER_SOCKET_FLOW.of(&self.object);
        socket.local.set(end.map(endpoints::endpoint));
    }

    /// From now on this is the remote end. *Documented*: it can come with the first data.
    pub fn set_remote(&self, end: Option<&Endpoint>) {
        let socket = flows::NE_FILTER_SOCKET_FLOW.of(&self.object);
        socket.remote.set(end.map(endpoints::endpoint));
    }

    /// From now on this is the remote host's name.
    pub fn set_hostname(&self, name: Option<&str>) {
        let socket = flows::NE_FILTER_SOCKET_FLOW.of(&self.object);
        socket.hostname.set(name.map(foundation::string));
    }

    /// The flow's object.
    pub fn object(&self) -> &AnyObject {
        &self.object
    }

    pub(super) fn reference(&self) -> Strong {
        self.object.clone()
    }

    pub(super) fn as_filter_flow(&self) -> &NEFilterFlow {
        let flow = self.object.downcast_ref::<NEFilterFlow>();
        flow.expect("it was made with this class")
    }
}
