//! Files in a folder.

mod marks;
mod names;

pub(crate) use names::extension;

use super::{Deleted, Trouble, doing, sync_folder};
use marks::Marks;
use names::Names;
use ship::{Parcel, config};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 64 << 20;
const FILE_AGE_MAX_S: u64 = 3_600;

/// The files of one destination in a folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    names: Names,
    file_bytes_max: u64,
    file_age_max_s: u64,
    /// Zero for no bound.
    total_bytes_max: u64,
    /// Each parcel is a file of its own.
    single: bool,
    deleted: Deleted,
    open: Option<Open>,
}

/// The folder, once it was looked through.
#[derive(Debug)]
struct Open {
    /// Held as long as this is, so that no other program writes here.
    _lock: File,
    marks: Marks,
    part: Option<Part>,
    /// All files that have ended together.
    ended_bytes: u64,
}

/// The file under way.
#[derive(Debug)]
struct Part {
    name: String,
    file: File,
    /// Behind the last parcel that is on the disk.
    bytes: u64,
    begun_s: i64,
}

impl Folder {
    pub(super) fn new(
        destination: &str,
        path: &Path,
        config: &config::File,
        extension: String,
        single: bool,
    ) -> Folder {
        Folder {
            path: path.to_owned(),
            names: Names::new(destination, extension),
            file_bytes_max: config.file_bytes_max.unwrap_or(FILE_BYTES_MAX),
            file_age_max_s: config.file_age_max_s.unwrap_or(FILE_AGE_MAX_S),
            total_bytes_max: config.total_bytes_max.unwrap_or(0),
            single,
            deleted: Deleted::default(),
            open: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn deleted(&self) -> Deleted {
        self.deleted
    }

    /// Has the parcel on the disk, once.
    pub(super) fn write(&mut self, parcel: &Parcel, now_s: i64) -> Result<(), Trouble> {
        let result = self.try_write(parcel, now_s);
        if result.is_err() {
            // What is on the disk is looked at again before the next parcel.
            self.cut_back();
            self.open = None;
        }
        result
    }

    /// Ends the file under way when it is old; what goes wrong then shows with the next parcel.
    pub(super) fn end_if_old(&mut self, now_s: i64) {
        if self.part().is_some_and(|part| self.is_old(part, now_s)) && self.end().is_err() {
            self.open = None;
        }
    }

    fn try_write(&mut self, parcel: &Parcel, now_s: i64) -> Result<(), Trouble> {
        if self.open.is_none() {
            self.open = Some(self.look_through()?);
        }
        let id = parcel.id.to_string();
        if self.open.as_ref().is_some_and(|open| open.marks.has(&id)) {
            return Ok(());
        }
        let bytes = parcel.body.len() as u64;
        if self.part().is_some_and(|part| {
            part.bytes > 0
                && (self.single
                    || part.bytes + bytes > self.file_bytes_max
                    || self.is_old(part, now_s))
        }) {
            self.end()?;
        }
        if self.part().is_none() {
            self.begin(&id, now_s)?;
        }
        self.make_room(bytes)?;
        self.append(&id, parcel)?;
        if self.single {
            self.end()?;
        }
        Ok(())
    }

    fn part(&self) -> Option<&Part> {
        self.open.as_ref()?.part.as_ref()
    }

    /// A clock that was set back makes no file old.
    fn is_old(&self, part: &Part, now_s: i64) -> bool {
        u64::try_from(now_s.saturating_sub(part.begun_s))
            .is_ok_and(|age| age >= self.file_age_max_s)
    }

    /// Locks the folder, and brings what an earlier run left into order.
    fn look_through(&self) -> Result<Open, Trouble> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.path);
        doing("make the folder", &self.path, made)?;
        let path = self.path.join(self.names.lock());
        let lock = doing("open", &path, options().create(true).open(&path))?;
        doing("lock", &path, lock.try_lock().map_err(io::Error::from))?;

        let mut marks = Marks::read(&self.path.join(self.names.marks()))?;
        let mut part = None;
        for name in self.names_where(|name| self.names.is_part(name))? {
            if marks.file() == Some(name.as_str()) {
                part = Some(self.resume(name, &mut marks)?);
            } else {
                self.end_stray(&name)?;
            }
        }
        if part.is_none() {
            marks.ended();
        }
        marks.write()?;
        Ok(Open {
            _lock: lock,
            marks,
            part,
            ended_bytes: self.ended()?.iter().map(|(_, bytes)| bytes).sum(),
        })
    }

    /// Goes on with the file that the marks tell of, behind the last parcel that it has whole.
    fn resume(&self, name: String, marks: &mut Marks) -> Result<Part, Trouble> {
        let path = self.path.join(&name);
        let file = doing("open", &path, options().append(true).open(&path))?;
        let there = doing("read the size of", &path, file.metadata())?.len();
        let bytes = marks.cut(there);
        let cut = file.set_len(bytes).and_then(|()| file.sync_all());
        doing("cut what is torn off", &path, cut)?;
        Ok(Part {
            begun_s: self.names.begun_s(&name).unwrap_or(0),
            name,
            file,
            bytes,
        })
    }

