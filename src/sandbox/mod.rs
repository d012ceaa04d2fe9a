//! Sandboxes: containers, their profile, and the conversation with the init inside.
//!
//! The only place that knows bollard and Docker. A [`Sandbox`] is one container, used for one attempt
//! (for several only where `sandbox.reuse` says so: `renewal`); dropping it removes it.

mod attempt;
mod disk;
mod engine;
mod environments;
mod error;
mod examination;
mod fence;
mod ground;
mod holders;
mod images;
mod init_volume;
mod judge;
mod judge_install;
mod networks;
mod profile;
mod reaper;
mod renewal;
mod tar;
mod turns;
mod wire;

pub use attempt::{Sandbox, Step};
pub use engine::{Docker, DockerSettings, EngineInfo, Found};
pub use environments::{
    Building, ENVIRONMENT, ENVIRONMENT_PYTHON, ENVIRONMENT_TEMPORARY, EnvironmentVolumes,
};
pub use error::{DockerError, SandboxError};
pub use examination::Examined;
pub use fence::{Fence, FenceState};
pub use holders::HolderLimits;
pub use images::{ImageId, PulledImage, Removal};
pub use judge::{Judged, RunLimits, judge};
pub use judge_install::{InstallLimits, judge_install, too_large_install};
pub use profile::{Network, Profile};
pub use turns::{First, Later};

pub use crate::settings::PullPolicy;
