//! `rgridd healthcheck`: checks the daemon's health where curl is not available, for containers and orchestrators.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use rgrid_api::Health;

use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, ValueEnum)]
pub enum Healthcheck {
    /// The process responds
    Live,
    /// The daemon can serve requests: it reaches its database and Docker, and is not stopping
    Ready,
}

/// Fails with the reasons if the daemon is not healthy.
pub fn run(settings: &Settings, check: Healthcheck) -> anyhow::Result<()> {
    let path = match check {
        Healthcheck::Live => "healthz",
        Healthcheck::Ready => "readyz",
    };
    let url = format!("http://{}/{path}", reachable(settings.http.listen.0));
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // A proxy from the environment cannot reach this host's loopback address.
        .proxy(None)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(&url)
        .call()
        .with_context(|| format!("no daemon responds at {url} (http.listen)"))?;
    let body =
        response.body_mut().read_to_string().with_context(|| format!("cannot read the response of {url}"))?;
    let health: Health =
        serde_json::from_str(&body).with_context(|| format!("the server at {url} is not rgridd"))?;
    if !response.status().is_success() {
        let failed = health.checks.iter().filter(|check| !check.ok);
        let reasons: Vec<String> = failed.map(|check| format!("{}: {}", check.name, check.detail)).collect();
        bail!("{}: {}", health.status, reasons.join("; "));
    }
    println!("{} (rgridd {})", health.status, health.version);
    Ok(())
}

/// Replaces the unspecified address, which is for listening only, by loopback.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_on_all_addresses_is_checked_on_loopback() {
        let checked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(checked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(checked("[::]:8080"), "[::1]:8080");
        assert_eq!(checked("192.0.2.7:80"), "192.0.2.7:80");
    }
}
