//! How the modes are run: servers first, then clients, then the report.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::client::play;
use crate::crew::{Crew, Deadline};
use crate::options::{Mode, Options};
use crate::plan::{self, Project};
use crate::report::{self, Report};
use crate::table::Table;
use crate::wire::SCRATCH_BYTES;
use crate::{hold, mixed, office, roles, server, sys};

/// Children that accept in [`Mode::Prefork`].
const ACCEPTING_CHILDREN: usize = 4;

/// How long servers may take to notice the last closes.
const SERVERS_PATIENCE: Duration = Duration::from_secs(3);

/// How a worker plays a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launch {
    /// In the worker itself.
    Here,
    /// In a forked child.
    Fork,
    /// In an executed image.
    Exec,
}

/// Runs the mode; whether every connection did what it should.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    // Should this process itself hang, the kernel ends it, and with it all the others.
    sys::end_after(options.limit_seconds.saturating_add(10));
    sys::remember_stop_signals()?;
    plan::check_local(&options.addresses)?;
    plan::check_local(&options.local_addresses)?;
    let deadline = Deadline::after(Duration::from_secs(options.limit_seconds.into()));
    match options.mode {
        Mode::Fork | Mode::Prefork | Mode::Udp => {
            run_workers(options, plan::simple(options), Launch::Fork, deadline)
        }
        Mode::Exec => run_workers(options, plan::simple(options), Launch::Exec, deadline),
        Mode::Loop => run_workers(options, plan::simple(options), Launch::Here, deadline),
        Mode::Mixed => run_workers(options, mixed::project(options), Launch::Fork, deadline),
        Mode::Hold => hold::run(options, deadline),
        Mode::Office => office::run(options, deadline),
    }
}

/// The path of this program's image, as the kernel knows it.
pub(crate) fn own_path() -> io::Result<String> {
    Ok(std::fs::read_link("/proc/self/exe")?
        .to_string_lossy()
        .into_owned())
}

/// Runs a mode in which workers share the rows among them.
fn run_workers(
    options: &Options,
    project: Project,
    launch: Launch,
    deadline: Deadline,
) -> io::Result<bool> {
    let cpu_before = sys::cpu_time();
    let table = project.into_table(options.ports)?;
    let mut servers = Crew::default();
    start_servers(options, &table, &mut servers)?;
    wait_until_ready(&table, &mut servers, deadline)?;
    let begun = Instant::now();
    let mut workers = Crew::default();
    for share in 0..options.workers {
        workers.fork("worker", || work(&table, launch, share, options.workers))?;
    }
    let result = workers.wait_all(deadline);
    let wall = begun.elapsed();
    let server_pids = servers.pids();
    let result = result.and(wait_until_served(&table, &mut servers));
    workers.stop();
    servers.stop();
    let report = Report {
        mode: options.mode.name(),
        table: &table,
        programs: &[own_path()?],
        servers: &server_pids,
        wall,
        cpu: sys::cpu_time() - cpu_before,
    };
    finish(options, &report, result)
}

/// Writes the truth and prints the summary; an early end is an error after that.
pub(crate) fn finish(
    options: &Options,
    report: &Report<'_>,
    result: io::Result<()>,
) -> io::Result<bool> {
    if let Some(path) = &options.truth {
        report.write_truth(path)?;
    }
    let is_good = report.print_summary();
    result.map(|()| is_good)
}

/// Forks the servers of a mode; each of them listens by itself, except in [`Mode::Prefork`].
pub(crate) fn start_servers(
    options: &Options,
    table: &Table,
    servers: &mut Crew,
) -> io::Result<()> {
    let count = table.endpoints();
    if options.mode != Mode::Prefork {
        let is_eager = options.mode != Mode::Mixed;
        return servers.fork("server", || {
            let endpoints = server::open_all(table, 0, count)?;
            let Err(error) = server::serve(table, &endpoints, is_eager);
            Err(error.into())
        });
    }
    let endpoints = server::open_all(table, 0, count)?;
    for _ in 0..ACCEPTING_CHILDREN {
        servers.fork("server", || {
            let Err(error) = server::serve(table, &endpoints, true);
            Err(error.into())
        })?;
    }
    Ok(())
}

/// Waits until all servers listen, and marks the beginning of the run.
pub(crate) fn wait_until_ready(
    table: &Table,
    servers: &mut Crew,
    deadline: Deadline,
) -> io::Result<()> {
    let signals = table.signals();
    while (signals.servers_ready.load(Ordering::Acquire) as usize) < servers.len() {
        deadline.remaining()?;
        servers.reap(Duration::from_millis(1))?;
    }
    signals.begin();
    Ok(())
}

/// Waits until the servers have closed all they accepted, so that no end is cut off.
pub(crate) fn wait_until_served(table: &Table, servers: &mut Crew) -> io::Result<()> {
    let expected = report::count_accepted(table);
    let served = || table.signals().connections_served.load(Ordering::Acquire);
    let patience = Deadline::after(SERVERS_PATIENCE);
    while served() < expected {
        if patience.left().is_err() {
            let text = format!("servers closed {} connections, not {expected}", served());
            return Err(io::Error::other(text));
        }
        servers.reap(Duration::from_millis(1))?;
    }
    Ok(())
}

/// Plays every `step`th row from `share` on.
fn work(table: &Table, launch: Launch, share: u32, step: u32) -> io::Result<()> {
    let mut scratch = [0; SCRATCH_BYTES];
    for id in (share..table.rows()).step_by(step as usize) {
        if table.plan(id).group_rows == 0 {
            continue;
        }
        let started = Instant::now();
        let child = match launch {
            Launch::Here => {
                play(table, id, &mut scratch);
                continue;
            }
            Launch::Fork => fork_client(table, id)?,
            Launch::Exec => roles::start_own_client(table, id)?,
        };
        waitpid(Some(child), WaitOptions::empty())?;
        let life_us = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
        table
            .row(id)
            .process_life_us
            .store(life_us, Ordering::Relaxed);
    }
    Ok(())
}

/// Forks a child that plays one row and ends.
fn fork_client(table: &Table, id: u32) -> io::Result<Pid> {
    sys::fork_child(|| {
        // Should this fail, the child would at worst outlive an aborted run by a moment.
        _ = roles::die_with_parent();
        play(table, id, &mut [0; SCRATCH_BYTES]);
        0
    })
}
