//! The bill of materials, by which Installer knows what belongs to a package.
//!
//! Apple does not document the format. What is here follows the public description in the
//! `apple-bom` crate and a bill that Apple's own tools wrote, which is among that crate's test
//! data: a store of numbered blocks, five of them named, and the paths in a tree whose keys are
//! sorted by the number of the folder, then by name. Installer looks paths up by that order.

use super::{Entry, Error, Kind, part};
use std::collections::HashMap;

const MAGIC: &[u8] = b"BOMStore";
const HEADER_LENGTH: usize = 512;
/// The size of the blocks that hold the tree of paths.
const NODE_LENGTH: usize = 4096;
/// How many paths one such block holds: room for more is left by other writers too.
const LEAF_PATHS: usize = 256;
/// How many leaves the root holds.
const LEAVES_MAX: usize = (NODE_LENGTH - NODE_HEADER_LENGTH) / 8;
const NODE_HEADER_LENGTH: usize = 12;
/// The size of the one block of another size.
const SMALL_NODE_LENGTH: usize = 128;
/// What stands for the architecture of whatever has none.
const ANY_ARCHITECTURE: u16 = 15;
const TYPE_FILE: u8 = 1;
const TYPE_FOLDER: u8 = 2;
const TYPE_LINK: u8 = 3;

/// A path in a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `.` for the root, else `./` and names with `/` between them.
    pub path: String,
    /// Type and permissions as `stat` has them.
    pub mode: u16,
    /// The user who owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// When it was changed, in seconds since 1970.
    pub modified_s: u32,
    /// Its size in bytes; 0 for a folder.
    pub size_bytes: u32,
    /// [`checksum`] of its bytes, for a link of where it points; 0 for a folder.
    pub checksum: u32,
    /// Where it points, if it is a link.
    pub link: Option<String>,
}

impl Record {
    /// What a bill says about an entry.
    ///
    /// # Errors
    /// When it is larger than 4 GiB.
    pub fn of(entry: &Entry) -> Result<Record, Error> {
        let content = entry.content();
        let size_bytes = u32::try_from(content.len())
            .map_err(|_| error(format!("{}: larger than 4 GiB", entry.path)))?;
        let (checksum, link) = match &entry.kind {
            Kind::Folder => (0, None),
            Kind::File(bytes) => (checksum(bytes), None),
            Kind::Link(target) => (checksum(target.as_bytes()), Some(target.clone())),
        };
        Ok(Record {
            path: entry.path.clone(),
            mode: entry.full_mode(),
            uid: entry.uid,
            gid: entry.gid,
            modified_s: entry.modified_s,
            size_bytes,
            checksum,
            link,
        })
    }
}

/// The CRC that POSIX describes under `cksum`.
pub fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = (index as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                value = match value >> 31 {
                    0 => value << 1,
                    _ => (value << 1) ^ POLYNOMIAL,
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    let length = bytes.len().to_le_bytes();
    let significant = length.iter().rposition(|it| *it != 0);
    let mut crc = 0u32;
    for part in [bytes, &length[..significant.map_or(0, |it| it + 1)]] {
        for byte in part {
            crc = (crc << 8) ^ TABLE[((crc >> 24) as u8 ^ *byte) as usize];
        }
    }
    !crc
}

/// Writes a bill.
///
/// # Errors
/// When a record's folder is not before it, or there are more paths than the format's writer here
/// has room for.
pub fn write(records: &[Record]) -> Result<Vec<u8>, Error> {
    let mut store = Store::default();
    store.blocks.resize(1 + NAMED_BLOCKS.len(), Vec::new());
    let total: u64 = records.iter().map(|it| u64::from(it.size_bytes)).sum();
    let count = u32::try_from(records.len()).map_err(|_| error("too many paths"))?;
    store.blocks[1] = info(count, u32::try_from(total).unwrap_or(u32::MAX));
    store.blocks[2] = tree(3, NODE_LENGTH, count);
    store.blocks[4] = tree(5, NODE_LENGTH, 0);
    store.blocks[5] = node(NODE_LENGTH, true, [0, 0], &[]);
    store.blocks[6] = [words(&[1, 7, 0]), vec![0]].concat();
    store.blocks[7] = tree(8, SMALL_NODE_LENGTH, 0);
    store.blocks[8] = node(SMALL_NODE_LENGTH, true, [0, 0], &[]);
    store.blocks[9] = tree(10, NODE_LENGTH, 0);
    store.blocks[10] = node(NODE_LENGTH, true, [0, 0], &[]);
    let paths = add_paths(&mut store, records)?;
    add_nodes(&mut store, &paths)?;
    store.finish()
}

/// The first blocks, and the names of those that have one.
const NAMED_BLOCKS: [Option<&str>; 10] = [
    Some("BomInfo"),
    Some("Paths"),
    None,
    Some("HLIndex"),
    None,
    Some("VIndex"),
    None,
    None,
    Some("Size64"),
    None,
];

/// Numbered blocks; that with number 0 is always empty.
struct Store {
    blocks: Vec<Vec<u8>>,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            blocks: vec![Vec::new()],
        }
    }
}

