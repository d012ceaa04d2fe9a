//! Holders: containers that do nothing but have a network namespace, which sandboxes join one after another.
//!
//! A namespace of its own is the larger part of what Docker does for a container. So one is *lent* to a sandbox, from
//! before it is made until its container is known to be gone; never to two at once. It is lent again only when nothing
//! has gone through it, by the kernel's counters, which the sandbox's init reads (`network_used`); otherwise it is
//! removed. So whoever gets one finds it as Docker made it. Who finds none free gets a namespace of its own: nobody
//! waits for a holder to be made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use slog::debug;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::failpoint;
use crate::metrics::{METRICS, docker_call};
use crate::sandbox::docker::engine::{CLUSTER_LABEL, HOLDER_LABEL, WORKER_LABEL};
use crate::sandbox::docker::infra::Ground;
use crate::sandbox::docker::init_volume;
use crate::sandbox::error::answered;
use crate::sandbox::reaper::{Doomed, Pending, Reaper};
use crate::sandbox::{Docker, DockerError, ImageId, NetworkMode, profile};

/// runc needs most of it, for a moment.
const MEMORY_BYTES: i64 = 32 * 1024 * 1024;
const PROCESSES: i64 = 16;

/// How many there may be, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct HolderLimits {
    /// Of each network, free and lent; 0: each sandbox gets a namespace of its own.
    pub most: usize,
    /// One that is older is not lent any more.
    pub lend_for: Duration,
    /// Then it ends by itself: longer than anything that it may have been lent to.
    pub lives_for: Duration,
}

/// Cloning shares them.
#[derive(Clone)]
pub(crate) struct Holders(Arc<Inner>);

struct Inner {
    limits: HolderLimits,
    reaper: Reaper,
    shelves: Mutex<Shelves>,
    /// Somebody has found none, or may have one made.
    wanted: Notify,
    closed: watch::Sender<bool>,
}

struct Shelves {
    internet: Shelf,
    none: Shelf,
}

struct Shelf {
    free: Vec<Holder>,
    /// Free, lent and on their way.
    all: usize,
    /// How often none was free, and none has been made for it yet.
    missed: usize,
    /// How many may be made. Each run that left its network alone earns one: where scripts use theirs, a holder serves
    /// one run and only costs.
    credit: usize,
}

struct Holder {
    container: String,
    since: Instant,
}

impl Shelves {
    fn of(&mut self, network: NetworkMode) -> &mut Shelf {
        match network {
            NetworkMode::Internet => &mut self.internet,
            NetworkMode::None => &mut self.none,
        }
    }
}

impl Holders {
    pub fn new(limits: HolderLimits, reaper: Reaper) -> Self {
        let shelf = || Shelf { free: Vec::new(), all: 0, missed: 0, credit: limits.most };
        let shelves = Mutex::new(Shelves { internet: shelf(), none: shelf() });
        let closed = watch::channel(false).0;
        Self(Arc::new(Inner { limits, reaper, shelves, wanted: Notify::new(), closed }))
    }

    /// In a holder's namespace, if one is free.
    pub fn lodge(&self, network: NetworkMode) -> Lodging {
        self.retire(network);
        let mut shelves = self.lock();
        let most = self.0.limits.most;
        let shelf = shelves.of(network);
        let holder = shelf.free.pop();
        METRICS.networks.add(&[if holder.is_some() { "joined" } else { "own" }], 1);
        if holder.is_none() {
            shelf.missed = (shelf.missed + 1).min(most);
            self.0.wanted.notify_one();
        }
        self.lodging(network, holder, true)
    }

    /// In a namespace of its own.
    pub fn own(&self, network: NetworkMode) -> Lodging {
        self.lodging(network, None, true)
    }

    /// In the namespace of a holder that another worker made.
    pub fn inherited(&self, holder: Option<String>) -> Lodging {
        if let Some(container) = &holder {
            self.0.reaper.note(container);
        }
        let holder = holder.map(|container| Holder { container, since: Instant::now() });
        self.lodging(NetworkMode::Internet, holder, false)
    }

    fn lodging(&self, network: NetworkMode, holder: Option<Holder>, counted: bool) -> Lodging {
        let pending = self.0.reaper.pending();
        Lodging { holders: self.clone(), network, holder, counted, _pending: pending }
    }

