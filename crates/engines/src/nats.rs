//! NATS with JetStream: one node, or three that replicate.

mod client;

pub use client::{Client, Message};

use crate::certificates::Certificates;
use crate::http;
use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Ready, Server};
use serde_json::Value;
use std::ops::Deref;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How many nodes replicate a stream in a cluster.
pub const CLUSTER_NODES: usize = 3;

/// How long a cluster may take to agree on a leader.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

/// How a node is set up.
#[derive(Clone, Copy, Default)]
pub struct NatsOptions<'a> {
    /// Speak TLS with the server certificate of these.
    pub tls: Option<&'a Certificates>,
    /// Take only clients with a certificate of the same authority; needs `tls`.
    pub verifies_clients: bool,
    /// Begin with the handshake, and not with a greeting in clear; needs `tls`.
    pub shakes_hands_first: bool,
    /// Configuration text added as it is: `authorization { token: "t" }`, accounts, limits.
    pub configuration: &'a str,
}

/// One nats-server with JetStream that writes every message through to the disk before it is
/// acknowledged.
///
/// Its process is [`Server`]'s to stop, kill, pause and restart.
pub struct Nats {
    server: Server,
    port: u16,
    monitoring: u16,
    scheme: &'static str,
}

impl Nats {
    /// Starts a node that anybody may use.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not answer.
    #[must_use]
    pub fn start() -> Nats {
        Nats::start_with(NatsOptions::default())
    }

    /// Starts a node set up in this way.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    #[must_use]
    pub fn start_with(options: NatsOptions<'_>) -> Nats {
        let node = Nats::launch("nats", Addresses::reserve(), &options, "");
        node.wait_until_ready();
        node
    }

    /// Where clients connect, `nats://127.0.0.1:4222`, with the scheme `tls` when they must.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The port where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the monitoring port says at a path, such as `/jsz?streams=true`.
    ///
    /// # Errors
    ///
    /// When the node does not answer, or not with JSON.
    pub fn monitor(&self, target: &str) -> Result<Value, String> {
        monitor(self.monitoring, target)
    }

    /// What is known about a stream: `state`, `config`, `cluster`. `None` when the node has no
    /// such stream or does not answer.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<Value> {
        let target = "/jsz?accounts=true&streams=true&consumers=true&config=true";
        let all = self.monitor(target).ok()?;
        let accounts = all["account_details"].as_array().into_iter().flatten();
        let mut streams =
            accounts.flat_map(|it| it["stream_detail"].as_array().into_iter().flatten());
        streams.find(|stream| stream["name"] == name).cloned()
    }

    /// A connection of a small client; not for nodes with TLS.
    ///
    /// # Panics
    ///
    /// When the node does not let it in.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.port, &Value::Null)
            .unwrap_or_else(|error| panic!("cannot connect to NATS: {error}"))
    }

    fn launch(name: &str, addresses: Addresses, options: &NatsOptions<'_>, cluster: &str) -> Nats {
        let program = program::required("CONNTRAIL_NATS_SERVER", "nats");
        let folder = server::folder(name);
        let file = folder.path().join("nats.conf");
        let configuration = configuration(name, &addresses, options, folder.path());
        server::write(&file, &(configuration + cluster));
        let (port, monitoring) = (addresses.clients.number(), addresses.monitoring.number());
        let launch = Launch {
            program,
            arguments: vec!["--config".into(), file.into()],
            environment: Vec::new(),
            ready: ready(monitoring, !cluster.is_empty()),
        };
        let ports = vec![addresses.clients, addresses.monitoring, addresses.routes];
        Nats {
            server: Server::launch(name, folder, ports, launch),
            port,
            monitoring,
            scheme: if options.tls.is_some() { "tls" } else { "nats" },
        }
    }
}

impl Deref for Nats {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Three nodes, of which any two are a majority.
pub struct NatsCluster {
    nodes: Vec<Nats>,
}

impl NatsCluster {
    /// Starts three nodes that anybody may use and waits until they have a leader.
    ///
    /// # Panics
    ///
    /// When they are not installed or do not agree on a leader.
    #[must_use]
    pub fn start() -> NatsCluster {
        NatsCluster::start_with(NatsOptions::default())
    }

