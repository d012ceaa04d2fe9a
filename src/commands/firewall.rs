//! `rgridd firewall up|keep|check|down|print`: for whoever is root on the Docker host, when the daemon is not.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use slog::{Discard, Logger, o};
use tokio::sync::watch;

use crate::daemon::docker_engine;
use crate::daemon::signals;
use crate::sandbox::{Docker, Firewall, FirewallState};
use crate::settings::Settings;

const KEEP_EVERY: Duration = Duration::from_secs(60);

pub fn up(settings: Settings) -> anyhow::Result<ExitCode> {
    match fence(&settings)?.apply() {
        FirewallState::Active => println!("sandboxes reach neither this host nor {}", words(&settings)),
        FirewallState::Unverified(reason) => bail!(reason),
    }
    Ok(ExitCode::SUCCESS)
}

/// Until it is asked to stop, which leaves the rules up: workers may go on.
pub fn keep(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut stop = signals::listen()?;
    let mut known = None;
    loop {
        // Docker may have made the network anew, and an operator may have flushed the rules.
        let state =
            fence(&settings).map_or_else(|error| FirewallState::Unverified(error.to_string()), |f| f.apply());
        if known.as_ref() != Some(&state) {
            match &state {
                FirewallState::Active => {
                    println!("sandboxes reach neither this host nor {}", words(&settings))
                }
                FirewallState::Unverified(reason) => eprintln!("it can't be ensured: {reason}"),
            }
            known = Some(state);
        }
        if wait(&mut stop) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Whether it was asked to stop meanwhile.
fn wait(stop: &mut watch::Receiver<u32>) -> bool {
    actix_rt::System::new()
        .block_on(async { tokio::time::timeout(KEEP_EVERY, stop.wait_for(|count| *count > 0)).await.is_ok() })
}

pub fn check(settings: Settings) -> anyhow::Result<ExitCode> {
    match fence(&settings)?.check() {
        FirewallState::Active => println!("sandboxes reach neither this host nor {}", words(&settings)),
        FirewallState::Unverified(reason) => bail!(reason),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn down(settings: Settings) -> anyhow::Result<ExitCode> {
    match fence(&settings)?.remove() {
        FirewallState::Active => println!("the rules are gone; a daemon that is root puts them up again"),
        FirewallState::Unverified(reason) => bail!(reason),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn print(settings: Settings) -> anyhow::Result<ExitCode> {
    print!("{}", fence(&settings)?.commands());
    Ok(ExitCode::SUCCESS)
}

fn fence(settings: &Settings) -> anyhow::Result<Firewall> {
    let log = Logger::root(Discard, o!());
    let identity = docker_engine::docker_settings(settings, "firewall".to_owned(), "firewall");
    actix_rt::System::new().block_on(async {
        let docker = Docker::connect(identity, log).await?;
        Ok(docker.firewall(&settings.sandbox.blocked, &settings.sandbox.host_ports).await?)
    })
}

fn words(settings: &Settings) -> String {
    let blocked: Vec<String> = settings.sandbox.blocked.iter().map(ToString::to_string).collect();
    if blocked.is_empty() { "anything that is blocked".to_owned() } else { blocked.join(", ") }
}
