//! SeaweedFS: an object store that speaks S3.

mod signature;

use crate::http::{self, Request, Response};
use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Server};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;

/// The region that requests are signed for; SeaweedFS takes any.
const REGION: &str = "us-east-1";

/// An object store with one key pair, without which nothing is let in.
///
/// Its process is [`Server`]'s to stop, kill, pause and restart; being stopped takes it seconds.
pub struct Seaweed {
    server: Server,
    port: u16,
    /// What it makes outside of its folder, and leaves there when it is killed.
    sockets: Vec<PathBuf>,
}

/// What it is made of; each listens at a port of its own for the others.
const PARTS: [&str; 4] = ["master", "volume", "filer", "s3"];

/// No second catalog, volumes that a test can afford, nobody who waits for the last reader or for
/// voters that are not there, and nothing told to its makers.
const ARGUMENTS: &[&str] = &[
    "server",
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-filer",
    "-s3",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.volumeSizeLimitMB=64",
    "-master.telemetry=false",
    "-master.electionTimeout=1s",
    "-volume.max=50",
    "-volume.preStopSeconds=0",
];

impl Seaweed {
    /// The id of the key pair.
    pub const ACCESS_KEY: &str = "AKIACONNTRAILTEST";

    /// The secret of the key pair.
    pub const SECRET_KEY: &str = "a secret for tests alone";

    /// Starts an empty store.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not answer.
    #[must_use]
    pub fn start() -> Seaweed {
        let program = program::required("CONNTRAIL_WEED", "s3");
        let folder = server::folder("s3");
        let data = folder.path().join("data");
        if let Err(error) = fs::create_dir(&data) {
            panic!("cannot make {}: {error}", data.display());
        }
        let identities = folder.path().join("s3.json");
        server::write(&identities, &identities_of_one());
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|it| (*it).to_owned()).collect();
        arguments.push(format!("-dir={}", data.display()));
        arguments.push(format!("-s3.config={}", identities.display()));
        for part in ["filer", "s3"] {
            let socket = folder.path().join(part);
            arguments.push(format!("-{part}.localSocket={}", socket.display()));
        }
        let (mut ports, mut sockets) = (Vec::new(), Vec::new());
        for part in PARTS {
            let (port, internal) = (Port::reserve(), Port::reserve());
            arguments.push(format!("-{part}.port={}", port.number()));
            arguments.push(format!("-{part}.port.grpc={}", internal.number()));
            let socket = format!("/tmp/seaweedfs-{part}-grpc-{}.sock", internal.number());
            sockets.push(socket.into());
            ports.extend([port, internal]);
        }
        let (master, number) = (ports[0].number(), ports[2 * PARTS.len() - 2].number());
        let launch = Launch {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            ready: Box::new(move || has_volumes(master).and_then(|()| lists_buckets(number))),
        };
        Seaweed {
            server: Server::start("s3", folder, ports, launch),
            port: number,
            sockets,
        }
    }

    /// Where it is, `http://127.0.0.1:8333`; buckets are the first part of the path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Makes a bucket.
    ///
    /// # Panics
    ///
    /// When the store refuses it, with its words.
    #[track_caller]
    pub fn create_bucket(&self, name: &str) {
        self.expect_success("PUT", &format!("/{name}"), "", b"");
    }

    /// What an object holds; `None` when there is none.
    ///
    /// # Panics
    ///
    /// When the store refuses to say, with its words.
    #[must_use]
    #[track_caller]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let path = format!("/{bucket}/{}", escape_key(key));
        let answer = self.request("GET", &path, "", &[], b"");
        match answer {
            Ok(found) if found.status == 200 => Some(found.body),
            Ok(none) if none.status == 404 => None,
            other => panic!("GET {path}: {other:?}"),
        }
    }

    /// The keys in a bucket that begin with `prefix`, in order, a thousand at most.
    ///
    /// # Panics
    ///
    /// When the store refuses to list them, with its words.
    #[must_use]
    #[track_caller]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let query = format!("list-type=2&prefix={}", http::escape(prefix));
        let answer = self.expect_success("GET", &format!("/{bucket}"), &query, b"");
        let text = answer.text();
        let parts = text.split("<Key>").skip(1);
        let keys = parts.filter_map(|part| part.split_once("</Key>"));
        keys.map(|(key, _)| key.to_owned()).collect()
    }

    /// Sends a request that is signed with the key pair. The query is escaped, and its parameters
    /// are in order.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        signed(self.port, method, path, query, headers, body)
    }

    #[track_caller]
    fn expect_success(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Response {
        match self.request(method, path, query, &[], body) {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => panic!("{method} {path}: {} {}", answer.status, answer.text()),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

impl Deref for Seaweed {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // It is gone already when the store was stopped.
            let _ = fs::remove_file(socket);
        }
    }
}

fn identities_of_one() -> String {
    let identities = json!({"identities": [{
        "name": "shipper",
        "credentials": [
            {"accessKey": Seaweed::ACCESS_KEY, "secretKey": Seaweed::SECRET_KEY},
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    identities.to_string()
}

/// Slashes stay what they are: they part the folders of a key.
fn escape_key(key: &str) -> String {
    http::escape(key).replace("%2F", "/")
}

/// Objects are found again only when the master knows the server that has their volumes.
fn has_volumes(master: u16) -> Result<(), String> {
    let answer = http::get(master, "/dir/status").map_err(|error| error.to_string())?;
    let status: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let nodes = &status["Topology"]["DataCenters"][0]["Racks"][0]["DataNodes"];
    match nodes.as_array() {
        Some(nodes) if !nodes.is_empty() => Ok(()),
        Some(_) | None => Err(format!("the master knows no volumes: {}", answer.text())),
    }
}

/// It answers before its parts have found each other, so it must really list.
fn lists_buckets(port: u16) -> Result<(), String> {
    let answer = signed(port, "GET", "/", "", &[], b"").map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(()),
        status => Err(format!("status {status}: {}", answer.text())),
    }
}

fn signed(
    port: u16,
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let host = format!("127.0.0.1:{port}");
    let keys = (Seaweed::ACCESS_KEY, Seaweed::SECRET_KEY, REGION);
    let added = signature::headers(keys, &[method, &host, path, query], body);
    let mut all = headers.to_vec();
    all.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    let target = match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    let request = Request {
        method,
        target: &target,
        headers: &all,
        body,
    };
    http::send(port, &request)
}
