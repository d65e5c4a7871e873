//! What a callback copies out of the system's objects: plain bytes of a fixed size, so that nothing
//! of the system's is kept after the callback, and nothing is allocated in it.
//!
//! What the bytes mean is decided later, in [`crate::translate`].

use crate::token::Token;
use record::Mono;
use std::fmt;

/// Bytes of a name at most: a DNS name has 253 at most (RFC 1035, 2.3.4, less the length bytes).
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Bytes of all texts of a flow that an event has room for. An event is written by one processor
/// and read by another, so each 64 bytes of it cost a flow some time; with this it has 256.
const TEXT_BYTES_MAX: usize = 104;

/// Bytes at most of what stands in the place of an address: of an IPv6 address that ends like an
/// IPv4 one 45, and of its scope 16; of a name as many as there is room for.
const HOST_BYTES_MAX: usize = 72;

/// One callback's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawEvent {
    /// `handleNewFlow:`.
    Flow {
        /// When it was called.
        at: Mono,
        /// Its argument.
        flow: RawFlow,
    },
    /// `handleReport:`.
    Report(RawReport),
}

impl RawEvent {
    /// When the callback was called.
    pub(crate) fn at(&self) -> Mono {
        match self {
            RawEvent::Flow { at, .. } => *at,
            RawEvent::Report(report) => report.at,
        }
    }
}

/// The argument of `handleReport:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawReport {
    /// When it was called.
    pub(crate) at: Mono,
    /// `NEFilterReportEvent`, whatever its number is.
    pub(crate) event: isize,
    /// Bytes towards this machine.
    pub(crate) bytes_in: u64,
    /// Bytes from this machine.
    pub(crate) bytes_out: u64,
    /// The flow as it is now; the report may name none.
    pub(crate) flow: Option<RawFlow>,
}

/// An `NEFilterFlow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawFlow {
    /// The bytes of its UUID.
    pub(crate) id: Option<[u8; 16]>,
    /// `NETrafficDirection`, whatever its number is.
    pub(crate) direction: isize,
    /// The process that made it.
    pub(crate) process: RawToken,
    /// The app on whose behalf.
    pub(crate) app: RawToken,
    /// It is an `NEFilterSocketFlow`.
    pub(crate) is_socket: bool,
    /// Says something only then.
    pub(crate) socket: RawSocket,
}

/// What an `NEFilterSocketFlow` has besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawSocket {
    /// `SOCK_STREAM` and so on; only where there is no `protocol`.
    pub(crate) kind: i32,
    /// `IPPROTO_TCP` and so on.
    pub(crate) protocol: i32,
    /// Port of the other side.
    pub(crate) remote_port: Option<u16>,
    /// Port of this machine's side.
    pub(crate) local_port: Option<u16>,
    /// How many parts are there and make no sense.
    pub(crate) malformed: u8,
    /// The name is longer than there is room for here, and comes beside the event as a
    /// [`LongName`].
    pub(crate) has_long_name: bool,
    /// What is text.
    pub(crate) texts: Texts,
}

/// The texts of a flow. What they mean is found out later: that takes longer than to copy them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Texts {
    ends: [u8; 3],
    bytes: [u8; TEXT_BYTES_MAX],
}

/// Which text of a flow; in the order in which they are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// What stands where the address of the other side should.
    Remote = 0,
    /// What stands where this machine's address should.
    Local = 1,
    /// The name that the app asked for.
    Name = 2,
}

impl Texts {
    /// Puts in a text; `false`, and nothing is put in, when there is no room for it.
    pub(crate) fn put(&mut self, which: Text, text: &[u8]) -> bool {
        let start = usize::from(self.ends[2]);
        let end = start + text.len();
        if which != Text::Name && text.len() > HOST_BYTES_MAX {
            return false;
        }
        let Some(room) = self.bytes.get_mut(start..end) else {
            return false;
        };
        room.copy_from_slice(text);
        // Of what is put in later the end is not before this one.
        self.ends[which as usize..].fill(end as u8);
        true
    }

    /// What was put in; empty when nothing was.
    pub(crate) fn get(&self, which: Text) -> &[u8] {
        let start = match which {
            Text::Remote => 0,
            Text::Local => self.ends[0],
            Text::Name => self.ends[1],
        };
        &self.bytes[usize::from(start)..usize::from(self.ends[which as usize])]
    }
}

impl Default for Texts {
    fn default() -> Texts {
        Texts {
            ends: [0; 3],
            bytes: [0; TEXT_BYTES_MAX],
        }
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [Text::Remote, Text::Local, Text::Name].map(|it| self.get(it));
        write!(formatter, "{:?}", texts.map(String::from_utf8_lossy))
    }
}

