//! What a machine is like, and how well its sensor tells of it.

use flow::Config;

/// Everything that a history depends on beside its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// In a word, for tables and messages.
    pub name: &'static str,
    /// Whose sensor tells.
    pub style: Style,
    /// Between two new connections, on average, in nanoseconds.
    pub gap_ns: u64,
    /// Connections that are open at one time at most.
    pub connections_max: usize,
    /// Processes that live at one time at most.
    pub processes_max: usize,
    /// Connections that one burst makes; zero where there are none.
    pub burst: u64,
    /// Flows that the table follows at most.
    pub flows_max: usize,
    /// What the sensor does wrong.
    pub faults: Faults,
}

/// How sensors tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Processes are introduced before their flows, closes are whole, losses are counted by the
    /// kernel and followed by a sweep.
    Linux,
    /// Processes are introduced late, closes may come without bytes or not at all.
    Macos,
}

/// How often the sensor does what, once in so many times; zero is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// An event is lost, and declared.
    pub lost: u64,
    /// An event is lost, and nobody knows.
    pub silently_lost: u64,
    /// An event comes late, after others.
    pub late: u64,
    /// An event comes twice.
    pub duplicated: u64,
    /// Totals go back, an owner changes, something is told of a connection that is over.
    pub contradicted: u64,
    /// A process is introduced as another, or never.
    pub misnamed: u64,
    /// A connection gets the key of one that is over.
    pub keys_reused: u64,
    /// An event that belongs to nothing.
    pub nonsense: u64,
}

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000 * MILLISECOND_NS;

impl Shape {
    /// A machine on which hardly anything happens, told of well.
    pub const QUIET: Shape = Shape {
        name: "quiet",
        style: Style::Linux,
        gap_ns: 20 * SECOND_NS,
        connections_max: 40,
        processes_max: 20,
        burst: 0,
        flows_max: 1_000,
        faults: Faults {
            lost: 500,
            silently_lost: 0,
            late: 50,
            duplicated: 200,
            contradicted: 0,
            misnamed: 200,
            keys_reused: 0,
            nonsense: 0,
        },
    };

    /// A desk, as macOS tells of it.
    pub const OFFICE: Shape = Shape {
        name: "office",
        style: Style::Macos,
        gap_ns: 2 * SECOND_NS,
        connections_max: 150,
        processes_max: 60,
        burst: 40,
        flows_max: 120,
        faults: Faults {
            lost: 60,
            silently_lost: 30,
            late: 20,
            duplicated: 30,
            contradicted: 40,
            misnamed: 15,
            keys_reused: 40,
            nonsense: 0,
        },
    };

    /// A server with many short connections and some that stay, as Linux tells of it.
    pub const SERVER: Shape = Shape {
        name: "server",
        style: Style::Linux,
        gap_ns: 4 * MILLISECOND_NS,
        connections_max: 400,
        processes_max: 40,
        burst: 200,
        flows_max: 600,
        faults: Faults {
            lost: 40,
            silently_lost: 100,
            late: 15,
            duplicated: 40,
            contradicted: 60,
            misnamed: 50,
            keys_reused: 30,
            nonsense: 0,
        },
    };

    /// More than the table holds, and a sensor that cannot keep up.
    pub const STORM: Shape = Shape {
        name: "storm",
        style: Style::Linux,
        gap_ns: MILLISECOND_NS / 4,
        connections_max: 300,
        processes_max: 200,
        burst: 2_000,
        flows_max: 100,
        faults: Faults {
            lost: 4,
            silently_lost: 50,
            late: 4,
            duplicated: 10,
            contradicted: 20,
            misnamed: 10,
            keys_reused: 10,
            nonsense: 0,
        },
    };

    /// Half of what is told is made up.
    pub const HOSTILE: Shape = Shape {
        name: "hostile",
        style: Style::Macos,
        gap_ns: 50 * MILLISECOND_NS,
        connections_max: 100,
        processes_max: 40,
        burst: 100,
        flows_max: 14,
        faults: Faults {
            lost: 10,
            silently_lost: 10,
            late: 5,
            duplicated: 5,
            contradicted: 4,
            misnamed: 4,
            keys_reused: 4,
            nonsense: 2,
        },
    };

    /// Every shape.
    pub const ALL: &[Shape] = &[
        Shape::QUIET,
        Shape::OFFICE,
        Shape::SERVER,
        Shape::STORM,
        Shape::HOSTILE,
    ];

    /// The same machine, told of by a sensor that loses nothing, invents nothing and is never
    /// late, to a table that has room for everything.
    pub fn faithful(self) -> Shape {
        Shape {
            flows_max: 16 * (self.connections_max + self.burst as usize),
            faults: Faults::default(),
            ..self
        }
    }

    /// The same machine, told of in another style.
    pub fn told_by(self, style: Style) -> Shape {
        Shape { style, ..self }
    }

    /// Whether the sensor does nothing wrong.
    pub fn is_faithful(&self) -> bool {
        self.faults == Faults::default()
    }

    /// A table that suits this machine and this sensor.
    pub fn config(&self) -> Config {
        let common = Config {
            flows_max: self.flows_max,
            processes_max: 16_384,
            update_interval_ns: 60 * SECOND_NS,
            ..Config::default()
        };
        match self.style {
            Style::Linux => common,
            Style::Macos if self.is_faithful() => Config {
                identity_wait_ns: 2 * SECOND_NS,
                ..common
            },
            Style::Macos => Config {
                identity_wait_ns: 2 * SECOND_NS,
                age_max_ns: 4 * 3_600 * SECOND_NS,
                datagram_idle_ns: 120 * SECOND_NS,
                ..common
            },
        }
    }
}
