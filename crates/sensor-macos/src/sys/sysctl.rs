//! `sys/sysctl.h`: the kernel's variables.

use super::layout::{self, TcpStatistics};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::hint;
use std::io;
use std::ptr;
use std::sync::Arc;

// SAFETY: the declarations are those of `sys/sysctl.h`, which is part of the system library.
unsafe extern "C" {
    /// Reads a variable by its name. `sys/sysctl.h`, macOS 10.0.
    fn sysctlbyname(
        name: *const c_char,
        oldp: *mut c_void,
        oldlenp: *mut usize,
        newp: *mut c_void,
        newlen: usize,
    ) -> c_int;
    /// Reads a variable by its numbers. `sys/sysctl.h`, macOS 10.0.
    fn sysctl(
        name: *mut c_int,
        namelen: c_uint,
        oldp: *mut c_void,
        oldlenp: *mut usize,
        newp: *mut c_void,
        newlen: usize,
    ) -> c_int;
}

/// The random id of this boot; `None` where it cannot be read.
pub(crate) fn boot_session() -> Option<[u8; 16]> {
    let mut buffer = [0; 64];
    let filled = by_name(c"kern.bootsessionuuid", &mut buffer).ok()?;
    let text = buffer[..filled].split(|byte| *byte == 0).next()?;
    record::parse_uuid(std::str::from_utf8(text).ok()?)
}

/// What the kernel counted of TCP since it started.
///
/// # Errors
/// Why that cannot be said, in words.
pub(crate) fn tcp_statistics() -> Result<TcpStatistics, String> {
    let mut buffer = [0; 4_096];
    let filled = by_name(c"net.inet.tcp.stats", &mut buffer)
        .map_err(|error| format!("the kernel's TCP counters cannot be read: {error}"))?;
    layout::tcp_statistics(&buffer[..filled])
}

/// The arguments of whatever process has this id; `None` where they cannot be read.
///
/// The kernel hands out the environment with them. It is overwritten before this returns.
pub(crate) fn arguments(pid: u32) -> Option<Arc<str>> {
    let mut name = [CTL_KERN, KERN_PROCARGS2, pid.cast_signed()];
    let mut buffer = vec![0_u8; ARGUMENTS_BYTES];
    let mut filled = buffer.len();
    // SAFETY: `name` has as many numbers and `buffer` as many bytes as are told; nothing is set.
    let status = unsafe {
        sysctl(
            name.as_mut_ptr(),
            name.len() as c_uint,
            buffer.as_mut_ptr().cast(),
            &raw mut filled,
            ptr::null_mut(),
            0,
        )
    };
    let filled = filled.min(buffer.len());
    let arguments = (status == 0)
        .then(|| layout::arguments(&buffer[..filled]))
        .flatten();
    buffer[..filled].fill(0);
    hint::black_box(&buffer);
    arguments
}

// `CTL_KERN` and `KERN_PROCARGS2` of `sys/sysctl.h`.
const CTL_KERN: c_int = 1;
const KERN_PROCARGS2: c_int = 49;

/// `ARG_MAX` of `sys/syslimits.h`: the kernel takes no buffer that is larger, and in a smaller one
/// it would give the end instead of the beginning (XNU `bsd/kern/kern_sysctl.c`).
const ARGUMENTS_BYTES: usize = 1_024 * 1_024;

fn by_name(name: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = buffer.len();
    // SAFETY: `name` ends with a zero, `buffer` has as many bytes as are told, and nothing is set.
    let status = unsafe {
        sysctlbyname(
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut filled,
            ptr::null_mut(),
            0,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(filled.min(buffer.len()))
}

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::machine;

    #[test]
    fn the_boot_has_an_id_or_none() {
        let _machine = machine::lock();
        let expected = 0x6b29_fc40_ca47_1067_b31d_00dd_0106_62da_u128;
        assert_eq!(boot_session().map(u128::from_be_bytes), Some(expected));
        machine::set_text_variable("kern.bootsessionuuid", "");
        assert_eq!(boot_session(), None);
        machine::set_variable("kern.bootsessionuuid", &[0xff; 36]);
        assert_eq!(boot_session(), None);
        machine::set_variable("kern.bootsessionuuid", &[b'0'; 65]);
        assert_eq!(boot_session(), None);
        machine::remove_variable("kern.bootsessionuuid");
        assert_eq!(boot_session(), None);
    }
}
