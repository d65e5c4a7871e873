//! Steps out of the way of everybody's connections when this program keeps crashing.
//!
//! While a filter crashes and is started again, the machine's connections are reset each time. So
//! each start is written down before there is any risk, and crossed out when it went well: by an
//! orderly stop, or by ten minutes without a crash. A start that finds three of the last ten
//! minutes that were not crossed out stands aside until the next boot.
//!
//! Times are of the clock that counts from boot, together with the identity of the boot, so that
//! setting the wall clock changes nothing. Where the system does not say which boot it is, starts
//! count as if it were always the same one, and standing aside ends with the ten minutes.

use record::Mono;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Crashes that are too many.
const CRASHES_MAX: usize = 3;

/// The time in which they are, in nanoseconds; and how long a start must live to have gone well.
const WINDOW_NS: u64 = 600 * 1_000_000_000;

/// The file is below this; what is larger is not ours.
const FILE_BYTES_MAX: u64 = 4_096;

/// Starts that are remembered at most.
const STARTS_MAX: usize = 16;

const FILE_NAME: &str = "breaker";
const FIRST_LINE: &str = "conntrail breaker 1";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct History {
    boot: Option<[u8; 16]>,
    /// Starts that were not crossed out, in the order they were made.
    starts: Vec<Mono>,
    /// Crashes that made it stand aside in this boot.
    tripped: Option<u32>,
}

/// What a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Go on.
    Closed,
    /// Stand aside, because of so many crashes.
    Tripped(u32),
    /// Go on; the last boot stood aside because of so many crashes.
    Healed(u32),
}

/// Keeps the history of starts in a file.
#[derive(Debug)]
pub(crate) struct Breaker {
    path: PathBuf,
    history: History,
    /// This start, while it is not crossed out.
    begun: Option<Mono>,
}

impl Breaker {
    /// Reads what is in `directory`, and writes down this start. Also says what went wrong with the
    /// file, in a sentence; it works without one, only shorter-sighted.
    pub(crate) fn begin(
        directory: &Path,
        boot: Option<[u8; 16]>,
        now: Mono,
    ) -> (Breaker, Finding, Option<String>) {
        let path = directory.join(FILE_NAME);
        let (history, unreadable) = match read(&path) {
            Ok(history) => (history, None),
            Err(error) => (History::default(), Some(complaint("read", &path, &error))),
        };
        let (history, finding) = history.decide(boot, now);
        let mut breaker = Breaker {
            path,
            history,
            begun: None,
        };
        let unwritable = breaker.begin_again(now);
        (breaker, finding, unreadable.or(unwritable))
    }

    /// Writes down that there is risk again, after [`Breaker::ended`].
    pub(crate) fn begin_again(&mut self, now: Mono) -> Option<String> {
        if self.begun.is_some() {
            return None;
        }
        self.begun = Some(now);
        self.history.add(now);
        self.write()
    }

    /// Crosses out this start: it ended in order.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let begun = self.begun.take()?;
        self.history.starts.retain(|start| *start != begun);
        self.write()
    }

    /// Crosses out this start when it has lived long enough.
    pub(crate) fn poll(&mut self, now: Mono) -> Option<String> {
        let begun = self.begun?;
        if now.since_ns(begun) < WINDOW_NS {
            return None;
        }
        self.ended()
    }

    fn write(&self) -> Option<String> {
        let written = write(&self.path, self.history.to_text().as_bytes());
        written
            .err()
            .map(|error| complaint("write", &self.path, &error))
    }
}

impl History {
    /// What a start at `now` in `boot` finds, and the history as it is from then on.
    fn decide(mut self, boot: Option<[u8; 16]>, now: Mono) -> (History, Finding) {
        if self.boot != boot {
            let finding = self.tripped.map_or(Finding::Closed, Finding::Healed);
            let history = History {
                boot,
                ..History::default()
            };
            return (history, finding);
        }
        // A start of this boot that is yet to come was not written by us.
        self.starts
            .retain(|start| *start <= now && now.since_ns(*start) <= WINDOW_NS);
        let crashes = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        let tripped = self.tripped.filter(|_| boot.is_some());
        self.tripped = tripped.or((self.starts.len() >= CRASHES_MAX).then_some(crashes));
        let finding = self.tripped.map_or(Finding::Closed, Finding::Tripped);
        (self, finding)
    }

