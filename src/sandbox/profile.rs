//! What every sandbox is locked down with. This is the one place; `tests/it/sandbox_profile.rs` looks
//! at a live container for each line, and `docs/security.md` says what it is for.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, ResourcesUlimits,
};

use crate::sandbox::ImageId;
use crate::sandbox::docker::engine::DockerSettings;
use crate::sandbox::docker::engine::{CLUSTER_LABEL, TOKEN_LABEL, WORKER_LABEL};
use crate::sandbox::docker::environments;
use crate::sandbox::docker::infra::Ground;
use crate::sandbox::docker::init_volume;

/// Open files of one process.
const OPEN_FILES: i64 = 1024;
const SHM_BYTES: i64 = 16 * 1024 * 1024;
/// The first user of a sandbox that gets several jobs; each has the next. From the first job on it is one that no image
/// knows by name, so that a script finds the same each time.
const FIRST_OF_MANY: u32 = 20_000;
/// What a script's host is called.
pub(crate) const HOSTNAME: &str = "sandbox";

/// What tells one kind of sandbox from another; equal profiles may stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    pub image: ImageId,
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpus_milli: u32,
    pub network: NetworkMode,
    /// The volume with what its requirements name.
    pub environment: Option<String>,
}

/// What a container may do with its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    /// Only while it is built, by the one that builds it.
    ReadWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    Internet,
    None,
}

impl NetworkMode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            NetworkMode::Internet => "internet",
            NetworkMode::None => "none",
        }
    }
}

impl Profile {
    /// `holder` is the container whose network it joins; none: it gets one of its own.
    pub(crate) fn container(
        &self,
        settings: &DockerSettings,
        ground: &Ground,
        token: &str,
        access: Access,
        holder: Option<&str>,
    ) -> ContainerCreateBody {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec![format!("{}/init", init_volume::FOLDER)]),
            cmd: Some(Vec::new()),
            // One that joins a holder has the holder's.
            hostname: holder.is_none().then(|| HOSTNAME.to_owned()),
            // The init drops to uid 1000 for everything that is the user's.
            user: Some("0:0".to_owned()),
            // No working folder: Docker would make it in the image's layer, and runc would then give the
            // tmpfs that folder's mode instead of its own. The init changes there by itself.
            tty: Some(false),
            open_stdin: Some(true),
            // A connection that breaks must not close it: another one follows.
            stdin_once: Some(false),
            env: Some(init_env(settings, token, access)),
            labels: Some(HashMap::from([
                label(CLUSTER_LABEL, &settings.cluster),
                label(WORKER_LABEL, &settings.worker),
                label(TOKEN_LABEL, token),
            ])),
            host_config: Some(self.host_config(settings, ground, access, holder)),
            ..Default::default()
        }
    }

    fn host_config(
        &self,
        settings: &DockerSettings,
        ground: &Ground,
        access: Access,
        holder: Option<&str>,
    ) -> HostConfig {
        let own = || ground.network(self.network).to_owned();
        let memory = i64::try_from(self.memory_bytes).unwrap_or(i64::MAX);
        HostConfig {
            // For the init alone: to become uid 1000, and to end what the script leaves behind.
            cap_add: Some(["SETUID", "SETGID", "KILL"].map(str::to_owned).to_vec()),
            tmpfs: Some(self.tmpfs()),
            shm_size: Some(SHM_BYTES),
            nano_cpus: Some(i64::from(self.cpus_milli) * 1_000_000),
            pids_limit: Some(settings.pids),
            ulimits: Some(vec![ulimit("nofile", OPEN_FILES), ulimit("core", 0)]),
            network_mode: Some(holder.map_or_else(own, |holder| format!("container:{holder}"))),
            mounts: Some(self.mounts(ground, access)),
            ..locked_down(settings, memory)
        }
    }

    fn mounts(&self, ground: &Ground, access: Access) -> Vec<Mount> {
        let init = init_volume::mount(&ground.init_volume, true);
        let environment = self.environment.iter().map(|volume| environments::mount(volume, access));
        std::iter::once(init).chain(environment).collect()
    }

    /// Half of the memory each: both count as the run's memory.
    fn tmpfs(&self) -> HashMap<String, String> {
        let size = self.memory_bytes / 2;
        let folder = |path: &str| (path.to_owned(), format!("rw,exec,nosuid,nodev,mode=1777,size={size}"));
        HashMap::from([folder("/workspace"), folder("/tmp")])
    }
}

/// What holds for every container of RGrid's, also for those in which no script runs.
pub(crate) fn locked_down(settings: &DockerSettings, memory_bytes: i64) -> HostConfig {
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        // seccomp and AppArmor stay at Docker's defaults.
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        memory: Some(memory_bytes),
        // The same number means: no swap.
        memory_swap: Some(memory_bytes),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // Output goes through the init, bounded.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        runtime: settings.runtime.clone(),
        init: Some(false),
        auto_remove: Some(false),
        privileged: Some(false),
        ..Default::default()
    }
}

fn init_env(settings: &DockerSettings, token: &str, access: Access) -> Vec<String> {
    let mut env = vec![
        format!("RGRID_TOKEN={token}"),
        format!("RGRID_PARK_TTL_MS={}", settings.park_ttl.as_millis()),
        format!("RGRID_ORPHAN_TTL_MS={}", settings.orphan_ttl.as_millis()),
    ];
    // A builder has one job, and its volume belongs to the usual user.
    if settings.reuse && access == Access::ReadOnly {
        env.push(format!("RGRID_UID={FIRST_OF_MANY}"));
    }
    env
}

fn ulimit(name: &str, limit: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(limit), hard: Some(limit) }
}