/// An audit token, as far as the system gave one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RawToken {
    /// There is none, or the system is too old to have it.
    #[default]
    Absent,
    /// There are bytes, but not 32 of them.
    Malformed,
    /// This.
    Told(Token),
}

impl RawToken {
    /// The token of the bytes that the system gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> RawToken {
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) => RawToken::Told(Token(bytes)),
            Err(_) => RawToken::Malformed,
        }
    }
}

/// A name of at most [`NAME_BYTES_MAX`] bytes, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongName {
    /// The flow's.
    pub(crate) id: [u8; 16],
    length: u8,
    bytes: [u8; NAME_BYTES_MAX],
}

impl LongName {
    /// The name in `bytes`; `None` when it does not fit.
    pub(crate) fn from_bytes(id: [u8; 16], name: &[u8]) -> Option<LongName> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        let length = u8::try_from(name.len()).ok()?;
        Some(LongName { id, length, bytes })
    }

    /// The name.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The port that `text` spells; the empty text is port zero, as in `NWHostEndpoint`.
pub(crate) fn port_from_text(text: &[u8]) -> Option<u16> {
    let mut port: u32 = 0;
    for byte in text.get(..5).unwrap_or(text) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        port = port * 10 + u32::from(digit);
    }
    u16::try_from(port).ok().filter(|_| text.len() <= 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_knows_when_it_was_and_shows_its_texts() {
        let report = RawReport {
            at: Mono(7),
            ..RawReport::default()
        };
        assert_eq!(RawEvent::Report(report).at(), Mono(7));
        let mut socket = RawSocket::default();
        assert!(socket.texts.put(Text::Remote, b"192.0.2.1"));
        let longer_than_any_address = [b'0'; HOST_BYTES_MAX + 1];
        assert!(!socket.texts.put(Text::Local, &longer_than_any_address));
        let shown = format!("{:?}", socket.texts);
        assert_eq!(shown, r#"["192.0.2.1", "", ""]"#);
    }

    #[test]
    fn ports_are_numbers_of_sixteen_bits_and_no_text_is_port_zero() {
        assert_eq!(port_from_text(b""), Some(0));
        assert_eq!(port_from_text(b"0"), Some(0));
        assert_eq!(port_from_text(b"65535"), Some(65_535));
        for nonsense in [
            b"65536".as_slice(),
            b"-1",
            b"https",
            b" 1",
            b"+1",
            b"000001",
            &[0xff],
        ] {
            assert_eq!(port_from_text(nonsense), None);
        }
    }

    // facts: token-missing-or-odd
    #[test]
    fn a_token_has_32_bytes_or_is_none() {
        assert_eq!(
            RawToken::from_bytes(&[7; 32]),
            RawToken::Told(Token([7; 32]))
        );
        for length in [0, 1, 31, 33, 4_096] {
            assert_eq!(
                RawToken::from_bytes(&vec![7; length]),
                RawToken::Malformed,
                "{length}"
            );
        }
    }

    #[test]
    fn texts_come_out_as_they_were_put_in() {
        let all = [Text::Remote, Text::Local, Text::Name];
        let cases: [[&[u8]; 3]; 5] = [
            [b"", b"", b""],
            [b"192.0.2.9", b"", b"example.org"],
            [b"", b"::1", b""],
            [b"", b"", b"example.org"],
            [&[1; 40], &[2; 40], &[3; 24]],
        ];
        for case in cases {
            let mut texts = Texts::default();
            for (which, text) in all.into_iter().zip(case) {
                if !text.is_empty() {
                    assert!(texts.put(which, text));
                }
            }
            assert_eq!(all.map(|which| texts.get(which)), case);
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut texts = Texts::default();
        assert!(texts.put(Text::Remote, &[1; 40]));
        assert!(!texts.put(Text::Name, &[3; TEXT_BYTES_MAX - 39]));
        assert!(texts.put(Text::Name, &[3; TEXT_BYTES_MAX - 40]));
        assert!(!texts.put(Text::Name, &[3; 5_000]));
        assert_eq!(texts.get(Text::Remote), [1; 40]);
        assert_eq!(texts.get(Text::Name), [3; TEXT_BYTES_MAX - 40]);
    }

    #[test]
    fn a_long_name_is_kept_whole_or_not_at_all() {
        let name = [b'a'; NAME_BYTES_MAX];
        let long = LongName::from_bytes([7; 16], &name).unwrap();
        assert_eq!((long.id, long.bytes()), ([7; 16], name.as_slice()));
        assert!(LongName::from_bytes([7; 16], &[b'a'; NAME_BYTES_MAX + 1]).is_none());
    }

    // facts: rule-2-constant-work, memory-limit/b
    #[test]
    fn an_event_is_small_enough_for_the_bound_that_is_written_down() {
        assert!(size_of::<RawEvent>() <= 256, "{}", size_of::<RawEvent>());
    }
}
