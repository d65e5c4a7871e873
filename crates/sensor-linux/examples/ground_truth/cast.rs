//! Who plays in the mode `office`.

use crate::scenario::Protocol::{self, Tcp, Udp};

/// TCP ports of the world outside.
pub(crate) const REMOTE_STREAMS: [u16; 5] = [443, 80, 22, 993, 5_432];

/// UDP ports of the world outside.
pub(crate) const REMOTE_DATAGRAMS: [u16; 2] = [53, 123];

/// Names of the servers: of the world outside, and of this machine.
pub(crate) const SERVERS: [&str; 2] = ["internet", "file-share"];

/// Index of the world outside among all programs: servers come after the cast.
pub(crate) const REMOTE_SERVER_INDEX: u16 = CAST.len() as u16;

/// Index of this machine's server among all programs.
pub(crate) const LOCAL_SERVER_INDEX: u16 = REMOTE_SERVER_INDEX + 1;

/// A program and its habits. Sizes and times are medians and spreads of log-normal numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// Name of its executable.
    pub(crate) name: &'static str,
    /// How often it is started, compared to the others.
    pub(crate) weight: f64,
    /// Connections of one start, least and most.
    pub(crate) connections: (u32, u32),
    /// Connections it has open at the same time, at most.
    pub(crate) threads: u32,
    /// What it connects to.
    pub(crate) services: &'static [(Protocol, u16)],
    /// Bytes of a request.
    pub(crate) request: (f64, f64),
    /// Bytes of a reply.
    pub(crate) reply: (f64, f64),
    /// Exchanges over one connection, least and most.
    pub(crate) exchanges: (u32, u32),
    /// Rest after an exchange.
    pub(crate) pause_ms: f64,
    /// From the start of one connection to that of the next.
    pub(crate) gap_ms: f64,
    /// Probability that a connection fails or is reset.
    pub(crate) trouble: f64,
    /// Whether it starts first and its connections last to the end.
    pub(crate) is_spanning: bool,
    /// Whether it is a program of another machine that connects to this one.
    pub(crate) is_inbound: bool,
}

/// What most programs have in common.
const USUAL: Program = Program {
    name: "",
    weight: 1.0,
    connections: (1, 2),
    threads: 1,
    services: &[(Tcp, 443)],
    request: (700.0, 0.6),
    reply: (6_000.0, 1.2),
    exchanges: (1, 3),
    pause_ms: 60.0,
    gap_ms: 80.0,
    trouble: 0.03,
    is_spanning: false,
    is_inbound: false,
};

/// All client programs.
pub(crate) const CAST: [Program; 13] = [
    Program {
        name: "browser",
        weight: 8.0,
        connections: (4, 24),
        threads: 6,
        services: &[(Tcp, 443), (Tcp, 443), (Tcp, 443), (Tcp, 443), (Tcp, 80)],
        reply: (18_000.0, 1.5),
        gap_ms: 15.0,
        ..USUAL
    },
    Program {
        name: "resolver",
        weight: 10.0,
        connections: (1, 8),
        services: &[(Udp, 53)],
        request: (42.0, 0.25),
        reply: (130.0, 0.5),
        exchanges: (1, 2),
        pause_ms: 4.0,
        gap_ms: 10.0,
        ..USUAL
    },
    Program {
        name: "mailer",
        weight: 2.0,
        services: &[(Tcp, 993)],
        request: (120.0, 0.8),
        reply: (2_500.0, 1.6),
        exchanges: (3, 9),
        pause_ms: 150.0,
        ..USUAL
    },
    Program {
        name: "updater",
        connections: (1, 3),
        reply: (600_000.0, 1.0),
        pause_ms: 30.0,
        trouble: 0.08,
        ..USUAL
    },
    Program {
        name: "sync",
        weight: 3.0,
        connections: (1, 4),
        threads: 2,
        request: (9_000.0, 1.8),
        reply: (900.0, 1.0),
        exchanges: (2, 6),
        ..USUAL
    },
    Program {
        name: "ssh-client",
        services: &[(Tcp, 22)],
        connections: (1, 1),
        request: (90.0, 0.7),
        reply: (220.0, 1.1),
        exchanges: (8, 40),
        pause_ms: 90.0,
        trouble: 0.06,
        ..USUAL
    },
    Program {
        name: "backup",
        weight: 0.6,
        services: &[(Tcp, 22), (Tcp, 443)],
        request: (1_000_000.0, 0.7),
        reply: (64.0, 0.2),
        exchanges: (1, 4),
        ..USUAL
    },
    Program {
        name: "reporter",
        weight: 2.0,
        services: &[(Tcp, 5_432)],
        connections: (1, 5),
        threads: 3,
        request: (260.0, 0.7),
        reply: (3_000.0, 1.5),
        exchanges: (3, 20),
        pause_ms: 12.0,
        ..USUAL
    },
    Program {
        name: "clock",
        services: &[(Udp, 123)],
        connections: (1, 4),
        request: (48.0, 0.0),
        reply: (48.0, 0.0),
        exchanges: (1, 1),
        pause_ms: 1.0,
        ..USUAL
    },
    Program {
        name: "telemetry",
        weight: 3.0,
        services: &[(Tcp, 443), (Tcp, 80)],
        connections: (1, 1),
        request: (1_800.0, 0.9),
        reply: (90.0, 0.3),
        exchanges: (1, 1),
        pause_ms: 5.0,
        trouble: 0.1,
        ..USUAL
    },
    Program {
        name: "chat",
        weight: 0.5,
        threads: 2,
        request: (180.0, 0.9),
        reply: (350.0, 1.1),
        exchanges: (20, 60),
        is_spanning: true,
        ..USUAL
    },
    Program {
        name: "remote-desktop",
        weight: 0.0,
        services: &[(Tcp, 443)],
        request: (300.0, 0.8),
        reply: (8_000.0, 1.2),
        exchanges: (80, 160),
        connections: (1, 1),
        is_spanning: true,
        ..USUAL
    },
    Program {
        name: "colleague",
        weight: 3.0,
        connections: (1, 6),
        threads: 2,
        reply: (25_000.0, 1.7),
        is_inbound: true,
        ..USUAL
    },
];

/// The programs that are started first, and last to the end.
pub(crate) fn spanning() -> impl Iterator<Item = usize> {
    (0..CAST.len()).filter(|index| CAST[*index].is_spanning)
}

/// The program at `fraction` of all weights.
pub(crate) fn by_weight(fraction: f64) -> usize {
    let total: f64 = CAST.iter().map(|program| program.weight).sum();
    let mut left = fraction * total;
    for (index, program) in CAST.iter().enumerate() {
        if left < program.weight {
            return index;
        }
        left -= program.weight;
    }
    0
}
