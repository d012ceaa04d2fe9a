//! Images: only those of the runtime table, by their content once they are here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::query_parameters::CreateImageOptions;
use futures_util::TryStreamExt;
use slog::info;

use super::error::{answered, is_missing};
use super::{Docker, DockerError};
use crate::settings::PullPolicy;

/// The content's digest, `sha256:…`: the same name later is another image.
pub type ImageId = String;

/// A pull may take long, but Docker tells how far it is.
const PULL_SILENCE: Duration = Duration::from_secs(120);

/// What each name stands for, asked once.
#[derive(Default)]
pub(super) struct Images {
    known: Mutex<HashMap<String, ImageId>>,
}

impl Images {
    fn get(&self, reference: &str) -> Option<ImageId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned()
    }

    fn put(&self, reference: &str, id: &ImageId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(reference.to_owned(), id.clone());
    }

    /// An image went away under our feet; ask again.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Docker {
    /// The image's content id; pulls it where the policy says so.
    pub async fn image(&self, reference: &str, policy: PullPolicy) -> Result<ImageId, DockerError> {
        if let Some(id) = self.images.get(reference) {
            return Ok(id);
        }
        if policy == PullPolicy::Always {
            self.pull(reference).await?;
        }
        let id = match self.local(reference).await? {
            Some(id) => id,
            None if policy == PullPolicy::Never => {
                return Err(missing(reference, "its pull policy is `never`"));
            }
            None => {
                self.pull(reference).await?;
                self.local(reference)
                    .await?
                    .ok_or_else(|| missing(reference, "it is not here after the pull"))?
            }
        };
        self.images.put(reference, &id);
        Ok(id)
    }

    async fn local(&self, reference: &str) -> Result<Option<ImageId>, DockerError> {
        match answered(self.api.inspect_image(reference)).await {
            Ok(image) => Ok(image.id),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed("inspect an image", error)),
        }
    }

    async fn pull(&self, reference: &str) -> Result<(), DockerError> {
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
