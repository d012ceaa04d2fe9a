//! Containers, images and networks.

mod holders;
mod images;
mod networks;
mod profile;
mod reuse;
mod runtimes;
