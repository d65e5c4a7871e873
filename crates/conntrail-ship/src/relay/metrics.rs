//! What the relay counts, for Prometheus and for the line that it prints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A scraper gets no more time than this.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);

/// The head of a scraper's request is no longer than this.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// What the relay did since it started, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages that came, again or for the first time.
    pub messages: u64,
    /// Those of them that had been delivered before.
    pub redelivered: u64,
    /// Bytes of messages.
    pub message_bytes: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that no relay can read, set aside.
    pub refused: u64,
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Inserts that succeeded.
    pub inserts: u64,
    /// Bytes of inserts as they were sent.
    pub insert_bytes: u64,
    /// Inserts that have to be made again.
    pub retries: u64,
    /// Messages that wait in the stream; `None` until one came.
    pub pending: Option<u64>,
    /// Seconds from when the last message of the last round was published to when its rows were
    /// in; `None` until there was one.
    pub lag_ms: Option<u64>,
    /// What keeps the relay from working.
    pub problem: Option<String>,
}

/// Figures that the thread's tasks share.
pub(super) type Shared = Rc<RefCell<Figures>>;

impl Figures {
    /// One line for people.
    pub fn line(&self) -> String {
        let rows: u64 = self.rows.values().sum();
        let known = |it: Option<u64>| it.map_or("unknown".to_owned(), |it| it.to_string());
        let mut line = format!(
            "{} messages in, {} acknowledged, {} refused, {rows} rows in {} inserts, {} retries, \
             {} waiting, lag {} ms",
            self.messages,
            self.acknowledged,
            self.refused,
            self.inserts,
            self.retries,
            known(self.pending),
            known(self.lag_ms),
        );
        if let Some(problem) = &self.problem {
            let _ = write!(line, "; {problem}");
        }
        line
    }

    /// Prometheus' text format 0.0.4:
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>. What is not known is absent.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        for (name, help, value) in self.counters() {
            metric(&mut out, &format!("{name}_total"), help, "counter");
            let _ = writeln!(out, "conntrail_relay_{name}_total {value}");
        }
        metric(
            &mut out,
            "rows_total",
            "Rows that were inserted.",
            "counter",
        );
        for (table, rows) in &self.rows {
            let _ = writeln!(
                out,
                "conntrail_relay_rows_total{{table=\"{table}\"}} {rows}"
            );
        }
        if let Some(pending) = self.pending {
            metric(
                &mut out,
                "pending",
                "Messages that wait in the stream.",
                "gauge",
            );
            let _ = writeln!(out, "conntrail_relay_pending {pending}");
        }
        if let Some(lag_ms) = self.lag_ms {
            let help = "From the last message's publication to its rows in the store.";
            metric(&mut out, "lag_seconds", help, "gauge");
            let _ = writeln!(
                out,
                "conntrail_relay_lag_seconds {}.{:03}",
                lag_ms / 1000,
                lag_ms % 1000
            );
        }
        metric(
            &mut out,
            "up",
            "1 while nothing keeps the relay from working.",
            "gauge",
        );
        let _ = writeln!(
            out,
            "conntrail_relay_up {}",
            u8::from(self.problem.is_none())
        );
        out
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 8] {
        [
            ("messages", "Messages that came.", self.messages),
            (
                "redelivered",
                "Messages that had been delivered before.",
                self.redelivered,
            ),
            ("message_bytes", "Bytes of messages.", self.message_bytes),
            (
                "acknowledged",
                "Messages that were acknowledged.",
                self.acknowledged,
            ),
            (
                "refused",
                "Messages that were set aside unread.",
                self.refused,
            ),
            ("inserts", "Inserts that succeeded.", self.inserts),
            (
                "insert_bytes",
                "Bytes of inserts as they were sent.",
                self.insert_bytes,
            ),
            (
                "retries",
                "Inserts that have to be made again.",
                self.retries,
            ),
        ]
    }
}

fn metric(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP conntrail_relay_{name} {help}");
    let _ = writeln!(out, "# TYPE conntrail_relay_{name} {kind}");
}

/// Binds the address for scrapers.
///
/// # Errors
///
/// When it cannot be had.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers scrapers one after the other, for ever.
pub(super) async fn serve(listener: TcpListener, figures: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The process is out of descriptors; whoever holds them needs a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A scraper that hangs up is its own loss.
        let _ = timeout(SCRAPE_LIMIT, answer(stream, &figures)).await;
    }
}

async fn answer(mut stream: TcpStream, figures: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|it| it == b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&part[..count]),
        }
    }
    let is_metrics = head.starts_with(b"GET /metrics ") || head.starts_with(b"GET /metrics?");
    let (status, body) = match is_metrics {
        true => ("200 OK", figures.borrow().prometheus()),
        false => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_absent_and_not_zero() {
        let mut figures = Figures::default();
        let text = figures.prometheus();
        assert!(!text.contains("pending") && !text.contains("lag"), "{text}");
        assert!(figures.line().contains("unknown waiting"));
        figures.pending = Some(0);
        figures.lag_ms = Some(1_020);
        let text = figures.prometheus();
        assert!(text.contains("\nconntrail_relay_pending 0\n"), "{text}");
        assert!(
            text.contains("\nconntrail_relay_lag_seconds 1.020\n"),
            "{text}"
        );
    }
}
