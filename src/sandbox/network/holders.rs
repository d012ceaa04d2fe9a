//! Holders: containers that only own a network namespace, which sandboxes join one after another.
//!
//! Creating the namespace is most of the work that Docker does for a container. So a namespace is *lent* to one sandbox
//! at a time, from before the sandbox is created until its container is known to be gone. It is lent again only if the
//! kernel's counters, which the sandbox's init reads, show no traffic (`network_used`); otherwise the holder is removed.
//! So every sandbox finds the namespace as Docker created it. If no holder is free, the sandbox gets its own namespace
//! instead of waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use parking_lot::Mutex;
use slog::debug;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::failpoint;
use crate::metrics::{METRICS, docker_call};
use crate::sandbox::docker::engine::HOLDER_LABEL;
use crate::sandbox::docker::init_volume;
use crate::sandbox::docker::volumes::{Access, mount};
use crate::sandbox::reaper::{Pending, Reaper, RemovalRequest};
use crate::sandbox::{Docker, DockerError, ImageId, NetworkMode, profile};

/// runc needs most of it for a moment.
const MEMORY_BYTES: i64 = 32 * 1024 * 1024;
const PROCESSES: i64 = 16;

#[derive(Debug, Clone, Copy)]
pub struct HolderLimits {
    /// Maximum number per network mode; 0: every sandbox gets its own namespace.
    pub most: usize,
    /// Older holders are not lent any more.
    pub lend_for: Duration,
    /// A holder exits after this time, which is longer than any execution that it may be lent to.
    pub lives_for: Duration,
}

/// Clones share the same holders.
#[derive(Clone)]
pub(crate) struct Holders(Arc<Inner>);

struct Inner {
    limits: HolderLimits,
    reaper: Reaper,
    shelves: Mutex<HashMap<NetworkMode, Shelf>>,
    /// Notified when a holder may be missing and may be created.
    needed: Notify,
    closed: watch::Sender<bool>,
}

/// The holders of one network mode.
struct Shelf {
    free: Vec<Holder>,
    /// Number of holders that are free, lent or being created.
    total: usize,
    /// How often none was free and no replacement has been created yet.
    missing: usize,
    /// How many may be created. Each execution that left its network unused earns one: where scripts use the network, a
    /// holder serves only one execution and saves nothing.
    credit: usize,
}

struct Holder {
    container: String,
    since: Instant,
}

impl Holders {
    pub fn new(limits: HolderLimits, reaper: Reaper) -> Self {
        let closed = watch::channel(false).0;
        Self(Arc::new(Inner { limits, reaper, shelves: Mutex::default(), needed: Notify::new(), closed }))
    }

    fn with_shelf<T>(&self, network: NetworkMode, work: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelves = self.0.shelves.lock();
        let credit = self.0.limits.most;
        work(shelves.entry(network).or_insert(Shelf { free: Vec::new(), total: 0, missing: 0, credit }))
    }

    /// A lent namespace if a holder is free, otherwise an own one.
    pub fn lodge(&self, network: NetworkMode) -> Lodging {
        self.retire(network);
        let holder = self.with_shelf(network, |shelf| {
            let holder = shelf.free.pop();
            if holder.is_none() {
                shelf.missing = (shelf.missing + 1).min(self.0.limits.most);
                self.0.needed.notify_one();
            }
            holder
        });
        METRICS.networks.add(&[if holder.is_some() { "joined" } else { "own" }], 1);
        self.lodging(network, holder, true)
    }

    /// An own namespace.
    pub fn own(&self, network: NetworkMode) -> Lodging {
        self.lodging(network, None, true)
    }

    /// The namespace of a holder that another worker created.
    pub fn inherited(&self, holder: Option<String>) -> Lodging {
        if let Some(container) = &holder {
            self.0.reaper.track(container);
        }
        let holder = holder.map(|container| Holder { container, since: Instant::now() });
        self.lodging(NetworkMode::Internet, holder, false)
    }

    fn lodging(&self, network: NetworkMode, holder: Option<Holder>, counted: bool) -> Lodging {
        let pending = self.0.reaper.pending();
        Lodging { holders: self.clone(), network, holder, counted, _pending: pending }
    }

    /// Stops lending and creating. Lent holders are removed when they are returned.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
        NetworkMode::ALL.into_iter().for_each(|network| self.clear(network));
    }

    /// Waits until a holder may be missing.
    pub async fn needed(&self) {
        self.0.needed.notified().await;
    }

    /// Removes all free holders. If one is unusable, probably all are: Docker was restarted or someone removed them.
    pub fn clear(&self, network: NetworkMode) {
        self.remove_free(network, Duration::ZERO);
    }

    /// Removes the free holders that are too old to be lent.
    fn retire(&self, network: NetworkMode) {
        self.remove_free(network, self.0.limits.lend_for);
    }

    fn remove_free(&self, network: NetworkMode, min_age: Duration) {
        let removed = self.with_shelf(network, |shelf| {
            let old = |holder: &mut Holder| holder.since.elapsed() >= min_age;
            let removed: Vec<Holder> = shelf.free.extract_if(.., old).collect();
            shelf.total -= removed.len();
            removed
        });
        removed.into_iter().for_each(|holder| self.remove(holder));
    }

    /// Reserves the place of a new holder, if one is missing and may be created.
    fn reserve(&self, network: NetworkMode) -> Option<Place> {
        self.with_shelf(network, |shelf| {
            let closed = *self.0.closed.borrow();
            if closed || shelf.missing == 0 || shelf.credit == 0 || shelf.total >= self.0.limits.most {
                return None;
            }
            shelf.missing -= 1;
            shelf.credit -= 1;
            shelf.total += 1;
            let pending = self.0.reaper.pending();
            Some(Place { holders: self.clone(), network, filled: false, _pending: pending })
        })
    }

    fn put_back(&self, network: NetworkMode, holder: Holder) {
        let rejected = self.with_shelf(network, |shelf| {
            if *self.0.closed.borrow() {
                shelf.total -= 1;
                return Some(holder);
            }
            shelf.free.push(holder);
            None
        });
        rejected.into_iter().for_each(|holder| self.remove(holder));
    }

    fn uncount(&self, network: NetworkMode) {
        self.with_shelf(network, |shelf| shelf.total -= 1);
    }

    fn remove(&self, holder: Holder) {
        METRICS.networks.add(&["removed"], 1);
        self.0.reaper.remove(RemovalRequest::container(holder.container));
    }
}

