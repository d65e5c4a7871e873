//! `CLOCK_BOOTTIME` of clock_gettime(2): it counts sleep.

use record::Mono;
use rustix::time::{ClockId, clock_gettime};

pub(super) fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    Mono(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}
