//! cpio in its portable form ("odc"), which Installer's payloads and scripts have.
//!
//! Every field is a number in octal digits, as POSIX describes the format under `pax`.

use super::{Entry, Error, Kind};
use std::io::Write;

const MAGIC: &[u8] = b"070707";
const LAST: &str = "TRAILER!!!";
const HEADER_LENGTH: usize = 76;
/// What six octal digits can say.
const SIX_DIGITS_MAX: u32 = 0o777_777;
/// What eleven octal digits can say.
const ELEVEN_DIGITS_MAX: u64 = 0o77_777_777_777;

/// Writes entries, in the order in which they are given.
///
/// # Errors
/// When a value has more digits than the format.
pub fn write(entries: &[Entry]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let inode = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let mode = u32::from(entry.full_mode());
        let fields = [inode, mode, entry.uid, entry.gid, 1];
        header(
            &mut out,
            &entry.path,
            fields,
            entry.modified_s,
            entry.content(),
        )?;
    }
    header(&mut out, LAST, [0, 0, 0, 0, 1], 0, &[])?;
    Ok(out)
}

/// `fields` are inode, mode, user, group and number of links.
fn header(
    out: &mut Vec<u8>,
    path: &str,
    fields: [u32; 5],
    modified_s: u32,
    content: &[u8],
) -> Result<(), Error> {
    let name_length = path.len() + 1;
    if fields.iter().any(|it| *it > SIX_DIGITS_MAX)
        || name_length > SIX_DIGITS_MAX as usize
        || content.len() as u64 > ELEVEN_DIGITS_MAX
    {
        return Err(Error::new("cpio", format!("{path}: a number does not fit")));
    }
    let [inode, mode, uid, gid, links] = fields;
    let length = content.len();
    write!(
        out,
        "070707{:06o}{inode:06o}{mode:06o}{uid:06o}{gid:06o}{links:06o}{:06o}\
         {modified_s:011o}{name_length:06o}{length:011o}{path}\0",
        0, 0
    )
    .expect("memory takes what is written");
    out.extend_from_slice(content);
    Ok(())
}

/// Reads entries up to the last one.
///
/// # Errors
/// When the bytes are not in this form, or hold something that a package has no use for.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    loop {
        let (entry, after) = next(rest).map_err(|problem| {
            let at = bytes.len() - rest.len();
            Error::new("cpio", format!("at byte {at}: {problem}"))
        })?;
        match entry {
            Some(entry) => entries.push(entry),
            None => return Ok(entries),
        }
        rest = after;
    }
}

/// The next entry, nothing for the last one, and what follows.
fn next(bytes: &[u8]) -> Result<(Option<Entry>, &[u8]), String> {
    let (header, rest) = bytes
        .split_at_checked(HEADER_LENGTH)
        .ok_or("the header is cut off")?;
    if !header.starts_with(MAGIC) {
        return Err("no header of the portable form".to_owned());
    }
    let number = |start: usize, length: usize| octal(&header[start..start + length]);
    let name_length = number(59, 6)?;
    let length = number(65, 11)?;
    let (name, rest) = split(rest, name_length)?;
    let (content, rest) = split(rest, length)?;
    let name = name.strip_suffix(b"\0").ok_or("a name has no end")?;
    let path = String::from_utf8(name.to_vec()).map_err(|_| "a name is not UTF-8")?;
    if path == LAST {
        return Ok((None, rest));
    }
    let mode = number(18, 6)?;
    let small = |value: u64| u32::try_from(value).map_err(|_| "a number is too large");
    let entry = Entry {
        kind: kind(mode, content).ok_or_else(|| format!("{path}: what is of mode {mode:o}?"))?,
        path,
        mode: u16::try_from(mode & 0o7777).expect("twelve bits"),
        uid: small(number(24, 6)?)?,
        gid: small(number(30, 6)?)?,
        modified_s: small(number(48, 11)?)?,
    };
    Ok((Some(entry), rest))
}

fn split(bytes: &[u8], length: u64) -> Result<(&[u8], &[u8]), String> {
    let length = usize::try_from(length).map_err(|_| "a length is too large")?;
    let parts = bytes.split_at_checked(length);
    parts.ok_or_else(|| "an entry is cut off".to_owned())
}

fn octal(digits: &[u8]) -> Result<u64, String> {
    digits.iter().try_fold(0, |sum, digit| match digit {
        b'0'..=b'7' => Ok(sum * 8 + u64::from(digit - b'0')),
        _ => Err("a field is not octal".to_owned()),
    })
}

fn kind(mode: u64, content: &[u8]) -> Option<Kind> {
    match mode & 0o170_000 {
        0o040_000 => Some(Kind::Folder),
        0o100_000 => Some(Kind::File(content.to_vec())),
        0o120_000 => String::from_utf8(content.to_vec()).ok().map(Kind::Link),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |path: &str, kind, mode| Entry {
            path: path.to_owned(),
            kind,
            mode,
            uid: 0,
            gid: 80,
            modified_s: 1_700_000_000,
        };
        vec![
            entry(".", Kind::Folder, 0o755),
            entry("./a", Kind::File(b"hello".to_vec()), 0o644),
            entry("./b", Kind::Link("a".to_owned()), 0o755),
        ]
    }

    #[test]
    fn an_entry_is_written_as_the_standard_says() {
        let written = write(&entries()[1..2]).unwrap();
        let header = "070707000000000001100644000000000120000001000000\
                      1452477040000000400000000005./a\0hello";
        assert_eq!(&written[..header.len()], header.as_bytes());
    }

    #[test]
    fn what_is_written_is_read() {
        let written = write(&entries()).unwrap();
        assert_eq!(read(&written).unwrap(), entries());
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused_wherever_it_is_cut() {
        let written = write(&entries()).unwrap();
        for length in 0..written.len() {
            assert!(read(&written[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_wrong_digit_or_a_device_is_refused() {
        let written = write(&entries()).unwrap();
        let mut wrong = written.clone();
        wrong[20] = b'9';
        assert!(read(&wrong).is_err());
        let mut device = written;
        device[18..24].copy_from_slice(b"020644");
        assert!(read(&device).is_err());
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let mut entries = entries();
        entries[0].uid = SIX_DIGITS_MAX + 1;
        assert!(write(&entries).is_err());
    }
}