/// The network namespace of a sandbox, from before the sandbox is created until it is gone. Shutdown waits until every
/// lodging has been returned. Dropping it removes the holder, if there is one.
pub(crate) struct Lodging {
    holders: Holders,
    network: NetworkMode,
    /// `None`: an own namespace.
    holder: Option<Holder>,
    /// Whether this process created the holder.
    counted: bool,
    _pending: Pending,
}

impl Lodging {
    /// The container whose namespace the sandbox joins.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_ref().map(|holder| holder.container.as_str())
    }

    /// Call it only when the sandbox is certainly gone. `used`: something may have used its network.
    pub fn leave(mut self, used: bool) {
        if used || !self.counted {
            return;
        }
        let most = self.holders.0.limits.most;
        self.holders.with_shelf(self.network, |shelf| shelf.credit = (shelf.credit + 1).min(most));
        self.holders.0.needed.notify_one();
        if let Some(holder) = self.holder.take() {
            self.holders.put_back(self.network, holder);
        }
    }

    /// Leaves the sandbox and its holder to another worker.
    pub fn abandon(mut self) {
        if let Some(holder) = self.holder.take() {
            self.holders.0.reaper.untrack(&holder.container);
            if self.counted {
                self.holders.uncount(self.network);
            }
        }
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.take() {
            if self.counted {
                self.holders.uncount(self.network);
            }
            self.holders.remove(holder);
        }
    }
}

/// The reserved place of a holder that is being created. Shutdown waits for it, too.
struct Place {
    holders: Holders,
    network: NetworkMode,
    filled: bool,
    _pending: Pending,
}

impl Place {
    fn fill(mut self, holder: Holder) {
        METRICS.networks.add(&["made"], 1);
        self.filled = true;
        self.holders.put_back(self.network, holder);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            self.holders.uncount(self.network);
        }
    }
}

impl Docker {
    /// Removes old holders and creates missing ones, one at a time, while no execution waits for its sandbox. `image` is
    /// any local image.
    pub async fn maintain_holders(&self, image: &ImageId) -> Result<(), DockerError> {
        let mut closed = self.holders.0.closed.subscribe();
        for network in NetworkMode::ALL {
            self.holders.retire(network);
            while let Some(place) = self.holders.reserve(network) {
                tokio::select! {
                    biased;
                    _ = closed.wait_for(|closed| *closed) => return Ok(()),
                    () = self.start_limiter.idle() => {}
                }
                place.fill(self.create_holder(network, image).await?);
            }
        }
        Ok(())
    }

    /// As restricted as a sandbox, without the capabilities of a sandbox's init. It never runs a script.
    async fn create_holder(&self, network: NetworkMode, image: &ImageId) -> Result<Holder, DockerError> {
        let infrastructure = self.infrastructure(image).await?;
        let ttl = self.holders.0.limits.lives_for.as_millis();
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            entrypoint: Some(vec![format!("{}/init", init_volume::FOLDER), "pause".to_owned()]),
            cmd: Some(Vec::new()),
            // Its sandboxes share its host name, hosts file and name servers.
            hostname: Some(profile::HOSTNAME.to_owned()),
            user: Some("65534:65534".to_owned()),
            env: Some(vec![format!("RGRID_PAUSE_TTL_MS={ttl}")]),
            labels: Some(self.settings.labels([(HOLDER_LABEL, network.as_str())])),
            host_config: Some(HostConfig {
                pids_limit: Some(PROCESSES),
                network_mode: Some(infrastructure.network(network).to_owned()),
                dns: self.settings.dns(network),
                mounts: Some(vec![mount(&infrastructure.init_volume, init_volume::FOLDER, Access::ReadOnly)]),
                ..profile::locked_down(&self.settings, MEMORY_BYTES)
            }),
            ..Default::default()
        };
        let created = docker_call("create_holder", self.create_container(None, body)).await;
        let container = created.map_err(|error| self.failed("create a holder", error))?;
        failpoint::hit("holder.made").await;
        self.reaper.track(&container);
        if let Err(error) = docker_call("start_holder", self.start_container(&container)).await {
            self.reaper.remove(RemovalRequest::container(container));
            self.invalidate_caches().await;
            return Err(self.failed("start a holder", error));
        }
        failpoint::hit("holder.ready").await;
        debug!(self.log, "holder ready"; "container" => &container, "network" => network.as_str());
        Ok(Holder { container, since: Instant::now() })
    }
}
