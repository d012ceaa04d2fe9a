//! Delivers the webhooks of executions that have ended, with retries.

mod client;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug, info, warn};

use self::client::WebhookClient;
use crate::metrics::METRICS;
use crate::settings::Webhook;
use crate::store::{DueWebhook, Store, StoreError};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const MAX_CONCURRENT: i64 = 8;
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
    loop {
        let due = sender.store.take_due_webhooks(MAX_CONCURRENT, lease).await.unwrap_or_else(|error| {
            debug!(sender.log, "cannot read the due webhooks"; "error" => %error);
            Vec::new()
        });
        let is_last_batch = (due.len() as i64) < MAX_CONCURRENT;
        futures_util::future::join_all(due.iter().map(|webhook| sender.deliver(webhook))).await;
        if is_last_batch {
            tokio::time::sleep(POLL_INTERVAL).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_an_hour() {
        let first = Duration::from_secs(10);
        assert_eq!([1, 2, 3, 30].map(|tries| pause(first, tries).as_secs()), [10, 20, 40, 3600]);
    }
}
