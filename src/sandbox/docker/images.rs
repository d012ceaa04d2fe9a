//! Images: only those of the runtime table, by their content once they are here; and which of them came by a pull
//! of ours, since only those are ours to remove.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions,
};
use futures_util::TryStreamExt;
use slog::info;
use tokio::sync::Notify;

use crate::sandbox::error::{answered, is_conflict, is_missing};
use crate::sandbox::{Docker, DockerError};
use crate::settings::PullPolicy;

/// The content's digest, `sha256:…`: the same name later is another image.
pub type ImageId = String;

/// A pull may take long, but Docker tells how far it is.
const PULL_SILENCE: Duration = Duration::from_secs(120);

/// An image that was not on this host before a pull of ours.
#[derive(Debug, Clone)]
pub struct PulledImage {
    pub id: ImageId,
    /// What it was pulled by.
    pub name: String,
    /// With the layers that it shares with others.
    pub size: u64,
}

/// What came of the removal of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// Also when it was gone before.
    Removed,
    /// A container has it, or it has got another name: why it stays.
    InUse(String),
}

/// What each name stands for, asked once.
#[derive(Default)]
pub(crate) struct Images {
    seen: Mutex<Seen>,
    pulled: Notify,
}

#[derive(Default)]
struct Seen {
    known: HashMap<String, ImageId>,
    /// Since somebody last asked.
    pulled: Vec<PulledImage>,
    used: HashSet<ImageId>,
}

impl Images {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, reference: &str) -> Option<ImageId> {
        let mut seen = self.seen();
        let id = seen.known.get(reference).cloned()?;
        if !seen.used.contains(&id) {
            seen.used.insert(id.clone());
        }
        Some(id)
    }

    fn put(&self, reference: &str, id: &ImageId) {
        let mut seen = self.seen();
        seen.known.insert(reference.to_owned(), id.clone());
        seen.used.insert(id.clone());
    }

    /// An image went away under our feet; ask again.
    pub fn forget(&self) {
        self.seen().known.clear();
    }
}

impl Docker {
    /// The image's content id; pulls it where the policy says so.
    pub async fn image(&self, reference: &str, policy: PullPolicy) -> Result<ImageId, DockerError> {
        if let Some(id) = self.images.get(reference) {
            return Ok(id);
        }
        let here = match policy {
            PullPolicy::Always => None,
            PullPolicy::Missing | PullPolicy::Never => {
                self.local(reference).await?.and_then(|image| image.id)
            }
        };
        let id = match here {
            Some(id) => id,
            None if policy == PullPolicy::Never => {
                return Err(missing(reference, "its pull policy is `never`"));
            }
            None => self.pull(reference).await?,
        };
        self.images.put(reference, &id);
        Ok(id)
    }

    pub async fn has_image(&self, reference: &str) -> Result<bool, DockerError> {
        Ok(self.local(reference).await?.is_some())
    }

    async fn local(&self, reference: &str) -> Result<Option<ImageInspect>, DockerError> {
        match answered(self.api.inspect_image(reference)).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed("inspect an image", error)),
        }
    }

    /// Those that this process has pulled since this was asked last.
    pub fn take_pulled_images(&self) -> Vec<PulledImage> {
        mem::take(&mut self.images.seen().pulled)
    }

    /// Returns when there is one.
    pub async fn image_pulled(&self) {
        self.images.pulled.notified().await;
    }

    /// Those that a container of this engine has, whoever's, or that a run has asked for since this was asked last.
    pub async fn images_in_use(&self) -> Result<HashSet<ImageId>, DockerError> {
        let options = ListContainersOptions { all: true, ..Default::default() };
        let containers = answered(self.api.list_containers(Some(options))).await;
        let containers = containers.map_err(|error| self.failed("list containers", error))?;
        let mut used = mem::take(&mut self.images.seen().used);
        used.extend(containers.into_iter().filter_map(|container| container.image_id));
        Ok(used)
    }

    /// Removes it if nobody needs it.
    pub async fn remove_image(&self, id: &ImageId) -> Result<ImageRemoval, DockerError> {
        if self.images.seen().used.contains(id) {
            return Ok(ImageRemoval::InUse("a run has just asked for it".to_owned()));
        }
        let removed = self.api.remove_image(id, None::<RemoveImageOptions>, None);
        let removal = match answered(removed).await {
            Ok(_) => ImageRemoval::Removed,
            Err(error) if is_missing(&error) => ImageRemoval::Removed,
            Err(error) if is_conflict(&error) => ImageRemoval::InUse(error.to_string()),
            Err(error) => return Err(self.failed("remove an image", error)),
        };
        self.images.forget();
        Ok(removal)
    }

    /// Makes the image known as ours, if it was not here before.
    async fn pull(&self, reference: &str) -> Result<ImageId, DockerError> {
        let options = ListImagesOptions { all: true, ..Default::default() };
        let before = answered(self.api.list_images(Some(options))).await;
        let before = before.map_err(|error| self.failed("list images", error))?;
        self.fetch(reference).await?;
        let not_here = || missing(reference, "it is not here after the pull");
        let pulled = self.local(reference).await?.ok_or_else(not_here)?;
        let id = pulled.id.ok_or_else(not_here)?;
        if before.iter().all(|image| image.id != id) {
            let size = pulled.size.unwrap_or_default().unsigned_abs();
            self.images.seen().pulled.push(PulledImage { id: id.clone(), name: reference.to_owned(), size });
            self.images.pulled.notify_one();
        }
        Ok(id)
    }

    async fn fetch(&self, reference: &str) -> Result<(), DockerError> {
        info!(self.log, "pulling an image"; "image" => reference);
        let options = CreateImageOptions { from_image: Some(reference.to_owned()), ..Default::default() };
        let mut progress = self.api.create_image(Some(options), None, None);
        loop {
            match tokio::time::timeout(PULL_SILENCE, progress.try_next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(missing(reference, &error.to_string())),
                Err(_) => {
                    let words = format!("nothing was heard of the pull for {}s", PULL_SILENCE.as_secs());
                    return Err(missing(reference, &words));
                }
            }
        }
    }
}

fn missing(image: &str, reason: &str) -> DockerError {
    DockerError::ImageMissing { image: image.to_owned(), reason: reason.to_owned() }
}
