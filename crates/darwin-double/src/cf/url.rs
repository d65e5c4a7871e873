//! `CoreFoundation/CFURL.h`: URLs of files.

use super::object::{Body, Held, Kind, Ref};
use crate::machine::note;
use crate::raw;
use std::fmt::Write as _;

/// `kCFURLPOSIXPathStyle`.
const POSIX_PATH: isize = 0;

/// A URL of a file.
pub(crate) struct Url {
    path: Vec<u8>,
    directory: bool,
    /// The whole as a string, which is handed out without being held for the caller.
    string: Held,
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.directory == other.directory
    }
}

/// A new URL of a file, which the caller holds.
pub(crate) fn of_file(path: &[u8], directory: bool) -> Ref {
    let path = match path {
        [path @ .., b'/'] if !path.is_empty() => path,
        path => path,
    };
    let mut string = String::from(if path.starts_with(b"/") {
        "file://"
    } else {
        ""
    });
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                string.push(char::from(*byte));
            }
            _ => write!(string, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    if directory && !string.ends_with('/') {
        string.push('/');
    }
    let string = Held::taking(super::string::new(&string));
    Ref::new(Body::Url(Url {
        path: path.to_vec(),
        directory,
        string,
    }))
}

fn url_of(url: &Ref) -> &Url {
    let Body::Url(url) = url.body() else {
        url.is_not("CFURL")
    };
    url
}

/// `CFURL.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLGetTypeID() -> usize {
    Kind::Url as usize
}

/// `CFURL.h`: NULL for no path.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLCreateFromFileSystemRepresentation(
    _allocator: Ref,
    path: *const u8,
    length: isize,
    directory: u8,
) -> Ref {
    note("CFURLCreateFromFileSystemRepresentation");
    match raw::bytes(path, length) {
        [] => Ref::NONE,
        path => of_file(path, directory != 0),
    }
}

/// `CFURL.h`: a path that does not begin at the root continues that of `base`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLCreateFromFileSystemRepresentationRelativeToBase(
    _allocator: Ref,
    path: *const u8,
    length: isize,
    directory: u8,
    base: Ref,
) -> Ref {
    note("CFURLCreateFromFileSystemRepresentationRelativeToBase");
    match raw::bytes(path, length) {
        [] => Ref::NONE,
        [b'/', ..] => of_file(raw::bytes(path, length), directory != 0),
        path if base.is_none() => of_file(path, directory != 0),
        path => of_file(
            &[&url_of(&base).path, &b"/"[..], path].concat(),
            directory != 0,
        ),
    }
}

/// `CFURL.h`: only for POSIX paths.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLCreateWithFileSystemPath(
    _allocator: Ref,
    path: Ref,
    style: isize,
    directory: u8,
) -> Ref {
    note("CFURLCreateWithFileSystemPath");
    assert_eq!(style, POSIX_PATH, "only POSIX paths are doubled");
    of_file(super::string::read(path).as_bytes(), directory != 0)
}

/// `CFURL.h`: the path and a zero; false if they do not fit.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLGetFileSystemRepresentation(
    url: Ref,
    _resolve: u8,
    buffer: *mut u8,
    size: isize,
) -> u8 {
    note("CFURLGetFileSystemRepresentation");
    let mut path = url_of(&url).path.clone();
    path.push(0);
    if usize::try_from(size).is_ok_and(|size| path.len() <= size) {
        raw::fill(buffer, &path);
        return 1;
    }
    0
}

/// `CFURL.h`: the path, which the caller releases.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLCopyFileSystemPath(url: Ref, style: isize) -> Ref {
    note("CFURLCopyFileSystemPath");
    assert_eq!(style, POSIX_PATH, "only POSIX paths are doubled");
    super::string::new(&String::from_utf8_lossy(&url_of(&url).path))
}

/// `CFURL.h`: the whole, not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLGetString(url: Ref) -> Ref {
    note("CFURLGetString");
    url_of(&url).string.get()
}

/// `CFURL.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFURLHasDirectoryPath(url: Ref) -> u8 {
    note("CFURLHasDirectoryPath");
    u8::from(url_of(&url).directory)
}
