//! The lines of `/proc/net/{tcp,tcp6,udp,udp6}`, for where sock_diag is refused.
//!
//! They tell neither cookie nor bytes.

use super::sighting::{Counts, Pair, Row, Sighting, State};
use record::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads one line.
pub(super) fn read(line: &str, protocol: Protocol) -> Row {
    if line.trim_start().starts_with("sl") {
        return Row::Other;
    }
    read_socket(line, protocol).unwrap_or(Row::Malformed)
}

fn read_socket(line: &str, protocol: Protocol) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let local = read_end(words.nth(1)?)?;
    let remote = read_end(words.next()?)?;
    let kernel_state = u8::from_str_radix(words.next()?, 16).ok()?;
    let inode: u64 = words.nth(5)?.parse().ok()?;
    let pair = Pair::new(protocol, local, remote);
    Some(
        State::from_kernel(kernel_state, &pair).map_or(Row::Other, |state| {
            Row::Socket(Sighting {
                cookie: None,
                inode: Some(inode).filter(|inode| *inode != 0),
                pair,
                state,
                counts: Counts::default(),
            })
        }),
    )
}

/// Reads `0100007F:1F90`, or its long form for IPv6.
fn read_end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let address = match address.len() {
        8 => Ipv4Addr::from(read_word(address)?).into(),
        32 => read_long_address(address)?.into(),
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

fn read_long_address(text: &str) -> Option<Ipv6Addr> {
    let mut bytes = [0; 16];
    for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&read_word(text.get(index * 8..index * 8 + 8)?)?);
    }
    Some(bytes.into())
}

/// The kernel prints each four bytes of an address as one integer of the machine.
fn read_word(text: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                           retrnsmt   uid  timeout inode";
    const CLIENT: &str = "   0: 0100007F:968C 0100007F:13BA 01 00000000:00000000 00:00000000 \
                          00000000     0        0 537259 2 0000000018053e28 20 4 30 11 -1";
    const LISTENER: &str = "   0: 00000000000000000000000000000000:13BA \
                            00000000000000000000000000000000:0000 0A 00000000:00000000 \
                            00:00000000 00000000     0        0 537258 1 000000009c0b369e 100 0 0";
    const MAPPED: &str = "   1: 0000000000000000FFFF00000100007F:13BA \
                          0000000000000000FFFF00000100007F:968C 01 00000000:00000000 00:00000000 \
                          00000000     0        0 537260 2 000000002a7e3116 20 4 33 11 -1";
    const TIME_WAIT: &str = "   0: 0100007F:968C 0100007F:13BA 06 00000000:00000000 03:0000176E \
                             00000000     0        0 0 3 0000000018baeacc";

    fn socket(line: &str, protocol: Protocol) -> Sighting {
        match read(line, protocol) {
            Row::Socket(sighting) => sighting,
            row @ (Row::Other | Row::Malformed) => panic!("{row:?}"),
        }
    }

    #[test]
    fn reads_a_connection() {
        let sighting = socket(CLIENT, Protocol::Tcp);
        assert_eq!((sighting.cookie, sighting.inode), (None, Some(537_259)));
        assert_eq!(sighting.pair.local, "127.0.0.1:38540".parse().unwrap());
        assert_eq!(sighting.pair.remote, "127.0.0.1:5050".parse().unwrap());
        assert_eq!(sighting.state, State::Connected);
        assert_eq!(sighting.counts, Counts::default());
    }

    #[test]
    fn reads_long_and_mapped_addresses() {
        let listener = socket(LISTENER, Protocol::Tcp);
        assert_eq!(listener.pair.local, "[::]:5050".parse().unwrap());
        assert_eq!(listener.state, State::Listening);
        let mapped = socket(MAPPED, Protocol::Tcp);
        assert_eq!(mapped.pair.remote, "127.0.0.1:38540".parse().unwrap());
        let global = MAPPED.replacen("0000000000000000FFFF00000100007F", GLOBAL, 1);
        let local = socket(&global, Protocol::Tcp).pair.local;
        assert_eq!(local, "[2001:db8::1]:5050".parse().unwrap());
    }

    const GLOBAL: &str = "B80D0120000000000000000001000000";

    #[test]
    fn time_wait_has_no_inode() {
        let sighting = socket(TIME_WAIT, Protocol::Tcp);
        assert_eq!((sighting.state, sighting.inode), (State::Over, None));
    }

    #[test]
    fn a_udp_socket_without_a_peer_waits_for_others() {
        let bound = CLIENT.replace("0100007F:13BA 01", "00000000:0000 07");
        assert_eq!(socket(&bound, Protocol::Udp).state, State::Listening);
        assert_eq!(socket(CLIENT, Protocol::Udp).state, State::Connected);
    }

    #[test]
    fn the_heading_and_half_open_connections_are_passed_over() {
        assert_eq!(read(HEADING, Protocol::Tcp), Row::Other);
        assert_eq!(
            read(&CLIENT.replace(" 01 ", " 03 "), Protocol::Tcp),
            Row::Other
        );
    }

    #[test]
    fn a_line_cut_anywhere_is_malformed_until_its_inode() {
        for line in [CLIENT, MAPPED] {
            let inode_at = line.find("53726").or(line.find("53725")).unwrap();
            for length in 0..line.len() {
                let row = read(&line[..length], Protocol::Tcp);
                assert_eq!(row == Row::Malformed, length <= inode_at, "{length}");
            }
        }
    }

    #[test]
    fn wrong_words_are_malformed() {
        for (right, wrong) in [
            ("0100007F:968C", "0100007F968C"),
            ("0100007F:968C", "0100007:968C"),
            ("0100007F:968C", "0100007G:968C"),
            ("0100007F:968C", "\u{e9}\u{e9}\u{e9}\u{e9}:968C"),
            ("968C", "1968C"),
            (" 01 ", " 1FF "),
            ("537259", "-1"),
        ] {
            assert_eq!(
                read(&CLIENT.replacen(right, wrong, 1), Protocol::Tcp),
                Row::Malformed
            );
        }
        let split_letter = MAPPED.replace("FFFF00000100007F", "FFF\u{e9}00000100007");
        assert_eq!(read(&split_letter, Protocol::Tcp), Row::Malformed);
    }
}
