//! `conntrail-ship relay`: moves batches from a JetStream stream into ClickHouse, or to Kafka.
//!
//! It keeps nothing: any number of relays share one durable consumer, and one that is gone loses
//! nothing, because a message is acknowledged only when all its rows are in. What it had begun is
//! delivered again, to it or to another, and the store merges what it has twice.
//!
//! Rows go in before their manifests, so that a manifest never promises what is not there.

mod clickhouse;
mod events;
mod metrics;
#[cfg(feature = "kafka")]
#[path = "relay/kafka.rs"]
mod producer;
#[cfg(not(feature = "kafka"))]
#[path = "relay/kafka_absent.rs"]
mod producer;
mod round;
mod settings;
mod source;
mod target;
mod work;

pub use clickhouse::{Insert, Inserted, Store, StoreError};
pub use metrics::Figures;
pub use round::{Postmark, Round};
pub use settings::{Settings, SettingsError};
pub use source::SourceError;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use target::Target;
use work::Relay;

/// How often the line about the work is printed.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Moves batches from a JetStream stream into ClickHouse or to Kafka, until it is told to stop.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The relay's settings
    #[arg(long, value_name = "FILE", default_value = "/etc/conntrail/relay.toml")]
    config: PathBuf,
}

impl Arguments {
    /// Runs the relay until a signal stops it.
    ///
    /// # Errors
    ///
    /// When the settings cannot be used. Servers that are not there are waited for.
    pub fn run(&self) -> Result<()> {
        let settings = Settings::load(&self.config)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, stop.clone()).context("cannot catch signals")?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        tokio::task::LocalSet::new().block_on(&runtime, run(&settings, &stop))
    }
}

async fn run(settings: &Settings, stop: &AtomicBool) -> Result<()> {
    let figures = metrics::Shared::default();
    if let Some(address) = settings.metrics.listen {
        let listener = metrics::listen(address).await;
        let listener = listener
            .with_context(|| format!("cannot listen on {address}; see [metrics] listen"))?;
        tokio::task::spawn_local(metrics::serve(listener, figures.clone()));
    }
    let target = Target::new(settings)?;
    let shown = figures.clone();
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(LINE_INTERVAL).await;
            let line = shown.borrow().line();
            eprintln!("conntrail-ship relay: {line}");
        }
    });
    Relay::new(settings, target, figures.clone(), stop)
        .run()
        .await?;
    let line = figures.borrow().line();
    eprintln!("conntrail-ship relay: stopped; {line}");
    Ok(())
}
