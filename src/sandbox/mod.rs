//! Sandboxes: containers, their profile, and the conversation with the init inside.
//!
//! The only place that knows bollard and Docker. A [`Sandbox`] is one container, used for one attempt;
//! dropping it removes it.

mod engine;
mod error;
mod images;
mod init_volume;
mod judge;
mod networks;
mod profile;
mod reaper;
mod sandbox;
mod wire;

pub use engine::{Docker, DockerSettings, EngineInfo, Found};
pub use error::{DockerError, SandboxError};
pub use images::ImageId;
pub use judge::{Judged, judge};
pub use profile::{Network, Profile};
pub use sandbox::{Sandbox, Step};

pub use crate::settings::PullPolicy;
