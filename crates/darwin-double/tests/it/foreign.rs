//! The functions as a program declares them by hand.

use objc2_core_foundation::{CFDictionary, CFString, CFType, CFURL};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;

/// `audit_token_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AuditToken([u32; 8]);

impl AuditToken {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let mut token = [0; 8];
        for (place, word) in token.iter_mut().zip(words) {
            *place = u32::from_ne_bytes(*word);
        }
        Self(token)
    }
}

#[repr(C)]
pub(crate) struct Timebase {
    pub(crate) numerator: u32,
    pub(crate) denominator: u32,
}

// SAFETY: the declarations are those of the headers that `darwin_double::symbols` names.
unsafe extern "C" {
    pub(crate) fn proc_listallpids(buffer: *mut c_void, size: c_int) -> c_int;
    pub(crate) fn proc_pidinfo(
        pid: c_int,
        flavor: c_int,
        argument: u64,
        buffer: *mut c_void,
        size: c_int,
    ) -> c_int;
    pub(crate) fn proc_pidfdinfo(
        pid: c_int,
        descriptor: c_int,
        flavor: c_int,
        buffer: *mut c_void,
        size: c_int,
    ) -> c_int;
    pub(crate) fn proc_pidpath_audittoken(
        token: *const AuditToken,
        buffer: *mut c_void,
        size: u32,
    ) -> c_int;
    pub(crate) fn proc_pidpath(pid: c_int, buffer: *mut c_void, size: u32) -> c_int;
    pub(crate) safe fn audit_token_to_auid(token: AuditToken) -> c_uint;
    pub(crate) safe fn audit_token_to_euid(token: AuditToken) -> c_uint;
    pub(crate) safe fn audit_token_to_egid(token: AuditToken) -> c_uint;
    pub(crate) safe fn audit_token_to_ruid(token: AuditToken) -> c_uint;
    pub(crate) safe fn audit_token_to_rgid(token: AuditToken) -> c_uint;
    pub(crate) safe fn audit_token_to_pid(token: AuditToken) -> c_int;
    pub(crate) safe fn audit_token_to_asid(token: AuditToken) -> c_int;
    pub(crate) safe fn audit_token_to_pidversion(token: AuditToken) -> c_int;
    pub(crate) fn sysctlbyname(
        name: *const c_char,
        old: *mut c_void,
        old_size: *mut usize,
        new: *const c_void,
        new_size: usize,
    ) -> c_int;
    pub(crate) fn sysctl(
        name: *const c_int,
        length: c_uint,
        old: *mut c_void,
        old_size: *mut usize,
        new: *const c_void,
        new_size: usize,
    ) -> c_int;
    pub(crate) safe fn mach_continuous_time() -> u64;
    pub(crate) safe fn mach_absolute_time() -> u64;
    pub(crate) fn mach_timebase_info(info: *mut Timebase) -> c_int;

    pub(crate) static kSecGuestAttributePid: &'static CFString;
    pub(crate) static kSecGuestAttributeAudit: &'static CFString;
    pub(crate) static kSecCodeInfoIdentifier: &'static CFString;
    pub(crate) static kSecCodeInfoTeamIdentifier: &'static CFString;
    pub(crate) static kSecCodeInfoUnique: &'static CFString;
    pub(crate) static kSecCodeInfoPlatformIdentifier: &'static CFString;
    pub(crate) static kSecCodeInfoFlags: &'static CFString;
    pub(crate) static kSecCodeInfoStatus: &'static CFString;
    pub(crate) static kSecCodeInfoMainExecutable: &'static CFString;
    pub(crate) fn SecCodeCopyGuestWithAttributes(
        host: *const CFType,
        attributes: *const CFDictionary,
        flags: u32,
        guest: *mut *const CFType,
    ) -> i32;
    pub(crate) fn SecCodeCopySelf(flags: u32, code: *mut *const CFType) -> i32;
    pub(crate) fn SecCodeCopySigningInformation(
        code: *const CFType,
        flags: u32,
        information: *mut *const CFDictionary,
    ) -> i32;
    pub(crate) fn SecCodeCheckValidity(
        code: *const CFType,
        flags: u32,
        requirement: *const CFType,
    ) -> i32;
    pub(crate) fn SecCodeCopyPath(code: *const CFType, flags: u32, path: *mut *const CFURL) -> i32;
    pub(crate) fn SecRequirementCreateWithString(
        text: *const CFString,
        flags: u32,
        requirement: *mut *const CFType,
    ) -> i32;

    pub(crate) fn IOServiceMatching(name: *const c_char) -> *const CFDictionary;
    pub(crate) fn IOServiceGetMatchingService(
        port: c_uint,
        matching: *const CFDictionary,
    ) -> c_uint;
    pub(crate) fn IORegistryEntryCreateCFProperty(
        entry: c_uint,
        key: *const CFString,
        allocator: *const c_void,
        options: u32,
    ) -> *const CFType;
    pub(crate) safe fn IOObjectRelease(object: c_uint) -> c_int;
}

/// The last `errno` of this thread.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Calls with a buffer of `N` bytes of 0xEE: what it answers, and the buffer.
pub(crate) fn with_buffer<const N: usize>(
    call: impl FnOnce(*mut c_void, c_int) -> c_int,
) -> (c_int, [u8; N]) {
    let mut buffer = [0xEE; N];
    let answer = call(buffer.as_mut_ptr().cast(), N as c_int);
    (answer, buffer)
}

/// Calls with room for one value, which is taken if the answer is 0.
pub(crate) fn with_place<T>(call: impl FnOnce(*mut T) -> c_int) -> Result<T, c_int> {
    let mut place = MaybeUninit::uninit();
    match call(place.as_mut_ptr()) {
        // SAFETY: the functions write the value whenever they answer 0.
        0 => Ok(unsafe { place.assume_init() }),
        code => Err(code),
    }
}
