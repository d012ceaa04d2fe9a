//! The HTTP client for webhooks. It connects only to allowed addresses.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

use crate::execution::ip_ranges;
use crate::maintenance::webhooks::signature::signature;
use crate::settings::Webhook;

pub(crate) struct WebhookClient {
    agent: Agent,
    secret: String,
}

impl WebhookClient {
    pub fn new(settings: &Webhook) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(settings.timeout.0))
            // A redirect would bypass the check of the address.
            .max_redirects(0)
            .http_status_as_error(false)
            // A reused connection would skip name resolution, where addresses are checked.
            .max_idle_connections(0)
            .max_idle_age(Duration::ZERO)
            // A proxy from the environment would resolve the name itself.
            .proxy(None)
            .user_agent(concat!("rgridd/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver =
            PublicResolver { allow_internal: settings.allow_internal, inner: DefaultResolver::default() };
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            secret: settings.secret.clone(),
        }
    }

    /// Blocking. Any 2xx response counts as delivered; its body is not read.
    pub fn send(&self, url: &str, delivery: &str, body: &str) -> Result<(), String> {
        let timestamp = chrono::Utc::now().timestamp();
        let response = self
            .agent
            .post(url)
            .header("content-type", "application/json")
            .header("x-rgrid-event", "execution.ended")
            .header("x-rgrid-delivery", delivery)
            .header("x-rgrid-timestamp", timestamp.to_string())
            .header("x-rgrid-signature", signature(&self.secret, timestamp, body))
            .send(body);
        match response {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("the server responded with {}", response.status().as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Drops addresses that are not on the internet. The connection uses the addresses that were checked, so a name cannot
/// resolve differently the second time.
#[derive(Debug)]
struct PublicResolver {
    allow_internal: bool,
    inner: DefaultResolver,
}

impl Resolver for PublicResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let resolved = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in resolved.iter().filter(|a| self.allow_internal || ip_ranges::is_public(a.ip())) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            let message = "the host has no address on the internet (see webhook.allow_internal)";
            return Err(ureq::Error::Io(Error::new(ErrorKind::PermissionDenied, message)));
        }
        Ok(allowed)
    }
}
