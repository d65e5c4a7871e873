//! `conntrail watch`: shows connections as they are recorded.

use super::recorded_in;
use crate::tui::state::State;
use crate::tui::view;
use crate::words;
use anyhow::Context;
use query::{Answer, Answers, Filter};
use record::{Phase, Record, ocsf};
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How to show them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One OCSF event a line, from the recorder's start on: closes and notices.
    #[arg(long)]
    json: bool,
    /// Opens and updates too.
    #[arg(long)]
    all: bool,
}

/// The trail is synced once a second, so looking more often shows nothing more.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How soon Ctrl-C is noticed.
const NAP: Duration = Duration::from_millis(50);

/// Watches until Ctrl-C.
///
/// # Errors
/// When nothing was recorded there, or the trail or the terminal fails.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let segments = recorded_in(state_dir)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("the signal handlers could not be installed")?;
    }
    let is_table = io::stdout().is_terminal() && !arguments.json;
    let all_phases = arguments.all || !arguments.json;
    let filter = Filter {
        all_phases,
        ..Filter::default()
    };
    let answers = Answers::of_newest_epoch(&segments, filter)?;
    if is_table {
        watch_table(state_dir, answers, &stop)?
    } else {
        watch_lines(answers, arguments, &stop)?
    }
    Ok(ExitCode::SUCCESS)
}

fn watch_lines(
    mut answers: Answers,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    while !stop.load(Ordering::Relaxed) {
        while let Some(answer) = answers.next_answer()? {
            match answer {
                Answer::Record { id, record, device } if arguments.json => {
                    writeln!(out, "{}", ocsf::to_json(id, &record, &device))?;
                }
                Answer::Record { record, .. } => write_line(&record, arguments.all, &mut out)?,
                Answer::Hole(hole) => writeln!(io::stderr(), "conntrail: {hole}")?,
            }
        }
        out.flush()?;
        nap(stop);
    }
    Ok(())
}

/// Line by line, updates would be many; the opens and closes around them are enough.
fn write_line(record: &Record, all: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let is_update =
        matches!(record, Record::Connection(connection) if connection.phase == Phase::Update);
    if all || !is_update {
        writeln!(out, "{}", words::line(record))?;
    }
    Ok(())
}

fn watch_table(state_dir: &Path, mut answers: Answers, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut screen = Screen::take()?;
    while !stop.load(Ordering::Relaxed) {
        while let Some(answer) = answers.next_answer()? {
            // Holes in the past do not change what is going on now; `verify` tells of them.
            if let Answer::Record { record, device, .. } = answer {
                state.apply(record, &device);
            }
        }
        state.live = super::live::snapshot(state_dir);
        screen.draw(&state)?;
        nap(stop);
    }
    Ok(())
}

fn nap(stop: &AtomicBool) {
    let mut left = LOOK_INTERVAL;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        thread::sleep(NAP.min(left));
        left = left.saturating_sub(NAP);
    }
}

/// The terminal while the table is on it; given back whatever happens.
struct Screen {
    out: io::StdoutLock<'static>,
}

impl Screen {
    fn take() -> io::Result<Screen> {
        let mut out = io::stdout().lock();
        out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Screen { out })
    }

    fn draw(&mut self, state: &State) -> io::Result<()> {
        let size = tcgetwinsize(&self.out)
            .ok()
            .filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) = size.map_or((80, 24), |it| (it.ws_col.into(), it.ws_row.into()));
        let mut frame = String::from("\x1b[H");
        let lines = view::lines(state, host::clock::stamp().wall, width, height);
        for (index, line) in lines.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\r\n" };
            frame.push_str(&format!("{gap}{line}\x1b[K"));
        }
        frame.push_str("\x1b[J");
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing given back.
        let _ = self.out.write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = self.out.flush();
    }
}
