//! The volume that contains the init. The daemon carries the init as a static binary and copies it into a read-only
//! volume that is named after its digest. No host path is mounted, because the daemon may itself run in a container.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use bollard::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{
    DownloadFromContainerOptions, ListVolumesOptions, RemoveContainerOptions, RemoveVolumeOptions,
};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use slog::{debug, info};

use crate::sandbox::docker::volumes::{Access, Entry, mount};
use crate::sandbox::error::with_timeout;
use crate::sandbox::{Docker, DockerError};

const PROGRAM: &[u8] = include_bytes!(env!("RGRID_INIT_PATH"));
const INIT_LABEL: &str = "rgrid.init";
/// File name of the program in the volume.
const NAME: &str = "init";
/// Mount point of the volume.
pub(crate) const FOLDER: &str = "/rgrid";

static HASH: LazyLock<String> = LazyLock::new(|| {
    let digest = base16ct::lower::encode_string(&Sha256::digest(PROGRAM));
    digest.get(..12).unwrap_or_default().to_owned()
});

fn volume_name() -> String {
    format!("rgrid-init-{}", *HASH)
}

impl Docker {
    /// Copies the init into its volume if it is missing and returns the volume's name. Only a container can write into
    /// a volume, so one is created, but never started, from `image`, which is any local image.
    pub(crate) async fn install_init(&self, image: &str) -> Result<String, DockerError> {
        let volume = volume_name();
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(HashMap::from([(INIT_LABEL.to_owned(), HASH.clone())])),
            ..Default::default()
        };
        // Creating a volume that exists returns the existing one.
        self.call("create a volume", self.api.create_volume(request)).await?;
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![format!("{FOLDER}/{NAME}")]),
            // The labels of a sandbox, so that the recovery removes it if this daemon is killed.
            labels: Some(self.settings.labels([])),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount(&volume, FOLDER, Access::ReadWrite)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let helper = self.call("create a container", self.create_container(None, body)).await?;
        let filled = match self.is_init_complete(&helper).await {
            true => Ok(()),
            false => {
                info!(self.log, "installing the sandboxes' init"; "volume" => &volume);
                self.upload(&helper, FOLDER, &[Entry { name: NAME, owner: 0, content: Some(PROGRAM) }]).await
            }
        };
        let options = RemoveContainerOptions { force: true, ..Default::default() };
        let removed =
            self.call("remove a container", self.api.remove_container(&helper, Some(options))).await;
        filled.and(removed).map(|()| volume)
    }

    /// Compares the whole content, because a daemon may have died while writing it.
    async fn is_init_complete(&self, helper: &str) -> bool {
        let options = DownloadFromContainerOptions { path: format!("{FOLDER}/{NAME}") };
        let chunks = self.api.download_from_container(helper, Some(options));
        let download = chunks.try_fold(Vec::new(), async |mut archive, chunk| {
            archive.extend_from_slice(&chunk);
            Ok(archive)
        });
        let Ok(archive) = with_timeout(download).await else { return false };
        let mut archive = tar::Archive::new(archive.as_slice());
        let Some(Ok(mut file)) = archive.entries().ok().and_then(|mut entries| entries.next()) else {
            return false;
        };
        let mut content = Vec::with_capacity(PROGRAM.len());
        file.read_to_end(&mut content).is_ok() && content == PROGRAM
    }

    /// Removes the init volumes of other versions that no container uses. A running daemon of such a version creates
    /// its volume again.
    pub async fn remove_old_init_volumes(&self) -> Result<(), DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![INIT_LABEL.to_owned()])]);
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self.call("list volumes", self.api.list_volumes(Some(options))).await?;
        let current = volume_name();
        for volume in listed.volumes.unwrap_or_default() {
            if volume.name == current {
                continue;
            }
            match with_timeout(self.api.remove_volume(&volume.name, None::<RemoveVolumeOptions>)).await {
                Ok(()) => info!(self.log, "removed the init of another version"; "volume" => volume.name),
                // Most likely it is in use.
                Err(error) => {
                    debug!(self.log, "an old init is kept"; "volume" => volume.name, "reason" => %error);
                }
            }
        }
        Ok(())
    }
}
