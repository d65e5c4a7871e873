//! What one connection does, and what must come of it.

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name used in the truth file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How a connection ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody has played this row to its end.
    Pending,
    /// Open, and meant to stay so until told otherwise.
    Held,
    /// Both directions ended in order.
    Closed,
    /// One end reset it.
    Reset,
    /// The server's host refused it.
    Refused,
    /// No route led to the server.
    Unreachable,
    /// The server never answered.
    TimedOut,
    /// The client met this errno, which no plan expects.
    Error(u16),
}

impl Outcome {
    /// Outcomes in the order of their codes; errors follow after them.
    const PLAIN: [Self; 7] = [
        Self::Pending,
        Self::Held,
        Self::Closed,
        Self::Reset,
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
    ];

    /// Errors are stored as this plus their errno.
    const ERROR_BASE: u32 = 1_000;

    /// The number that stands for it in shared memory; [`Outcome::Pending`] is zero.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Error(errno) => Self::ERROR_BASE + u32::from(errno),
            Self::Pending => 0,
            Self::Held => 1,
            Self::Closed => 2,
            Self::Reset => 3,
            Self::Refused => 4,
            Self::Unreachable => 5,
            Self::TimedOut => 6,
        }
    }

    /// The outcome that `code` stands for.
    pub(crate) fn from_code(code: u32) -> Self {
        let plain = usize::try_from(code)
            .ok()
            .and_then(|index| Self::PLAIN.get(index));
        plain.copied().unwrap_or_else(|| {
            let errno = code.saturating_sub(Self::ERROR_BASE);
            Self::Error(u16::try_from(errno).unwrap_or(u16::MAX))
        })
    }

    /// What the error of a call means for the connection it was made on.
    pub(crate) fn from_errno(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            Errno::CONNREFUSED => Self::Refused,
            Errno::NETUNREACH | Errno::HOSTUNREACH => Self::Unreachable,
            Errno::CONNRESET | Errno::PIPE => Self::Reset,
            Errno::TIMEDOUT => Self::TimedOut,
            other => Self::Error(u16::try_from(other.raw_os_error()).unwrap_or(u16::MAX)),
        }
    }

    /// The name used in the truth file.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Pending => "pending".into(),
            Self::Held => "held".into(),
            Self::Closed => "closed".into(),
            Self::Reset => "reset".into(),
            Self::Refused => "refused".into(),
            Self::Unreachable => "unreachable".into(),
            Self::TimedOut => "timed-out".into(),
            Self::Error(errno) => format!("error-{errno}"),
        }
    }
}

/// What the two ends of one connection do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Scenario {
    /// Exchanges; the server closes first.
    ServerClosesFirst,
    /// Exchanges; the client closes first.
    ClientClosesFirst,
    /// A long life: exchanges with pauses; the client closes first.
    SeveralExchanges,
    /// A mebibyte each way.
    LargeTransfer,
    /// Connected and closed, not a byte sent.
    ZeroBytes,
    /// The client ends its direction before the server answers.
    HalfClose,
    /// The client's `connect` does not wait.
    NonBlocking,
    /// The client binds its address and port before it connects.
    Bound,
    /// An IPv4 connection over an IPv6 socket.
    Mapped,
    /// Opened and used by a second thread of the client.
    Thread,
    /// Opened by the client, handed to a child, closed by the child last.
    Inherited,
    /// Opened by one program image, finished by the next in the same process.
    ExecAfterConnect,
    /// Exchanges; then the client resets.
    ResetByClient,
    /// Exchanges; then the server resets.
    ResetByServer,
    /// Nobody listens.
    Refused,
    /// Nobody listens, and the client's `connect` does not wait.
    NonBlockingRefused,
    /// No route.
    Unreachable,
    /// The accept queue is full: the client's `connect` gives up after one retry.
    TimedOut,
    /// Established and closed by the client while it waits in the accept queue, which it fills for
    /// [`Scenario::TimedOut`].
    NeverAccepted,
    /// One exchange, then open until the run is told to let go.
    Held,
    /// Exchanges over a connected UDP socket.
    UdpConnected,
    /// Exchanges over a UDP socket that names its peer with each datagram.
    UdpUnconnected,
    /// A connected UDP socket that sends nothing.
    UdpSilent,
    /// A datagram to a port where nobody listens.
    UdpRefused,
    /// One UDP socket, several peers: one row for each.
    UdpManyPeers,
}

/// How a client gets to an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// `connect`, and wait in it.
    Connect,
    /// `connect` without waiting, then `poll`.
    ConnectLater,
    /// `bind` to address and port, then `connect`.
    BindFirst,
    /// `connect` an IPv6 socket to an IPv4 address.
    ConnectMapped,
    /// `connect`, with one retry only.
    ConnectImpatiently,
    /// No `connect` at all.
    None,
}

