//! `rgridd firewall up|down|print`: for whoever is root on the Docker host, when the daemon is not.

use std::process::ExitCode;

use anyhow::bail;
use slog::{Discard, Logger, o};

use super::engine;
use crate::sandbox::{Docker, Fence, FenceState};
use crate::settings::Settings;

pub fn up(settings: Settings) -> anyhow::Result<ExitCode> {
    match fence(&settings)?.put_up() {
        FenceState::Stands => println!("sandboxes reach neither this host nor {}", words(&settings)),
        FenceState::Unsure(reason) => bail!(reason),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn down(settings: Settings) -> anyhow::Result<ExitCode> {
    match fence(&settings)?.take_down() {
        FenceState::Stands => println!("the rules are gone; a daemon that is root puts them up again"),
        FenceState::Unsure(reason) => bail!(reason),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn print(settings: Settings) -> anyhow::Result<ExitCode> {
    print!("{}", fence(&settings)?.commands());
    Ok(ExitCode::SUCCESS)
}

fn fence(settings: &Settings) -> anyhow::Result<Fence> {
    let log = Logger::root(Discard, o!());
    let identity = engine::docker_settings(settings, "firewall".to_owned(), "firewall");
    actix_rt::System::new().block_on(async {
        let docker = Docker::connect(identity, log).await?;
        Ok(docker.fence(&settings.sandbox.blocked, &settings.sandbox.host_ports).await?)
    })
}

fn words(settings: &Settings) -> String {
    let blocked: Vec<String> = settings.sandbox.blocked.iter().map(ToString::to_string).collect();
    if blocked.is_empty() { "anything that is blocked".to_owned() } else { blocked.join(", ") }
}
