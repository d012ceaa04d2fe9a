//! The Docker engine: containers, images, volumes.

pub(crate) mod diagnostics;
pub(crate) mod engine;
pub(crate) mod environments;
pub(crate) mod images;
pub(crate) mod infra;
pub(crate) mod init_volume;
pub(crate) mod tar;
pub(crate) mod volume_usage;
