//! Figures for Prometheus, in its text format.

use crate::status::Status;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A request that is longer is none of ours.
const REQUEST_BYTES_MAX: usize = 4_096;

const PATIENCE: Duration = Duration::from_secs(2);

/// Answers `GET /metrics` at `address`, one after the other, as long as the program runs.
pub(crate) fn serve(address: SocketAddr, status: Arc<Mutex<Status>>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who does not ask, or does not listen, gets nothing; nobody needs to know.
                let _ = answer(stream, &status);
            }
        })?;
    Ok(bound)
}

fn answer(mut stream: TcpStream, status: &Mutex<Status>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; REQUEST_BYTES_MAX];
    let mut length = 0;
    while !request[..length].windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut request[length..])? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    let (code, body) = if request.starts_with(b"GET /metrics ") {
        let status = status.lock().unwrap_or_else(PoisonError::into_inner);
        ("200 OK", text(&status))
    } else {
        ("404 Not Found", "ask for /metrics\n".to_owned())
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A figure of the destination of this name, where it is known.
type Figure<'a> = dyn Fn(&str) -> Option<f64> + 'a;

fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut each = |name: &str, kind: &str, help: &str, of: &Figure<'_>| {
        let _ = writeln!(out, "# HELP conntrail_ship_{name} {help}");
        let _ = writeln!(out, "# TYPE conntrail_ship_{name} {kind}");
        for destination in status.destinations.keys() {
            if let Some(value) = of(destination) {
                let label = format!("{{destination=\"{destination}\"}}");
                let _ = writeln!(out, "conntrail_ship_{name}{label} {value}");
            }
        }
    };
    let of = |name: &str| &status.destinations[name];
    let counter = "counter";
    each("records_total", counter, "Records delivered.", &|it| {
        Some(of(it).records as f64)
    });
    each("batches_total", counter, "Batches delivered.", &|it| {
        Some(of(it).batches as f64)
    });
    each(
        "bytes_total",
        counter,
        "Bytes of batches delivered.",
        &|it| Some(of(it).bytes as f64),
    );
    each("retries_total", counter, "Deliveries tried again.", &|it| {
        Some(of(it).retries as f64)
    });
    each(
        "unknown_total",
        counter,
        "Records that may have arrived or not.",
        &|it| Some(of(it).unknown as f64),
    );
    each(
        "refused_total",
        counter,
        "Records refused and declared.",
        &|it| of(it).left_out.get("refused").map(|it| *it as f64),
    );
    each(
        "lag_records",
        "gauge",
        "Records that wait, where known.",
        &|it| of(it).lag_records.map(|it| it as f64),
    );
    each(
        "lag_seconds",
        "gauge",
        "Age of the oldest record that waits, where known.",
        &|it| of(it).lag_ns.map(|it| it as f64 / 1e9),
    );
    each("up", "gauge", "1 while deliveries arrive, else 0.", &|it| {
        Some(f64::from(u8::from(of(it).state == "delivering")))
    });
    out
}
