//! Which remote addresses a frame holds, so that a reader can pass over the others.
//!
//! A Bloom filter: about one frame in a hundred is read in vain, none is passed over wrongly.
//! Each address is in it twice, whole and as the network that it is in, because questions are
//! about networks too.

use crate::format::INDEX_MAX;
use record::Record;
use record::wire::{Fields, WireError};
use std::net::IpAddr;

/// A network of remote addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteNetwork {
    /// An address in it.
    pub address: IpAddr,
    /// How many of its first bits all addresses in it have; at most 32 or 128.
    pub prefix_length: u8,
}

/// The other side of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Address(IpAddr),
    /// It is about no other side, or about one without an address.
    None,
    /// It cannot be told.
    Unknown,
}

impl Remote {
    pub(crate) fn of(record: &Record) -> Remote {
        let address = match record {
            Record::Connection(connection) => connection.remote.address,
            Record::Notice(_) => None,
        };
        address.map_or(Remote::None, Remote::Address)
    }

    pub(crate) fn of_bytes(record: &[u8]) -> Remote {
        match remote_address(record) {
            Ok(Some(address)) => Remote::Address(address),
            Ok(None) => Remote::None,
            Err(_) => Remote::Unknown,
        }
    }
}

/// The addresses of the frame that is being filled.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Hashes, each once; zero is a free place. Its length is a power of two.
    slots: Vec<u64>,
    count: usize,
    /// There is a record whose address cannot be told.
    unknown: bool,
}

impl Addresses {
    pub(crate) fn new() -> Addresses {
        Addresses {
            slots: vec![0; SLOTS_MIN],
            count: 0,
            unknown: false,
        }
    }

    /// Takes note of a record by its canonical bytes.
    pub(crate) fn note(&mut self, record: &[u8]) {
        self.note_remote(Remote::of_bytes(record));
    }

    pub(crate) fn note_remote(&mut self, remote: Remote) {
        match remote {
            Remote::Address(address) => self.add(address),
            Remote::None => {}
            Remote::Unknown => self.unknown = true,
        }
    }

    fn add(&mut self, address: IpAddr) {
        // Where the address is known, so is its network.
        if self.insert(entry(address, whole_bits(address))) {
            self.insert(entry(address, network_bits(address)));
        }
    }

    /// False when it was there already.
    fn insert(&mut self, hash: u64) -> bool {
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            if self.slots[at] == hash {
                return false;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = hash;
        self.count += 1;
        if 2 * self.count > self.slots.len() {
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        let twice = vec![0; 2 * self.slots.len()];
        let slots = std::mem::replace(&mut self.slots, twice);
        self.count = 0;
        for hash in slots.into_iter().filter(|hash| *hash != 0) {
            self.insert(hash);
        }
    }

    /// Builds the index into `out`, which stays empty when nothing can be told; forgets all.
    pub(crate) fn build(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let bytes = (self.count * BITS_AN_ENTRY).div_ceil(8);
        if !self.unknown && bytes < INDEX_MAX {
            out.resize(1 + bytes, 0);
            out[0] = KIND_FILTER;
            for hash in self.slots.iter().filter(|hash| **hash != 0) {
                for bit in bits(*hash, bytes) {
                    out[1 + bit / 8] |= 1 << (bit % 8);
                }
            }
        }
        if self.count > 0 {
            self.slots.fill(0);
        }
        (self.count, self.unknown) = (0, false);
    }
}

impl RemoteNetwork {
    /// Whether a frame with this index may hold an address of the network.
    pub(crate) fn may_be_in(&self, index: &[u8]) -> bool {
        let Some((&KIND_FILTER, filter)) = index.split_first() else {
            return true;
        };
        let (whole, network) = (whole_bits(self.address), network_bits(self.address));
        let hash = match self.prefix_length {
            length if length >= whole => entry(self.address, whole),
            length if length >= network => entry(self.address, network),
            _ => return true,
        };
        !filter.is_empty()
            && bits(hash.max(1), filter.len()).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
    }
}

/// The remote address in the canonical bytes of a record: field 12 of the connection, which is
/// field 1.
fn remote_address(record: &[u8]) -> Result<Option<IpAddr>, WireError> {
    for field in Fields::new(record) {
        let (1, connection) = field? else { continue };
        for field in connection.fields()? {
            match field? {
                (12, address) => return address.address().map(Some),
                (13.., _) => return Ok(None),
                (_, _) => {}
            }
        }
    }
    Ok(None)
}

fn whole_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn network_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 16 } else { 32 }
}

