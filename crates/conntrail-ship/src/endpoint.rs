//! One endpoint's delivery as a future, for programs that simulate many endpoints in one process.
//!
//! [`run`](crate::run) has a thread for each destination. Here the same delivery can be awaited
//! beside others of its kind, so that endpoints by the thousand share a few threads.

use crate::own::{self, OwnTrail};
use crate::worker::{Shared, Task, Worker};
use record::{Delivery, Device};
use ship::config::Destination;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// An endpoint, and where it delivers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The machine.
    pub device: Device,
    /// The recorder's state folder.
    pub state_dir: PathBuf,
    /// The destination's name.
    pub name: String,
    /// The destination.
    pub destination: Destination,
}

/// What an endpoint shares with whoever runs it.
#[derive(Clone, Default)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// It is to end in order.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// It has delivered all that was there when it looked last.
    pub fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }

    /// How it goes, since its start; `None` before the first look.
    pub fn delivery(&self) -> Option<Delivery> {
        let report = self.0.report.lock();
        let report = report.unwrap_or_else(PoisonError::into_inner);
        report.as_ref().map(|it| it.delivery.clone())
    }
}

impl Endpoint {
    /// Delivers until `handle` says otherwise. It is to be awaited within a
    /// [`LocalSet`](tokio::task::LocalSet); dropping it is what a crash is to a shipper.
    ///
    /// # Errors
    /// When another shipper has this trail, or a disk of our own fails: the program would begin
    /// anew.
    pub async fn deliver(self, handle: Handle) -> anyhow::Result<()> {
        let folder = self.state_dir.join(own::NAME);
        let own = Arc::new(OwnTrail::open(&folder, self.device.clone())?);
        let task = Task {
            name: self.name,
            destination: self.destination,
            state_dir: self.state_dir,
            endpoint: self.device.endpoint,
            own: Arc::clone(&own),
            shared: handle.0,
            once: false,
            // A machine that is made up has no supplies; the setting is off besides.
            power_supplies: PathBuf::new(),
        };
        Worker::new(task)?.drive().await?;
        Ok(own.end()?)
    }
}
