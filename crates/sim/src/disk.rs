//! A disk on which things go wrong.
//!
//! What a disk remembers and forgets is [`MemoryDisk`]'s: it tears, reorders and loses what was not
//! synced. Here is decided, by the seed, what else happens and when: calls that fail, once or for
//! a while, a file system that fills up, bytes that rot. Every call goes into the digest of the
//! run.

use crate::dice::Dice;
use crate::log::Log;
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use trail::testing::{MemoryDisk, MemoryFile, MemoryLock};
use trail::{Disk, DiskFile, Entry};

/// A disk of a simulated machine. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    memory: MemoryDisk,
    weather: Rc<RefCell<Weather>>,
    /// Nothing goes wrong for whoever has this one, but reading ends one day.
    is_calm: bool,
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    file: MemoryFile,
    disk: SimDisk,
}

/// What goes wrong, and how often.
pub struct Weather {
    dice: Dice,
    rates: Rates,
    capacity_bytes: Option<u64>,
    /// A fault that lasts: of which kind, and for how many calls of that kind.
    spell: Option<(Fault, u64)>,
    /// How many more calls that read a calm disk may get.
    patience: u64,
    faults: Faults,
    /// The writer told readers of what was not safe.
    early: Option<String>,
    log: Log,
}

/// One in how many calls fails; zero is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Of those that write bytes or cut a file.
    pub write: u64,
    /// Of those that sync a file.
    pub sync: u64,
    /// Of those that change or sync names.
    pub name: u64,
    /// Of those that read bytes, names or lengths.
    pub read: u64,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write fails after a part of it.
    Write,
    /// A sync fails, and what it should have made durable never will be.
    Sync,
    /// A file cannot be made, renamed or deleted, or a folder not synced.
    Name,
    /// A read fails.
    Read,
}

/// How often each thing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that failed.
    pub writes: u64,
    /// Syncs that failed.
    pub syncs: u64,
    /// Changes of names that failed.
    pub names: u64,
    /// Reads that failed.
    pub reads: u64,
    /// Writes that found no room.
    pub full: u64,
    /// Bits that flipped at rest.
    pub flips: u64,
    /// Blocks that became zeros at rest.
    pub zeroed: u64,
}

impl SimDisk {
    /// A disk that holds what `memory` does.
    pub fn new(memory: MemoryDisk, seed: u64, log: Log) -> SimDisk {
        let weather = Weather {
            dice: Dice::new(seed),
            rates: Rates::default(),
            capacity_bytes: None,
            spell: None,
            patience: 0,
            faults: Faults::default(),
            early: None,
            log,
        };
        SimDisk {
            memory,
            weather: Rc::new(RefCell::new(weather)),
            is_calm: false,
        }
    }

    /// The same weather over another content.
    pub fn with_memory(&self, memory: MemoryDisk) -> SimDisk {
        SimDisk {
            memory,
            ..self.clone()
        }
    }

    /// The same content for somebody who must not fail, and who may make `patience` calls before
    /// it counts as hanging.
    pub fn calm(&self, patience: u64) -> SimDisk {
        self.weather.borrow_mut().patience = patience;
        SimDisk {
            is_calm: true,
            ..self.clone()
        }
    }

    /// What is remembered.
    pub fn memory(&self) -> &MemoryDisk {
        &self.memory
    }

    /// From now on so much goes wrong.
    pub fn set_rates(&self, rates: Rates) {
        let mut weather = self.weather.borrow_mut();
        (weather.rates, weather.spell) = (rates, None);
    }

