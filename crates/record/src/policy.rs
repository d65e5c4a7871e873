//! What a privacy policy did: the marks it leaves on records, and what it says of itself.

use crate::Stamp;

/// A part of a record that a rule of the privacy policy can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyField {
    /// The record as a whole.
    Record,
    /// Address of the other side.
    RemoteAddress,
    /// Port of the other side.
    RemotePort,
    /// This machine's address.
    LocalAddress,
    /// This machine's port.
    LocalPort,
    /// The name that was asked for.
    Hostname,
    /// Everything about both processes, their users among it.
    Process,
    /// Names of programs, of the ancestors too.
    ProcessName,
    /// Paths of programs, of the ancestors too.
    ProcessPath,
    /// The person whose home folder is part of a path or a command line.
    ProcessHome,
    /// Command lines.
    CommandLine,
    /// Device and inode of executables.
    ProcessFile,
    /// Who signed the code.
    Signature,
    /// Parents.
    Ancestors,
    /// The process on whose behalf the connection was made.
    Responsible,
    /// Users: ids, names, who logged in, the session.
    User,
    /// Names of users.
    UserName,
    /// Control group and network namespace, which tell the service or container.
    Container,
    /// How much passed, how fast.
    Traffic,
}

/// What was done to a part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyAction {
    /// It was left out.
    Drop,
    /// It was shortened.
    Truncate,
    /// A pseudonym took its place.
    Pseudonymise,
}

/// A mark: what was done to which part of a record, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Treated {
    /// The part. [`PolicyField::Record`] says that only the outline is left.
    pub field: PolicyField,
    /// What was done.
    pub action: PolicyAction,
    /// The rule, counted from 1 as in [`PolicyChanged::rules`].
    pub rule: u8,
}

/// Which policy is in force from here on, until the next notice of this kind or the epoch's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChanged {
    /// How it came to be in force.
    pub state: PolicyState,
    /// SHA-256 of its text; `None` where no text is in force.
    pub hash: Option<[u8; 32]>,
    /// Where the text stands that was read.
    pub source: Option<String>,
    /// Why the text that was read is not in force, with the line.
    pub problem: Option<String>,
    /// Names of the rules in force, in their order.
    pub rules: Vec<String>,
}

/// How a policy came to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyState {
    /// It was read and is right.
    InForce,
    /// What was read is wrong, and the one before stays in force.
    Kept,
    /// What was read at the start is wrong, and the last one that was right is in force.
    LastGood,
    /// What was read at the start is wrong and none was ever right: every part that a rule could
    /// name is left out.
    Strict,
    /// There is none any more.
    Removed,
}

/// What a policy did since it said so last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Counted after this moment and not after the notice's own.
    pub since: Stamp,
    /// SHA-256 of its text; `None` where no text is in force.
    pub hash: Option<[u8; 32]>,
    /// Records that were looked at.
    pub records: u64,
    /// Records that were dropped: the sum of [`RuleCount::dropped`].
    pub dropped: u64,
    /// Records that were kept, with something changed in them.
    pub changed: u64,
    /// What the rules did, those that did something.
    pub rules: Vec<RuleCount>,
}

/// What one rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule, counted from 1 as in [`PolicyChanged::rules`].
    pub rule: u8,
    /// Records it dropped.
    pub dropped: u64,
    /// Records it changed something in.
    pub changed: u64,
}

/// Pseudonyms: values that cannot be taken for what they stand for.
///
/// A text is `pseudonym#` with four hexadecimal digits of the key's id, another `#` and 20 digits.
/// An address is one of `3fff:400::/24` for IPv4 and `3fff:600::/24` for IPv6, which lie in the
/// range for documentation of RFC 9637 and so are nobody's: its third group is the key's id.
/// A user id is [`pseudonym::UID`], which no account has.
pub mod pseudonym {
    use std::net::{IpAddr, Ipv6Addr};

    /// What texts begin with.
    pub const TEXT: &str = "pseudonym#";

    /// The id of a user who has a pseudonym for a name: `(uid_t) -1`, which systems keep free.
    pub const UID: u32 = u32::MAX;

    /// A text, of the key's id and ten bytes that the value gave.
    pub fn text(key: u16, digest: [u8; 10]) -> String {
        use std::fmt::Write;
        let mut text = format!("{TEXT}{key:04x}#");
        for byte in digest {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        text
    }

    /// An address, of the family of the one it stands for, the key's id and ten bytes.
    pub fn address(original: IpAddr, key: u16, digest: [u8; 10]) -> IpAddr {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&[0x3f, 0xff]);
        bytes[2] = match original {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 6,
        };
        bytes[4..6].copy_from_slice(&key.to_be_bytes());
        bytes[6..].copy_from_slice(&digest);
        IpAddr::V6(Ipv6Addr::from(bytes))
    }

    /// The version of the protocol, 4 or 6, of the address behind a pseudonym; `None` for an
    /// address that is none.
    pub fn version(address: IpAddr) -> Option<u8> {
        let IpAddr::V6(address) = address else {
            return None;
        };
        match address.octets() {
            [0x3f, 0xff, version @ (4 | 6), 0, ..] => Some(version),
            _ => None,
        }
    }
}
