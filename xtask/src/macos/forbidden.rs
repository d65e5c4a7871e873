//! What no program of ours may have in it, wherever it stands and whatever the lists say.
//!
//! The lists of what is allowed are edited as the programs grow. This one is the promise that they
//! are not edited away: no content is read, nobody's traffic is held up, no private call is made.

/// Something that must not be in a program, and why.
pub(super) struct Forbidden {
    /// The text.
    pub(super) text: &'static str,
    /// How it is looked for.
    pub(super) as_: As,
    /// What it would mean.
    pub(super) why: &'static str,
}

/// How a forbidden text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// Anywhere in the file, even within a longer text.
    Part,
    /// As a whole text, or as the name of an import.
    Whole,
}

const READS: &str = "reads what is transferred";
const HOLDS: &str = "holds up or cuts somebody's traffic";
const PACKETS: &str = "sees packets, which have content and no process";

/// The methods and classes through which a filter reads, pauses or drops. `NEFilterProvider.h`,
/// `NEFilterDataProvider.h` and `NEFilterPacketProvider.h` declare them.
pub(super) const TRAFFIC: &[Forbidden] = &[
    part("handleInboundData", READS),
    part("handleOutboundData", READS),
    part("filterDataVerdictWith", READS),
    part("dataVerdictWithPassBytes", READS),
    part("NEFilterDataVerdict", READS),
    part("handleRemediationForFlow", READS),
    part("remediateVerdict", HOLDS),
    part("NEFilterRemediationVerdict", HOLDS),
    part("URLAppendStringVerdict", "changes what is asked for"),
    part("needRulesVerdict", HOLDS),
    part("pauseVerdict", HOLDS),
    part("dropVerdict", HOLDS),
    part("resumeFlow:", HOLDS),
    part("updateFlow:", HOLDS),
    part("NEFilterControlProvider", HOLDS),
    part("NEFilterControlVerdict", HOLDS),
    part("packetHandler", PACKETS),
    part("setPacketHandler:", PACKETS),
    part("delayCurrentPacket:", PACKETS),
    part("allowPacket:", PACKETS),
    part("NEFilterPacketProvider", PACKETS),
    part("NEPacketTunnelProvider", PACKETS),
    part("/dev/bpf", PACKETS),
    part("_pcap_", PACKETS),
    part("NEAppProxyProvider", "carries somebody's traffic itself"),
    part(
        "NETransparentProxyProvider",
        "carries somebody's traffic itself",
    ),
    part("NEDNSProxyProvider", "carries somebody's questions itself"),
];

const RESPONSIBLE: &str = "a private call that names the responsible process";
const SIGNING: &str = "a private call about code signatures";
const STATISTICS: &str = "the private interface to network statistics";
const TABLES: &str = "a private table of all sockets";
const POLICY: &str = "the private interface to network policy";
const TOKEN: &str = "a private property of a flow or a connection";

/// Interfaces of the system that are not public. `docs/macos.md` says what is used in their place.
pub(super) const PRIVATE: &[Forbidden] = &[
    part("responsibility_get", RESPONSIBLE),
    part("responsibility_spawnattrs", RESPONSIBLE),
    part("csops_audittoken", SIGNING),
    whole("csops", SIGNING),
    whole("_csops", SIGNING),
    part("com.apple.network.statistics", STATISTICS),
    part("NetworkStatistics", STATISTICS),
    part("_NStatManager", STATISTICS),
    whole("ntstat", STATISTICS),
    part("pcblist_n", TABLES),
    part("com.apple.content-filter", "the kernel's side of filters"),
    part("_necp_", POLICY),
    whole("necp_open", POLICY),
    whole("necp_client_action", POLICY),
    part("procUUID", TOKEN),
    whole("auditToken", TOKEN),
    part(
        "PROC_PIDUNIQIDENTIFIERINFO",
        "a private kind of process information",
    ),
    part("PrivateFrameworks", "a private framework"),
];

const CONNECTS: &str = "speaks with others, which is for the shipper alone";

/// What only a program that opens connections asks the system for, so nobody may but [`SPEAKER`].
pub(super) const CONNECTIONS: &[Forbidden] = &[
    whole("_socket", CONNECTS),
    whole("_connect", CONNECTS),
    whole("_connectx", CONNECTS),
    whole("_send", CONNECTS),
    whole("_sendto", CONNECTS),
    whole("_sendmsg", CONNECTS),
    whole("_bind", CONNECTS),
    whole("_listen", CONNECTS),
    whole("_accept", CONNECTS),
    whole("_getaddrinfo", CONNECTS),
];

/// The program that may.
pub(super) const SPEAKER: &str = "conntrail-ship";

const fn part(text: &'static str, why: &'static str) -> Forbidden {
    Forbidden {
        text,
        as_: As::Part,
        why,
    }
}

const fn whole(text: &'static str, why: &'static str) -> Forbidden {
    Forbidden {
        text,
        as_: As::Whole,
        why,
    }
}