    /// Ends a file under way of which no marks tell, because somebody deleted them. Lines are cut
    /// behind the last whole one.
    fn end_stray(&self, name: &str) -> Result<(), Trouble> {
        let path = self.path.join(name);
        if self.names.is_plain() {
            let bytes = doing("read", &path, fs::read(&path))?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n');
            let cut = options()
                .open(&path)
                .and_then(|file| file.set_len(whole.map_or(0, |at| at as u64 + 1)));
            doing("cut what is torn off", &path, cut)?;
        }
        let ended = self.path.join(self.names.ended(name));
        doing("rename", &path, fs::rename(&path, ended))?;
        sync_folder(&self.path)
    }

    /// Begins a file.
    fn begin(&mut self, id: &str, now_s: i64) -> Result<(), Trouble> {
        let latest = self.names_where(|name| self.names.is_ended(name))?.pop();
        let open = self.open.as_mut().expect("it was looked through before");
        // Names are in the order of the files, also where the clock was set back.
        let after_s = latest.and_then(|name| self.names.begun_s(&name));
        let begun_s = after_s.map_or(now_s, |after_s| now_s.max(after_s + 1));
        let name = self.names.part(begun_s, id);
        open.marks.begin(&name);
        open.marks.write()?;
        let path = self.path.join(&name);
        let made = options().create_new(true).append(true).open(&path);
        open.part = Some(Part {
            file: doing("make", &path, made)?,
            name,
            bytes: 0,
            begun_s,
        });
        sync_folder(&self.path)
    }

    fn append(&mut self, id: &str, parcel: &Parcel) -> Result<(), Trouble> {
        let open = self.open.as_mut().expect("it was looked through before");
        let part = open.part.as_mut().expect("one was begun before");
        let path = self.path.join(&part.name);
        doing("write", &path, part.file.write_all(&parcel.body))?;
        doing("flush", &path, part.file.sync_data())?;
        let bytes = part.bytes + parcel.body.len() as u64;
        open.marks.add(bytes, id)?;
        part.bytes = bytes;
        Ok(())
    }

    /// Takes back what was written of a parcel that cannot be written whole. Where that fails too,
    /// it is done when the folder is looked through again.
    fn cut_back(&mut self) {
        if let Some(part) = self.part() {
            let _ = part.file.set_len(part.bytes);
            let _ = part.file.sync_all();
        }
    }

    /// Ends the file under way: it gets its name.
    fn end(&mut self) -> Result<(), Trouble> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        let Some(part) = open.part.take() else {
            return Ok(());
        };
        open.marks.ended();
        let path = self.path.join(&part.name);
        let ended = self.path.join(self.names.ended(&part.name));
        doing("rename", &path, fs::rename(&path, ended))?;
        open.ended_bytes += part.bytes;
        sync_folder(&self.path)
    }

    /// Deletes the oldest files until all together are within their bounds with so many bytes more.
    fn make_room(&mut self, bytes: u64) -> Result<(), Trouble> {
        let under_way = self.part().map_or(0, |part| part.bytes);
        let open = self.open.as_ref().expect("it was looked through before");
        let mut total = open.ended_bytes + under_way + bytes;
        if self.total_bytes_max == 0 || total <= self.total_bytes_max {
            return Ok(());
        }
        let mut left = 0;
        for (path, bytes) in self.ended()? {
            if total <= self.total_bytes_max {
                left += bytes;
                continue;
            }
            doing("delete", &path, fs::remove_file(&path))?;
            total -= bytes.min(total);
            self.deleted.files += 1;
            self.deleted.bytes += bytes;
        }
        self.open.as_mut().expect("it is still open").ended_bytes = left;
        Ok(())
    }

    /// The files that have ended, oldest first, with their sizes.
    fn ended(&self) -> Result<Vec<(PathBuf, u64)>, Trouble> {
        let names = self.names_where(|name| self.names.is_ended(name))?;
        let paths = names.into_iter().map(|name| self.path.join(name));
        // What somebody else deletes meanwhile is not there any more.
        Ok(paths
            .filter_map(|path| Some((fs::metadata(&path).ok()?.len(), path)))
            .map(|(bytes, path)| (path, bytes))
            .collect())
    }

    /// Names in the folder, in their order.
    fn names_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Trouble> {
        let mut names = Vec::new();
        for entry in doing("read the folder", &self.path, fs::read_dir(&self.path))? {
            let entry = doing("read the folder", &self.path, entry)?;
            if let Ok(name) = entry.file_name().into_string()
                && wanted(&name)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// How files are opened: to be written, and read by the group.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o640);
    options
}
