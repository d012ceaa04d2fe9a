//! Sandboxes: containers, their profile, and the conversation with the init inside.
//!
//! The only place that knows bollard and Docker. A [`Sandbox`] is one container, used for one attempt
//! (for several only where `sandbox.reuse` says so: `renewal`); dropping it removes it.

mod connection;
mod container;
mod docker;
mod error;
mod network;
mod profile;
mod reaper;
mod reuse;

mod start_limiter;

pub use container::{Sandbox, SandboxEvent};
pub use docker::diagnostics::Diagnostics;
pub use docker::engine::{Docker, DockerSettings, EngineInfo, ManagedContainer};
pub use docker::environments::{
    ENVIRONMENT, ENVIRONMENT_PYTHON, ENVIRONMENT_TEMPORARY, EnvironmentBuild, EnvironmentVolumes,
};
pub use docker::images::{ImageId, ImageRemoval, PulledImage};
pub use error::{DockerError, SandboxError};
pub use network::firewall::{Firewall, FirewallState};
pub use network::holders::HolderLimits;
pub use profile::{NetworkMode, Profile};
pub use start_limiter::{Background, Foreground};

pub use crate::settings::PullPolicy;
