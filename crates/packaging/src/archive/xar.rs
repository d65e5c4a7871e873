//! xar, which a package is: a table of contents in XML, and a heap.
//!
//! The table's own checksum is SHA-1 and the first thing in the heap, as in the packages that
//! Apple's tools write today. A signature is made over that checksum; a tool that signs rewrites
//! the table and the offsets in it, and takes the bytes of the files as they are.

use super::xml::{self, Element};
use super::{Error, part, unpacked};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

const MAGIC: &[u8] = b"xar!";
const HEADER_LENGTH: u16 = 28;
const FORMAT_VERSION: u16 = 1;
const SHA1: u32 = 1;
const SHA1_LENGTH: u64 = 20;
const TABLE_MAX: usize = 16 << 20;
const DEPTH_MAX: usize = 8;
/// What stands for "as it is".
const STORED: &str = "application/octet-stream";
/// What stands for zlib, in spite of its name.
const ZLIB: &str = "application/x-gzip";

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The files by their paths, with `/` between names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The folders, by their paths.
    pub folders: Vec<String>,
    /// Whether there is a signature. It is not looked at.
    pub is_signed: bool,
}

/// Writes files, in the order of their paths, as they are. Their folders are made too.
///
/// `modified_s` is every time in it, in seconds since 1970.
pub fn write(files: &BTreeMap<String, Vec<u8>>, modified_s: u32) -> Vec<u8> {
    let mut table = Table::new(modified_s);
    let names: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), &bytes[..]))
        .collect();
    table.folder(&names);
    let table = table.finish();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let packed = encoder
        .write_all(table.as_bytes())
        .and_then(|()| encoder.finish())
        .expect("memory takes what is written");
    let mut out = MAGIC.to_vec();
    out.extend(HEADER_LENGTH.to_be_bytes());
    out.extend(FORMAT_VERSION.to_be_bytes());
    out.extend((packed.len() as u64).to_be_bytes());
    out.extend((table.len() as u64).to_be_bytes());
    out.extend(SHA1.to_be_bytes());
    out.extend_from_slice(&packed);
    out.extend_from_slice(&Sha1::digest(&packed));
    files
        .values()
        .for_each(|bytes| out.extend_from_slice(bytes));
    out
}

/// A table of contents that is being written.
struct Table {
    text: String,
    time: String,
    id: u32,
    offset: u64,
}

impl Table {
    fn new(modified_s: u32) -> Table {
        let time = jiff::Timestamp::from_second(modified_s.into())
            .expect("32 bits of seconds are within jiff's range")
            .strftime("%Y-%m-%dT%H:%M:%S")
            .to_string();
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xar><toc>\
             <creation-time>{time}</creation-time><checksum style=\"sha1\"><offset>0</offset>\
             <size>{SHA1_LENGTH}</size></checksum>"
        );
        Table {
            text,
            time,
            id: 0,
            offset: SHA1_LENGTH,
        }
    }

    /// Files with paths below this folder; those of one folder follow each other.
    fn folder(&mut self, files: &[(&str, &[u8])]) {
        let mut rest = files;
        while let Some((path, bytes)) = rest.first() {
            let Some((folder, _)) = path.split_once('/') else {
                self.file(path, bytes);
                rest = &rest[1..];
                continue;
            };
            let below = |path: &'_ str| path.split_once('/').is_some_and(|it| it.0 == folder);
            let count = rest.iter().take_while(|it| below(it.0)).count();
            let inner: Vec<_> = rest[..count]
                .iter()
                .map(|(path, bytes)| (&path[folder.len() + 1..], *bytes))
                .collect();
            self.start();
            self.describe(folder, "directory", "0755");
            self.folder(&inner);
            self.text.push_str("</file>");
            rest = &rest[count..];
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        self.start();
        let checksum = digest(bytes);
        let (length, offset) = (bytes.len(), self.offset);
        self.put(format_args!(
            "<data><length>{length}</length><offset>{offset}</offset><size>{length}</size>\
             <encoding style=\"{STORED}\"/>\
             <extracted-checksum style=\"sha1\">{checksum}</extracted-checksum>\
             <archived-checksum style=\"sha1\">{checksum}</archived-checksum></data>"
        ));
        self.describe(name, "file", "0644");
        self.text.push_str("</file>");
        self.offset += bytes.len() as u64;
    }

    fn start(&mut self) {
        self.id += 1;
        let id = self.id;
        self.put(format_args!("<file id=\"{id}\">"));
    }

    fn describe(&mut self, name: &str, kind: &str, mode: &str) {
        let name = xml::escaped(name);
        let time = self.time.clone();
        self.put(format_args!(
            "<ctime>{time}Z</ctime><mtime>{time}Z</mtime><atime>{time}Z</atime>\
             <group>wheel</group><gid>0</gid><user>root</user><uid>0</uid><mode>{mode}</mode>\
             <type>{kind}</type><name>{name}</name>"
        ));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("memory takes what is written");
    }

    fn finish(mut self) -> String {
        self.text.push_str("</toc></xar>\n");
        self.text
    }
}

