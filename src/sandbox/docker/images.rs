//! Images: only those of the runtime table, identified by their content once they are local. Remembers which images
//! RGrid pulled, because it may remove only those.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::time::Duration;

use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use slog::info;
use tokio::sync::Notify;

use crate::sandbox::error::{is_conflict, is_missing, with_timeout};
use crate::sandbox::{Docker, DockerError};
use crate::settings::PullPolicy;

/// The digest of the content, `sha256:…`. A tag may refer to another image later.
pub type ImageId = String;

/// A pull may take long, but it must report progress this often.
const PULL_PROGRESS_TIMEOUT: Duration = Duration::from_secs(120);

/// An image that RGrid pulled and that was not on this host before.
#[derive(Debug, Clone)]
pub struct PulledImage {
    pub id: ImageId,
    /// The reference that was pulled.
    pub name: String,
    /// Includes layers that other images share.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// Removed, or already gone.
    Removed,
    /// Kept, with the reason: a container uses it, or it has another tag.
    InUse(String),
}

/// The cache of image references.
#[derive(Default)]
pub(crate) struct Images {
    state: Mutex<ImageState>,
    pulled: Notify,
}

#[derive(Default)]
struct ImageState {
    ids: HashMap<String, ImageId>,
    /// Pulled since [`Docker::take_pulled_images`].
    pulled: Vec<PulledImage>,
    /// Requested since [`Docker::images_in_use`].
    used: HashSet<ImageId>,
}

impl Images {
    /// Clears the cache, because an image may have been removed.
    pub fn forget(&self) {
        self.state.lock().ids.clear();
    }
}

impl Docker {
    /// The ID of an image. Pulls it if the policy allows it.
    pub async fn image(&self, reference: &str, policy: PullPolicy) -> Result<ImageId, DockerError> {
        let cached = self.images.state.lock().ids.get(reference).cloned();
        let id = match (cached, policy) {
            (Some(id), _) => id,
            (None, PullPolicy::Always) => self.pull(reference).await?,
            (None, PullPolicy::Missing | PullPolicy::Never) => {
                match self.local_image(reference).await?.and_then(|image| image.id) {
                    Some(id) => id,
                    None if policy == PullPolicy::Missing => self.pull(reference).await?,
                    None => return Err(missing(reference, "its pull policy is `never`")),
                }
            }
        };
        let mut state = self.images.state.lock();
        state.ids.insert(reference.to_owned(), id.clone());
        state.used.insert(id.clone());
        Ok(id)
    }

    pub async fn has_image(&self, reference: &str) -> Result<bool, DockerError> {
        Ok(self.local_image(reference).await?.is_some())
    }

    async fn local_image(&self, reference: &str) -> Result<Option<ImageInspect>, DockerError> {
        self.find("inspect an image", self.api.inspect_image(reference)).await
    }

    /// Images that this process has pulled since the last call.
    pub fn take_pulled_images(&self) -> Vec<PulledImage> {
        mem::take(&mut self.images.state.lock().pulled)
    }

    /// Waits for a pulled image.
    pub async fn image_pulled(&self) {
        self.images.pulled.notified().await;
    }

    /// Images that any container of this engine uses, or that were requested since the last call.
    pub async fn images_in_use(&self) -> Result<HashSet<ImageId>, DockerError> {
        let containers = self.all_containers(None).await?;
        let mut used = mem::take(&mut self.images.state.lock().used);
        used.extend(containers.into_iter().filter_map(|container| container.image_id));
        Ok(used)
    }

    /// Removes an image unless it is in use.
    pub async fn remove_image(&self, id: &ImageId) -> Result<ImageRemoval, DockerError> {
        if self.images.state.lock().used.contains(id) {
            return Ok(ImageRemoval::InUse("an execution has just requested it".to_owned()));
        }
        let removed = with_timeout(self.api.remove_image(id, None::<RemoveImageOptions>, None)).await;
        let removal = match removed {
            Ok(_) => ImageRemoval::Removed,
            Err(error) if is_missing(&error) => ImageRemoval::Removed,
            Err(error) if is_conflict(&error) => ImageRemoval::InUse(error.to_string()),
            Err(error) => return Err(self.failed("remove an image", error)),
        };
        self.images.forget();
        Ok(removal)
    }

    /// Records the image as pulled by RGrid if it was not local before.
    async fn pull(&self, reference: &str) -> Result<ImageId, DockerError> {
        let options = ListImagesOptions { all: true, ..Default::default() };
        let before = self.call("list images", self.api.list_images(Some(options))).await?;
        info!(self.log, "pulling an image"; "image" => reference);
        let options = CreateImageOptions { from_image: Some(with_tag(reference)), ..Default::default() };
        let mut progress = self.api.create_image(Some(options), None, None);
        loop {
            match tokio::time::timeout(PULL_PROGRESS_TIMEOUT, progress.try_next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(missing(reference, &error.to_string())),
                Err(_) => {
                    let seconds = PULL_PROGRESS_TIMEOUT.as_secs();
                    return Err(missing(reference, &format!("the pull made no progress for {seconds}s")));
                }
            }
        }
        let not_found = || missing(reference, "it was not found after the pull");
        let pulled = self.local_image(reference).await?.ok_or_else(not_found)?;
        let id = pulled.id.ok_or_else(not_found)?;
        if before.iter().all(|image| image.id != id) {
            let size = pulled.size.unwrap_or_default().unsigned_abs();
            let image = PulledImage { id: id.clone(), name: reference.to_owned(), size };
            self.images.state.lock().pulled.push(image);
            self.images.pulled.notify_one();
        }
        Ok(id)
    }
}

/// The reference with the default tag if it has neither tag nor digest: the engine would pull all tags.
fn with_tag(reference: &str) -> String {
    // A colon before the last slash is that of a registry's port.
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn missing(image: &str, reason: &str) -> DockerError {
    DockerError::ImageMissing { image: image.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_without_tag_and_digest_get_the_default_tag() {
        for reference in
            ["python", "library/python", "localhost:5000/python", "registry.example.org/team/python"]
        {
            assert_eq!(with_tag(reference), format!("{reference}:latest"));
        }
        let digest = format!("localhost:5000/python@sha256:{:064}", 0);
        for reference in ["python:3.11", "localhost:5000/python:3.11-slim", &digest] {
            assert_eq!(with_tag(reference), *reference);
        }
    }
}
