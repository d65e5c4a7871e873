//! The mode `hold`: many connections, open together.

use std::io::{self, Write, stdin};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat, major, minor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::Call;
use crate::crew::{Crew, Deadline};
use crate::open::open;
use crate::options::Options;
use crate::report::{self, Report};
use crate::run::{finish, own_path, start_servers, wait_until_ready, wait_until_served};
use crate::scenario::Outcome;
use crate::table::Table;
use crate::wire::{Next, SCRATCH_BYTES};
use crate::{plan, sys};

/// How often those who wait look up.
const LOOK_UP: Duration = Duration::from_millis(20);

/// Descriptors a process needs besides its connections.
const OTHER_DESCRIPTORS: u64 = 256;

/// Opens all connections, says `READY`, and closes them when told to.
pub(crate) fn run(options: &Options, deadline: Deadline) -> io::Result<bool> {
    raise_descriptor_limit(options.count)?;
    let cpu_before = sys::cpu_time();
    let table = plan::simple(options).into_table(options.ports)?;
    let mut servers = Crew::default();
    start_servers(options, &table, &mut servers)?;
    wait_until_ready(&table, &mut servers, deadline)?;
    let programs = [own_path()?];
    let server_pids = servers.pids();
    let begun = Instant::now();
    let mut report = Report {
        mode: options.mode.name(),
        table: &table,
        programs: &programs,
        servers: &server_pids,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
    };
    let mut clients = Crew::default();
    clients.fork("client", || hold_all(&table))?;
    while !report::is_complete(&table) {
        deadline.remaining()?;
        clients.reap(LOOK_UP)?;
    }
    report.wall = begun.elapsed();
    say_ready(options, &report)?;
    wait_for_release(deadline)?;
    table.signals().is_released.store(1, Ordering::Release);
    let grace = Deadline::after(Duration::from_secs(10));
    let result = wait_for_clients(&mut clients, grace);
    let result = result.and(wait_until_served(&table, &mut servers));
    servers.stop();
    report.cpu = sys::cpu_time() - cpu_before;
    finish(options, &report, result)
}

/// Waits for the clients even though a signal has asked this process to stop.
fn wait_for_clients(clients: &mut Crew, grace: Deadline) -> io::Result<()> {
    while clients.len() > 0 {
        grace.left()?;
        clients.reap(LOOK_UP)?;
    }
    Ok(())
}

/// Allows as many descriptors as the system lets us, and complains if they are too few.
fn raise_descriptor_limit(connections: u32) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    let needed = u64::from(connections) + OTHER_DESCRIPTORS;
    match limit.maximum {
        Some(allowed) if allowed < needed => {
            let text = format!("{needed} descriptors are needed, the hard limit is {allowed}");
            Err(io::Error::other(text))
        }
        _ => Ok(()),
    }
}

/// Opens every connection, holds them until released, and closes them.
fn hold_all(table: &Table) -> io::Result<()> {
    let mut scratch = [0; SCRATCH_BYTES];
    let held: Vec<(u32, OwnedFd)> = (0..table.rows())
        .filter_map(|id| hold_one(table, id, &mut scratch).map(|socket| (id, socket)))
        .collect();
    while table.signals().is_released.load(Ordering::Acquire) == 0 {
        std::thread::sleep(LOOK_UP);
    }
    for (id, socket) in held {
        drop(socket);
        table.row(id).finish(Outcome::Closed);
    }
    Ok(())
}

/// Opens one connection and makes the first exchange.
fn hold_one(table: &Table, id: u32, scratch: &mut [u8]) -> Option<OwnedFd> {
    let call = Call::new(table, id);
    let opened = open(call).and_then(|socket| {
        call.exchange(&socket, Next::Keep, scratch)?;
        Ok(socket)
    });
    match opened {
        Ok(socket) => {
            call.row.finish(Outcome::Held);
            Some(socket)
        }
        Err(error) => {
            call.row.finish(Outcome::from_errno(error));
            None
        }
    }
}

/// Tells whoever started this that all connections are open and the truth so far is written.
fn say_ready(options: &Options, report: &Report<'_>) -> io::Result<()> {
    if let Some(path) = &options.truth {
        report.write_truth(path)?;
    }
    let mut output = io::stdout();
    writeln!(output, "READY")?;
    output.flush()
}

/// Waits for SIGTERM, the end of standard input, or the time limit.
fn wait_for_release(deadline: Deadline) -> io::Result<()> {
    let input = stdin();
    let look_up = Timespec::try_from(LOOK_UP).map_err(io::Error::other)?;
    let is_input_watched = !is_null_device(&input)?;
    while deadline.remaining().is_ok() {
        if !is_input_watched {
            std::thread::sleep(LOOK_UP);
            continue;
        }
        let mut polled = [PollFd::new(&input, PollFlags::IN)];
        let has_news = poll(&mut polled, Some(&look_up)).is_ok_and(|count| count > 0);
        if has_news && rustix::io::read(&input, &mut [0; 256]).is_ok_and(|count| count == 0) {
            break;
        }
    }
    Ok(())
}

/// Whether `input` is `/dev/null`, which has always ended and so says nothing.
fn is_null_device(input: &io::Stdin) -> io::Result<bool> {
    let status = fstat(input)?;
    let is_character = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    Ok(is_character && (major(status.st_rdev), minor(status.st_rdev)) == (1, 3))
}