/// Reads an archive, and compares everything in it with its checksum.
///
/// # Errors
/// When it is no such archive, a checksum differs, or it has what a package has no use for.
pub fn read(bytes: &[u8]) -> Result<Archive, Error> {
    let header = part(bytes, 0, HEADER_LENGTH.into()).ok_or_else(|| error("cut off"))?;
    if !header.starts_with(MAGIC) {
        return Err(error("it does not begin with xar!"));
    }
    let header_length = u16::from_be_bytes([header[4], header[5]]);
    let packed_length = u64::from_be_bytes(header[8..16].try_into().expect("eight bytes"));
    if header[24..28] != SHA1.to_be_bytes() {
        return Err(error("the checksum of its table is not SHA-1"));
    }
    let table = part(bytes, header_length.into(), packed_length)
        .ok_or_else(|| error("the table of contents is cut off"))?;
    let heap = &bytes[usize::from(header_length) + table.len()..];
    if part(heap, 0, SHA1_LENGTH) != Some(&Sha1::digest(table)[..]) {
        return Err(error("the table of contents does not have its checksum"));
    }
    let document = xml::parse(&unpacked("xar", ZlibDecoder::new(table), TABLE_MAX)?)?;
    let toc = document
        .first("toc")
        .ok_or_else(|| error("the table is empty"))?;
    let mut archive = Archive {
        files: BTreeMap::new(),
        folders: Vec::new(),
        is_signed: toc
            .first("signature")
            .or(toc.first("x-signature"))
            .is_some(),
    };
    archive.read_folder("", toc, heap, 0)?;
    Ok(archive)
}

impl Archive {
    fn read_folder(
        &mut self,
        folder: &str,
        element: &Element,
        heap: &[u8],
        depth: usize,
    ) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(error(format!("{folder}: too deep")));
        }
        for file in element.all("file") {
            let path = format!("{folder}{}", text(file, "name")?);
            match text(file, "type")? {
                "directory" => {
                    self.read_folder(&format!("{path}/"), file, heap, depth + 1)?;
                    self.folders.push(path);
                }
                "file" => {
                    let content = content(file, heap)
                        .map_err(|it| error(format!("{path}: {}", it.problem)))?;
                    if self.files.insert(path.clone(), content).is_some() {
                        return Err(error(format!("{path}: it is there twice")));
                    }
                }
                other => return Err(error(format!("{path}: a {other} has no place here"))),
            }
        }
        Ok(())
    }
}

fn content(file: &Element, heap: &[u8]) -> Result<Vec<u8>, Error> {
    let Some(data) = file.first("data") else {
        return Ok(Vec::new());
    };
    let stored = part(heap, number(data, "offset")?, number(data, "length")?)
        .ok_or_else(|| error("it is beyond the end"))?;
    let archived = digest(stored);
    must_have(data, "archived-checksum", &archived)?;
    let encoding = data.first("encoding").and_then(|it| it.attribute("style"));
    let (content, extracted) = match encoding {
        Some(STORED) | None => (stored.to_vec(), archived),
        Some(ZLIB) => {
            let content = unpacked("xar", ZlibDecoder::new(stored), super::UNPACKED_MAX)?;
            let extracted = digest(&content);
            (content, extracted)
        }
        Some(other) => return Err(error(format!("stored as {other}"))),
    };
    must_have(data, "extracted-checksum", &extracted)?;
    match number(data, "size")? == content.len() as u64 {
        true => Ok(content),
        false => Err(error("it is not as large as the table says")),
    }
}

fn must_have(data: &Element, name: &str, wanted: &str) -> Result<(), Error> {
    let checksum = data
        .first(name)
        .ok_or_else(|| error(format!("no {name}")))?;
    match (checksum.attribute("style"), checksum.text == wanted) {
        (Some("sha1"), true) => Ok(()),
        (Some("sha1"), false) => Err(error(format!("the {name} is another"))),
        (Some(_) | None, _) => Err(error(format!("the {name} is not SHA-1"))),
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}

fn number(element: &Element, name: &str) -> Result<u64, Error> {
    let number = text(element, name)?.parse();
    number.map_err(|_| error(format!("the {name} is no number")))
}

fn text<'a>(element: &'a Element, name: &'a str) -> Result<&'a str, Error> {
    let text = element.first(name).map(|it| it.text.as_str());
    text.ok_or_else(|| error(format!("something has no {name}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error(problem: impl Into<String>) -> Error {
    Error::new("xar", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> BTreeMap<String, Vec<u8>> {
        let files = [
            ("Distribution", &b"d<>"[..]),
            ("a&b.pkg/Bom", b""),
            ("a&b.pkg/Payload", b"payload"),
            ("z", b"last"),
        ];
        let files = files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
        files.into()
    }

    #[test]
    fn what_is_written_is_read() {
        let archive = read(&write(&files(), 1_700_000_000)).unwrap();
        assert_eq!(archive.files, files());
        assert_eq!(archive.folders, ["a&b.pkg"]);
        assert!(!archive.is_signed);
    }

    #[test]
    fn the_header_and_the_times_are_as_apples_tools_write_them() {
        let written = write(&files(), 1_700_000_000);
        assert_eq!(written[..8], *b"xar!\0\x1c\0\x01");
        let length = usize::from(written[15]) + usize::from(written[14]) * 256;
        let table = unpacked(
            "xar",
            ZlibDecoder::new(&written[28..28 + length]),
            TABLE_MAX,
        );
        let table = String::from_utf8(table.unwrap()).unwrap();
        assert_eq!(written[23], table.len().to_be_bytes()[7]);
        assert!(table.contains("<creation-time>2023-11-14T22:13:20</creation-time>"));
        assert!(table.contains("<mtime>2023-11-14T22:13:20Z</mtime>"));
        assert!(
            table.contains("<offset>23</offset><size>0</size>"),
            "{table}"
        );
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let written = write(&files(), 0);
        let untouched = read(&written).unwrap();
        // Format version and length of the unpacked table are told and not needed.
        let told = (6..8).chain(16..24);
        for at in (0..written.len()).filter(|at| !told.clone().any(|it| it == *at)) {
            let mut wrong = written.clone();
            wrong[at] ^= 1;
            assert_ne!(read(&wrong).as_ref(), Ok(&untouched), "{at}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused() {
        let written = write(&files(), 0);
        for length in 0..written.len() {
            assert!(read(&written[..length]).is_err(), "{length}");
        }
    }
}
