//! The shared table: what every connection is to do, and what it did.
//!
//! It lies in a memory file mapped by every process of a run. Plans are written once, before the
//! processes that read them start; everything that changes later is an atomic.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};

use crate::scenario::{Outcome, Protocol, Scenario};
use crate::sys;

/// First word of the table, so that a wrong descriptor is told from a table.
const MAGIC: u64 = u64::from_le_bytes(*b"truth\0\0\x01");

/// An address as plain bytes, IPv4 mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address([u8; 16]);

impl Address {
    /// No address.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// The address these bytes stand for, in its own family.
    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0)).to_canonical()
    }

    /// Whether this is [`Address::NONE`] or the "any" address of a family.
    pub(crate) fn is_none(self) -> bool {
        self.ip().is_unspecified()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

/// How a server treats an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Service {
    /// Accepts TCP connections.
    Stream,
    /// Answers UDP datagrams.
    Datagram,
    /// Listens for TCP connections with room for one, and never accepts it.
    Deaf,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The local address.
    pub(crate) address: Address,
    /// The port.
    pub(crate) port: u16,
    /// What is offered there.
    pub(crate) service: Service,
}

impl Endpoint {
    /// The address and port as the standard library has them.
    pub(crate) fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.port)
    }
}

/// What one connection is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The story.
    pub(crate) scenario: Scenario,
    /// Rows that the process playing this row plays with the same socket, this one included; zero
    /// for the rows that follow the first of such a group.
    pub(crate) group_rows: u16,
    /// Where it connects to.
    pub(crate) server_address: Address,
    /// The port it connects to.
    pub(crate) server_port: u16,
    /// The local address to use, or [`Address::NONE`] for the kernel's choice.
    pub(crate) source_address: Address,
    /// The local port to use, or zero for the kernel's choice.
    pub(crate) client_port: u16,
    /// How many times a request is answered.
    pub(crate) exchanges: u16,
    /// Size of each request, its header included.
    pub(crate) request_bytes: u32,
    /// Size of each reply.
    pub(crate) reply_bytes: u32,
    /// Rest after each exchange.
    pub(crate) pause_ms: u32,
    /// When it starts, counted from [`Signals::begin`]; zero means at once.
    pub(crate) start_ms: u32,
    /// The program that plays it: an index into the list of the run.
    pub(crate) program: u16,
    /// The program that serves it: an index into the list of the run.
    pub(crate) server_program: u16,
}

impl Plan {
    /// A plan with one row, no pause, one exchange and everything else left to the kernel.
    pub(crate) fn new(scenario: Scenario, server_address: IpAddr, server_port: u16) -> Self {
        Self {
            scenario,
            group_rows: 1,
            server_address: server_address.into(),
            server_port,
            source_address: Address::NONE,
            client_port: 0,
            exchanges: 1,
            request_bytes: 0,
            reply_bytes: 0,
            pause_ms: 0,
            start_ms: 0,
            program: 0,
            server_program: 0,
        }
    }

    /// The transport.
    pub(crate) fn protocol(&self) -> Protocol {
        self.scenario.facts().protocol
    }

    /// The address and port it connects to.
    pub(crate) fn server(&self) -> SocketAddr {
        SocketAddr::new(self.server_address.ip(), self.server_port)
    }
}

/// What one connection did. All zeros until then.
#[repr(C, align(64))]
pub(crate) struct Row {
    /// The process that opened it.
    pub(crate) client_pid: AtomicU32,
    /// The client's port, zero if it never got one.
    pub(crate) client_port: AtomicU32,
    /// The process that answered, as it says in its reply.
    pub(crate) server_pid: AtomicU32,
    /// The process that closed it last on the client's side.
    pub(crate) closer_pid: AtomicU32,
    /// Code of the [`Outcome`].
    outcome: AtomicU32,
    /// From the start of the child process that played it to its end, as its parent saw it.
    pub(crate) process_life_us: AtomicU32,
    /// Application bytes from client to server.
    pub(crate) sent_bytes: AtomicU64,
    /// Application bytes from server to client.
    pub(crate) received_bytes: AtomicU64,
    /// Before the call that opens it, on the boot clock.
    pub(crate) opened_boot_ns: AtomicU64,
    /// After the client's last close, on the boot clock.
    pub(crate) closed_boot_ns: AtomicU64,
    /// The client's address, in two halves.
    client_address: [AtomicU64; 2],
}