    /// From now on the file system has so many bytes.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.weather.borrow_mut().capacity_bytes = capacity_bytes;
    }

    /// Bytes that are taken, in whole blocks.
    pub fn used_bytes(&self) -> u64 {
        self.memory.used_bytes(BLOCK_BYTES)
    }

    /// What went wrong so far.
    pub fn faults(&self) -> Faults {
        self.weather.borrow().faults
    }

    /// The first time that the writer told readers of bytes that were not synced, in words.
    pub fn told_early(&self) -> Option<String> {
        self.weather.borrow().early.clone()
    }

    /// Whoever tells readers how far they may read must have synced it.
    fn watch_head(&self, bytes: &[u8]) {
        let number = |at: usize| {
            let field = bytes[at..at + 8].try_into();
            u64::from_le_bytes(field.expect("eight bytes are eight bytes"))
        };
        if bytes.len() != HEAD_BYTES || !bytes.starts_with(HEAD_MAGIC) || number(24) == 0 {
            return;
        }
        let name = format!("trail/e{:08}-s{:012}.trail", number(8), number(16));
        let safe = self.memory.durable_length(&Path::new(STATE).join(&name));
        if safe < number(24) {
            let told = number(24);
            let early = format!("{told} bytes of {name} are published, {safe} are synced");
            self.weather.borrow_mut().early.get_or_insert(early);
        }
    }

    /// Flips one bit of a file at rest; false when there is no such byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u32) -> bool {
        let flipped = self
            .memory
            .rot(path, offset..offset + 1, |byte| *byte ^= 1 << bit);
        self.weather.borrow_mut().faults.flips += u64::from(flipped);
        flipped
    }

    /// Makes bytes of a file at rest zeros; false when not all of them are there.
    pub fn zero(&self, path: &Path, at: Range<u64>) -> bool {
        let zeroed = self.memory.rot(path, at, |byte| *byte = 0);
        self.weather.borrow_mut().faults.zeroed += u64::from(zeroed);
        zeroed
    }

    /// Lets a call of this kind go through, or not.
    fn pass(&self, kind: Fault, what: &str, path: Option<&Path>) -> io::Result<()> {
        let mut weather = self.weather.borrow_mut();
        if self.is_calm {
            return weather.wait(kind);
        }
        let fails = weather.fails(kind) && !self.memory.is_out();
        weather.log.fold(kind as u64 * 2 + u64::from(fails));
        if fails {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            weather.log.note(|| format!("disk: {what} {name} fails"));
            return Err(io::Error::other("a simulated fault"));
        }
        Ok(())
    }

    /// How many more bytes a file of `length` may become, up to `wanted`, on what is left.
    fn room(&self, length: u64, wanted: u64) -> u64 {
        let weather = self.weather.borrow();
        let Some(capacity) = weather.capacity_bytes.filter(|_| !self.is_calm) else {
            return wanted;
        };
        let free = capacity.saturating_sub(self.used_bytes()) / BLOCK_BYTES;
        let there = length.div_ceil(BLOCK_BYTES);
        wanted.min(((there + free) * BLOCK_BYTES).saturating_sub(length))
    }

    fn full(&self) -> io::Error {
        let mut weather = self.weather.borrow_mut();
        weather.faults.full += 1;
        weather.log.note(|| "disk: full".to_owned());
        ErrorKind::StorageFull.into()
    }

    fn file(&self, file: MemoryFile) -> SimFile {
        SimFile {
            file,
            disk: self.clone(),
        }
    }
}

impl Weather {
    fn fails(&mut self, kind: Fault) -> bool {
        let (rate, count) = match kind {
            Fault::Write => (self.rates.write, &mut self.faults.writes),
            Fault::Sync => (self.rates.sync, &mut self.faults.syncs),
            Fault::Name => (self.rates.name, &mut self.faults.names),
            Fault::Read => (self.rates.read, &mut self.faults.reads),
        };
        if rate == 0 {
            return false;
        }
        let lasting = self.spell.filter(|(of, _)| *of == kind);
        let fails = lasting.is_some() || self.dice.one_in(rate);
        *count += u64::from(fails);
        match lasting {
            Some((_, left)) => self.spell = (left > 1).then_some((kind, left - 1)),
            None if fails && self.dice.one_in(4) => {
                self.spell = Some((kind, 1 + self.dice.below(SPELL_CALLS_MAX)));
            }
            None => {}
        }
        fails
    }

