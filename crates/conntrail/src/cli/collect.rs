//! `conntrail collect`: what support needs when something fails, in one file, without secrets.
//!
//! What to gather is a list ([`Wanted`]), of which each platform knows its own part; gathering goes
//! through the list and never ends early: what could not be had is a line of the manifest.
//! Everything is made ready to be read by strangers before it is written: see [`redact`].

mod archive;
#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;
mod redact;
mod tool;
mod trail;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use super::config;
use anyhow::{Context, bail};
use host::config::{Layers, parse_duration};
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What to gather.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The archive to make; it must not exist
    /// [default: conntrail-collect-HOST-TIME.tar.gz in the current folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How far back logs and notices go.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    since: Duration,
    /// Put in the recorded connections of this last time too: who connected where. Left out unless
    /// it is asked for.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    with_records: Option<Duration>,
}

/// The longest that one of the system's tools may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// What one file or tool may bring.
const TEXT_MAX_BYTES: u64 = 4 << 20;

/// One file of the archive, before it is there.
struct Wanted {
    /// Its name.
    name: String,
    /// Why it is there.
    why: &'static str,
    source: Source,
}

/// Where the text comes from.
enum Source {
    /// From a tool of the system, and what to keep of what it prints.
    Tool(&'static str, Vec<String>, Keep),
    /// From a file; of a long one the end.
    File(PathBuf),
    /// From this program.
    Own(Own),
}

/// What to keep of a tool's output.
type Keep = Box<dyn Fn(&str) -> Result<String, String>>;

/// Makes a text.
type Own = Box<dyn Fn() -> anyhow::Result<String>>;

/// Runs a tool of the system.
type RunTool<'a> = &'a dyn Fn(&str, &[String]) -> Result<String, String>;

/// One file of the archive, or why it is not there.
struct Gathered {
    name: String,
    why: &'static str,
    text: Result<String, String>,
}

/// What is being collected, and from where.
struct Order {
    state_dir: PathBuf,
    config_file: Option<PathBuf>,
    now: Timestamp,
    host: String,
    since: Duration,
    with_records: Option<Duration>,
}

impl Order {
    /// What the archive is called, and the folder in it.
    fn title(&self) -> String {
        let fits = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.');
        let host: String = self.host.chars().filter(fits).take(64).collect();
        let time = self.now.strftime("%Y%m%dT%H%M%SZ");
        format!("conntrail-collect-{host}-{time}")
    }

    /// When what is gathered begins.
    fn begin(&self, back: Duration) -> record::Wall {
        let back_ns = i64::try_from(back.as_nanos()).unwrap_or(i64::MAX);
        let now_ns = i64::try_from(self.now.as_nanosecond()).unwrap_or(i64::MAX);
        record::Wall(now_ns.saturating_sub(back_ns))
    }
}

/// Gathers, and writes the archive.
///
/// # Errors
/// When the archive is there already or cannot be written. What cannot be gathered is told in it.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let order = Order {
        state_dir: state_dir.to_owned(),
        config_file: None,
        now: Timestamp::now(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        since: arguments.since,
        with_records: arguments.with_records,
    };
    let default = || PathBuf::from(order.title() + ".tar.gz");
    let output = arguments.output.clone().unwrap_or_else(default);
    if let Some(back) = order.with_records {
        let minutes = back.as_secs().div_ceil(60);
        writeln!(
            io::stderr(),
            "THE ARCHIVE WILL HOLD THE CONNECTIONS OF THE LAST {minutes} MINUTES: who connected \
             where. Give it to nobody who may not know that."
        )?;
    }
    let mut wanted = own_parts(&order);
    wanted.extend(platform::wanted(&order));
    let run = |program: &str, arguments: &[String]| {
        tool::output(program, arguments, TEXT_MAX_BYTES, TOOL_TIMEOUT)
    };
    let listed = collect(&order, wanted, &run, &output)?;
    io::stdout().lock().write_all(listed.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the archive and returns what to say about it. The file is made first: whoever cannot
/// write it need not wait.
fn collect(
    order: &Order,
    wanted: Vec<Wanted>,
    run: RunTool<'_>,
    output: &Path,
) -> anyhow::Result<String> {
    let file = create(output)?;
    let gathered: Vec<Gathered> = wanted.into_iter().map(|it| gather(it, run)).collect();
    let manifest = archive::manifest(order, &gathered);
    let seconds = u64::try_from(order.now.as_second()).unwrap_or(0);
    let written = archive::write(file, &order.title(), &manifest, &gathered, seconds);
    if let Err(error) = written {
        // Half an archive helps nobody; that it could not be written is told already.
        let _ = fs::remove_file(output);
        return Err(error).context(format!("{} could not be written", output.display()));
    }
    Ok(format!(
        "{manifest}\n{} is made. Look through it before you send it.\n",
        output.display()
    ))
}

fn create(output: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let created = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output);
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} is there already and is not overwritten: name another file with --output",
            output.display()
        ),
        created => created.with_context(|| {
            let output = output.display();
            format!("{output} cannot be made: name another place with --output")
        }),
    }
}

