//! The command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::wire::{HEADER_BYTES, SCRATCH_BYTES};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Makes connections whose every fact is known, and writes the facts down.

usage: ground_truth MODE [option]...

modes:
  fork     one forked child per connection, one server process
  exec     one executed image per connection, one server process
  prefork  clients as in fork; the parent listens, four forked children accept
  udp      one forked child per socket, half of them connected; one unconnected server socket
  loop     workers connect in a loop without forking, to measure cost
  hold     opens connections, prints READY, keeps them until SIGTERM, end of input or the limit
           (input from /dev/null does not count as ended)
  mixed    refused, unreachable, reset, timed out, large, empty, half-closed, inherited, ...
  office   a small office's programs and their traffic, over --duration-seconds

options:
  --count N             connections (hold: 5000, office: 2000, mixed: 500, otherwise: 1000);
                        both ends are here, so N connections are 2N live flows
  --family 4|6|both     families of the default addresses, or a filter on --address
                        (default: 4; office: both)
  --address A           server address, assigned on this machine; may be repeated
                        (default: 127.0.0.1, ::1)
  --local-address A     office: address that stands for this machine, one per family
  --port P              first server port (default: 21000); office uses well-known ports instead
  --ports K             consecutive server ports (default: 4; udp: 1)
  --workers W           worker processes (default: 2; loop: 1)
  --payload BYTES       size of each request and of its reply (default: 64, at least 16)
  --truth FILE          where to write the truth, as CSV
  --seed S              seed of office (default: 1)
  --duration-seconds S  office: how long to spread the connections over (default: 20)
  --programs DIR        office: where to put the programs (default: a temporary directory)
  --limit-seconds S     the run is stopped after this long (default: 120)
  --help                this text

The truth file has a line for each connection, and its columns' names in the first line:
  id, protocol (tcp|udp), family (4|6), client_pid (who opened it), client_port (0: never had one),
  server_pid (who accepted or answered it, 0: nobody), server_port, client_sent and
  client_received (bytes of application data), outcome (closed|reset|refused|unreachable|
  timed-out|held), exe (of the client), scenario, client_address (empty: none or any),
  server_address, closer_pid (who closed it last on the client's side), opened_boot_ns,
  closed_boot_ns (around the client's first and last call), server_exe
Client and server port together are unique within a protocol and a run, unless a port is 0.
hold writes the file before READY, with outcome held, and once more at the end.

The exit status is 0 if every connection did what it should, 1 if one did not, 2 for a bad
command line.
";

/// What kind of load to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One forked child per connection.
    Fork,
    /// One executed image per connection.
    Exec,
    /// As `Fork`, with four accepting children.
    Prefork,
    /// UDP, one forked child per socket.
    Udp,
    /// Connections in a loop.
    Loop,
    /// Connections that stay.
    Hold,
    /// Every way a connection can go.
    Mixed,
    /// A realistic day in short.
    Office,
}

impl Mode {
    /// All modes and their names.
    const ALL: [(&str, Self); 8] = [
        ("fork", Self::Fork),
        ("exec", Self::Exec),
        ("prefork", Self::Prefork),
        ("udp", Self::Udp),
        ("loop", Self::Loop),
        ("hold", Self::Hold),
        ("mixed", Self::Mixed),
        ("office", Self::Office),
    ];

    /// Its name on the command line and in the summary.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("?", |(name, _)| name)
    }

    /// The mode of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mode)| *mode)
    }
}

/// A whole command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The kind of load.
    pub(crate) mode: Mode,
    /// How many connections.
    pub(crate) count: u32,
    /// Server addresses, at least one.
    pub(crate) addresses: Vec<IpAddr>,
    /// Addresses that stand for this machine, for `office`.
    pub(crate) local_addresses: Vec<IpAddr>,
    /// First server port.
    pub(crate) port: u16,
    /// Number of server ports.
    pub(crate) ports: u16,
    /// Number of worker processes.
    pub(crate) workers: u32,
    /// Size of requests and replies.
    pub(crate) payload_bytes: u32,
    /// The truth file.
    pub(crate) truth: Option<PathBuf>,
    /// Seed of the random numbers.
    pub(crate) seed: u64,
    /// How long `office` takes.
    pub(crate) duration_seconds: u32,
    /// Where `office` puts its programs.
    pub(crate) programs: Option<PathBuf>,
    /// When the run is stopped.
    pub(crate) limit_seconds: u32,
}

/// Options as given, before defaults.
#[derive(Default)]
struct Given {
    count: Option<u32>,
    family: Option<String>,
    addresses: Vec<IpAddr>,
    local_addresses: Vec<IpAddr>,
    port: Option<u16>,
    ports: Option<u16>,
    workers: Option<u32>,
    payload_bytes: Option<u32>,
    truth: Option<PathBuf>,
    seed: Option<u64>,
    duration_seconds: Option<u32>,
    programs: Option<PathBuf>,
    limit_seconds: Option<u32>,
}

