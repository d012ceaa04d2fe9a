//! `rgridd firewall up|keep|check|down|print`: manages the firewall rules as root on the Docker host, for daemons that
//! are not root themselves.

use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use slog::{Discard, Logger, o};

use crate::daemon::{docker_engine, signals};
use crate::sandbox::{Docker, Firewall};
use crate::settings::Settings;

const KEEP_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, ValueEnum)]
pub enum Action {
    /// Apply the rules
    Up,
    /// Apply the rules and verify them once a minute, until stopped
    Keep,
    /// Check whether the rules are in place, without changing anything
    Check,
    /// Remove the rules
    Down,
    /// Print commands for a shell on the Docker host, as in `docker exec … rgridd firewall print | sudo sh`
    Print,
}

pub fn run(settings: &Settings, action: Action) -> anyhow::Result<()> {
    let state = match action {
        Action::Keep => return keep(settings),
        Action::Print => {
            print!("{}", connect(settings)?.commands());
            return Ok(());
        }
        Action::Up => connect(settings)?.apply(),
        Action::Check => connect(settings)?.check(),
        Action::Down => connect(settings)?.remove(),
    };
    match state {
        Err(reason) => bail!(reason),
        Ok(()) if matches!(action, Action::Down) => {
            println!("the rules are removed; a daemon that runs as root applies them again");
        }
        Ok(()) => println!("{}", in_place(settings)),
    }
    Ok(())
}

/// Leaves the rules in place when it is stopped, because workers may still be running.
fn keep(settings: &Settings) -> anyhow::Result<()> {
    let mut stop = signals::listen()?;
    let mut reported = None;
    loop {
        // Docker may have recreated the network, or an operator may have flushed the rules.
        let connected = connect(settings).map_err(|error| format!("{error:#}"));
        let state = connected.and_then(|firewall| firewall.apply());
        if reported.as_ref() != Some(&state) {
            match &state {
                Ok(()) => println!("{}", in_place(settings)),
                Err(reason) => eprintln!("cannot verify the firewall: {reason}"),
            }
            reported = Some(state);
        }
        let stopped = actix_rt::System::new().block_on(async {
            tokio::time::timeout(KEEP_EVERY, stop.wait_for(|count| *count > 0)).await.is_ok()
        });
        if stopped {
            return Ok(());
        }
    }
}

fn connect(settings: &Settings) -> anyhow::Result<Firewall> {
    let log = Logger::root(Discard, o!());
    let identity = docker_engine::docker_settings(settings, "firewall".to_owned(), "firewall");
    actix_rt::System::new().block_on(async {
        let docker = Docker::connect(identity, log).await?;
        Ok(docker.firewall(&settings.sandbox.blocked, &settings.sandbox.host_ports).await?)
    })
}

fn in_place(settings: &Settings) -> String {
    let blocked: Vec<String> = settings.sandbox.blocked.iter().map(ToString::to_string).collect();
    match blocked.as_slice() {
        [] => "sandboxes cannot reach this host".to_owned(),
        blocked => format!("sandboxes can reach neither this host nor {}", blocked.join(", ")),
    }
}
