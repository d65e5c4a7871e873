//! The audit token: which run of which process, and for whom.

use crate::sys::bsm::{self, AuditToken};
use record::ProcessKey;

/// An audit token as a flow carries it.
///
/// It names one program run of one process: the pid version in it is new with every fork and exec
/// (XNU `bsd/kern/kern_exec.c`). So the whole token is the key of everything that is remembered
/// about a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// Nothing is in it: the process was gone before the flow was offered, or the kernel made it.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 32]
    }

    /// Process id; zero is the kernel.
    pub fn pid(&self) -> u32 {
        bsm::audit_token_to_pid(self.bsm()).cast_unsigned()
    }

    /// Pid version.
    pub fn pid_version(&self) -> u32 {
        bsm::audit_token_to_pidversion(self.bsm()).cast_unsigned()
    }

    /// Who the process runs as.
    pub fn real_uid(&self) -> u32 {
        bsm::audit_token_to_ruid(self.bsm())
    }

    /// Whose rights the process has.
    pub fn effective_uid(&self) -> u32 {
        bsm::audit_token_to_euid(self.bsm())
    }

    /// Who logged in; `None` where nobody did, as for what the system starts itself.
    pub fn login_uid(&self) -> Option<u32> {
        Some(bsm::audit_token_to_auid(self.bsm())).filter(|uid| *uid != NOBODY_LOGGED_IN)
    }

    /// Audit session; `None` where the process has none.
    pub fn audit_session(&self) -> Option<u32> {
        let session = bsm::audit_token_to_asid(self.bsm());
        u32::try_from(session).ok().filter(|session| *session != 0)
    }

    pub(crate) fn bsm(&self) -> AuditToken {
        AuditToken::from_bytes(&self.0)
    }
}

/// Names the program run of a token.
pub(crate) fn process_key(token: &Token) -> ProcessKey {
    ProcessKey {
        pid: token.pid(),
        start_ns: 0,
        exec_id: token.pid_version(),
    }
}

/// `AU_DEFAUDITID` of `bsm/audit.h`.
const NOBODY_LOGGED_IN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(words: [u32; 8]) -> Token {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Token(bytes)
    }

    // facts: user-from-token, token-keys-the-process
    #[test]
    fn a_token_tells_who_and_which_run() {
        let token = token([501, 0, 20, 502, 20, 4_711, 100_003, 9_000]);
        assert_eq!((token.pid(), token.pid_version()), (4_711, 9_000));
        assert_eq!((token.real_uid(), token.effective_uid()), (502, 0));
        assert_eq!(token.login_uid(), Some(501));
        assert_eq!(token.audit_session(), Some(100_003));
        let key = process_key(&token);
        assert_eq!((key.pid, key.start_ns, key.exec_id), (4_711, 0, 9_000));
        assert!(!token.is_zero());
    }

    #[test]
    fn what_the_system_started_has_no_login_and_no_session() {
        let token = token([u32::MAX, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!((token.login_uid(), token.audit_session()), (None, None));
        let default = token_with_session(-1);
        assert_eq!(default.audit_session(), None);
    }

    fn token_with_session(session: i32) -> Token {
        token([0, 0, 0, 0, 0, 1, session.cast_unsigned(), 1])
    }

    // facts: zero-token
    #[test]
    fn an_all_zero_token_names_nobody() {
        assert!(token([0; 8]).is_zero());
        assert_eq!(token([0; 8]).pid(), 0);
    }
}
