//! `mach/mach_time.h`: the clocks of the kernel.

use crate::machine::{enter, machine};
use crate::raw;
use std::time::Duration;

/// `struct mach_timebase_info` of `mach/mach_time.h`.
#[repr(C)]
struct Timebase {
    numerator: u32,
    denominator: u32,
}

/// `mach/mach_time.h`: ticks that go on during sleep.
#[unsafe(no_mangle)]
extern "C-unwind" fn mach_continuous_time() -> u64 {
    enter("mach_continuous_time", None);
    let clock = machine().clock;
    clock
        .continuous_ticks
        .unwrap_or_else(|| ticks(libc::CLOCK_BOOTTIME, clock.timebase))
}

/// `mach/mach_time.h`: ticks that stand still during sleep.
#[unsafe(no_mangle)]
extern "C-unwind" fn mach_absolute_time() -> u64 {
    enter("mach_absolute_time", None);
    let clock = machine().clock;
    clock
        .absolute_ticks
        .unwrap_or_else(|| ticks(libc::CLOCK_MONOTONIC, clock.timebase))
}

/// `mach/mach_time.h`: how many nanoseconds a tick is. 0 is success.
#[unsafe(no_mangle)]
extern "C-unwind" fn mach_timebase_info(info: *mut Timebase) -> i32 {
    enter("mach_timebase_info", None);
    let (numerator, denominator) = machine().clock.timebase;
    raw::put(
        info,
        Timebase {
            numerator,
            denominator,
        },
    );
    0
}

fn ticks(clock: libc::clockid_t, (numerator, denominator): (u32, u32)) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours and has room for what is written.
    unsafe { libc::clock_gettime(clock, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let time = Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0));
    let ticks = time.as_nanos() * u128::from(denominator) / u128::from(numerator);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
