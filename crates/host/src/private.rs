//! Files that decide what is recorded, or hold a secret: nobody but this account and root may have
//! written them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Reads a text that others can read but not write.
///
/// # Errors
/// When it cannot be read, is larger than `bytes_max`, or could have been written by another
/// account.
pub fn read_trusted(path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = File::open(path)?;
    trust(&file.metadata()?)?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "it is larger than {bytes_max} bytes"
        )));
    }
    Ok(text)
}

/// Reads a text that nobody else can read or write.
///
/// # Errors
/// As [`read_trusted`], and when others can read it.
pub fn read_secret(path: &Path, bytes_max: u64) -> io::Result<String> {
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        return Err(io::Error::other("others can read or write it"));
    }
    read_trusted(path, bytes_max)
}

/// Puts a text in the place of a file, as a whole or not at all, so that nobody else can read it.
///
/// # Errors
/// When it cannot be written.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    // What a crash left there may be open to others.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Bytes that nobody can guess: the system's own generator, once it has enough to go on.
///
/// # Errors
/// When the system gives none.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/random")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn trust(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(io::Error::other(format!(
            "it belongs to user {}, and must belong to root or user {own}",
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "others can write it: take that right away with chmod go-w",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_ours_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(folder.path().join("key.new"), "left by a crash").unwrap();
        for text in ["one", "two"] {
            write_secret(&path, text).unwrap();
            assert_eq!(read_secret(&path, 10).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_could_have_written_or_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy");
        fs::write(&path, "text").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(0o644);
        assert_eq!(read_trusted(&path, 4).unwrap(), "text");
        assert!(
            read_trusted(&path, 3)
                .unwrap_err()
                .to_string()
                .contains("larger than 3")
        );
        assert!(read_secret(&path, 4).is_err());
        set(0o664);
        assert!(
            read_trusted(&path, 4)
                .unwrap_err()
                .to_string()
                .contains("chmod go-w")
        );
        assert!(
            read_trusted(folder.path(), 4)
                .unwrap_err()
                .to_string()
                .contains("not a file")
        );
    }

    #[test]
    fn random_bytes_are_never_twice_the_same() {
        assert_ne!(random_bytes::<32>().unwrap(), random_bytes::<32>().unwrap());
    }
}
