//! A disk in memory that fails, fills up and loses power on command. For tests only.

use crate::disk::{Disk, DiskFile, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk in memory. Clones are the same disk.
///
/// Every call that changes something has a number, from 0, at which it can be made to fail.
/// It is as forgetful as a disk may be: what was not synced may be there after a power cut, or
/// not, or in part, sector by sector, in any order, and names are no better off than bytes.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
    /// Keeps the space of a file that has no name any more.
    _handle: Arc<()>,
}

/// A lock of a [`MemoryDisk`]; ends when it is dropped.
#[derive(Debug)]
pub struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    opens: u64,
    bytes_read: u64,
    failing: Option<(Range<u64>, ErrorKind)>,
    power_cut_at: Option<u64>,
    bad_blocks: Option<(PathBuf, Range<u64>)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    handle: Arc<()>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// What happens to one call.
enum Fate {
    Works,
    /// It fails, after part of its work was done.
    Fails(ErrorKind),
    /// As above, and whoever made it is gone.
    PowerIsOut,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// How many calls have changed something.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many files were opened for reading, and how many bytes were read.
    pub fn reads(&self) -> (u64, u64) {
        let state = self.state();
        (state.opens, state.bytes_read)
    }

    /// Makes the calls with these numbers fail.
    pub fn fail(&self, calls: Range<u64>, kind: ErrorKind) {
        self.state().failing = Some((calls, kind));
    }

    /// Cuts the power during the call with this number: it and all later ones fail.
    pub fn cut_power_at(&self, call: u64) {
        self.state().power_cut_at = Some(call);
    }

    /// Makes these bytes of a file unreadable.
    pub fn break_blocks(&self, path: &Path, bytes: Range<u64>) {
        self.state().bad_blocks = Some((path.to_owned(), bytes));
    }

