//! The clients: one call of [`play`] plays one planned connection and fills its row.
//!
//! Nothing on the way of an ordinary connection allocates or takes a lock, so that it is fit for
//! a child just forked, and short.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};
use rustix::process::{WaitOptions, waitpid};

use crate::open::{errno_of, note_client, open};
use crate::roles;
use crate::scenario::{Opening, Outcome, Scenario, Story};
use crate::sys;
use crate::table::{Plan, Row, Table};
use crate::wire::{self, HEADER_BYTES, Header, Next};

/// One connection being played.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The table it is in.
    pub(crate) table: &'a Table,
    /// Its row's number.
    pub(crate) id: u32,
    /// What to do.
    pub(crate) plan: Plan,
    /// Where to tell what was done.
    pub(crate) row: &'a Row,
}

impl<'a> Call<'a> {
    /// The call of row `id`.
    pub(crate) fn new(table: &'a Table, id: u32) -> Self {
        Self {
            table,
            id,
            plan: table.plan(id),
            row: table.row(id),
        }
    }

    /// The header of one of the planned requests.
    fn header(&self, next: Next) -> Header {
        let Plan {
            request_bytes,
            reply_bytes,
            ..
        } = self.plan;
        Header {
            request_bytes,
            reply_bytes,
            next,
        }
    }

    /// Sends a request, receives its reply and rests as planned.
    pub(crate) fn exchange(
        &self,
        socket: &OwnedFd,
        next: Next,
        scratch: &mut [u8],
    ) -> Result<(), Errno> {
        wire::send_request(socket, self.header(next), self.row, scratch)?;
        wire::receive_reply(socket, self.plan.reply_bytes, self.row, scratch)?;
        self.pause();
        Ok(())
    }

    /// Rests as planned.
    fn pause(&self) {
        if self.plan.pause_ms > 0 {
            thread::sleep(Duration::from_millis(self.plan.pause_ms.into()));
        }
    }

    /// Waits for the planned start.
    fn wait_for_start(&self) {
        if self.plan.start_ms > 0 {
            let begun_ns = self.table.signals().begun_boot_ns();
            let start_ns = begun_ns + u64::from(self.plan.start_ms) * 1_000_000;
            thread::sleep(Duration::from_nanos(
                start_ns.saturating_sub(sys::boot_ns()),
            ));
        }
    }
}

/// Plays row `id`, and the rest of its group if it leads one.
pub(crate) fn play(table: &Table, id: u32, scratch: &mut [u8]) {
    let call = Call::new(table, id);
    if call.plan.group_rows == 0 {
        return;
    }
    call.wait_for_start();
    if call.plan.scenario == Scenario::Thread {
        play_in_thread(call);
    } else if call.plan.scenario == Scenario::NeverAccepted {
        play_full_queue(call);
    } else {
        play_here(call, scratch);
    }
}

/// Opens a connection and, once it is open, plays its story.
fn play_here(call: Call<'_>, scratch: &mut [u8]) {
    let socket = match open(call) {
        Ok(socket) => socket,
        Err(error) => return call.row.finish(Outcome::from_errno(error)),
    };
    let story = call.plan.scenario.facts().story;
    if story == Story::ChildCloses {
        hand_to_child(call, socket, scratch);
    } else if story == Story::NextImageCloses {
        hand_to_next_image(call, socket, scratch);
    } else if story == Story::DatagramsToMany {
        tour(call, socket, scratch);
    } else {
        let result = tell(story, call, &socket, scratch);
        drop(socket);
        call.row.finish(result.unwrap_or_else(Outcome::from_errno));
    }
}

/// Plays the call in a second thread: the process is the same, the thread is not.
fn play_in_thread(call: Call<'_>) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || {
            play_here(call, &mut [0; wire::SCRATCH_BYTES]);
        });
        if let Err(error) = thread {
            call.row.finish(Outcome::from_errno(errno_of(error)));
        }
    });
}