/// What stands for the first `length` bits of an address.
fn entry(address: IpAddr, length: u8) -> u64 {
    let (family, number, width) = match address {
        IpAddr::V4(address) => (4u64, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (6, address.to_bits(), 128),
    };
    let number = number >> (width - u32::from(length));
    let seed = mixed(family << 8 | u64::from(length));
    mixed(mixed(seed ^ (number >> 64) as u64) ^ number as u64)
}

/// The bits of a filter of so many bytes that stand for an entry.
fn bits(hash: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let count = 8 * bytes as u64;
    (0..BITS_SET).map(move |turn| {
        let window = hash.rotate_right(9 * turn) & 0xffff_ffff;
        ((window * count) >> 32) as usize
    })
}

/// SplitMix64's output function.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const KIND_FILTER: u8 = 1;
const BITS_AN_ENTRY: usize = 10;
const BITS_SET: u32 = 7;
const SLOTS_MIN: usize = 1 << 11;

#[cfg(test)]
mod tests {
    use super::*;
    use record::{codec, sample};

    fn remotes(records: &[Record]) -> Vec<IpAddr> {
        let remotes = records.iter().filter_map(|record| match record {
            Record::Connection(connection) => connection.remote.address,
            Record::Notice(_) => None,
        });
        remotes.collect()
    }

    fn index_of(records: &[Record]) -> Vec<u8> {
        let mut addresses = Addresses::new();
        for record in records {
            let mut bytes = Vec::new();
            codec::encode(record, &mut bytes);
            addresses.note(&bytes);
        }
        let mut index = Vec::new();
        addresses.build(&mut index);
        index
    }

    fn network(address: IpAddr, prefix_length: u8) -> RemoteNetwork {
        RemoteNetwork {
            address,
            prefix_length,
        }
    }

    #[test]
    fn every_address_and_every_network_of_one_is_found() {
        for seed in 0..20 {
            let records = sample::records(seed, 400);
            let index = index_of(&records);
            assert!(index.len() > 10);
            for remote in remotes(&records) {
                for length in 0..=whole_bits(remote) {
                    assert!(
                        network(remote, length).may_be_in(&index),
                        "{remote}/{length}"
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_tell_of_the_same_other_side_as_the_record() {
        for record in sample::records(3, 2_000) {
            let mut bytes = Vec::new();
            codec::encode(&record, &mut bytes);
            assert_eq!(Remote::of_bytes(&bytes), Remote::of(&record));
        }
    }

    #[test]
    fn few_other_addresses_are_found() {
        let index = index_of(&sample::closes(1, 400));
        let others =
            (0..10_000u32).map(|number| IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
        let found = others
            .filter(|other| network(*other, 32).may_be_in(&index))
            .count();
        assert!(found < 300, "{found}");
        let stranger = IpAddr::from([10, 1, 2, 3]);
        assert!(!network(stranger, 20).may_be_in(&index), "{}", index.len());
        assert!(network(stranger, 8).may_be_in(&index), "too wide to tell");
    }

    #[test]
    fn frame_without_addresses_answers_no_and_one_without_index_perhaps() {
        let any = network(IpAddr::from([192, 0, 2, 1]), 32);
        assert!(!any.may_be_in(&index_of(&[])));
        assert!(any.may_be_in(&[]));
        assert!(any.may_be_in(&[9, 0, 0]), "a kind of a later version");
        let mut addresses = Addresses::new();
        addresses.note(b"\xff\xff");
        let mut index = Vec::new();
        addresses.build(&mut index);
        assert!(
            index.is_empty(),
            "what cannot be read could be about any address"
        );
        addresses.build(&mut index);
        assert_eq!(index, [KIND_FILTER]);
    }

    #[test]
    fn many_addresses_take_more_room_and_too_many_none() {
        let mut addresses = Addresses::new();
        let mut fill = |count: u32| {
            for number in 0..count {
                addresses.add(IpAddr::from((number << 8).to_be_bytes()));
            }
            let mut index = Vec::new();
            addresses.build(&mut index);
            index
        };
        let (few, many) = (fill(100), fill(3_000));
        assert!(few.len() < many.len());
        let absent = IpAddr::from([0, 250, 0, 0]);
        assert!(!network(absent, 32).may_be_in(&few));
        for number in 0..3_000u32 {
            assert!(network(IpAddr::from((number << 8).to_be_bytes()), 32).may_be_in(&many));
        }
        assert!(fill(60_000).is_empty());
    }
}