impl Row {
    /// Remembers the client's address and port.
    pub(crate) fn set_client(&self, client: SocketAddr) {
        let bits = u128::from_be_bytes(Address::from(client.ip()).0);
        self.client_address[0].store((bits >> 64) as u64, Ordering::Relaxed);
        self.client_address[1].store(bits as u64, Ordering::Relaxed);
        self.client_port
            .store(client.port().into(), Ordering::Relaxed);
    }

    /// The client's address.
    pub(crate) fn client_address(&self) -> Address {
        let half = |index: usize| u128::from(self.client_address[index].load(Ordering::Relaxed));
        Address((half(0) << 64 | half(1)).to_be_bytes())
    }

    /// Marks the row as played by this process up to `outcome`.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.closer_pid.store(std::process::id(), Ordering::Relaxed);
        self.closed_boot_ns.store(sys::boot_ns(), Ordering::Relaxed);
        self.outcome.store(outcome.code(), Ordering::Release);
    }

    /// How it ended, or [`Outcome::Pending`].
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_code(self.outcome.load(Ordering::Acquire))
    }
}

/// What processes of a run tell each other.
#[repr(C, align(64))]
pub(crate) struct Signals {
    /// The start of the run on the boot clock, set once servers are ready.
    begin_boot_ns: AtomicU64,
    /// Servers that listen.
    pub(crate) servers_ready: AtomicU32,
    /// Accepted connections that a server has closed.
    pub(crate) connections_served: AtomicU32,
    /// Not zero once held connections are to be closed.
    pub(crate) is_released: AtomicU32,
    /// Spare client ports taken.
    spare_ports_taken: AtomicU32,
}

impl Signals {
    /// Sets the start of the run to now.
    pub(crate) fn begin(&self) {
        self.begin_boot_ns.store(sys::boot_ns(), Ordering::Release);
    }

    /// The start of the run on the boot clock.
    pub(crate) fn begun_boot_ns(&self) -> u64 {
        self.begin_boot_ns.load(Ordering::Acquire)
    }
}

/// Sizes, and the ports for clients whose planned port somebody else has.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Shape {
    /// How many plans and rows.
    pub(crate) rows: u32,
    /// How many endpoints.
    pub(crate) endpoints: u32,
    /// First of the spare ports.
    pub(crate) spare_port_first: u16,
    /// Number of spare ports.
    pub(crate) spare_ports: u16,
}

/// The start of the table.
#[repr(C)]
struct Header {
    magic: u64,
    shape: Shape,
    signals: Signals,
}

/// The mapped table.
pub(crate) struct Table {
    base: NonNull<u8>,
    shape: Shape,
    file: OwnedFd,
}

// SAFETY: threads share only what other processes share already: atomics, and plans and endpoints
// that nobody writes after the run has begun.
unsafe impl Sync for Table {}

impl Table {
    /// Makes a table for the run.
    pub(crate) fn create(shape: Shape, endpoints: &[Endpoint], plans: &[Plan]) -> io::Result<Self> {
        // Not close-on-exec: images that a child executes attach to it by its number.
        let file = memfd_create("ground-truth", MemfdFlags::empty())?;
        let length_bytes = offset_of_rows(shape) + shape.rows as usize * size_of::<Row>();
        ftruncate(&file, length_bytes as u64)?;
        let base = sys::map_shared(&file, length_bytes)?;
        // SAFETY: the mapping is page-aligned, larger than the header, and nobody else's yet.
        // The new file's zeros are already a valid `Signals` and valid rows.
        unsafe {
            let header = base.cast::<Header>().as_ptr();
            (&raw mut (*header).magic).write(MAGIC);
            (&raw mut (*header).shape).write(shape);
        }
        let table = Self { base, shape, file };
        table.write_all(offset_of_endpoints(), endpoints);
        table.write_all(offset_of_plans(shape), plans);
        Ok(table)
    }

