//! Sandboxes: containers, their profile, and the conversation with the init inside.
//!
//! The only place that knows bollard and Docker. A [`Sandbox`] is one container, used for one attempt;
//! dropping it removes it.

mod attempt;
mod engine;
mod error;
mod examination;
mod ground;
mod images;
mod init_volume;
mod judge;
mod networks;
mod profile;
mod reaper;
mod wire;

pub use attempt::{Sandbox, Step};
pub use engine::{Docker, DockerSettings, EngineInfo, Found};
pub use error::{DockerError, SandboxError};
pub use examination::Examined;
pub use images::ImageId;
pub use judge::{Judged, judge};
pub use profile::{Network, Profile};

pub use crate::settings::PullPolicy;