impl Given {
    /// Takes one option and its value.
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--count" => self.count = Some(parse(name, value)?),
            "--family" => self.family = Some(value.to_owned()),
            "--address" => self.addresses.push(parse(name, value)?),
            "--local-address" => self.local_addresses.push(parse(name, value)?),
            "--port" => self.port = Some(parse(name, value)?),
            "--ports" => self.ports = Some(parse(name, value)?),
            "--workers" => self.workers = Some(parse(name, value)?),
            "--payload" => self.payload_bytes = Some(parse(name, value)?),
            "--truth" => self.truth = Some(value.into()),
            "--seed" => self.seed = Some(parse(name, value)?),
            "--duration-seconds" => self.duration_seconds = Some(parse(name, value)?),
            "--programs" => self.programs = Some(value.into()),
            "--limit-seconds" => self.limit_seconds = Some(parse(name, value)?),
            _ => return Err(format!("unknown option {name}")),
        }
        Ok(())
    }

    /// The server addresses: those given, or the loopback ones, in the families wanted.
    fn server_addresses(&mut self, mode: Mode) -> Result<Vec<IpAddr>, String> {
        let default = if mode == Mode::Office || !self.addresses.is_empty() {
            "both"
        } else {
            "4"
        };
        let is_wanted: fn(&IpAddr) -> bool = match self.family.as_deref().unwrap_or(default) {
            "4" => IpAddr::is_ipv4,
            "6" => IpAddr::is_ipv6,
            "both" => |_| true,
            other => return Err(format!("--family must be 4, 6 or both, not {other}")),
        };
        let mut addresses = std::mem::take(&mut self.addresses);
        if addresses.is_empty() {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        addresses.retain(is_wanted);
        if addresses.is_empty() {
            return Err("no --address is of the family wanted".into());
        }
        Ok(addresses)
    }

    /// Fills in what was not given.
    fn complete(mut self, mode: Mode) -> Result<Options, String> {
        let count = match mode {
            Mode::Hold => 5_000,
            Mode::Office => 2_000,
            Mode::Mixed => 500,
            Mode::Fork | Mode::Exec | Mode::Prefork | Mode::Udp | Mode::Loop => 1_000,
        };
        let limit_seconds = self.limit_seconds.unwrap_or(120);
        Ok(Options {
            mode,
            addresses: self.server_addresses(mode)?,
            local_addresses: self.local_addresses,
            count: self.count.unwrap_or(count),
            port: self.port.unwrap_or(21_000),
            ports: self.ports.unwrap_or(if mode == Mode::Udp { 1 } else { 4 }),
            workers: self
                .workers
                .unwrap_or(if mode == Mode::Loop { 1 } else { 2 }),
            payload_bytes: self.payload_bytes.unwrap_or(64),
            truth: self.truth,
            seed: self.seed.unwrap_or(1),
            duration_seconds: self.duration_seconds.unwrap_or(20.min(limit_seconds)),
            programs: self.programs,
            limit_seconds,
        })
    }
}

/// Parses the value of an option.
fn parse<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} cannot be {value}"))
}

impl Options {
    /// Parses a command line without the program's name; `None` asks for help.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        if arguments
            .iter()
            .any(|argument| argument == "--help" || argument == "-h")
        {
            return Ok(None);
        }
        let (mode, rest) = arguments
            .split_first()
            .ok_or("which mode? --help lists them")?;
        let mode = Mode::from_name(mode).ok_or_else(|| format!("unknown mode {mode}"))?;
        let mut given = Given::default();
        let mut words = rest.iter();
        while let Some(name) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            given.take(name, value)?;
        }
        let options = given.complete(mode)?;
        options.check().map(|()| Some(options))
    }

    /// Refuses what cannot work or could run away.
    fn check(&self) -> Result<(), String> {
        let payload_bytes_max = match self.mode {
            // A datagram must fit the buffer of its client.
            Mode::Udp | Mode::Mixed => SCRATCH_BYTES as u32,
            Mode::Fork | Mode::Exec | Mode::Prefork | Mode::Loop | Mode::Hold | Mode::Office => {
                64 << 20
            }
        };
        check_range("--count", self.count, 1, 1_000_000)?;
        check_range("--ports", self.ports.into(), 1, 64)?;
        check_range("--port", self.port.into(), 1, 65_000)?;
        check_range("--workers", self.workers, 1, 64)?;
        check_range(
            "--payload",
            self.payload_bytes,
            HEADER_BYTES as u32,
            payload_bytes_max,
        )?;
        check_range("--limit-seconds", self.limit_seconds, 1, 3_600)?;
        check_range(
            "--duration-seconds",
            self.duration_seconds,
            1,
            self.limit_seconds,
        )?;
        check_range(
            "the number of addresses",
            self.addresses.len() as u32,
            1,
            64,
        )
    }
}

/// Refuses a number outside of its range.
fn check_range(name: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{name} must be from {least} to {most}, not {value}"
    ))
}