impl Store {
    fn add(&mut self, block: Vec<u8>) -> u32 {
        self.blocks.push(block);
        u32::try_from(self.blocks.len() - 1).expect("fewer blocks than 4 G: paths are counted")
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        let short = |length: usize| u32::try_from(length).map_err(|_| error("too large"));
        let count = short(self.blocks.len())?;
        let mut out = vec![0; HEADER_LENGTH];
        let mut index = words(&[count]);
        for block in &self.blocks {
            let start = if block.is_empty() { 0 } else { out.len() };
            index.extend(words(&[short(start)?, short(block.len())?]));
            out.extend_from_slice(block);
        }
        // No block is free: a count, and the two empty places that other writers leave too.
        index.extend(words(&[0; 5]));
        let names = names();
        let (index_start, names_start) = (out.len() + names.len(), out.len());
        let header = [1, count - 1, short(index_start)?, short(index.len())?];
        let header = [
            MAGIC.to_vec(),
            words(&header),
            words(&[short(names_start)?, short(names.len())?]),
        ];
        let header = header.concat();
        out[..header.len()].copy_from_slice(&header);
        Ok([out, names, index].concat())
    }
}

fn names() -> Vec<u8> {
    let named = (1u32..).zip(NAMED_BLOCKS);
    let named: Vec<_> = named
        .filter_map(|(index, name)| Some((index, name?)))
        .collect();
    let mut out = words(&[u32::try_from(named.len()).expect("five")]);
    for (index, name) in named {
        out.extend(words(&[index]));
        out.push(u8::try_from(name.len()).expect("short names"));
        out.extend_from_slice(name.as_bytes());
    }
    out
}

/// The number of paths counts one more than there are, in the bills that Apple's tools write.
fn info(paths: u32, size_bytes: u32) -> Vec<u8> {
    words(&[1, paths + 1, 1, 0, 0, size_bytes, 0])
}

fn tree(child: u32, node_length: usize, paths: u32) -> Vec<u8> {
    let node_length = u32::try_from(node_length).expect("a few thousand");
    [
        b"tree".to_vec(),
        words(&[1, child, node_length, paths]),
        vec![0],
    ]
    .concat()
}

/// `neighbours` are the next and the previous node; `entries` are pairs of blocks.
fn node(length: usize, is_leaf: bool, neighbours: [u32; 2], entries: &[[u32; 2]]) -> Vec<u8> {
    let count = u16::try_from(entries.len()).expect("as many as fit into a node");
    let mut out = [u16::from(is_leaf).to_be_bytes(), count.to_be_bytes()].concat();
    out.extend(words(&neighbours));
    out.extend(words(entries.as_flattened()));
    out.resize(length, 0);
    out
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_be_bytes()).collect()
}

