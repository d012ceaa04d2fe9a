//! The restrictions of every sandbox, all in this file. `tests/it/sandbox/profile.rs` inspects a live container for each
//! of them, and `docs/security.md` explains their purpose.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, ResourcesUlimits,
};
use rgrid_init::Token;

use crate::sandbox::ImageId;
use crate::sandbox::docker::engine::{DockerSettings, Infrastructure, TOKEN_LABEL};
use crate::sandbox::docker::environments::ENVIRONMENT;
use crate::sandbox::docker::init_volume;
use crate::sandbox::docker::volumes::{self, Access};

/// Open files of one process.
const OPEN_FILES: i64 = 1024;
/// Of the init, for the kernel's OOM killer: after its script, which has the maximum of 1000, and before everything else on
/// the host.
const OOM_SCORE: i64 = 500;
const SHM_BYTES: i64 = 16 * 1024 * 1024;
/// UID of the first job in a reusable sandbox; each further job gets the next one. No image has a name for these, so
/// every job sees the same.
const FIRST_REUSE_UID: u32 = 20_000;
/// Host name of every sandbox.
pub(crate) const HOSTNAME: &str = "sandbox";

/// The kind of a sandbox. Sandboxes with equal profiles are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    pub image: ImageId,
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpus_milli: u32,
    pub network: NetworkMode,
    /// The volume with the installed requirements.
    pub environment: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    Internet,
    None,
}

impl NetworkMode {
    pub(crate) const ALL: [Self; 2] = [Self::Internet, Self::None];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::None => "none",
        }
    }
}

/// What differs between two containers of the same profile.
pub(crate) struct ContainerOptions<'a> {
    pub token: &'a Token,
    /// Access to the environment.
    pub access: Access,
    /// The container whose network namespace it joins; `None`: it gets its own.
    pub holder: Option<&'a str>,
}

impl Profile {
    pub(crate) fn container(
        &self,
        settings: &DockerSettings,
        infrastructure: &Infrastructure,
        options: &ContainerOptions,
    ) -> ContainerCreateBody {
        let &ContainerOptions { token, access, holder } = options;
        let network = match holder {
            Some(holder) => format!("container:{holder}"),
            None => infrastructure.network(self.network).to_owned(),
        };
        let environment = self.environment.iter().map(|name| volumes::mount(name, ENVIRONMENT, access));
        let init = volumes::mount(&infrastructure.init_volume, init_volume::FOLDER, Access::ReadOnly);
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec![format!("{}/init", init_volume::FOLDER)]),
            cmd: Some(Vec::new()),
            // A container that joins a holder has the holder's host name.
            hostname: holder.is_none().then(|| HOSTNAME.to_owned()),
            // The init switches to UID 1000 for everything that belongs to the user.
            user: Some("0:0".to_owned()),
            // No working directory: Docker would create it in the image's layer, and runc would then give the tmpfs
            // that directory's mode. The init changes into it.
            tty: Some(false),
            open_stdin: Some(true),
            // A broken connection must not close stdin, because another connection follows.
            stdin_once: Some(false),
            env: Some(init_env(settings, token, access)),
            labels: Some(settings.labels([(TOKEN_LABEL, token.as_str())])),
            host_config: Some(HostConfig {
                // For the init only: to switch to UID 1000, and to kill what the script leaves running.
                cap_add: Some(["SETUID", "SETGID", "KILL"].map(str::to_owned).to_vec()),
                tmpfs: Some(self.tmpfs()),
                shm_size: Some(SHM_BYTES),
                nano_cpus: Some(i64::from(self.cpus_milli) * 1_000_000),
                pids_limit: Some(settings.pids),
                ulimits: Some(vec![ulimit("nofile", OPEN_FILES), ulimit("core", 0)]),
                network_mode: Some(network),
                // A container that joins a holder has the holder's name servers.
                dns: settings.dns(self.network).filter(|_| holder.is_none()),
                mounts: Some(std::iter::once(init).chain(environment).collect()),
                ..locked_down(settings, i64::try_from(self.memory_bytes).unwrap_or(i64::MAX))
            }),
            ..Default::default()
        }
    }

    /// Each may use half of the memory; both count towards the memory limit.
    fn tmpfs(&self) -> HashMap<String, String> {
        let size = self.memory_bytes / 2;
        let folder = |path: &str| (path.to_owned(), format!("rw,exec,nosuid,nodev,mode=1777,size={size}"));
        HashMap::from([folder("/workspace"), folder("/tmp")])
    }
}

/// Applies to every container of RGrid, including those that never run a script.
pub(crate) fn locked_down(settings: &DockerSettings, memory_bytes: i64) -> HostConfig {
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        // seccomp and AppArmor keep Docker's defaults.
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        memory: Some(memory_bytes),
        // The same value as `memory` means no swap.
        memory_swap: Some(memory_bytes),
        oom_score_adj: Some(OOM_SCORE),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // Output goes through the init, which limits it.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        runtime: settings.runtime.clone(),
        init: Some(false),
        auto_remove: Some(false),
        privileged: Some(false),
        ..Default::default()
    }
}

fn init_env(settings: &DockerSettings, token: &Token, access: Access) -> Vec<String> {
    let mut env = vec![
        format!("RGRID_TOKEN={}", token.as_str()),
        format!("RGRID_PARK_TTL_MS={}", settings.park_ttl.as_millis()),
        format!("RGRID_ORPHAN_TTL_MS={}", settings.orphan_ttl.as_millis()),
    ];
    // A builder runs one job, and its volume belongs to the default user.
    if settings.reuse && access == Access::ReadOnly {
        env.push(format!("RGRID_UID={FIRST_REUSE_UID}"));
    }
    env
}

fn ulimit(name: &str, limit: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(limit), hard: Some(limit) }
}
