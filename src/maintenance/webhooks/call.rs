//! One call: only to addresses that are allowed, looked up and connected to in one step.

use std::time::Duration;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

use crate::execution::ip_ranges;
use crate::maintenance::webhooks::signature::signature;
use crate::settings::Webhook;

/// Of an answer nothing is read but its status.
pub(crate) struct Caller {
    agent: Agent,
    secret: String,
}

impl Caller {
    pub fn new(settings: &Webhook) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(settings.timeout.0))
            // A redirect would lead past the check of the address.
            .max_redirects(0)
            .http_status_as_error(false)
            // Each call looks its name up anew.
            .max_idle_connections(0)
            .max_idle_age(Duration::ZERO)
            // A proxy of the environment would connect in our place.
            .proxy(None)
            .user_agent(concat!("rgridd/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Guarded { allow_internal: settings.allow_internal, inner: DefaultResolver::default() };
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            secret: settings.secret.clone(),
        }
    }

    /// Blocking. The error says why it was not taken.
    pub fn call(&self, url: &str, delivery: &str, body: &str) -> Result<(), String> {
        let timestamp = chrono::Utc::now().timestamp();
        let answer = self
            .agent
            .post(url)
            .header("content-type", "application/json")
            .header("x-rgrid-event", "execution.ended")
            .header("x-rgrid-delivery", delivery)
            .header("x-rgrid-timestamp", timestamp.to_string())
            .header("x-rgrid-signature", signature(&self.secret, timestamp, body))
            .send(body);
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("answered with {}", answer.status().as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Leaves out addresses that are not on the internet: what was looked up is what is connected to, so a name
/// that changes in between leads nowhere else.
#[derive(Debug)]
struct Guarded {
    allow_internal: bool,
    inner: DefaultResolver,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|found| self.allow_internal || ip_ranges::is_public(found.ip())) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            let words = "it leads to no address on the internet (webhook.allow_internal)";
            return Err(ureq::Error::Io(std::io::Error::new(std::io::ErrorKind::PermissionDenied, words)));
        }
        Ok(allowed)
    }
}