/// Adds a number and a key for each path, and returns their blocks in the order of the keys.
fn add_paths(store: &mut Store, records: &[Record]) -> Result<Vec<[u32; 2]>, Error> {
    let mut ids = HashMap::new();
    let mut keys = Vec::new();
    for (id, record) in (1u32..).zip(records) {
        let (folder, name) = record.path.rsplit_once('/').unwrap_or(("", &record.path));
        let parent = match folder {
            "" => 0,
            _ => *ids
                .get(folder)
                .ok_or_else(|| error(format!("{}: its folder is not before it", record.path)))?,
        };
        ids.insert(record.path.as_str(), id);
        keys.push(((parent, name), id, record));
    }
    keys.sort_by_key(|it| it.0);
    Ok(keys
        .into_iter()
        .map(|((parent, name), id, record)| {
            let path = store.add(path_block(record));
            let key = [words(&[parent]), name.as_bytes().to_vec(), vec![0]].concat();
            let key = store.add(key);
            [store.add(words(&[id, path])), key]
        })
        .collect())
}

fn path_block(record: &Record) -> Vec<u8> {
    let kind = match record.mode & 0o170_000 {
        0o040_000 => TYPE_FOLDER,
        0o120_000 => TYPE_LINK,
        _ => TYPE_FILE,
    };
    let mut out = vec![kind, 1];
    out.extend(ANY_ARCHITECTURE.to_be_bytes());
    out.extend(record.mode.to_be_bytes());
    out.extend(words(&[
        record.uid,
        record.gid,
        record.modified_s,
        record.size_bytes,
    ]));
    out.push(1);
    let link = record
        .link
        .as_ref()
        .map(|it| [it.as_bytes(), b"\0"].concat());
    let link = link.unwrap_or_default();
    let link_length = u32::try_from(link.len()).unwrap_or(u32::MAX);
    out.extend(words(&[record.checksum, link_length]));
    out.extend(link);
    // Where a program has its architectures one by one; Installer does without.
    out.extend(words(if kind == TYPE_FOLDER { &[] } else { &[0] }));
    out
}

/// Adds the leaves, and puts the root where the tree expects it.
fn add_nodes(store: &mut Store, paths: &[[u32; 2]]) -> Result<(), Error> {
    const ROOT: usize = 3;
    let leaves: Vec<_> = paths.chunks(LEAF_PATHS).collect();
    if leaves.len() > LEAVES_MAX {
        return Err(error(format!("{} paths are too many", paths.len())));
    }
    if leaves.len() <= 1 {
        store.blocks[ROOT] = node(NODE_LENGTH, true, [0, 0], paths);
        return Ok(());
    }
    let first = u32::try_from(store.blocks.len()).map_err(|_| error("too many blocks"))?;
    let last = leaves.len() - 1;
    let mut branches = Vec::new();
    for (at, (leaf, block)) in leaves.iter().zip(first..).enumerate() {
        let next = if at == last { 0 } else { block + 1 };
        let previous = if at == 0 { 0 } else { block - 1 };
        store.add(node(NODE_LENGTH, true, [next, previous], leaf));
        branches.push([block, leaf.last().map_or(0, |it| it[1])]);
    }
    store.blocks[ROOT] = node(NODE_LENGTH, false, [0, 0], &branches);
    Ok(())
}

/// Reads a bill, in the order of its tree.
///
/// # Errors
/// When the bytes are no bill.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, Error> {
    let blocks = Blocks::of(bytes)?;
    let tree = blocks.named("Paths")?;
    if part(tree, 0, 4) != Some(b"tree") {
        return Err(error("the paths are no tree"));
    }
    let mut current = blocks.first_leaf(word(tree, 8)?)?;
    let mut folders: HashMap<u32, String> = HashMap::new();
    let mut records = Vec::new();
    // A leaf and a path are blocks of their own, so that a ring of them ends.
    for _ in 0..=blocks.count {
        let leaf = blocks.node(current)?;
        for [info, key] in entries(leaf)? {
            if records.len() > blocks.count as usize {
                return Err(error("more paths than blocks"));
            }
            let (info, key) = (blocks.get(info)?, blocks.get(key)?);
            let path = path_of(key, &folders)?;
            folders.insert(word(info, 0)?, path.clone());
            records.push(record(path, blocks.get(word(info, 4)?)?)?);
        }
        current = word(leaf, 4)?;
        if current == 0 {
            return Ok(records);
        }
    }
    Err(error("the leaves of the tree have no end"))
}

