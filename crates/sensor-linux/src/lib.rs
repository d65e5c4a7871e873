//! Linux sensors: what the kernel tells about connections, as [`flow::Event`]s.
//!
//! [`kernel`] is told by the kernel itself (eBPF) and misses nothing it does not count.
//! [`sampled`] needs no privilege: it polls the socket tables and misses what lives shorter than a
//! poll. Both are a [`Sensor`], so the recorder does not care which it got.
//!
//! [`translate`], the part of the kernel sensor that turns bytes into events, is pure and builds on
//! every host.

#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod coverage;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod sampled;
mod sys;
pub mod translate;

use flow::Event;
use std::io;
use std::time::Duration;

/// What every sensor can do.
pub trait Sensor: Send {
    /// Waits up to `timeout` for something to report and appends it to `events`.
    ///
    /// The first call reports that the sensor started, and the sockets that were there before it.
    ///
    /// # Errors
    /// When the sensor can no longer see; what was appended before is good.
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError>;
}

/// Why a sensor cannot start, or can no longer see.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The kernel does not describe its own types, so no program can be fitted to it.
    #[error(
        "the kernel offers no BTF at /sys/kernel/btf/vmlinux ({reason}): it needs \
         CONFIG_DEBUG_INFO_BTF, which the kernels of the big distributions have since 2021; \
         use the sampled sensor here"
    )]
    NoTypeInformation {
        /// What went wrong when it was read.
        reason: String,
    },
    /// No control group hierarchy of version 2 can be reached.
    #[error(
        "no cgroup v2 mount is usable ({tried}): mount one, for example \
         `mount -t cgroup2 none /sys/fs/cgroup/unified`, or start outside `ip netns exec`, \
         which hides it"
    )]
    NoControlGroups {
        /// What was tried, and how each failed.
        tried: String,
    },
    /// The kernel refused a step.
    #[error("the kernel refused to {step}: {reason}; {advice}")]
    Refused {
        /// What was being done.
        step: String,
        /// What the kernel said.
        reason: String,
        /// What can be done about it.
        advice: &'static str,
    },
    /// A system call failed while the sensor was at work.
    #[error("cannot {step}: {source}")]
    System {
        /// What was being done.
        step: String,
        /// What the system said.
        source: io::Error,
    },
}
