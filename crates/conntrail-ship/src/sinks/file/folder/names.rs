//! What files are called: `DESTINATION-YYYYMMDDTHHMMSSZ-BATCH.EXTENSION`, after when they were
//! begun and the first batch in them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ship::{Compression, Format};

const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Bytes of a time.
const TIME_BYTES: usize = "20261123T204132Z".len();
const PART: &str = ".part";

/// What the files of one destination are called.
#[derive(Debug)]
pub(super) struct Names {
    destination: String,
    extension: String,
}

/// What names of files in this format end with.
pub(crate) fn extension(format: Format, compression: Compression) -> String {
    let words = match format {
        Format::Native => ".batches",
        Format::OtlpProtobuf => ".otlp",
        Format::OtlpJson
        | Format::Ocsf
        | Format::Ocsf11
        | Format::Ecs
        | Format::Otel
        | Format::Flat => ".ndjson",
        // It is compressed within.
        Format::Parquet => return ".parquet".to_owned(),
    };
    let smaller = match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    };
    format!("{words}{smaller}")
}

impl Names {
    pub(super) fn new(destination: &str, extension: String) -> Names {
        Names {
            destination: destination.to_owned(),
            extension,
        }
    }

    pub(super) fn lock(&self) -> String {
        format!("{}.lock", self.destination)
    }

    pub(super) fn marks(&self) -> String {
        format!("{}.marks", self.destination)
    }

    /// Whether files are lines and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.extension == ".ndjson"
    }

    /// The name of a file under way that begins with this batch.
    pub(super) fn part(&self, begun_s: i64, id: &str) -> String {
        let time = Timestamp::from_second(begun_s)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned(TimeZone::UTC)
            .strftime(TIME);
        format!("{}-{time}-{id}{}{PART}", self.destination, self.extension)
    }

    /// The name that a file under way gets when it ends.
    pub(super) fn ended(&self, part: &str) -> String {
        part.strip_suffix(PART).unwrap_or(part).to_owned()
    }

    pub(super) fn is_part(&self, name: &str) -> bool {
        name.strip_suffix(PART)
            .is_some_and(|name| self.is_ended(name))
    }

    /// Whether this is a file of this destination that has ended, of any format: a destination may
    /// have had another before.
    pub(super) fn is_ended(&self, name: &str) -> bool {
        const WORDS: [&str; 4] = [".ndjson", ".batches", ".otlp", ".parquet"];
        let words = [".gz", ".zst"]
            .iter()
            .find_map(|smaller| name.strip_suffix(smaller))
            .unwrap_or(name);
        self.begun_s(name).is_some() && WORDS.iter().any(|word| words.ends_with(word))
    }

    /// When a file of this destination was begun.
    pub(super) fn begun_s(&self, name: &str) -> Option<i64> {
        let rest = name.strip_prefix(&self.destination)?.strip_prefix('-')?;
        let time = rest.get(..TIME_BYTES)?;
        if rest.as_bytes().get(TIME_BYTES) != Some(&b'-') {
            return None;
        }
        let time = jiff::civil::DateTime::strptime(TIME, time).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    }
}
