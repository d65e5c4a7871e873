//! `bsm/libbsm.h`: what stands in an audit token.

/// `audit_token_t` of `mach/message.h`: opaque by convention, so it is only handed to the
/// functions below.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct AuditToken {
    words: [u32; 8],
}

impl AuditToken {
    /// The token that these bytes are.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> AuditToken {
        let mut words = [0; 8];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_ne_bytes(*chunk);
        }
        AuditToken { words }
    }
}

// SAFETY: the declarations are those of `bsm/libbsm.h` (`uid_t` is 32 bits without a sign, `pid_t`
// and `au_asid_t` are 32 bits with one), and the functions only look at the value they are given.
#[cfg_attr(target_vendor = "apple", link(name = "bsm"))]
unsafe extern "C" {
    /// The user who logged in. `bsm/libbsm.h`, macOS 10.5.
    pub(crate) safe fn audit_token_to_auid(token: AuditToken) -> u32;
    /// The effective user. `bsm/libbsm.h`, macOS 10.5.
    pub(crate) safe fn audit_token_to_euid(token: AuditToken) -> u32;
    /// The user. `bsm/libbsm.h`, macOS 10.5.
    pub(crate) safe fn audit_token_to_ruid(token: AuditToken) -> u32;
    /// The process id. `bsm/libbsm.h`, macOS 10.5.
    pub(crate) safe fn audit_token_to_pid(token: AuditToken) -> i32;
    /// The audit session. `bsm/libbsm.h`, macOS 10.5.
    pub(crate) safe fn audit_token_to_asid(token: AuditToken) -> i32;
    /// The pid version. `bsm/libbsm.h`, macOS 10.8.
    pub(crate) safe fn audit_token_to_pidversion(token: AuditToken) -> i32;
}