struct Blocks<'a> {
    bytes: &'a [u8],
    index: &'a [u8],
    count: u32,
}

impl<'a> Blocks<'a> {
    fn of(bytes: &'a [u8]) -> Result<Blocks<'a>, Error> {
        if !bytes.starts_with(MAGIC) {
            return Err(error("it does not begin with BOMStore"));
        }
        let index = section(bytes, word(bytes, 16)?, word(bytes, 20)?)?;
        let count = word(index, 0)?;
        Ok(Blocks {
            bytes,
            index,
            count,
        })
    }

    fn get(&self, number: u32) -> Result<&'a [u8], Error> {
        let at = u64::from(number) * 8 + 4;
        if number >= self.count {
            return Err(error(format!("there is no block {number}")));
        }
        section(self.bytes, word(self.index, at)?, word(self.index, at + 4)?)
    }

    fn named(&self, name: &str) -> Result<&'a [u8], Error> {
        let mut names = section(self.bytes, word(self.bytes, 24)?, word(self.bytes, 28)?)?;
        let count = word(names, 0)?;
        names = &names[4..];
        for _ in 0..count {
            let block = word(names, 0)?;
            let length = *names.get(4).ok_or_else(|| error("the names are cut off"))?;
            let found = section(names, 5, length.into())?;
            if found == name.as_bytes() {
                return self.get(block);
            }
            names = &names[5 + found.len()..];
        }
        Err(error(format!("nothing is named {name}")))
    }

    fn node(&self, number: u32) -> Result<&'a [u8], Error> {
        let node = self.get(number)?;
        word(node, 8)?;
        Ok(node)
    }

    fn first_leaf(&self, root: u32) -> Result<u32, Error> {
        const DEPTH_MAX: usize = 8;
        let mut current = root;
        for _ in 0..DEPTH_MAX {
            let node = self.node(current)?;
            if node[..2] == [0, 1] {
                return Ok(current);
            }
            let first = entries(node)?.into_iter().next();
            current = first.ok_or_else(|| error("a branch without leaves"))?[0];
        }
        Err(error("the tree is too deep"))
    }
}

fn entries(node: &[u8]) -> Result<Vec<[u32; 2]>, Error> {
    let count = u64::from(word(node, 0)? & 0xffff);
    let starts = (0..count).map(|it| NODE_HEADER_LENGTH as u64 + it * 8);
    starts
        .map(|at| Ok([word(node, at)?, word(node, at + 4)?]))
        .collect()
}

fn path_of(key: &[u8], folders: &HashMap<u32, String>) -> Result<String, Error> {
    let parent = word(key, 0)?;
    let name = key[4..].strip_suffix(b"\0");
    let name = name.and_then(|it| String::from_utf8(it.to_vec()).ok());
    let name = name.ok_or_else(|| error("a name is not UTF-8 or has no end"))?;
    match (parent, folders.get(&parent)) {
        (0, _) => Ok(name),
        (_, Some(folder)) => Ok(format!("{folder}/{name}")),
        (_, None) => Err(error(format!("{name}: its folder is not before it"))),
    }
}

fn record(path: String, block: &[u8]) -> Result<Record, Error> {
    let field = |at: u64| word(block, at);
    let kind = *block.first().ok_or_else(|| error("an empty path"))?;
    let link = match kind {
        TYPE_LINK => {
            let link = section(block, 31, field(27)?)?.strip_suffix(b"\0");
            let link = link.and_then(|it| String::from_utf8(it.to_vec()).ok());
            Some(link.ok_or_else(|| error(format!("{path}: points nowhere")))?)
        }
        _ => None,
    };
    Ok(Record {
        mode: u16::try_from(field(2)? & 0xffff).expect("sixteen bits"),
        uid: field(6)?,
        gid: field(10)?,
        modified_s: field(14)?,
        size_bytes: match kind {
            TYPE_FOLDER => 0,
            _ => field(18)?,
        },
        checksum: field(23)?,
        link,
        path,
    })
}

