//! What a Docker engine can do, as far as sandboxes need it: for `rgridd doctor`.

use std::time::{Duration, Instant};

use crate::sandbox::error::answered;
use crate::sandbox::{Docker, DockerError, ImageId, NetworkMode, Profile};

/// What the engine problems, in words that say what to do; empty when it has everything.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    pub summary: String,
    pub problems: Vec<String>,
}

impl Docker {
    pub async fn diagnose(&self) -> Result<Diagnostics, DockerError> {
        let info = self.api.info().await.map_err(|error| self.failed("tell about itself", error))?;
        let mut problems = Vec::new();
        let mut must = |there: Option<bool>, words: &str| {
            if there == Some(false) {
                problems.push(words.to_owned());
            }
        };
        must(info.memory_limit, "the kernel does not limit memory: boot it with cgroup_enable=memory");
        must(info.swap_limit, "the kernel does not limit swap: boot it with swapaccount=1, or turn swap off");
        must(info.pids_limit, "the kernel does not limit processes: use a newer one");
        must(info.cpu_cfs_quota, "the kernel does not limit CPU time: use one with CONFIG_CFS_BANDWIDTH");
        must(info.ipv4_forwarding, "containers do not reach the network: sysctl -w net.ipv4.ip_forward=1");
        let runtimes = info.runtimes.unwrap_or_default();
        if let Some(wanted) = &self.settings.runtime
            && !runtimes.contains_key(wanted)
        {
            let mut known: Vec<_> = runtimes.keys().cloned().collect();
            known.sort();
            problems.push(format!(
                "sandbox.runtime: Docker has no runtime {wanted}; it has {}",
                known.join(", ")
            ));
        }
        let security = info.security_options.unwrap_or_default();
        if !security.iter().any(|option| option.contains("seccomp")) {
            problems.push("Docker runs without seccomp: use a kernel and a Docker with it".to_owned());
        }
        let driver = info.driver.unwrap_or_else(|| "unknown".to_owned());
        let cgroup = info.cgroup_version.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
        Ok(Diagnostics { summary: format!("storage {driver}, cgroup v{cgroup}"), problems })
    }

    /// What the engine's host calls itself.
    pub async fn host_name(&self) -> Result<String, DockerError> {
        let info = answered(self.api.info()).await;
        Ok(info.map_err(|error| self.failed("tell about itself", error))?.name.unwrap_or_default())
    }

    /// Starts a sandbox, hears its init say hello, and removes it; how long the start took.
    pub async fn test_sandbox(&self, image: &ImageId, memory_bytes: u64) -> Result<Duration, DockerError> {
        self.prepare(image).await?;
        let profile = Profile {
            image: image.clone(),
            memory_bytes,
            cpus_milli: 1000,
            network: NetworkMode::Internet,
            environment: None,
        };
        let begun = Instant::now();
        let sandbox = self.create_sandbox(&profile).await?;
        let took = begun.elapsed();
        drop(sandbox);
        self.removals_finished().await;
        Ok(took)
    }
}