fn gather(wanted: Wanted, run: RunTool<'_>) -> Gathered {
    let text = match &wanted.source {
        Source::Tool(program, arguments, keep) => run(program, arguments).and_then(|it| keep(&it)),
        Source::File(path) => end_of(path).map_err(|error| format!("{}: {error}", path.display())),
        Source::Own(make) => make().map_err(|error| format!("{error:#}")),
    };
    Gathered {
        name: wanted.name,
        why: wanted.why,
        text: match text {
            Ok(text) => Ok(redact::redact(&text)),
            Err(trouble) => Err(redact::redact(&trouble)),
        },
    }
}

/// The last bytes of a file, without the first half line.
fn end_of(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(TEXT_MAX_BYTES);
    let bytes = read_from(&file, skipped)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match skipped {
        0 => text.into_owned(),
        _ => {
            let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
            format!("({skipped} bytes before this are left out)\n{rest}")
        }
    })
}

fn read_from(file: &File, begin: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 << 10];
    while (bytes.len() as u64) < TEXT_MAX_BYTES {
        match file.read_at(&mut block, begin + bytes.len() as u64)? {
            0 => break,
            count => bytes.extend_from_slice(&block[..count]),
        }
    }
    Ok(bytes)
}

/// Keeps everything.
fn everything() -> Keep {
    Box::new(|text| Ok(text.to_owned()))
}

fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|it| (*it).to_owned()).collect()
}

fn own(
    name: &str,
    why: &'static str,
    make: impl Fn() -> anyhow::Result<String> + 'static,
) -> Wanted {
    Wanted {
        name: name.to_owned(),
        why,
        source: Source::Own(Box::new(make)),
    }
}

/// What every platform has.
fn own_parts(order: &Order) -> Vec<Wanted> {
    let since = order.begin(order.since);
    let config_file = order.config_file.clone();
    let of_trail = |name, why, make: OfTrail| {
        let state_dir = order.state_dir.clone();
        own(name, why, move || make(&state_dir))
    };
    let state_dir = order.state_dir.clone();
    let mut parts = vec![
        own("versions.txt", "what runs here", || Ok(versions())),
        own("config.txt", "every setting and who set it", move || {
            configuration(config_file.as_deref())
        }),
        of_trail(
            "trail/verify.txt",
            "what of the trail is intact",
            trail::verified,
        ),
        of_trail(
            "trail/segments.txt",
            "the trail's files and sizes",
            trail::segments,
        ),
        own(
            "trail/notices.txt",
            "what the recorder said about itself",
            move || trail::notices(&state_dir, Some(since)),
        ),
        of_trail("trail/receipts.txt", "upgrades of the extension", receipts),
    ];
    if let Some(back) = order.with_records {
        let (since, state_dir) = (order.begin(back), order.state_dir.clone());
        parts.push(own(
            "trail/RECORDS.ndjson",
            "CONNECTIONS, as asked for",
            move || trail::records(&state_dir, since, TEXT_MAX_BYTES),
        ));
    }
    parts
}

/// Reads the trail in a state folder.
type OfTrail = fn(&Path) -> anyhow::Result<String>;

fn receipts(state_dir: &Path) -> anyhow::Result<String> {
    let folder = state_dir.join("upgrades");
    match ::trail::segments_dir(&folder).exists() {
        true => trail::notices(&folder, None),
        false => Ok("no version of the extension was ever replaced here\n".to_owned()),
    }
}

fn versions() -> String {
    let kernel = rustix::system::uname();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "conntrail {}\nsystem {} {}\nkernel {}\nmachine {}\nprocessors {processors}\nroot {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
        kernel.machine().to_string_lossy(),
        rustix::process::geteuid().is_root(),
    )
}

fn configuration(file: Option<&Path>) -> anyhow::Result<String> {
    let layers = Layers::of_this_machine(file)?;
    let mut text = Vec::new();
    config::print(&layers, &mut text)?;
    for problem in layers.problems() {
        // A message may quote a value, which may be anything that somebody mistyped.
        writeln!(
            text,
            "# PROBLEM {}",
            redact::without_quotes(&problem.to_string())
        )?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