/// Fills an accept queue with one connection, so that the group's second times out.
fn play_full_queue(call: Call<'_>) {
    let filler = match open(call) {
        Ok(filler) => filler,
        Err(error) => return call.row.finish(Outcome::from_errno(error)),
    };
    let second = Call::new(call.table, call.id + 1);
    let outcome = open(second).map_or_else(Outcome::from_errno, |_| Outcome::Closed);
    second.row.finish(outcome);
    drop(filler);
    call.row.finish(Outcome::Closed);
}

/// The story of a client that uses and closes its socket by itself.
fn tell(
    story: Story,
    call: Call<'_>,
    socket: &OwnedFd,
    scratch: &mut [u8],
) -> Result<Outcome, Errno> {
    let count = call.plan.exchanges;
    match story {
        Story::JustClose => Ok(Outcome::Closed),
        Story::ServerCloses => finish_exchanges(call, socket, count, scratch),
        Story::HalfClose => {
            wire::send_request(socket, call.header(Next::ReplyAtEnd), call.row, scratch)?;
            net::shutdown(socket, Shutdown::Write)?;
            wire::receive_reply(socket, call.plan.reply_bytes, call.row, scratch)?;
            read_end(call, socket, scratch)
        }
        Story::ClientResets => {
            keep_exchanging(call, socket, count, scratch)?;
            sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
            Ok(Outcome::Reset)
        }
        Story::ServerResets => {
            keep_exchanging(call, socket, count, scratch)?;
            let request_bytes = HEADER_BYTES as u32;
            let header = Header {
                request_bytes,
                reply_bytes: 0,
                next: Next::Reset,
            };
            wire::send_request(socket, header, call.row, scratch)?;
            read_end(call, socket, scratch)
        }
        Story::Datagrams => exchange_datagrams(call, socket, scratch),
        Story::DatagramRefused => {
            wire::send_request(socket, call.header(Next::Keep), call.row, scratch)?;
            wire::receive(socket, scratch).map(|_| Outcome::Closed)
        }
        // The last three hand the socket over and do not come here.
        Story::ClientCloses
        | Story::ChildCloses
        | Story::NextImageCloses
        | Story::DatagramsToMany => {
            keep_exchanging(call, socket, count, scratch)?;
            Ok(Outcome::Closed)
        }
    }
}

/// Makes `count` exchanges after each of which the server waits for more.
fn keep_exchanging(
    call: Call<'_>,
    socket: &OwnedFd,
    count: u16,
    scratch: &mut [u8],
) -> Result<(), Errno> {
    (0..count).try_for_each(|_| call.exchange(socket, Next::Keep, scratch))
}

/// Makes `count` exchanges, at least one, after the last of which the server closes.
fn finish_exchanges(
    call: Call<'_>,
    socket: &OwnedFd,
    count: u16,
    scratch: &mut [u8],
) -> Result<Outcome, Errno> {
    keep_exchanging(call, socket, count.saturating_sub(1), scratch)?;
    call.exchange(socket, Next::Close, scratch)?;
    read_end(call, socket, scratch)
}

/// Reads up to the end of the server's direction, counting what nobody asked for.
fn read_end(call: Call<'_>, socket: &OwnedFd, scratch: &mut [u8]) -> Result<Outcome, Errno> {
    loop {
        match wire::receive(socket, scratch)? {
            0 => return Ok(Outcome::Closed),
            count => {
                _ = call
                    .row
                    .received_bytes
                    .fetch_add(count as u64, Ordering::Relaxed)
            }
        }
    }
}

/// Makes all exchanges but the last, and leaves that one and the last close to a child.
fn hand_to_child(call: Call<'_>, socket: OwnedFd, scratch: &mut [u8]) {
    let before = call.plan.exchanges.saturating_sub(1);
    let forked = keep_exchanging(call, &socket, before, scratch)
        .and_then(|()| std::io::pipe().map_err(errno_of))
        .and_then(|pipe| Ok((sys::fork().map_err(errno_of)?, pipe)));
    match forked {
        Ok((Some(child), pipe)) => {
            // The child waits for the end of the pipe, and so for our close of the socket.
            drop(socket);
            drop(pipe);
            _ = waitpid(Some(child), WaitOptions::empty());
        }
        Ok((None, (parent, own_copy))) => {
            drop(own_copy);
            _ = rustix::io::read(&parent, &mut [0]);
            close_as_heir(call, socket, scratch);
            sys::exit_now(0);
        }
        Err(error) => call.row.finish(Outcome::from_errno(error)),
    }
}

