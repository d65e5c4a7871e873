//! `bsm/libbsm.h`: what an audit token says. Linked with `-lbsm` on macOS.
//!
//! The order of the words was seen in `bsd/kern/kern_prot.c`, `proc_calc_audit_token`.

use crate::machine::note;

/// `audit_token_t` of `mach/message.h`, which is passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AuditToken {
    pub(crate) words: [u32; 8],
}

impl AuditToken {
    /// The token in these bytes, if they are 32.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Some(Self { words })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.words[5].cast_signed()
    }

    pub(crate) fn version(&self) -> u32 {
        self.words[7]
    }
}

/// `bsm/libbsm.h`: the user at login.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_auid(token: AuditToken) -> u32 {
    note("audit_token_to_auid");
    token.words[0]
}

/// `bsm/libbsm.h`: the effective user.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_euid(token: AuditToken) -> u32 {
    note("audit_token_to_euid");
    token.words[1]
}

/// `bsm/libbsm.h`: the effective group.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_egid(token: AuditToken) -> u32 {
    note("audit_token_to_egid");
    token.words[2]
}

/// `bsm/libbsm.h`: the real user.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_ruid(token: AuditToken) -> u32 {
    note("audit_token_to_ruid");
    token.words[3]
}

/// `bsm/libbsm.h`: the real group.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_rgid(token: AuditToken) -> u32 {
    note("audit_token_to_rgid");
    token.words[4]
}

/// `bsm/libbsm.h`: the process id.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_pid(token: AuditToken) -> i32 {
    note("audit_token_to_pid");
    token.pid()
}

/// `bsm/libbsm.h`: the audit session.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_asid(token: AuditToken) -> i32 {
    note("audit_token_to_asid");
    token.words[6].cast_signed()
}

/// `bsm/libbsm.h`: the counter of program images. The header returns an `int`.
#[unsafe(no_mangle)]
extern "C-unwind" fn audit_token_to_pidversion(token: AuditToken) -> i32 {
    note("audit_token_to_pidversion");
    token.version().cast_signed()
}
