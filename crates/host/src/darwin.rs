//! What macOS tells through its C library and no safe crate does.
//!
//! Declared by hand where the `libc` crate declares it for Apple only, so that tests on other
//! systems call the same lines.

#![expect(
    unsafe_code,
    reason = "functions of the C library, each called with what its manual page asks for"
)]
#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "elsewhere only tests call it")
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// The longest text of a system control that is read, in bytes, its ending included.
const TEXT_MAX_BYTES: usize = 256;

/// The longest record of an account that is read, in bytes.
const ACCOUNT_MAX_BYTES: usize = 1 << 16;

/// The longest wait for the machine's id, in seconds; zero would mean for ever.
const HOST_UUID_WAIT_S: libc::time_t = 1;

// SAFETY: the declarations are those of <sys/sysctl.h> and <unistd.h>: sysctl(3), gethostuuid(2).
unsafe extern "C" {
    fn sysctlbyname(
        name: *const c_char,
        old: *mut c_void,
        old_bytes: *mut usize,
        new: *const c_void,
        new_bytes: usize,
    ) -> c_int;

    fn gethostuuid(id: *mut u8, wait: *const libc::timespec) -> c_int;
}

/// Nanoseconds since an arbitrary moment at about the start of the machine. It counts sleep and is
/// never adjusted: `CLOCK_MONOTONIC_RAW` of clock_gettime(3), which is `mach_continuous_time`.
pub(crate) fn continuous_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to be written for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut time) };
    assert!(status == 0, "the clock exists on every macOS since 10.12");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The text of a system control; `None` where there is none, or it is not short text.
pub(crate) fn control_text(name: &CStr) -> Option<String> {
    let mut bytes = [0_u8; TEXT_MAX_BYTES];
    let mut length = bytes.len();
    // SAFETY: `name` ends in a zero; at most `length` bytes are written to `bytes`, which has as
    // many, and nothing is set.
    let status = unsafe {
        sysctlbyname(
            name.as_ptr(),
            bytes.as_mut_ptr().cast(),
            &mut length,
            ptr::null(),
            0,
        )
    };
    if status != 0 {
        return None;
    }
    let text = CStr::from_bytes_until_nul(bytes.get(..length)?).ok()?;
    let text = text.to_str().ok()?;
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// The id of this machine that survives a new installation; `None` when the system does not know
/// it within a second.
pub(crate) fn host_uuid() -> Option<[u8; 16]> {
    let mut id = [0_u8; 16];
    let wait = libc::timespec {
        tv_sec: HOST_UUID_WAIT_S,
        tv_nsec: 0,
    };
    // SAFETY: the function writes the 16 bytes of a `uuid_t`, and reads `wait`.
    let status = unsafe { gethostuuid(id.as_mut_ptr(), &wait) };
    (status == 0 && id != [0; 16]).then_some(id)
}

/// The name of an account. It may ask a directory service, and wait for it.
pub(crate) fn account_name(uid: u32) -> Option<String> {
    let mut buffer: Vec<c_char> = vec![0; 1 << 10];
    loop {
        let mut record = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `record` and `found` are ours to be written, and `buffer` has the length that is
        // named.
        let status = unsafe {
            libc::getpwuid_r(
                uid,
                record.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &mut found,
            )
        };
        if status == libc::ERANGE && buffer.len() < ACCOUNT_MAX_BYTES {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        if status != 0 || found.is_null() {
            return None;
        }
        // SAFETY: where a record was found, `found` points to `record`, which is then written.
        let name = unsafe { (*found).pw_name };
        if name.is_null() {
            return None;
        }
        // SAFETY: the name is a C text within `buffer`, which lives until the end of this turn.
        let name = unsafe { CStr::from_ptr(name) };
        let name = name.to_str().ok().filter(|name| !name.is_empty());
        return name.map(str::to_owned);
    }
}

/// Writes a line to the log of the system: syslog(3).
pub(crate) fn log_line(line: &str) {
    let Ok(line) = CString::new(line.replace('\0', " ")) else {
        return;
    };
    // SAFETY: both are C texts, and the first asks for one text and gets one.
    unsafe { libc::syslog(libc::LOG_NOTICE, c"%s".as_ptr(), line.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use darwin_double::machine;

    #[test]
    fn the_continuous_clock_goes_on() {
        let before = continuous_ns();
        let after = continuous_ns();
        assert!(before > 0 && after >= before);
    }

    #[test]
    fn controls_that_are_short_text_are_read_and_nothing_else() {
        let _machine = machine::lock();
        let control = c"kern.osproductversion";
        machine::set_text_variable("kern.osproductversion", "15.4");
        assert_eq!(control_text(control).as_deref(), Some("15.4"));
        let hostile: [&[u8]; 4] = [b"", b"\0", b"no end", b"\xff\xfe\0"];
        for bytes in hostile {
            machine::set_variable("kern.osproductversion", bytes);
            assert_eq!(control_text(control), None, "{bytes:?}");
        }
        machine::set_text_variable("kern.osproductversion", &"9".repeat(TEXT_MAX_BYTES));
        assert_eq!(control_text(control), None);
        machine::remove_variable("kern.osproductversion");
        assert_eq!(control_text(control), None);
    }

    #[test]
    fn the_id_of_the_machine_is_asked_for_with_a_limit() {
        assert_eq!(host_uuid(), Some([0xab; 16]));
    }

    // SAFETY: nothing else in this program has the name.
    #[cfg(not(target_os = "macos"))]
    #[unsafe(no_mangle)]
    extern "C" fn gethostuuid(id: *mut u8, wait: *const libc::timespec) -> c_int {
        // SAFETY: the caller gives 16 bytes to write and a time to read.
        let wait = unsafe {
            id.write_bytes(0xab, 16);
            *wait
        };
        if wait.tv_sec == 0 && wait.tv_nsec == 0 {
            return -1;
        }
        0
    }

    #[test]
    fn the_account_of_root_has_a_name_and_one_that_nobody_has_has_none() {
        assert_eq!(account_name(0).as_deref(), Some("root"));
        assert_eq!(account_name(4_000_000_001), None);
    }
}
