//! The init inside each sandbox: a static binary that the daemon carries, in a read-only volume named
//! after its content. No host path is mounted: the daemon may be a container itself.

use std::collections::HashMap;
use std::sync::LazyLock;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptions, ListVolumesOptions, RemoveContainerOptions,
    RemoveVolumeOptions, UploadToContainerOptions,
};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use slog::{debug, info};

use crate::sandbox::docker::engine::{CLUSTER_LABEL, WORKER_LABEL};
use crate::sandbox::docker::tar::{self, BLOCK, Entry};
use crate::sandbox::error::answered;
use crate::sandbox::{Docker, DockerError};

const PROGRAM: &[u8] = include_bytes!(env!("RGRID_INIT_PATH"));
const INIT_LABEL: &str = "rgrid.init";
/// Name of the program in the volume.
const NAME: &str = "init";
/// Where the volume lies in a container.
pub(crate) const FOLDER: &str = "/rgrid";

impl Docker {
    /// Puts the init into its volume unless it is there; returns the volume's name. `image` is any image: a
    /// container is needed to write into a volume, though it never starts.
    pub(crate) async fn install_init(&self, image: &str) -> Result<String, DockerError> {
        let volume = volume();
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(HashMap::from([(INIT_LABEL.to_owned(), HASH.clone())])),
            ..Default::default()
        };
        // The same name again finds the volume that is there.
        answered(self.api.create_volume(request))
            .await
            .map_err(|error| self.failed("make a volume", error))?;
        let helper = self.helper(image, &volume).await?;
        let filled = self.fill(&helper, &volume).await;
        let options = RemoveContainerOptions { force: true, ..Default::default() };
        let removed = answered(self.api.remove_container(&helper, Some(options))).await;
        filled?;
        removed.map_err(|error| self.failed("remove a container", error))?;
        Ok(volume)
    }

    /// Removes the inits of other versions that no container uses. A daemon of such a version that still runs makes
    /// its own anew.
    pub async fn remove_old_init_volumes(&self) -> Result<(), DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![INIT_LABEL.to_owned()])]);
        let listed =
            answered(self.api.list_volumes(Some(ListVolumesOptions { filters: Some(filters) }))).await;
        let listed = listed.map_err(|error| self.failed("list volumes", error))?;
        let current = volume();
        for volume in listed.volumes.unwrap_or_default() {
            if volume.name == current {
                continue;
            }
            let removed = self.api.remove_volume(&volume.name, None::<RemoveVolumeOptions>);
            match answered(removed).await {
                Ok(()) => info!(self.log, "removed the init of another version"; "volume" => volume.name),
                // In use.
                Err(error) => debug!(self.log, "a volume stays"; "volume" => volume.name, "why" => %error),
            }
        }
        Ok(())
    }

    /// A container that is never started, with the volume writable.
    async fn helper(&self, image: &str, volume: &str) -> Result<String, DockerError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![format!("{FOLDER}/{NAME}")]),
            // Like a sandbox, so that one that a killed daemon left is swept.
            labels: Some(HashMap::from([
                (CLUSTER_LABEL.to_owned(), self.settings.cluster.clone()),
                (WORKER_LABEL.to_owned(), self.settings.worker.clone()),
            ])),
            network_disabled: Some(true),
            host_config: Some(HostConfig { mounts: Some(vec![mount(volume, false)]), ..Default::default() }),
            ..Default::default()
        };
        let made = answered(self.api.create_container(None::<CreateContainerOptions>, body)).await;
        Ok(made.map_err(|error| self.failed("make a container", error))?.id)
    }

    async fn fill(&self, helper: &str, volume: &str) -> Result<(), DockerError> {
        if self.is_there(helper).await {
            return Ok(());
        }
        info!(self.log, "installing the sandboxes' init"; "volume" => volume);
        let options = UploadToContainerOptions { path: FOLDER.to_owned(), ..Default::default() };
        let program = Entry { name: NAME, owner: 0, mode: 0o755, content: Some(PROGRAM) };
        let archive = bollard::body_full(tar::archive(&[program]).into());
        let uploaded = answered(self.api.upload_to_container(helper, Some(options), archive)).await;
        uploaded.map_err(|error| self.failed("fill a volume", error))
    }

    /// Compares the whole content: a daemon may have died over writing it.
    async fn is_there(&self, helper: &str) -> bool {
        let options = DownloadFromContainerOptions { path: format!("{FOLDER}/{NAME}") };
        let archive = self.api.download_from_container(helper, Some(options));
        let whole = archive.try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        let downloaded: Result<Vec<u8>, _> = answered(whole).await;
        // The archive has the content as it is, between a header and padding.
        downloaded.is_ok_and(|all| all.get(BLOCK..BLOCK + PROGRAM.len()) == Some(PROGRAM))
    }
}

pub(crate) fn mount(volume: &str, read_only: bool) -> Mount {
    Mount {
        target: Some(FOLDER.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        ..Default::default()
    }
}

static HASH: LazyLock<String> = LazyLock::new(|| {
    let digest = hex::encode(Sha256::digest(PROGRAM));
    digest.get(..12).unwrap_or_default().to_owned()
});

fn volume() -> String {
    format!("rgrid-init-{}", *HASH)
}