fn section(bytes: &[u8], start: u32, length: u32) -> Result<&[u8], Error> {
    part(bytes, start.into(), length.into()).ok_or_else(|| error("something is cut off"))
}

fn word(bytes: &[u8], at: u64) -> Result<u32, Error> {
    let word = part(bytes, at, 4).and_then(|it| it.try_into().ok());
    word.map(u32::from_be_bytes)
        .ok_or_else(|| error("something is cut off"))
}

fn error(problem: impl Into<String>) -> Error {
    Error::new("BOM", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(files: usize) -> Vec<Record> {
        let record = |path: String, mode, size_bytes, checksum, link: Option<&str>| Record {
            path,
            mode,
            uid: 0,
            gid: 80,
            modified_s: 1_700_000_000,
            size_bytes,
            checksum,
            link: link.map(str::to_owned),
        };
        let mut records = vec![
            record(".".to_owned(), 0o040_755, 0, 0, None),
            record("./b".to_owned(), 0o040_755, 0, 0, None),
            record("./b/link".to_owned(), 0o120_755, 4, 7, Some("file")),
        ];
        let files = (0..files).map(|it| record(format!("./b/{it:04}"), 0o100_644, 5, 9, None));
        records.extend(files);
        records.push(record("./a".to_owned(), 0o100_755, 1, 2, None));
        records
    }

    fn sorted(mut records: Vec<Record>) -> Vec<Record> {
        records.sort_by(|left, right| left.path.cmp(&right.path));
        records
    }

    #[test]
    fn the_checksum_is_that_of_cksum() {
        assert_eq!(checksum(b""), 4_294_967_295);
        assert_eq!(checksum(b"123456789"), 930_766_865);
        assert_eq!(checksum(&[b'x'; 300]), 3_786_917_833);
    }

    #[test]
    fn what_is_written_is_read_whether_it_fits_into_one_leaf_or_not() {
        for files in [0, 1, LEAF_PATHS - 4, LEAF_PATHS - 3, 1000] {
            let records = records(files);
            let written = write(&records).unwrap();
            assert_eq!(sorted(read(&written).unwrap()), sorted(records), "{files}");
        }
    }

    #[test]
    fn keys_are_sorted_by_folder_and_name() {
        let written = write(&records(2)).unwrap();
        let paths: Vec<_> = read(&written)
            .unwrap()
            .into_iter()
            .map(|it| it.path)
            .collect();
        assert_eq!(
            paths,
            [".", "./a", "./b", "./b/0000", "./b/0001", "./b/link"]
        );
    }

    #[test]
    fn a_path_without_its_folder_is_refused() {
        assert!(write(&records(0)[1..]).is_err());
    }

    #[test]
    fn a_bill_that_is_cut_off_or_changed_anywhere_does_not_panic() {
        let written = write(&records(3)).unwrap();
        for length in 0..written.len() {
            let _ = read(&written[..length]);
        }
        assert!(read(&written[..written.len() / 2]).is_err());
        for at in 0..written.len() {
            let mut wrong = written.clone();
            wrong[at] ^= 0xff;
            let _ = read(&wrong);
        }
    }

    #[test]
    fn a_ring_of_leaves_ends() {
        let mut wrong = write(&records(LEAF_PATHS)).unwrap();
        let blocks = Blocks::of(&wrong).unwrap();
        let first = blocks.first_leaf(3).unwrap();
        let at = blocks.get(first).unwrap().as_ptr() as usize - wrong.as_ptr() as usize;
        wrong[at + 4..at + 8].copy_from_slice(&first.to_be_bytes());
        assert_eq!(read(&wrong), Err(error("more paths than blocks")));
    }
}
