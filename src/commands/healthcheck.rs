//! `rgridd probe`: asks the daemon of these settings how it is, for health checks where there is no curl.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use rgrid_api::Health;

use crate::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The process lives and answers.
    Live,
    /// It can serve: database, Docker, and it is not stopping.
    Ready,
}

/// Succeeds when the answer is yes; says why not.
pub fn ask(settings: &Settings, question: Question) -> anyhow::Result<ExitCode> {
    let path = match question {
        Question::Live => "healthz",
        Question::Ready => "readyz",
    };
    let url = format!("http://{}/{path}", reachable(settings.http.listen.0));
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // A proxy of the environment knows nothing of this host.
        .proxy(None)
        .build();
    let mut answer = ureq::Agent::new_with_config(config)
        .get(&url)
        .call()
        .with_context(|| format!("no daemon answers at {url} (http.listen)"))?;
    let status = answer.status();
    let body = answer.body_mut().read_to_string().with_context(|| format!("{url} broke off"))?;
    let health: Health =
        serde_json::from_str(&body).with_context(|| format!("what answers at {url} is no rgridd"))?;
    if !status.is_success() {
        bail!("{}: {}", health.status, reasons(&health));
    }
    println!("{} (rgridd {})", health.status, health.version);
    Ok(ExitCode::SUCCESS)
}

fn reasons(health: &Health) -> String {
    let wrong = health.checks.iter().filter(|check| !check.ok);
    let words: Vec<String> = wrong.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    words.join("; ")
}

/// A daemon that listens at all addresses is asked at loopback.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_listens_everywhere_is_asked_at_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(asked("[::]:8080"), "[::1]:8080");
        assert_eq!(asked("192.0.2.7:80"), "192.0.2.7:80");
    }
}
