//! What every sandbox stands on: the init's volume and the network. Found or made when first needed, and
//! looked at anew after a sandbox could not be started, because an operator may have pruned them.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::sandbox::{Docker, DockerError, NetworkMode};

/// Names by which Docker knows them.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub init_volume: String,
    /// The network's id.
    pub internet: String,
}

impl Ground {
    /// Docker's name of it.
    pub fn network(&self, network: NetworkMode) -> &str {
        match network {
            NetworkMode::Internet => &self.internet,
            NetworkMode::None => "none",
        }
    }
}

/// Held while it is being made, so that sandboxes that are parked at once make it once.
pub(crate) type KnownGround = Arc<Mutex<Option<Ground>>>;

impl Docker {
    /// `image` is any image that is there.
    pub async fn prepare(&self, image: &str) -> Result<(), DockerError> {
        self.ground(image).await.map(|_| ())
    }

    pub(crate) async fn ground(&self, image: &str) -> Result<Ground, DockerError> {
        let mut known = self.ground.lock().await;
        if let Some(ground) = known.as_ref() {
            return Ok(ground.clone());
        }
        let ground =
            Ground { init_volume: self.install_init(image).await?, internet: self.internet().await? };
        *known = Some(ground.clone());
        Ok(ground)
    }

    /// Something that was there may be gone: image, volume or network.
    pub(crate) async fn doubt(&self) {
        self.images.forget();
        *self.ground.lock().await = None;
    }
}