/// What a client does with its open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// Nothing but close it.
    JustClose,
    /// Exchanges; the server closes after the last.
    ServerCloses,
    /// Exchanges; the client closes after the last.
    ClientCloses,
    /// A request, the end of the client's direction, a reply.
    HalfClose,
    /// Exchanges; the client resets after the last.
    ClientResets,
    /// Exchanges; then a request on which the server resets.
    ServerResets,
    /// Exchanges, the last and the close by a child.
    ChildCloses,
    /// Exchanges, the last and the close by the next image of the process.
    NextImageCloses,
    /// Exchanges of datagrams.
    Datagrams,
    /// An exchange of datagrams with the server of each row of the group.
    DatagramsToMany,
    /// One datagram, and an error instead of the reply.
    DatagramRefused,
}

/// The facts of a [`Scenario`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The name used in the truth file.
    pub(crate) name: &'static str,
    /// The transport it uses.
    pub(crate) protocol: Protocol,
    /// How the client opens it.
    pub(crate) opening: Opening,
    /// What the client does then.
    pub(crate) story: Story,
    /// What must come of it.
    pub(crate) outcome: Outcome,
    /// Whether a server's `accept` returns it.
    pub(crate) is_accepted: bool,
}

impl Scenario {
    /// The one table of names, ways and expectations.
    pub(crate) fn facts(self) -> Facts {
        use Opening::{BindFirst, Connect, ConnectImpatiently, ConnectLater, ConnectMapped};
        use Story::{
            ChildCloses, ClientCloses, HalfClose, JustClose, NextImageCloses, ServerCloses,
        };
        let closed = |name, opening, story| Facts {
            name,
            protocol: Protocol::Tcp,
            opening,
            story,
            outcome: Outcome::Closed,
            is_accepted: true,
        };
        let reset = |name, story| Facts {
            outcome: Outcome::Reset,
            ..closed(name, Connect, story)
        };
        let failed = |name, opening, outcome| Facts {
            outcome,
            is_accepted: false,
            ..closed(name, opening, JustClose)
        };
        let datagram = |name, opening, story| Facts {
            protocol: Protocol::Udp,
            is_accepted: false,
            ..closed(name, opening, story)
        };
        match self {
            Self::ServerClosesFirst => closed("server-closes-first", Connect, ServerCloses),
            Self::ClientClosesFirst => closed("client-closes-first", Connect, ClientCloses),
            Self::SeveralExchanges => closed("several-exchanges", Connect, ClientCloses),
            Self::LargeTransfer => closed("large-transfer", Connect, ServerCloses),
            Self::ZeroBytes => closed("zero-bytes", Connect, JustClose),
            Self::HalfClose => closed("half-close", Connect, HalfClose),
            Self::NonBlocking => closed("non-blocking", ConnectLater, ServerCloses),
            Self::Bound => closed("bound", BindFirst, ServerCloses),
            Self::Mapped => closed("mapped", ConnectMapped, ServerCloses),
            Self::Thread => closed("thread", Connect, ServerCloses),
            Self::Inherited => closed("inherited", Connect, ChildCloses),
            Self::ExecAfterConnect => closed("exec-after-connect", Connect, NextImageCloses),
            Self::Held => closed("held", Connect, ClientCloses),
            Self::ResetByClient => reset("reset-by-client", Story::ClientResets),
            Self::ResetByServer => reset("reset-by-server", Story::ServerResets),
            Self::Refused => failed("refused", Connect, Outcome::Refused),
            Self::NonBlockingRefused => {
                failed("non-blocking-refused", ConnectLater, Outcome::Refused)
            }
            Self::Unreachable => failed("unreachable", Connect, Outcome::Unreachable),
            Self::TimedOut => failed("timed-out", ConnectImpatiently, Outcome::TimedOut),
            Self::NeverAccepted => failed("never-accepted", Connect, Outcome::Closed),
            Self::UdpConnected => datagram("udp-connected", Connect, Story::Datagrams),
            Self::UdpUnconnected => datagram("udp-unconnected", Opening::None, Story::Datagrams),
            Self::UdpSilent => datagram("udp-silent", Connect, JustClose),
            Self::UdpManyPeers => datagram("udp-many-peers", Opening::None, Story::DatagramsToMany),
            Self::UdpRefused => Facts {
                outcome: Outcome::Refused,
                ..datagram("udp-refused", Connect, Story::DatagramRefused)
            },
        }
    }
}
