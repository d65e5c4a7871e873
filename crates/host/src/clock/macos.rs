//! `CLOCK_MONOTONIC_RAW` of clock_gettime(3), which counts sleep, in nanoseconds, and which setting
//! the wall clock does not touch. `CLOCK_MONOTONIC` counts sleep too, but is the wall clock less
//! the time of boot, in microseconds.

use record::Mono;

pub(super) fn mono() -> Mono {
    Mono(crate::darwin::continuous_ns())
}