    fn add(&mut self, start: Mono) {
        self.starts.push(start);
        let surplus = self.starts.len().saturating_sub(STARTS_MAX);
        self.starts.drain(..surplus);
    }

    fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(boot) = self.boot {
            text.push_str(&format!("boot {:032x}\n", u128::from_be_bytes(boot)));
        }
        if let Some(crashes) = self.tripped {
            text.push_str(&format!("tripped {crashes}\n"));
        }
        for start in &self.starts {
            text.push_str(&format!("start {}\n", start.0));
        }
        text
    }

    /// What the text says; `None` when it is not ours. Half a history is none: the write is atomic.
    fn from_text(text: &str) -> Option<History> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut history = History::default();
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match key {
                "boot" => {
                    let boot = u128::from_str_radix(value, 16).ok()?;
                    history.boot = Some(boot.to_be_bytes());
                }
                "tripped" => history.tripped = Some(value.parse().ok()?),
                "start" => history.add(Mono(value.parse().ok()?)),
                _ => return None,
            }
        }
        Some(history)
    }
}

fn read(path: &Path) -> io::Result<History> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        Err(error) => return Err(error),
    };
    if !kind.is_file() {
        // Opening a pipe would wait for whoever writes.
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than we write it"));
    }
    String::from_utf8(bytes)
        .ok()
        .and_then(|text| History::from_text(&text))
        .ok_or_else(|| io::Error::other("it is not as we write it"))
}

