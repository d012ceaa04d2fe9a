//! Delivers the webhooks of executions that have ended, with retries.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use slog::{Logger, debug, info, warn};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

use crate::execution::{KeyId, ip_ranges};
use crate::metrics::METRICS;
use crate::settings::Webhook;
use crate::store::{DueWebhook, Store, StoreError};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const MAX_CONCURRENT: usize = 8;
/// A quarter of them.
const MAX_PER_KEY: usize = 2;
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Never returns if `webhook.secret` is set. Several daemons share the work.
pub(crate) async fn run(store: Store, settings: Webhook, log: Logger) {
    if settings.secret.is_empty() {
        return;
    }
    let client = Arc::new(WebhookClient::new(&settings));
    let sender = Sender { store, client, settings, log };
    // Longer than a call can take, so that no other daemon makes the same call at the same time.
    let lease = sender.settings.timeout.0 * 2 + Duration::from_secs(5);
    let mut calls = FuturesUnordered::new();
    let mut by_key: HashMap<KeyId, usize> = HashMap::new();
    loop {
        let due = if calls.len() < MAX_CONCURRENT { sender.next_due(&by_key, lease).await } else { None };
        if let Some((webhook, key)) = due {
            if let Some(key) = &key {
                *by_key.entry(key.clone()).or_default() += 1;
            }
            let sender = &sender;
            calls.push(async move {
                sender.deliver(&webhook).await;
                key
            });
            continue;
        }
        tokio::select! {
            Some(key) = calls.next() => {
                if let Some(key) = key && let Some(count) = by_key.get_mut(&key) {
                    *count -= 1;
                    by_key.retain(|_, count| *count > 0);
                }
            }
            () = tokio::time::sleep(POLL_INTERVAL), if calls.len() < MAX_CONCURRENT => {}
        }
    }
}

struct Sender {
    store: Store,
    client: Arc<WebhookClient>,
    settings: Webhook,
    log: Logger,
}

impl Sender {
    /// Leaves out keys that have their share of the calls, so that a receiver that is slow to answer does not delay the
    /// webhooks of other keys.
    async fn next_due(
        &self,
        calls: &HashMap<KeyId, usize>,
        lease: Duration,
    ) -> Option<(DueWebhook, Option<KeyId>)> {
        let at_limit = calls.iter().filter(|(_, count)| **count >= MAX_PER_KEY).map(|(key, _)| key.clone());
        self.store.take_due_webhook(at_limit.collect(), lease).await.unwrap_or_else(|error| {
            debug!(self.log, "cannot read the due webhooks"; "error" => %error);
            None
        })
    }

    async fn deliver(&self, webhook: &DueWebhook) {
        if let Err(error) = self.attempt(webhook).await {
            // The webhook stays due and is retried when its lease has expired.
            warn!(self.log, "cannot deliver a webhook"; "execution" => %webhook.execution(), "error" => %error);
        }
    }

    async fn attempt(&self, webhook: &DueWebhook) -> Result<(), StoreError> {
        let id = webhook.execution();
        let execution = self.store.execution_without_output(&id).await?;
        let body = serde_json::to_string(&execution).unwrap_or_default();
        let (client, url, delivery) = (Arc::clone(&self.client), webhook.url.clone(), id.to_string());
        let sent = tokio::task::spawn_blocking(move || client.send(&url, &delivery, &body)).await;
        let Err(reason) = sent.unwrap_or_else(|panic| Err(panic.to_string())) else {
            METRICS.webhooks.add(&["taken"], 1);
            info!(self.log, "webhook delivered"; "execution" => %id, "try" => webhook.tries);
            return self.store.delete_webhook(&id).await;
        };
        let tries = webhook.tries.unsigned_abs();
        if tries >= self.settings.tries {
            METRICS.webhooks.add(&["given_up"], 1);
            warn!(self.log, "webhook failed permanently"; "execution" => %id, "tries" => tries, "reason" => reason);
            return self.store.delete_webhook(&id).await;
        }
        METRICS.webhooks.add(&["failed"], 1);
        let pause = pause(self.settings.retry_after.0, tries);
        info!(self.log, "webhook failed and will be retried"; "execution" => %id, "try" => tries,
            "retry_in_s" => pause.as_secs(), "reason" => &reason);
        self.store.reschedule_webhook(&id, pause, reason).await
    }
}

fn pause(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(MAX_PAUSE)
}

/// Connects only to allowed addresses.
struct WebhookClient {
    agent: Agent,
    secret: String,
}

impl WebhookClient {
    fn new(settings: &Webhook) -> Self {
        // The system's certificates may include a company's own authority.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
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
            .tls_config(tls)
            .user_agent(concat!("rgridd/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = PublicResolver { allow_internal: settings.allow_internal };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        Self { agent, secret: settings.secret.clone() }
    }

    /// Blocking. Any 2xx response counts as delivered; its body is not read.
    fn send(&self, url: &str, delivery: &str, body: &str) -> Result<(), String> {
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
}

impl Resolver for PublicResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let resolved = DefaultResolver::default().resolve(uri, config, timeout)?;
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

/// The signature of `TIMESTAMP.BODY`, as `sha256=HEX`: the receiver can verify the sender and the time.
fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    format!("sha256={}", hmac_sha256(secret.as_bytes(), format!("{timestamp}.{body}").as_bytes()))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    // HMAC accepts keys of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| base16ct::lower::encode_string(&mac.chain_update(message).finalize().into_bytes()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_an_hour() {
        let first = Duration::from_secs(10);
        assert_eq!([1, 2, 3, 30].map(|tries| pause(first, tries).as_secs()), [10, 20, 40, 3600]);
    }

    #[test]
    fn signatures_match_the_examples_of_rfc_4231() {
        let second = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?"), second);
        let sixth = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hmac_sha256(&[0xaa; 131], message), sixth);
    }

    #[test]
    fn the_signature_covers_timestamp_and_body() {
        let base = signature("secret", 1, "{}");
        assert!(base.starts_with("sha256=") && base.len() == 71);
        let others =
            [signature("other", 1, "{}"), signature("secret", 2, "{}"), signature("secret", 1, "[]")];
        assert!(!others.contains(&base));
    }
}