    /// Maps the table that an earlier image of this program made.
    pub(crate) fn attach(number: RawFd) -> io::Result<Self> {
        let file = sys::adopt_descriptor(number)?;
        let length_bytes = usize::try_from(fstat(&file)?.st_size).map_err(io::Error::other)?;
        if length_bytes < size_of::<Header>() {
            return Err(io::Error::other(
                "the descriptor is too short for a truth table",
            ));
        }
        let base = sys::map_shared(&file, length_bytes)?;
        // SAFETY: the mapping is page-aligned and at least as large as the header.
        let (magic, shape) = unsafe {
            let header = base.cast::<Header>().as_ptr();
            ((*header).magic, (*header).shape)
        };
        if magic != MAGIC {
            return Err(io::Error::other("the descriptor is not a truth table"));
        }
        Ok(Self { base, shape, file })
    }

    /// Number of the descriptor under which executed images find the table.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// How many connections are planned.
    pub(crate) fn rows(&self) -> u32 {
        self.shape.rows
    }

    /// How many endpoints servers have.
    pub(crate) fn endpoints(&self) -> u32 {
        self.shape.endpoints
    }

    /// What processes tell each other.
    pub(crate) fn signals(&self) -> &Signals {
        // SAFETY: the header is mapped as long as the table lives, and `Signals` is all atomics.
        unsafe { &(*self.base.cast::<Header>().as_ptr()).signals }
    }

    /// The endpoint at `index`.
    pub(crate) fn endpoint(&self, index: u32) -> Endpoint {
        assert!(
            index < self.shape.endpoints,
            "endpoint index within the table"
        );
        // SAFETY: the index was checked, and `create` wrote a whole `Endpoint` there.
        unsafe { self.at::<Endpoint>(offset_of_endpoints(), index).read() }
    }

    /// The plan of row `id`.
    pub(crate) fn plan(&self, id: u32) -> Plan {
        assert!(id < self.shape.rows, "row within the table");
        // SAFETY: the index was checked, and `create` wrote a whole `Plan` there.
        unsafe { self.at::<Plan>(offset_of_plans(self.shape), id).read() }
    }

    /// The result of row `id`.
    pub(crate) fn row(&self, id: u32) -> &Row {
        assert!(id < self.shape.rows, "row within the table");
        // SAFETY: the index was checked, the row is aligned, and `Row` is all atomics.
        unsafe { self.at::<Row>(offset_of_rows(self.shape), id).as_ref() }
    }

    /// A client port that no plan has, or `None` once all have been given.
    pub(crate) fn take_spare_port(&self) -> Option<u16> {
        let taken = self
            .signals()
            .spare_ports_taken
            .fetch_add(1, Ordering::Relaxed);
        let offset = u16::try_from(taken)
            .ok()
            .filter(|taken| *taken < self.shape.spare_ports)?;
        self.shape.spare_port_first.checked_add(offset)
    }

    /// How many times a client took a spare port.
    pub(crate) fn spare_ports_taken(&self) -> u32 {
        self.signals().spare_ports_taken.load(Ordering::Relaxed)
    }

    /// Address of the item `index` of the list at `offset_bytes`.
    fn at<T>(&self, offset_bytes: usize, index: u32) -> NonNull<T> {
        // SAFETY: callers checked the index against the shape, by which the mapping was sized.
        unsafe {
            self.base
                .byte_add(offset_bytes)
                .cast::<T>()
                .add(index as usize)
        }
    }

    /// Copies `items` to `offset_bytes`; only while nobody reads them.
    fn write_all<T: Copy>(&self, offset_bytes: usize, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            // SAFETY: the mapping was sized for as many items as the shape says, which is how
            // many `create` is given, and no other process has the table yet.
            unsafe { self.at::<T>(offset_bytes, index as u32).write(*item) };
        }
    }
}

/// Rounds up to a cache line, to which everything in the table is aligned.
const fn line_up(bytes: usize) -> usize {
    bytes.next_multiple_of(64)
}

/// Where the endpoints start.
const fn offset_of_endpoints() -> usize {
    line_up(size_of::<Header>())
}

/// Where the plans start.
fn offset_of_plans(shape: Shape) -> usize {
    line_up(offset_of_endpoints() + shape.endpoints as usize * size_of::<Endpoint>())
}

/// Where the rows start.
fn offset_of_rows(shape: Shape) -> usize {
    line_up(offset_of_plans(shape) + shape.rows as usize * size_of::<Plan>())
}
