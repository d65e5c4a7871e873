//! The counters of TCP, `struct tcpstat`.

/// The size of the structure on macOS 12: `xnu-8019.41.5` to `xnu-8020.140.41`.
pub const TCP_STATS_MACOS_12: usize = 960;
/// The size of the structure on macOS 13 and 14: `xnu-8792.41.9` to `xnu-10063.141.1`.
pub const TCP_STATS_MACOS_13: usize = 976;
/// The size of the structure on macOS 15: `xnu-11215.1.10` to `xnu-11417.121.6`.
pub const TCP_STATS_MACOS_15: usize = 992;

/// The first counters and the size of the whole.
///
/// `struct tcpstat` is declared in `netinet/tcp_var.h`, and each release may add to its end. The
/// sizes were computed by a C compiler for 64 bits from the headers of the named kernels. In all
/// of them the counters below are 32 bits wide and stand at the places named here.
#[derive(Clone, Debug)]
pub struct TcpStats {
    /// `tcps_connattempt` at 0: connections begun from here.
    pub attempts: u32,
    /// `tcps_accepts` at 4: connections begun from there.
    pub accepts: u32,
    /// `tcps_connects` at 8: connections that came about, of either kind.
    pub connects: u32,
    /// `tcps_drops` at 12: connections dropped.
    pub drops: u32,
    /// `tcps_conndrops` at 16: connections dropped before they came about.
    pub dropped_early: u32,
    /// `tcps_closed` at 20: connections closed, those that were dropped included.
    pub closed: u32,
    /// How many bytes the structure has: one of the `TCP_STATS_…`, or what no kernel has.
    pub size: usize,
    /// `net.inet.tcp.disable_access_to_stats`, which is set by default: who is not root reads
    /// zeros (`bsd/netinet/tcp_input.c`, `tcp_getstat`).
    pub for_root_only: bool,
}

impl Default for TcpStats {
    fn default() -> Self {
        Self {
            attempts: 0,
            accepts: 0,
            connects: 0,
            drops: 0,
            dropped_early: 0,
            closed: 0,
            size: TCP_STATS_MACOS_15,
            for_root_only: true,
        }
    }
}

impl TcpStats {
    /// The structure, as long as the kernel says it is; what is not modelled is 0xA5, so that
    /// reading at a wrong place shows.
    pub(crate) fn bytes(&self, root: bool) -> Vec<u8> {
        if self.for_root_only && !root {
            return vec![0; self.size];
        }
        let known = [
            self.attempts,
            self.accepts,
            self.connects,
            self.drops,
            self.dropped_early,
            self.closed,
        ];
        let mut bytes: Vec<u8> = known.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize(self.size, 0xA5);
        bytes
    }
}
