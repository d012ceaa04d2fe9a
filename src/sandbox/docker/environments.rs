//! Environments: the installed requirements of scripts, each in its own volume.
//!
//! A volume is created empty, with a name that was never used before, for one builder: a sandbox that may write into it.
//! Nothing in the volume shows that it is complete; it is kept only once its name is recorded in the database.
//! The builder's container name is derived from the key, and Docker gives a name to one container at a time. So each
//! engine has at most one builder per key, however many daemons use it.

use std::collections::{HashMap, HashSet};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{InspectContainerOptions, ListVolumesOptions, RemoveVolumeOptions};
use rgrid_init::Token;
use slog::{debug, info, warn};

use crate::sandbox::container;
use crate::sandbox::docker::engine::CLUSTER_LABEL;
use crate::sandbox::docker::volumes::{Access, Entry};
use crate::sandbox::error::{is_conflict, is_missing, with_timeout};
use crate::sandbox::profile::ContainerOptions;
use crate::sandbox::{Docker, DockerError, Profile, Sandbox};

/// Mount point of the environment.
pub const ENVIRONMENT: &str = "/rgrid-env";
/// Folder of the environment with the installed packages.
pub const ENVIRONMENT_PYTHON: &str = "python";
/// Folder of the environment for the installer's temporary files, so that they are on the same disk.
pub const ENVIRONMENT_TEMPORARY: &str = "tmp";

const ENVIRONMENT_LABEL: &str = "rgrid.environment";
const KEY_LABEL: &str = "rgrid.environment-key";
/// UID of everything in a sandbox except the init.
const SCRIPT_USER: u32 = 1000;

/// An environment that a builder is installing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentBuild {
    pub volume: String,
    /// Identifies the contents.
    pub key: String,
}

impl EnvironmentBuild {
    pub(crate) fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let label = |name: &str| labels.get(name).cloned();
        Some(Self { volume: label(ENVIRONMENT_LABEL)?, key: label(KEY_LABEL)? })
    }

    fn labels(&self) -> [(String, String); 2] {
        [(ENVIRONMENT_LABEL, &self.volume), (KEY_LABEL, &self.key)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
    }
}

/// The environment volumes of this engine.
#[derive(Debug, Default)]
pub struct EnvironmentVolumes {
    pub all: HashSet<String>,
    /// Those that a container mounts, running or not.
    pub in_use: HashSet<String>,
}

impl Docker {
    /// Whether any daemon is building the environment of this key.
    pub async fn is_building(&self, key: &str) -> Result<bool, DockerError> {
        let builder = self.builder_name(key);
        let inspect = self.api.inspect_container(&builder, None::<InspectContainerOptions>);
        Ok(self.find("inspect a builder", inspect).await?.is_some())
    }

    /// Creates a sandbox that may write into a new environment; `None` if there is a builder for this key already.
    /// The volume is removed with the sandbox, unless [`Sandbox::keep_environment`] is called.
    pub async fn create_builder(&self, profile: &Profile, key: &str) -> Result<Option<Sandbox>, DockerError> {
        let created = self.try_create_builder(profile, key).await;
        if let Err(DockerError::Refused { .. }) = &created {
            self.invalidate_caches().await;
        }
        created
    }

    async fn try_create_builder(&self, profile: &Profile, key: &str) -> Result<Option<Sandbox>, DockerError> {
        // An installation uses its network, so a lent one would not be reusable. The lodging comes first, so that
        // a shutdown waits for everything that follows.
        let lodging = self.holders.own(profile.network);
        let token = Token::from_random(container::random()?);
        let infrastructure = self.infrastructure(&profile.image).await?;
        let random = base16ct::lower::encode_string(&container::random::<6>()?);
        let volume = format!("{}{}-{random}", self.environment_prefix(), short(key));
        let environment = EnvironmentBuild { volume: volume.clone(), key: key.to_owned() };
        let mut labels = HashMap::from(environment.labels());
        labels.insert(CLUSTER_LABEL.to_owned(), self.settings.cluster.clone());
        let request = VolumeCreateRequest { name: Some(volume), labels: Some(labels), ..Default::default() };
        self.call("create a volume", self.api.create_volume(request)).await?;
        let profile = Profile { environment: Some(environment.volume.clone()), ..profile.clone() };
        let options = ContainerOptions { token: &token, access: Access::ReadWrite, holder: lodging.holder() };
        let mut body = profile.container(&self.settings, &infrastructure, &options);
        body.labels.get_or_insert_default().extend(environment.labels());
        let container = match self.create_container(Some(self.builder_name(key)), body).await {
            Ok(container) => container,
            Err(error) => {
                self.remove_environment(&environment.volume).await?;
                return match is_conflict(&error) {
                    true => Ok(None),
                    false => Err(self.failed("create a builder", error)),
                };
            }
        };
        // From here on, dropping the sandbox removes the container and the volume.
        let mut sandbox = Sandbox::new(self.clone(), container, token, lodging);
        sandbox.builds = Some(environment);
        // The volume's root belongs to root, so the installing user gets folders of its own.
        let folders = [ENVIRONMENT_PYTHON, ENVIRONMENT_TEMPORARY];
        let folders = folders.map(|name| Entry { name, owner: SCRIPT_USER, content: None });
        self.upload(sandbox.container(), ENVIRONMENT, &folders).await?;
        Ok(Some(sandbox.start().await?))
    }

    /// Fails if the volume does not exist, because Docker would create an empty one for the container.
    pub(crate) async fn require_environment(&self, volume: &str) -> Result<(), DockerError> {
        match self.find("inspect a volume", self.api.inspect_volume(volume)).await? {
            Some(found) if found.labels.contains_key(ENVIRONMENT_LABEL) => Ok(()),
            _ => Err(DockerError::EnvironmentMissing(volume.to_owned())),
        }
    }

    /// All environment volumes of this deployment on this engine, including incomplete ones.
    pub async fn environment_volumes(&self) -> Result<EnvironmentVolumes, DockerError> {
        // Volumes first: a volume that is mounted in between is then seen as in use.
        let prefix = self.environment_prefix();
        let filters = HashMap::from([("name".to_owned(), vec![prefix.clone()])]);
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self.call("list volumes", self.api.list_volumes(Some(options))).await?;
        // By name, because a volume that Docker created for a mount has no labels.
        let names = listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
        let all: HashSet<String> = names.filter(|name| name.starts_with(&prefix)).collect();
        let containers = self.all_containers(None).await?;
        let mounts = containers.into_iter().flat_map(|container| container.mounts.unwrap_or_default());
        let in_use = mounts.filter_map(|mount| mount.name).filter(|name| all.contains(name)).collect();
        Ok(EnvironmentVolumes { all, in_use })
    }

    /// Removes the volume. A volume that is missing or in use is not an error; the maintenance tries again.
    pub async fn remove_environment(&self, volume: &str) -> Result<(), DockerError> {
        match with_timeout(self.api.remove_volume(volume, None::<RemoveVolumeOptions>)).await {
            Ok(()) => info!(self.log, "environment removed"; "volume" => volume),
            Err(error) if is_missing(&error) => debug!(self.log, "environment not found"; "volume" => volume),
            Err(error) if is_conflict(&error) => {
                warn!(self.log, "environment still in use"; "volume" => volume, "error" => %error);
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

/// A prefix of a digest or ID that is long enough to be unique.
fn short(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}
