//! What an executed image of this program is asked to be, and how to execute one.
//!
//! These command lines are between the program and itself; `--help` does not show them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;
use std::thread;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use crate::open::errno_of;
use crate::table::Table;
use crate::{client, server, sys, wire};

/// Where a process finds its own image.
const OWN_IMAGE: &CStr = c"/proc/self/exe";

/// Plays rows: `TABLE FIRST COUNT THREADS`.
const PLAY: &str = "--play";

/// Serves endpoints: `TABLE FIRST COUNT`.
const SERVE: &str = "--serve";

/// Goes on with an open socket: `TABLE ROW SOCKET`.
const RESUME: &str = "--resume";

/// Plays the role that `arguments` ask for; `None` if they ask for none.
pub(crate) fn play_asked(arguments: &[String]) -> Option<io::Result<()>> {
    let (role, numbers) = arguments.split_first()?;
    let role: fn(&[String]) -> io::Result<()> = match role.as_str() {
        PLAY => be_client,
        SERVE => be_server,
        RESUME => be_heir,
        _ => return None,
    };
    Some(role(numbers))
}

/// The number at `index` of a role's arguments.
fn number<T: FromStr>(arguments: &[String], index: usize) -> io::Result<T> {
    let parsed = arguments
        .get(index)
        .and_then(|argument| argument.parse().ok());
    parsed.ok_or_else(|| io::Error::other(format!("role argument {index} must be a number")))
}

/// Makes the kernel end this process when the one that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Plays rows one after the other, in as many threads as asked for.
fn be_client(arguments: &[String]) -> io::Result<()> {
    die_with_parent()?;
    let table = Table::attach(number(arguments, 0)?)?;
    let first: u32 = number(arguments, 1)?;
    let count: u32 = number(arguments, 2)?;
    let threads: u32 = number::<u32>(arguments, 3)?.max(1);
    let play_share = |share: u32| {
        let mut scratch = [0; wire::SCRATCH_BYTES];
        for id in (first + share..first + count).step_by(threads as usize) {
            client::play(&table, id, &mut scratch);
        }
    };
    thread::scope(|scope| {
        for share in 1..threads {
            scope.spawn(move || play_share(share));
        }
        play_share(0);
    });
    Ok(())
}

/// Serves for ever.
fn be_server(arguments: &[String]) -> io::Result<()> {
    die_with_parent()?;
    let table = Table::attach(number(arguments, 0)?)?;
    let endpoints = server::open_all(&table, number(arguments, 1)?, number(arguments, 2)?)?;
    let Err(error) = server::serve(&table, &endpoints, false);
    Err(error.into())
}

/// Goes on with a socket that the image before this one opened.
fn be_heir(arguments: &[String]) -> io::Result<()> {
    let table = Table::attach(number(arguments, 0)?)?;
    let socket = sys::adopt_descriptor(number(arguments, 2)?)?;
    client::resume(&table, number(arguments, 1)?, socket);
    Ok(())
}

/// Makes a C string of an argument.
fn c_string(text: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// Starts `program` under `name` in the role and with the numbers given.
fn start(program: &CStr, name: &str, role: &str, numbers: &[u32]) -> io::Result<Pid> {
    let words = [name.to_owned(), role.to_owned()].into_iter();
    let words = words.chain(numbers.iter().map(u32::to_string));
    let arguments = words.map(c_string).collect::<io::Result<Vec<_>>>()?;
    let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
    sys::spawn(program, &arguments)
}

/// The number of the table's descriptor, for a command line.
fn table_number(table: &Table) -> u32 {
    table.descriptor().unsigned_abs()
}

/// Starts this very image as the client of one row.
pub(crate) fn start_own_client(table: &Table, id: u32) -> io::Result<Pid> {
    start(
        OWN_IMAGE,
        "ground-truth-client",
        PLAY,
        &[table_number(table), id, 1, 1],
    )
}

/// Starts `program` under `name` as the client of `count` rows from `first` on.
pub(crate) fn start_client(
    program: &CStr,
    name: &str,
    table: &Table,
    [first, count, threads]: [u32; 3],
) -> io::Result<Pid> {
    start(
        program,
        name,
        PLAY,
        &[table_number(table), first, count, threads],
    )
}

/// Starts `program` under `name` as the server of `count` endpoints from `first` on.
pub(crate) fn start_server(
    program: &CStr,
    name: &str,
    table: &Table,
    [first, count]: [u32; 2],
) -> io::Result<Pid> {
    start(program, name, SERVE, &[table_number(table), first, count])
}

/// Replaces this image by a fresh one that goes on with `socket`; returns only if that fails.
pub(crate) fn exec_heir(table: &Table, id: u32, socket: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfd(socket, FdFlags::empty())?;
    let numbers = [table_number(table), id, socket.as_raw_fd().unsigned_abs()];
    let words = ["ground-truth-heir", RESUME].map(str::to_owned).into_iter();
    let arguments = words
        .chain(numbers.iter().map(u32::to_string))
        .map(c_string);
    let arguments = arguments
        .collect::<io::Result<Vec<_>>>()
        .map_err(errno_of)?;
    let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
    Err(errno_of(sys::replace_image(OWN_IMAGE, &arguments)))
}
