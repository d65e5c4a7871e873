//! Where parcels end in the file under way, and which were written lately.
//!
//! Text: a line `file NAME`, lines `had ID` of parcels in earlier files, and then a line `END ID`
//! for each parcel in this one. A line without its end does not count.

use super::super::{Trouble, doing, sync_folder};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Parcels that are remembered, at most; far more than are ever under way at once.
const REMEMBERED_MAX: usize = 1_024;

/// The marks of one destination.
#[derive(Debug)]
pub(super) struct Marks {
    path: PathBuf,
    /// For lines that are added.
    file: Option<File>,
    /// The file under way.
    name: Option<String>,
    /// Parcels in earlier files, oldest first.
    had: VecDeque<String>,
    /// Parcels in this one, with where each ends.
    ends: Vec<(u64, String)>,
}

impl Marks {
    /// What an earlier run left; nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Marks, Trouble> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => doing("read", path, read)?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut marks = Marks {
            path: path.to_owned(),
            file: None,
            name: None,
            had: VecDeque::new(),
            ends: Vec::new(),
        };
        for line in text.split_inclusive('\n') {
            if let Some((word, rest)) = line.strip_suffix('\n').and_then(|l| l.split_once(' ')) {
                marks.read_line(word, rest.to_owned());
            }
        }
        Ok(marks)
    }

    fn read_line(&mut self, word: &str, rest: String) {
        match word {
            "file" => self.name = Some(rest),
            "had" => self.had.push_back(rest),
            end => {
                if let Ok(end) = end.parse() {
                    self.ends.push((end, rest));
                }
            }
        }
    }

    /// The name of the file under way.
    pub(super) fn file(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.ends.iter().rev().any(|(_, had)| had == id) || self.had.iter().any(|had| had == id)
    }

    /// Forgets the parcels that are not whole in a file of so many bytes, and says where the last
    /// whole one ends.
    pub(super) fn cut(&mut self, bytes: u64) -> u64 {
        self.ends.retain(|(end, _)| *end <= bytes);
        self.ends.last().map_or(0, |(end, _)| *end)
    }

    /// There is no file under way any more.
    pub(super) fn ended(&mut self) {
        self.name = None;
        self.had.extend(self.ends.drain(..).map(|(_, id)| id));
        let surplus = self.had.len().saturating_sub(REMEMBERED_MAX);
        self.had.drain(..surplus);
    }

    /// There is a new file under way.
    pub(super) fn begin(&mut self, name: &str) {
        self.ended();
        self.name = Some(name.to_owned());
    }

    /// Replaces what is on the disk.
    pub(super) fn write(&mut self) -> Result<(), Trouble> {
        let new = self.path.with_added_extension("new");
        let written = fs::write(&new, self.to_text())
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| self.reopen());
        doing("write", &self.path, written)?;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// The parcel is in the file, up to there: on the disk when this returns.
    pub(super) fn add(&mut self, end: u64, id: &str) -> Result<(), Trouble> {
        let file = self.file.as_mut().expect("it was written before");
        let added = file
            .write_all(format!("{end} {id}\n").as_bytes())
            .and_then(|()| file.sync_data());
        doing("write", &self.path, added)?;
        self.ends.push((end, id.to_owned()));
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        self.file = Some(options.append(true).mode(0o640).open(&self.path)?);
        Ok(())
    }

    fn to_text(&self) -> String {
        let file = self.name.iter().map(|name| format!("file {name}\n"));
        let had = self.had.iter().map(|id| format!("had {id}\n"));
        let ends = self.ends.iter().map(|(end, id)| format!("{end} {id}\n"));
        file.chain(had).chain(ends).collect()
    }
}
