//! Sandboxes: containers, their restrictions, and the connection to the init inside.
//!
//! Only this module uses bollard. A [`Sandbox`] is one container for one attempt (for several if `sandbox.reuse` allows
//! it); dropping it removes the container.

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
pub use docker::engine::{Diagnostics, Docker, DockerSettings, ManagedContainer};
pub use docker::environments::{
    ENVIRONMENT, ENVIRONMENT_PYTHON, ENVIRONMENT_TEMPORARY, EnvironmentBuild, EnvironmentVolumes,
};
pub use docker::images::{ImageId, ImageRemoval, PulledImage};
pub use error::{DockerError, SandboxError};
pub use network::firewall::{Firewall, FirewallReport};
pub use network::holders::HolderLimits;
pub use profile::{NetworkMode, Profile};

pub use crate::settings::PullPolicy;