/// Either the old bytes or the new ones are there, whatever happens in between.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A leftover may be anything, also a link to elsewhere: it is removed, not followed.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn complaint(verb: &str, path: &Path, error: &io::Error) -> String {
    format!(
        "The breaker cannot {verb} its file {} ({error}): crashes before this start are not \
         counted, or this one will not be.",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const BOOT: Option<[u8; 16]> = Some([7; 16]);
    const NEXT_BOOT: Option<[u8; 16]> = Some([8; 16]);

    #[test]
    fn a_directory_that_is_none_is_complained_about() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (_, finding, complaint) = Breaker::begin(file.path(), BOOT, at(0));
        assert_eq!(finding, Finding::Closed);
        assert!(complaint.unwrap().contains("cannot read"));
    }

    fn at(second: u64) -> Mono {
        Mono(second * SECOND_NS)
    }

    fn start(directory: &Path, boot: Option<[u8; 16]>, second: u64) -> (Breaker, Finding) {
        let (breaker, finding, complaint) = Breaker::begin(directory, boot, at(second));
        assert_eq!(complaint, None);
        (breaker, finding)
    }

    /// As [`start`], and it crashes: nothing is crossed out.
    fn crash(directory: &Path, boot: Option<[u8; 16]>, second: u64) -> Finding {
        start(directory, boot, second).1
    }

    // facts: crash-resets-connections
    #[test]
    fn the_start_after_three_crashes_in_ten_minutes_stands_aside_until_the_next_boot() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        for second in [10, 20, 30] {
            assert_eq!(crash(directory, BOOT, second), Finding::Closed);
        }
        assert_eq!(crash(directory, BOOT, 40), Finding::Tripped(3));
        assert_eq!(crash(directory, BOOT, 50_000), Finding::Tripped(3));
        assert_eq!(crash(directory, NEXT_BOOT, 10), Finding::Healed(3));
        assert_eq!(crash(directory, NEXT_BOOT, 20), Finding::Closed);
    }

    #[test]
    fn crashes_that_are_ten_minutes_apart_do_not_add_up() {
        let directory = tempfile::tempdir().unwrap();
        for second in [0, 400, 800, 1_200, 1_600] {
            assert_eq!(crash(directory.path(), BOOT, second), Finding::Closed);
        }
    }

    #[test]
    fn a_start_that_ended_in_order_is_no_crash() {
        let directory = tempfile::tempdir().unwrap();
        for second in 0..10 {
            let (mut breaker, finding) = start(directory.path(), BOOT, second);
            assert_eq!(finding, Finding::Closed);
            assert_eq!(breaker.ended(), None);
        }
    }

    #[test]
    fn a_start_that_lived_ten_minutes_is_no_crash() {
        let directory = tempfile::tempdir().unwrap();
        for second in [0, 700, 1_400] {
            let (mut breaker, _) = start(directory.path(), BOOT, second);
            assert_eq!(breaker.poll(at(second + 599)), None);
            assert_eq!(breaker.begun, Some(at(second)));
            assert_eq!(breaker.poll(at(second + 600)), None);
            assert_eq!(breaker.begun, None);
        }
        let history = read(&directory.path().join(FILE_NAME)).unwrap();
        assert_eq!(history.starts, []);
    }

    #[test]
    fn what_begins_again_after_an_orderly_end_is_at_risk_again() {
        let directory = tempfile::tempdir().unwrap();
        for second in [10, 20, 30] {
            let (mut breaker, _) = start(directory.path(), BOOT, second);
            assert_eq!(breaker.ended(), None);
            assert_eq!(breaker.begin_again(at(second + 1)), None);
            assert_eq!(breaker.begin_again(at(second + 2)), None, "counts once");
        }
        assert_eq!(crash(directory.path(), BOOT, 40), Finding::Tripped(3));
    }

    #[test]
    fn without_the_identity_of_the_boot_standing_aside_ends_with_the_ten_minutes() {
        let directory = tempfile::tempdir().unwrap();
        for second in [10, 20, 30] {
            assert_eq!(crash(directory.path(), None, second), Finding::Closed);
        }
        assert_eq!(crash(directory.path(), None, 40), Finding::Tripped(3));
        assert_eq!(crash(directory.path(), None, 2_000), Finding::Closed);
    }

    #[test]
    fn starts_of_the_future_are_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        for second in [1_010, 1_020, 1_030] {
            crash(directory.path(), BOOT, second);
        }
        assert_eq!(crash(directory.path(), BOOT, 900), Finding::Closed);
    }

    #[test]
    fn a_file_that_is_not_ours_is_named_and_replaced() {
        let hostile: [&[u8]; 9] = [
            b"",
            b"\n",
            b"conntrail breaker 2\n",
            b"conntrail breaker 1\nstart 1",
            b"conntrail breaker 1\nstart -1\n",
            b"conntrail breaker 1\nboot zz\n",
            b"conntrail breaker 1\nnonsense 1\n",
            b"conntrail breaker 1\n\n",
            &[0xff; 5_000],
        ];
        for bytes in hostile {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(FILE_NAME);
            fs::write(&path, bytes).unwrap();
            let (_, finding, complaint) = Breaker::begin(directory.path(), BOOT, at(10));
            assert_eq!(finding, Finding::Closed);
            assert!(complaint.unwrap().contains("cannot read"), "{bytes:?}");
            assert_eq!(read(&path).unwrap().starts, [at(10)]);
        }
    }

    #[test]
    fn a_history_that_grew_without_bound_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        for second in 0..100 {
            crash(directory.path(), BOOT, second);
        }
        let path = directory.path().join(FILE_NAME);
        assert!(fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX);
        assert_eq!(read(&path).unwrap().starts.len(), STARTS_MAX);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named_and_nothing_else_happens() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let (mut breaker, finding, complaint) = Breaker::begin(&missing, BOOT, at(10));
        assert_eq!(finding, Finding::Closed);
        assert!(complaint.unwrap().contains("cannot write"));
        assert!(breaker.ended().unwrap().contains("cannot write"));
    }

    #[test]
    fn what_stands_in_the_place_of_the_file_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(FILE_NAME)).unwrap();
        let (_, finding, complaint) = Breaker::begin(directory.path(), BOOT, at(10));
        assert_eq!(finding, Finding::Closed);
        assert!(complaint.unwrap().contains("it is not a file"));
    }

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        let temporary = directory.path().join(FILE_NAME).with_extension("new");
        std::os::unix::fs::symlink(&elsewhere, &temporary).unwrap();
        crash(directory.path(), BOOT, 10);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert!(directory.path().join(FILE_NAME).is_file());
    }
}
