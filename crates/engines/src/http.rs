//! Enough of HTTP/1.1 to ask an engine of this machine something.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an engine may be silent: a store asked about millions of rows thinks for a while.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// A request to a port of the loopback.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`, `PUT`.
    pub method: &'a str,
    /// Path and query, escaped.
    pub target: &'a str,
    /// Names and values; `Host`, `Content-Length` and `Connection` are added.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, put together when it came in chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(it, _)| it == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for a path.
///
/// # Errors
///
/// As [`send`].
pub fn get(port: u16, target: &str) -> io::Result<Response> {
    let method = "GET";
    send(
        port,
        &Request {
            method,
            target,
            ..Request::default()
        },
    )
}

/// Sends a request over a connection of its own and reads the whole answer.
///
/// # Errors
///
/// When nobody listens, the engine is silent for five minutes, or what it answers is no HTTP.
pub fn send(port: u16, request: &Request<'_>) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, SILENCE_LIMIT)?;
    stream.set_read_timeout(Some(SILENCE_LIMIT))?;
    stream.set_write_timeout(Some(SILENCE_LIMIT))?;
    let mut bytes = head(port, request).into_bytes();
    bytes.extend_from_slice(request.body);
    stream.write_all(&bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

/// A text as it may stand in a query.
#[must_use]
pub fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn head(port: u16, request: &Request<'_>) -> String {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    let length = request.body.len().to_string();
    let host = format!("127.0.0.1:{port}");
    let fixed = [
        ("Host", &*host),
        ("Content-Length", &length),
        ("Connection", "close"),
    ];
    for (name, value) in fixed.iter().chain(request.headers) {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let rest = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        return parse(rest);
    }
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    response.body = match response.header("transfer-encoding") {
        Some("chunked") => unchunk(rest)?,
        Some(_) | None => rest.to_vec(),
    };
    let length = response.header("content-length");
    let is_whole = length.is_none_or(|it| it.parse() == Ok(response.body.len()));
    is_whole.then_some(response)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let digits = line.split(';').next()?.trim();
        let length = usize::from_str_radix(digits, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        let from = end + 2;
        body.extend_from_slice(rest.get(from..from + length)?);
        rest = rest.get(from + length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_answer_is_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let response = parse(answer).unwrap();
        assert_eq!((response.status, &*response.text()), (200, "abcde"));
    }

    #[test]
    fn an_answer_that_was_cut_is_none() {
        assert_eq!(
            parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
            None
        );
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
    }

    #[test]
    fn what_is_no_letter_is_escaped() {
        assert_eq!(escape("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