/// Makes the last exchange of a socket that another process or image opened, and closes it.
fn close_as_heir(call: Call<'_>, socket: OwnedFd, scratch: &mut [u8]) {
    let result = finish_exchanges(call, &socket, 1, scratch);
    drop(socket);
    call.row.finish(result.unwrap_or_else(Outcome::from_errno));
}

/// Makes all exchanges but the last, and leaves that one to the process's next image.
fn hand_to_next_image(call: Call<'_>, socket: OwnedFd, scratch: &mut [u8]) {
    let before = call.plan.exchanges.saturating_sub(1);
    let result = keep_exchanging(call, &socket, before, scratch)
        .and_then(|()| roles::exec_heir(call.table, call.id, &socket));
    if let Err(error) = result {
        call.row.finish(Outcome::from_errno(error));
    }
}

/// Goes on where [`hand_to_next_image`] left off.
pub(crate) fn resume(table: &Table, id: u32, socket: OwnedFd) {
    close_as_heir(Call::new(table, id), socket, &mut [0; wire::SCRATCH_BYTES]);
}

/// Exchanges datagrams with the one server of the row.
fn exchange_datagrams(
    call: Call<'_>,
    socket: &OwnedFd,
    scratch: &mut [u8],
) -> Result<Outcome, Errno> {
    for _ in 0..call.plan.exchanges {
        exchange_datagram(call, socket, scratch)?;
        call.pause();
    }
    Ok(Outcome::Closed)
}

/// Sends one datagram and receives its reply.
fn exchange_datagram(call: Call<'_>, socket: &OwnedFd, scratch: &mut [u8]) -> Result<(), Errno> {
    if call.plan.scenario.facts().opening != Opening::None {
        wire::send_request(socket, call.header(Next::Keep), call.row, scratch)?;
        let count = wire::receive(socket, scratch)?;
        note_datagram(call.row, &scratch[..count]);
        return Ok(());
    }
    let header = call.header(Next::Keep);
    header.write_to(scratch);
    let request = &scratch[..header.request_bytes as usize];
    net::sendto(socket, request, SendFlags::NOSIGNAL, &call.plan.server())?;
    call.row
        .sent_bytes
        .fetch_add(u64::from(header.request_bytes), Ordering::Relaxed);
    // Only the first datagram gives such a socket its port.
    note_client(call.row, socket);
    let (_, count, server) = net::recvfrom(socket, &mut *scratch, RecvFlags::empty())?;
    let server = server.and_then(|server| SocketAddr::try_from(server).ok());
    if server != Some(call.plan.server()) {
        return Err(Errno::BADMSG);
    }
    note_datagram(call.row, &scratch[..count]);
    Ok(())
}

/// Counts a reply datagram and the process id in it.
fn note_datagram(row: &Row, reply: &[u8]) {
    row.received_bytes
        .fetch_add(reply.len() as u64, Ordering::Relaxed);
    wire::note_server(row, reply, reply.len());
}

/// Exchanges datagrams with the server of each row of the group, all over one socket.
fn tour(call: Call<'_>, socket: OwnedFd, scratch: &mut [u8]) {
    let opened_boot_ns = call.row.opened_boot_ns.load(Ordering::Relaxed);
    let client_pid = call.row.client_pid.load(Ordering::Relaxed);
    let calls = || (0..call.plan.group_rows).map(|n| Call::new(call.table, call.id + u32::from(n)));
    let result = calls().try_for_each(|call| {
        call.row
            .opened_boot_ns
            .store(opened_boot_ns, Ordering::Relaxed);
        call.row.client_pid.store(client_pid, Ordering::Relaxed);
        exchange_datagrams(call, &socket, scratch).map(drop)
    });
    drop(socket);
    let outcome = result.map_or_else(Outcome::from_errno, |()| Outcome::Closed);
    calls().for_each(|call| call.row.finish(outcome));
}
