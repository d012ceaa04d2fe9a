//! The Docker engine: containers, images and volumes.

pub(crate) mod engine;
pub(crate) mod environments;
pub(crate) mod images;
pub(crate) mod init_volume;
pub(crate) mod volumes;
