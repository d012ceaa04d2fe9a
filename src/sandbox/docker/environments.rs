//! Environments: what is installed for a script's requirements, each in a volume of its own.
//!
//! A volume is made empty, under a name that was never used, for one builder: a sandbox that may write into it.
//! That it is whole is not told by the volume; whoever built it writes its name down, and only then is it kept.
//! The builder's name is made of the key, and Docker gives a name to one container at a time: so on one engine
//! there is never more than one builder for a key, however many daemons there are.

use std::collections::{HashMap, HashSet};

use bollard::models::{Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptions, ListVolumesOptions,
    RemoveVolumeOptions, UploadToContainerOptions,
};
use slog::{debug, info, warn};

use crate::sandbox::container;
use crate::sandbox::docker::engine::CLUSTER_LABEL;
use crate::sandbox::docker::tar::{self, Entry};
use crate::sandbox::error::{answered, is_conflict, is_missing};
use crate::sandbox::profile::Access;
use crate::sandbox::{Docker, DockerError, Profile, Sandbox};

/// Where the environment lies in a container.
pub const ENVIRONMENT: &str = "/rgrid-env";
/// What is installed lies below this folder of it.
pub const ENVIRONMENT_PYTHON: &str = "python";
/// Room for the installer's temporary files, on the same disk.
pub const ENVIRONMENT_TEMPORARY: &str = "tmp";

pub(crate) const ENVIRONMENT_LABEL: &str = "rgrid.environment";
pub(crate) const KEY_LABEL: &str = "rgrid.environment-key";
/// User of everything that is not the init.
const SCRIPT_USER: u32 = 1000;

/// What a builder builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentBuild {
    pub volume: String,
    /// What it will be known by.
    pub key: String,
}

impl EnvironmentBuild {
    pub(crate) fn in_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let label = |name: &str| labels.get(name).cloned();
        Some(Self { volume: label(ENVIRONMENT_LABEL)?, key: label(KEY_LABEL)? })
    }

    fn labels(&self) -> [(String, String); 2] {
        [(ENVIRONMENT_LABEL, &self.volume), (KEY_LABEL, &self.key)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
    }
}

/// The volumes of environments that this engine has.
#[derive(Debug, Default)]
pub struct EnvironmentVolumes {
    pub all: HashSet<String>,
    /// Those that a container has, running or not.
    pub in_use: HashSet<String>,
}