    /// What is on the disk when power comes back. `seed` decides what survives of what was not
    /// synced.
    pub fn after_power_cut(&self, seed: u64) -> MemoryDisk {
        let state = self.state();
        let mut dice = Dice(seed);
        let mut names = state.durable_names.clone();
        let survivors = dice.below(state.name_changes.len() as u64 + 1) as usize;
        for change in &state.name_changes[..survivors] {
            change.apply(&mut names);
        }
        let inodes = state
            .inodes
            .iter()
            .map(|inode| inode.after_power_cut(&mut dice))
            .collect();
        let rebooted = State {
            inodes,
            dirs: state.dirs.clone(),
            durable_names: names.clone(),
            names,
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(rebooted)),
        }
    }

    /// What the next process finds when the one before was killed: all that was written, and all
    /// that was not synced still not.
    pub fn after_kill(&self) -> MemoryDisk {
        let state = self.state();
        let survived = State {
            inodes: state.inodes.iter().map(Inode::after_kill).collect(),
            dirs: state.dirs.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            name_changes: state.name_changes.clone(),
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(survived)),
        }
    }

    /// The bytes of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state
            .names
            .get(path)
            .map(|inode| state.inodes[*inode].bytes.clone())
    }

    /// The length of a file in bytes.
    pub fn length(&self, path: &Path) -> Option<u64> {
        let state = self.state();
        let inode = state.names.get(path)?;
        Some(state.inodes[*inode].bytes.len() as u64)
    }

    /// How many bytes of a file a power cut leaves there for certain, as far as its name does.
    pub fn durable_length(&self, path: &Path) -> u64 {
        let state = self.state();
        let inode = state.durable_names.get(path);
        inode.map_or(0, |inode| state.inodes[*inode].durable.len() as u64)
    }

    /// Deletes a file, durably.
    pub fn erase(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Puts a file there, durably, in place of what was there.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len();
        let (bytes, durable) = (bytes.to_vec(), bytes.to_vec());
        state.inodes.push(Inode {
            bytes,
            durable,
            ..Inode::default()
        });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
        state.dirs.extend(path.parent().map(Path::to_owned));
    }

    /// Whether the moment of the power cut has come.
    pub fn is_out(&self) -> bool {
        let state = self.state();
        state.power_cut_at.is_some_and(|at| state.calls > at)
    }

    /// Changes bytes of a file that are safe on the disk, as a disk that rots does, and says
    /// whether there were any.
    pub fn rot(&self, path: &Path, at: Range<u64>, mut change: impl FnMut(&mut u8)) -> bool {
        let mut state = self.state();
        let Ok(inode) = state.find(path) else {
            return false;
        };
        let inode = &mut state.inodes[inode];
        let (from, to) = (at.start as usize, at.end as usize);
        let is_there = to <= inode.durable.len().min(inode.bytes.len());
        if is_there {
            inode.durable[from..to].iter_mut().for_each(&mut change);
            inode.bytes[from..to].copy_from_slice(&inode.durable[from..to]);
        }
        is_there
    }

    /// Bytes that are taken on a file system with blocks of `block_bytes`: whole blocks, one more
    /// for each file, and those of deleted files for as long as somebody has them open.
    pub fn used_bytes(&self, block_bytes: u64) -> u64 {
        let state = self.state();
        let named: BTreeSet<usize> = state.names.values().copied().collect();
        let inodes = state.inodes.iter().enumerate();
        let taken = inodes.filter(|(number, inode)| {
            named.contains(number) || Arc::strong_count(&inode.handle) > 1
        });
        let blocks = taken.map(|(_, inode)| 1 + (inode.bytes.len() as u64).div_ceil(block_bytes));
        blocks.sum::<u64>() * block_bytes
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn handle(&self, state: &State, inode: usize) -> MemoryFile {
        MemoryFile {
            disk: self.clone(),
            inode,
            _handle: Arc::clone(&state.inodes[inode].handle),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the disk")
    }
}

impl State {
    fn fate(&mut self) -> Fate {
        let call = self.calls;
        self.calls += 1;
        if self.power_cut_at.is_some_and(|at| call >= at) {
            return Fate::PowerIsOut;
        }
        match &self.failing {
            Some((calls, kind)) if calls.contains(&call) => Fate::Fails(*kind),
            Some(_) | None => Fate::Works,
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.changes.push(change);
    }

    /// Nobody has it open any more.
    fn after_kill(&self) -> Inode {
        Inode {
            handle: Arc::default(),
            ..self.clone()
        }
    }

    fn after_power_cut(&self, dice: &mut Dice) -> Inode {
        let mut bytes = self.durable.clone();
        for change in &self.changes {
            match dice.below(3) {
                0 => change.apply(&mut bytes),
                1 => change.apply_torn(&mut bytes, dice),
                _ => {}
            }
        }
        Inode {
            durable: bytes.clone(),
            bytes,
            ..Inode::default()
        }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Truncate(length) => file.resize(*length as usize, 0),
            Change::Write(offset, bytes) => {
                let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                file.resize(file.len().max(to), 0);
                file[from..to].copy_from_slice(bytes);
            }
        }
    }

    /// Each sector for itself: any may be missing, also one before others that are there.
    fn apply_torn(&self, file: &mut Vec<u8>, dice: &mut Dice) {
        let (offset, bytes) = match self {
            Change::Truncate(_) => return self.apply(file),
            Change::Write(offset, bytes) => (*offset as usize, bytes),
        };
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes
                .len()
                .min(from + SECTOR_BYTES - (offset + from) % SECTOR_BYTES);
            if dice.below(2) == 0 {
                Change::Write((offset + from) as u64, bytes[from..to].to_vec()).apply(file);
            }
            from = to;
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(path, _) => {
                path.parent() == Some(dir)
            }
        }
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Lock = MemoryLock;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.dirs.contains(path) {
            return Ok(());
        }
        state.fate().into_result()?;
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = state
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        let entries = inside.map(|(path, inode)| Entry {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            is_file: true,
            bytes: state.inodes[*inode].bytes.len() as u64,
        });
        Ok(entries.collect())
    }

    fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.state();
        let inode = state.find(path)?;
        state.opens += 1;
        Ok(self.handle(&state, inode))
    }

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.fate().into_result()?;
        let inode = match state.find(path) {
            Ok(inode) => {
                state.inodes[inode].change(Change::Truncate(0));
                inode
            }
            Err(_) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_name(NameChange::Link(path.to_owned(), inode));
                inode
            }
        };
        Ok(self.handle(&state, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fate().into_result()?;
        state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fate().into_result()?;
        state.find(path)?;
        state.change_name(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fate().into_result()?;
        let changes = std::mem::take(&mut state.name_changes);
        let (inside, outside): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.is_in(dir));
        for change in inside {
            change.apply(&mut state.durable_names);
        }
        state.name_changes = outside;
        Ok(())
    }

    fn leads_to(&self, path: &Path, file: &MemoryFile) -> io::Result<bool> {
        Ok(self.state().names.get(path) == Some(&file.inode))
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<MemoryLock>> {
        if !self.state().locks.insert(path.to_owned()) {
            return Ok(None);
        }
        self.put(path, holder.as_bytes());
        Ok(Some(MemoryLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if let Some((path, bad)) = &state.bad_blocks
            && state.names.get(path) == Some(&self.inode)
            && offset < bad.end
            && bad.start < offset + buffer.len() as u64
        {
            return Err(io::Error::other("bad block"));
        }
        let bytes = state.inodes[self.inode]
            .bytes
            .get(offset as usize..)
            .unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        state.bytes_read += count as u64;
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.fate();
        let done = match &fate {
            Fate::Works => bytes,
            Fate::Fails(_) | Fate::PowerIsOut => &bytes[..bytes.len() / 2],
        };
        state.inodes[self.inode].change(Change::Write(offset, done.to_vec()));
        fate.into_result()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].bytes.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.fate().into_result()?;
        state.inodes[self.inode].change(Change::Truncate(length));
        Ok(())
    }

    /// After a failure what was written before stays readable but is never made durable, as on
    /// Linux.
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.fate();
        let inode = &mut state.inodes[self.inode];
        if let Fate::Works = fate {
            for change in &inode.changes {
                change.apply(&mut inode.durable);
            }
        }
        if !matches!(fate, Fate::PowerIsOut) {
            inode.changes.clear();
        }
        fate.into_result()
    }
}

impl Fate {
    fn into_result(self) -> io::Result<()> {
        match self {
            Fate::Works => Ok(()),
            Fate::Fails(kind) => Err(kind.into()),
            Fate::PowerIsOut => Err(io::Error::other("the power is out")),
        }
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Numbers that look random (SplitMix64) and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
