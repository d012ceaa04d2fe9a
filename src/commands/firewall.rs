//! `rgridd firewall up|keep|check|down|print`: manages the firewall rules as root on the Docker host, for daemons that
//! are not root themselves.

use std::time::Duration;

use anyhow::Error;
use clap::ValueEnum;
use slog::{Discard, Logger, o};

use crate::daemon::{docker_engine, signals};
use crate::sandbox::{Docker, Firewall, FirewallReport};
use crate::settings::Settings;

const KEEP_EVERY: Duration = Duration::from_secs(5);
const KEEP_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, ValueEnum)]
pub enum Action {
    /// Apply the rules
    Up,
    /// Apply the rules and keep them in place until stopped
    Keep,
    /// Check whether the rules are in place, without changing anything
    Check,
    /// Remove the rules
    Down,
    /// Print commands for a shell on the Docker host, as in `docker exec … rgridd firewall print | sudo sh`
    Print,
}

pub fn run(settings: &Settings, action: Action) -> anyhow::Result<()> {
    let mut firewall = match action {
        Action::Keep => return keep(settings),
        _ => connect(settings)?,
    };
    let in_place = match action {
        Action::Up | Action::Keep => firewall.apply(),
        Action::Check => firewall.check(),
        Action::Down => {
            firewall.remove().map_err(Error::msg)?;
            println!("the rules are removed; a daemon that runs as root applies them again");
            return Ok(());
        }
        Action::Print => {
            print!("{}", firewall.commands());
            return Ok(());
        }
    };
    println!("{}", describe(&in_place.map_err(Error::msg)?, settings));
    Ok(())
}

/// Leaves the rules in place when it is stopped, because workers may still be running. Once the network is known, it
/// works without the engine, because sandboxes survive a crash of dockerd.
fn keep(settings: &Settings) -> anyhow::Result<()> {
    let mut stop = signals::listen()?;
    let mut known: Option<Firewall> = None;
    let mut reported = None;
    loop {
        // Docker may have created the network again, with another bridge.
        if !known.as_ref().is_some_and(Firewall::is_on_this_host) {
            known = connect(settings)
                .map_err(|error| report_once(&mut reported, Err(format!("{error:#}"))))
                .ok()
                .or(known);
        }
        let mut pause = KEEP_AGAIN_AFTER_FAILURE;
        if let Some(firewall) = &mut known {
            let applied = firewall.apply();
            if let Ok(report) = &applied {
                pause = KEEP_EVERY;
                if let (Some(missing), Some(Ok(_))) = (&report.restored, &reported) {
                    eprintln!("restored the firewall: {missing}");
                }
            }
            report_once(&mut reported, applied.map(|report| describe(&report, settings)));
        }
        let stopped = actix_rt::System::new()
            .block_on(async { tokio::time::timeout(pause, stop.wait_for(|count| *count > 0)).await.is_ok() });
        if stopped {
            return Ok(());
        }
    }
}

fn report_once(reported: &mut Option<Result<String, String>>, state: Result<String, String>) {
    if reported.as_ref() != Some(&state) {
        match &state {
            Ok(description) => println!("{description}"),
            Err(reason) => eprintln!("cannot verify the firewall: {reason}"),
        }
        *reported = Some(state);
    }
}

/// Works without the engine if RGrid created the network.
fn connect(settings: &Settings) -> anyhow::Result<Firewall> {
    let log = Logger::root(Discard, o!());
    let identity = docker_engine::docker_settings(settings, "firewall".to_owned(), "firewall");
    let sandbox = &settings.sandbox;
    let found = actix_rt::System::new().block_on(async {
        let docker = Docker::connect(identity, log).await?;
        docker.firewall(sandbox).await
    });
    found.or_else(|error| Ok(Firewall::around_network(sandbox).ok_or(error)?))
}

fn describe(report: &FirewallReport, settings: &Settings) -> String {
    let blocked: Vec<String> = settings.sandbox.blocked.iter().map(ToString::to_string).collect();
    let blocked = match blocked.as_slice() {
        [] => "sandboxes cannot reach this host".to_owned(),
        blocked => format!("sandboxes can reach neither this host nor {}", blocked.join(", ")),
    };
    let one_layer = report.second_layer_problem.as_ref();
    blocked + &one_layer.map(|reason| format!(" (without the second layer: {reason})")).unwrap_or_default()
}