    /// Starts three nodes that are all set up in this way.
    ///
    /// # Panics
    ///
    /// As [`NatsCluster::start`].
    #[must_use]
    pub fn start_with(options: NatsOptions<'_>) -> NatsCluster {
        let addresses: Vec<Addresses> = (0..CLUSTER_NODES).map(|_| Addresses::reserve()).collect();
        let routes = addresses.iter().map(|it| it.routes.number());
        let routes: Vec<String> = routes
            .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
            .collect();
        let start = |(number, addresses): (usize, Addresses)| {
            let cluster = format!(
                "cluster {{ name: fleet, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                addresses.routes.number(),
                routes.join(", ")
            );
            Nats::launch(&node_name(number), addresses, &options, &cluster)
        };
        let nodes: Vec<Nats> = addresses.into_iter().enumerate().map(start).collect();
        nodes.iter().for_each(|node| node.wait_until_ready());
        NatsCluster { nodes }
    }

    /// The nodes, in the order of their names.
    #[must_use]
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// Where clients connect, one URL a node.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Nats::url).collect()
    }

    /// The node that leads a stream, as its number in [`NatsCluster::nodes`], if one that
    /// answers knows.
    #[must_use]
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let mut leaders = running.filter_map(|node| {
            let leader = node.stream(stream)?["cluster"]["leader"]
                .as_str()?
                .to_owned();
            (0..self.nodes.len()).find(|number| node_name(*number) == leader)
        });
        // Who was cut off may still name the one that led before.
        leaders.find(|number| self.nodes[*number].is_running())
    }

    /// Waits until a running node leads a stream, and returns its number.
    ///
    /// # Panics
    ///
    /// When none does within a minute.
    #[must_use]
    pub fn wait_for_leader(&self, stream: &str) -> usize {
        let deadline = Instant::now() + LEADER_LIMIT;
        loop {
            if let Some(leader) = self.leader(stream) {
                return leader;
            }
            assert!(
                Instant::now() < deadline,
                "no node leads the stream {stream}"
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until all nodes run and have all that was written to a stream.
    ///
    /// # Panics
    ///
    /// When they have not within a minute.
    pub fn wait_until_whole(&self, stream: &str) {
        let deadline = Instant::now() + LEADER_LIMIT;
        while !self.is_whole(stream) {
            assert!(
                Instant::now() < deadline,
                "the stream {stream} is not on all nodes"
            );
            thread::sleep(POLL);
        }
    }

    /// Each node is asked: one that was down may still name itself the leader of what it had.
    fn is_whole(&self, stream: &str) -> bool {
        let seen: Option<Vec<Value>> = self.nodes.iter().map(|node| node.stream(stream)).collect();
        let Some(seen) = seen else { return false };
        let agree = |of: fn(&Value) -> &Value| {
            !of(&seen[0]).is_null() && seen.iter().all(|it| of(it) == of(&seen[0]))
        };
        agree(|it| &it["cluster"]["leader"]) && agree(|it| &it["state"]["last_seq"])
    }
}

/// What a node listens at.
struct Addresses {
    clients: Port,
    monitoring: Port,
    routes: Port,
}

impl Addresses {
    fn reserve() -> Addresses {
        Addresses {
            clients: Port::reserve(),
            monitoring: Port::reserve(),
            routes: Port::reserve(),
        }
    }
}

fn node_name(number: usize) -> String {
    format!("nats-{}", number + 1)
}

fn configuration(
    name: &str,
    addresses: &Addresses,
    options: &NatsOptions<'_>,
    folder: &Path,
) -> String {
    let tls = options.tls.map(|certificates| {
        format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: {}, \
             handshake_first: {} }}\n",
            certificates.server_certificate().display(),
            certificates.server_key().display(),
            certificates.authority().display(),
            options.verifies_clients,
            options.shakes_hands_first
        )
    });
    format!(
        "server_name: {name}\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         jetstream {{ store_dir: \"{}\", max_file_store: 8GB, sync_interval: always }}\n\
         {}{}\n",
        addresses.clients.number(),
        addresses.monitoring.number(),
        folder.join("data").display(),
        tls.unwrap_or_default(),
        options.configuration
    )
}

/// Healthy means that JetStream runs and has read its streams again; in a cluster, that there is
/// a leader as well.
fn ready(monitoring: u16, is_clustered: bool) -> Ready {
    Box::new(move || {
        let health = http::get(monitoring, "/healthz").map_err(|error| error.to_string())?;
        if health.status != 200 {
            return Err(health.text());
        }
        let state = monitor(monitoring, "/jsz")?;
        let has_leader = state["meta_cluster"]["leader"].is_string();
        if is_clustered && !has_leader {
            return Err("the cluster has no leader".to_owned());
        }
        Ok(())
    })
}

fn monitor(port: u16, target: &str) -> Result<Value, String> {
    let answer = http::get(port, target).map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}
