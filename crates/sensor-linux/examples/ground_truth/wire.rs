//! What clients and servers say to each other.
//!
//! Every request begins with a header that tells its own size, the size of the wanted reply and
//! what the server does after it. Every reply begins with the process id of the server.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::table::Row;

/// Size of a request's header, and so the smallest request.
pub(crate) const HEADER_BYTES: usize = 16;

/// Size of the smallest reply: the process id.
pub(crate) const REPLY_BYTES_MIN: usize = 4;

/// Size of the buffer for one connection; a short-lived child touches as few pages as it can.
pub(crate) const SCRATCH_BYTES: usize = 4_096;

/// What the server does after it has read a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Replies and closes.
    Close,
    /// Replies and waits for the next request or the client's close.
    Keep,
    /// Waits for the client to end its direction, then replies and closes.
    ReplyAtEnd,
    /// Resets without a reply.
    Reset,
}

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Size of the request, this header included.
    pub(crate) request_bytes: u32,
    /// Size of the reply.
    pub(crate) reply_bytes: u32,
    /// What comes after.
    pub(crate) next: Next,
}

impl Header {
    /// First word of every header.
    const MAGIC: u32 = u32::from_le_bytes(*b"TRUE");

    /// Writes it to the front of `buffer`.
    pub(crate) fn write_to(self, buffer: &mut [u8]) {
        let next: u32 = match self.next {
            Next::Close => 0,
            Next::Keep => 1,
            Next::ReplyAtEnd => 2,
            Next::Reset => 3,
        };
        let words = [Self::MAGIC, self.request_bytes, self.reply_bytes, next];
        for (place, word) in buffer.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads it from the front of `buffer`; `None` if that is no header.
    pub(crate) fn read_from(buffer: &[u8]) -> Option<Self> {
        let header = buffer.first_chunk::<HEADER_BYTES>()?;
        let (words, _) = header.as_chunks::<4>();
        let word = |index: usize| u32::from_le_bytes(words[index]);
        let next = match word(3) {
            0 => Next::Close,
            1 => Next::Keep,
            2 => Next::ReplyAtEnd,
            3 => Next::Reset,
            _ => return None,
        };
        let header = Self {
            request_bytes: word(1),
            reply_bytes: word(2),
            next,
        };
        (word(0) == Self::MAGIC).then_some(header)
    }
}

/// Sends all of `bytes`; an end that is gone is an error, not a signal.
pub(crate) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match send(&socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends `count` bytes, whatever is in `scratch`, over and over.
pub(crate) fn send_filler(
    socket: impl AsFd,
    mut count: usize,
    scratch: &[u8],
) -> Result<(), Errno> {
    while count > 0 {
        let chunk = count.min(scratch.len());
        send_all(&socket, &scratch[..chunk])?;
        count -= chunk;
    }
    Ok(())
}

/// Receives what there is, at least a byte; zero is the end.
pub(crate) fn receive(socket: impl AsFd, scratch: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(&socket, &mut *scratch, RecvFlags::empty()) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends one request from the front of `scratch` and counts it in `row`.
pub(crate) fn send_request(
    socket: impl AsFd,
    header: Header,
    row: &Row,
    scratch: &mut [u8],
) -> Result<(), Errno> {
    header.write_to(scratch);
    let size = header.request_bytes as usize;
    let first = size.min(scratch.len());
    send_all(&socket, &scratch[..first])?;
    send_filler(&socket, size - first, scratch)?;
    row.sent_bytes
        .fetch_add(u64::from(header.request_bytes), Ordering::Relaxed);
    Ok(())
}

/// Receives one reply of `reply_bytes` and counts it in `row`, the server's process id too.
pub(crate) fn receive_reply(
    socket: impl AsFd,
    reply_bytes: u32,
    row: &Row,
    scratch: &mut [u8],
) -> Result<(), Errno> {
    let wanted = reply_bytes as usize;
    let mut got = 0;
    while got < wanted {
        // Until the process id is whole, later bytes go behind earlier ones.
        let place = if got < REPLY_BYTES_MIN {
            got
        } else {
            REPLY_BYTES_MIN
        };
        let room = scratch.len().min(place + wanted - got);
        let count = receive(&socket, &mut scratch[place..room])?;
        if count == 0 {
            break;
        }
        got += count;
        row.received_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
    }
    note_server(row, scratch, got);
    Ok(())
}

/// Remembers the process id at the front of a reply of which `got` bytes are there.
pub(crate) fn note_server(row: &Row, reply: &[u8], got: usize) {
    if let Some(pid) = reply
        .first_chunk::<REPLY_BYTES_MIN>()
        .filter(|_| got >= REPLY_BYTES_MIN)
    {
        row.server_pid
            .store(u32::from_le_bytes(*pid), Ordering::Relaxed);
    }
}