    /// Whoever reads must come to an end.
    fn wait(&mut self, kind: Fault) -> io::Result<()> {
        assert!(kind == Fault::Read, "a reader changes the trail");
        assert!(self.patience > 0, "a reader does not end");
        self.patience -= 1;
        Ok(())
    }
}

impl Faults {
    /// All calls that failed.
    pub fn total(&self) -> u64 {
        self.writes + self.syncs + self.names + self.reads + self.full
    }

    /// Adds what went wrong elsewhere.
    pub fn add(&mut self, other: &Faults) {
        self.writes += other.writes;
        self.syncs += other.syncs;
        self.names += other.names;
        self.reads += other.reads;
        self.full += other.full;
        self.flips += other.flips;
        self.zeroed += other.zeroed;
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = MemoryLock;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Fault::Name, "making", Some(path))?;
        self.memory.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.pass(Fault::Read, "listing", Some(dir))?;
        self.memory.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.pass(Fault::Read, "opening", Some(path))?;
        Ok(self.file(self.memory.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        self.pass(Fault::Name, "creating", Some(path))?;
        if self.memory.open(path).is_err() && self.room(0, 1) == 0 {
            return Err(self.full());
        }
        Ok(self.file(self.memory.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Fault::Name, "renaming", Some(from))?;
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(Fault::Name, "deleting", Some(path))?;
        self.memory.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(Fault::Name, "syncing the folder", Some(dir))?;
        self.memory.sync_dir(dir)
    }

    fn leads_to(&self, path: &Path, file: &SimFile) -> io::Result<bool> {
        self.pass(Fault::Read, "finding", Some(path))?;
        self.memory.leads_to(path, &file.file)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<MemoryLock>> {
        // Whose process it is that runs the simulator must not be seen in a run.
        let _ = holder;
        self.pass(Fault::Name, "locking", Some(path))?;
        self.memory.lock(path, "process 1")
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.pass(Fault::Read, "reading", None)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.watch_head(bytes);
        if let Err(error) = self.disk.pass(Fault::Write, "writing", None) {
            let part = bytes.len() as u64;
            let part = self.disk.weather.borrow_mut().dice.below(part + 1);
            self.file.write_at(&bytes[..part as usize], offset)?;
            return Err(error);
        }
        let length = self.file.length()?;
        let growth = (offset + bytes.len() as u64).saturating_sub(length);
        let room = self.disk.room(length, growth);
        if room < growth {
            let fits = bytes.len() - (growth - room) as usize;
            self.file.write_at(&bytes[..fits], offset)?;
            return Err(self.disk.full());
        }
        self.file.write_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.pass(Fault::Read, "measuring", None)?;
        self.file.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.pass(Fault::Write, "cutting", None)?;
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        if let Err(error) = self.disk.pass(Fault::Sync, "syncing", None) {
            let call = self.disk.memory.calls();
            self.disk.memory.fail(call..call + 1, ErrorKind::Other);
            self.file.sync()?;
            return Err(error);
        }
        self.file.sync()
    }
}

/// The paths of the segments on a disk, in order.
pub fn segments(memory: &MemoryDisk) -> Vec<PathBuf> {
    let mut paths = memory.paths();
    paths.retain(|path| path.extension().is_some_and(|it| it == "trail"));
    paths
}

/// Where the recorder keeps everything.
pub const STATE: &str = "/state";

const HEAD_BYTES: usize = 64;
const HEAD_MAGIC: &[u8] = b"\x89CTHEAD\n";

/// Small, as everything here is.
const BLOCK_BYTES: u64 = 512;

/// A fault that lasts ends after so many calls at most.
const SPELL_CALLS_MAX: u64 = 24;