    /// None is lent or made any more; those that are lent go when they come back.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
        [NetworkMode::Internet, NetworkMode::None].into_iter().for_each(|network| self.doubt(network));
    }

    /// Returns when none may be made any more.
    async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.0.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Something is wrong with one of them, so most likely with all: Docker was restarted, or somebody cleared up.
    pub fn doubt(&self, network: NetworkMode) {
        self.clear_out(network, |_| true);
    }

    /// Those that are too old.
    fn retire(&self, network: NetworkMode) {
        let lend_for = self.0.limits.lend_for;
        self.clear_out(network, |holder| holder.since.elapsed() > lend_for);
    }

    /// Removes the free ones that are no good.
    fn clear_out(&self, network: NetworkMode, is_bad: impl Fn(&Holder) -> bool) {
        let bad: Vec<Holder> = {
            let mut shelves = self.lock();
            let shelf = shelves.of(network);
            let bad: Vec<Holder> = shelf.free.extract_if(.., |holder| is_bad(holder)).collect();
            shelf.all -= bad.len();
            bad
        };
        bad.into_iter().for_each(|holder| self.remove(holder));
    }

    /// A place for one more, where one is missed and may be made.
    fn place(&self, network: NetworkMode) -> Option<Place> {
        let mut shelves = self.lock();
        if *self.0.closed.borrow() {
            return None;
        }
        let shelf = shelves.of(network);
        if shelf.missed == 0 || shelf.credit == 0 || shelf.all >= self.0.limits.most {
            return None;
        }
        shelf.missed -= 1;
        shelf.credit -= 1;
        shelf.all += 1;
        let pending = self.0.reaper.pending();
        Some(Place { holders: self.clone(), network, taken: false, _pending: pending })
    }

    fn put_back(&self, network: NetworkMode, holder: Holder) {
        let mut shelves = self.lock();
        if *self.0.closed.borrow() {
            shelves.of(network).all -= 1;
            drop(shelves);
            return self.remove(holder);
        }
        shelves.of(network).free.push(holder);
    }

    fn earn(&self, network: NetworkMode) {
        let mut shelves = self.lock();
        let shelf = shelves.of(network);
        shelf.credit = (shelf.credit + 1).min(self.0.limits.most);
        self.0.wanted.notify_one();
    }

    fn uncount(&self, network: NetworkMode) {
        self.lock().of(network).all -= 1;
    }

    fn remove(&self, holder: Holder) {
        METRICS.networks.add(&["removed"], 1);
        self.0.reaper.take(Doomed::container(holder.container));
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a sandbox has its network, from before it is made until it is gone: whoever waits for everything to settle
/// waits for it. Dropping it removes the holder, if it is in one's namespace.
pub(crate) struct Lodging {
    holders: Holders,
    network: NetworkMode,
    /// None: a namespace of its own.
    holder: Option<Holder>,
    /// The holder is one of this process's.
    counted: bool,
    _pending: Pending,
}

impl Lodging {
    /// The container to join.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_ref().map(|holder| holder.container.as_str())
    }

    /// The sandbox is gone for certain. `used`: something may have gone through its network.
    pub fn leave(mut self, used: bool) {
        if used || !self.counted {
            return;
        }
        self.holders.earn(self.network);
        if let Some(holder) = self.holder.take() {
            self.holders.put_back(self.network, holder);
        }
    }

    /// Somebody else looks after the sandbox, and its holder.
    pub fn abandon(mut self) {
        if let Some(holder) = self.holder.take() {
            self.holders.0.reaper.forget(&holder.container);
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

/// For a holder that is on its way; whoever waits for everything to settle waits for it too.
struct Place {
    holders: Holders,
    network: NetworkMode,
    taken: bool,
    _pending: Pending,
}

impl Place {
    fn take(mut self, holder: Holder) {
        METRICS.networks.add(&["made"], 1);
        self.taken = true;
        self.holders.put_back(self.network, holder);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.taken {
            self.holders.uncount(self.network);
        }
    }
}

impl Docker {
    /// Removes old holders and makes those that are missed, one at a time, while no run waits for its sandbox.
    /// `image` is any image that is there.
    pub async fn maintain_holders(&self, image: &ImageId) -> Result<(), DockerError> {
        for network in [NetworkMode::Internet, NetworkMode::None] {
            self.holders.retire(network);
            while let Some(place) = self.holders.place(network) {
                tokio::select! {
                    biased;
                    () = self.holders.closed() => return Ok(()),
                    () = self.turns.calm() => {}
                }
                let holder = self.make_holder(network, image).await?;
                place.take(holder);
            }
        }
        Ok(())
    }

    /// Returns when one may be missing.
    pub async fn holder_needed(&self) {
        self.holders.0.wanted.notified().await;
    }

    /// Removes those that are free; the others go with their sandboxes.
    pub fn close_holders(&self) {
        self.holders.close();
    }

    async fn make_holder(&self, network: NetworkMode, image: &ImageId) -> Result<Holder, DockerError> {
        let ground = self.ground(image).await?;
        let body = self.holder_body(network, image, &ground);
        let made = answered(self.api.create_container(None::<CreateContainerOptions>, body));
        let made = docker_call("create_holder", made).await;
        let container = made.map_err(|error| self.failed("make a holder", error))?.id;
        failpoint::hit("holder.made").await;
        self.reaper.note(&container);
        let started = answered(self.api.start_container(&container, None::<StartContainerOptions>));
        match docker_call("start_holder", started).await {
            Ok(()) => {
                failpoint::hit("holder.ready").await;
                debug!(self.log, "a holder is ready"; "container" => &container, "network" => ?network);
                Ok(Holder { container, since: Instant::now() })
            }
            Err(error) => {
                self.reaper.take(Doomed::container(container));
                self.doubt().await;
                Err(self.failed("start a holder", error))
            }
        }
    }

    /// As locked down as a sandbox, and without the rights that a sandbox's init has. No script ever runs in it.
    fn holder_body(&self, network: NetworkMode, image: &ImageId, ground: &Ground) -> ContainerCreateBody {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let ttl = self.holders.0.limits.lives_for.as_millis();
        ContainerCreateBody {
            image: Some(image.clone()),
            entrypoint: Some(vec![format!("{}/init", init_volume::FOLDER), "hold".to_owned()]),
            cmd: Some(Vec::new()),
            // Its sandboxes have its name, its hosts and its name servers.
            hostname: Some(profile::HOSTNAME.to_owned()),
            user: Some("65534:65534".to_owned()),
            env: Some(vec![format!("RGRID_HOLD_TTL_MS={ttl}")]),
            labels: Some(HashMap::from([
                label(CLUSTER_LABEL, &self.settings.cluster),
                label(WORKER_LABEL, &self.settings.worker),
                label(HOLDER_LABEL, network.word()),
            ])),
            host_config: Some(HostConfig {
                pids_limit: Some(PROCESSES),
                network_mode: Some(ground.network(network).to_owned()),
                mounts: Some(vec![init_volume::mount(&ground.init_volume, true)]),
                ..profile::locked_down(&self.settings, MEMORY_BYTES)
            }),
            ..Default::default()
        }
    }
}