impl Docker {
    /// The Docker host's own id: volumes are where their engine is.
    pub async fn engine_id(&self) -> Result<String, DockerError> {
        let asked = self.engine_id.get_or_try_init(async || {
            let info = answered(self.api.info()).await.map_err(|error| self.failed("tell its id", error))?;
            Ok(info.id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.address.to_string()))
        });
        asked.await.cloned()
    }

    /// Whether somebody builds what `key` stands for.
    pub async fn is_building(&self, key: &str) -> Result<bool, DockerError> {
        let builder = self.builder_name(key);
        match answered(self.api.inspect_container(&builder, None::<InspectContainerOptions>)).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(self.failed("look for a builder", error)),
        }
    }

    /// A sandbox that may write into a new environment; none when somebody else was faster. Until
    /// [`Sandbox::keep_environment`] the volume goes away with it.
    pub async fn create_builder(&self, profile: &Profile, key: &str) -> Result<Option<Sandbox>, DockerError> {
        let built = self.try_create_builder(profile, key).await;
        if let Err(DockerError::Refused { .. }) = &built {
            self.doubt().await;
        }
        built
    }

    async fn try_create_builder(&self, profile: &Profile, key: &str) -> Result<Option<Sandbox>, DockerError> {
        // Whoever installs uses its network. Foreground, so that whoever waits for everything to settle waits for all of it.
        let lodging = self.holders.own(profile.network);
        let token = container::new_token()?;
        let ground = self.ground(&profile.image).await?;
        let building = self.new_volume(key).await?;
        let profile = Profile { environment: Some(building.volume.clone()), ..profile.clone() };
        let mut body =
            profile.container(&self.settings, &ground, token.as_str(), Access::ReadWrite, lodging.holder());
        body.labels.get_or_insert_default().extend(building.labels());
        let options = CreateContainerOptions { name: Some(self.builder_name(key)), ..Default::default() };
        let container = match answered(self.api.create_container(Some(options), body)).await {
            Ok(made) => made.id,
            Err(error) => {
                self.remove_environment(&building.volume).await?;
                return if is_conflict(&error) {
                    Ok(None)
                } else {
                    Err(self.failed("make a builder", error))
                };
            }
        };
        // From here on dropping it removes container and volume.
        let sandbox = Sandbox::unconnected(self.clone(), container, token, Some(building), lodging);
        self.give_to_the_script(sandbox.container()).await?;
        Ok(Some(self.start(sandbox).await?))
    }

    /// Folders in the volume that belong to the user who installs: the volume's own belongs to root.
    async fn give_to_the_script(&self, container: &str) -> Result<(), DockerError> {
        let folder = |name| Entry { name, owner: SCRIPT_USER, mode: 0o755, content: None };
        let folders = tar::archive(&[folder(ENVIRONMENT_PYTHON), folder(ENVIRONMENT_TEMPORARY)]);
        let options = UploadToContainerOptions { path: ENVIRONMENT.to_owned(), ..Default::default() };
        let uploaded =
            self.api.upload_to_container(container, Some(options), bollard::body_full(folders.into()));
        answered(uploaded).await.map_err(|error| self.failed("prepare a volume", error))
    }

    async fn new_volume(&self, key: &str) -> Result<EnvironmentBuild, DockerError> {
        let mut random = [0u8; 6];
        getrandom::fill(&mut random)
            .map_err(|error| DockerError::NoHandshake(format!("no random numbers: {error}")))?;
        let volume = format!("{}{}-{}", self.environment_prefix(), short(key), hex::encode(random));
        let building = EnvironmentBuild { volume: volume.clone(), key: key.to_owned() };
        let mut labels = HashMap::from(building.labels());
        labels.insert(CLUSTER_LABEL.to_owned(), self.settings.cluster.clone());
        let request = VolumeCreateRequest { name: Some(volume), labels: Some(labels), ..Default::default() };
        answered(self.api.create_volume(request))
            .await
            .map_err(|error| self.failed("make a volume", error))?;
        Ok(building)
    }

    /// Docker makes a volume that a container asks for and that is not there: an empty environment.
    pub(crate) async fn must_be_there(&self, volume: &str) -> Result<(), DockerError> {
        match answered(self.api.inspect_volume(volume)).await {
            Ok(found) if found.labels.contains_key(ENVIRONMENT_LABEL) => Ok(()),
            Ok(_) => Err(DockerError::EnvironmentMissing(volume.to_owned())),
            Err(error) if is_missing(&error) => Err(DockerError::EnvironmentMissing(volume.to_owned())),
            Err(error) => Err(self.failed("inspect a volume", error)),
        }
    }

    /// All of this deployment on this engine, also those that are being built or were left half-way.
    pub async fn environment_volumes(&self) -> Result<EnvironmentVolumes, DockerError> {
        // In this order: one that gets a container in between is seen with it.
        let all = self.volumes_by_name().await?;
        let options = ListContainersOptions { all: true, ..Default::default() };
        let containers = answered(self.api.list_containers(Some(options))).await;
        let containers = containers.map_err(|error| self.failed("list containers", error))?;
        let mounts = containers.into_iter().flat_map(|container| container.mounts.unwrap_or_default());
        let in_use = mounts.filter_map(|mount| mount.name).filter(|name| all.contains(name)).collect();
        Ok(EnvironmentVolumes { all, in_use })
    }

    /// By their names: one that Docker made by itself has no labels.
    async fn volumes_by_name(&self) -> Result<HashSet<String>, DockerError> {
        let prefix = self.environment_prefix();
        let filters = HashMap::from([("name".to_owned(), vec![prefix.clone()])]);
        let listed =
            answered(self.api.list_volumes(Some(ListVolumesOptions { filters: Some(filters) }))).await;
        let listed = listed.map_err(|error| self.failed("list volumes", error))?;
        let names = listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
        Ok(names.filter(|name| name.starts_with(&prefix)).collect())
    }

    /// One that is gone is fine; one that a container uses stays, and is no error either: the next sweep sees it.
    pub async fn remove_environment(&self, volume: &str) -> Result<(), DockerError> {
        match answered(self.api.remove_volume(volume, None::<RemoveVolumeOptions>)).await {
            Ok(()) => info!(self.log, "environment removed"; "volume" => volume),
            Err(error) if is_missing(&error) => debug!(self.log, "no such environment"; "volume" => volume),
            Err(error) if is_conflict(&error) => {
                warn!(self.log, "an environment is still in use"; "volume" => volume, "error" => %error);
            }
            Err(error) => return Err(self.failed("remove a volume", error)),
        }
        Ok(())
    }

    fn builder_name(&self, key: &str) -> String {
        format!("rgrid-build-{}-{}", short(&self.settings.cluster), short(key))
    }

    fn environment_prefix(&self) -> String {
        format!("rgrid-env-{}-", short(&self.settings.cluster))
    }
}

pub(crate) fn mount(volume: &str, access: Access) -> Mount {
    Mount {
        target: Some(ENVIRONMENT.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(MountType::VOLUME),
        read_only: Some(access == Access::ReadOnly),
        ..Default::default()
    }
}

/// Enough of a digest, or of a deployment's id, to tell it from all others.
fn short(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}
