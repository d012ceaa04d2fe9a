//! Calls the webhooks of executions that have ended, again and again until somebody takes them.

mod call;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug, info, warn};

use self::call::Caller;
use crate::metrics::METRICS;
use crate::settings::Webhook;
use crate::store::{DueWebhook, Store, StoreError};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Called at once.
const AT_ONCE: i64 = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Never returns. Several daemons share the work.
pub(crate) async fn send_for_ever(store: Store, settings: Webhook, log: Logger) {
    if settings.secret.is_empty() {
        return;
    }
    let caller = Arc::new(Caller::new(&settings));
    // A call that hangs to its end must not be called by another at the same time.
    let lease = settings.timeout.0 * 2 + Duration::from_secs(5);
    loop {
        let due = match store.take_due_webhooks(AT_ONCE, lease).await {
            Ok(due) => due,
            Err(error) => {
                debug!(log, "webhooks could not be looked for"; "error" => %error);
                Vec::new()
            }
        };
        let all = due.len() as i64;
        let calls = due.into_iter().map(|one| send(&store, &caller, &settings, one, &log));
        futures_util::future::join_all(calls).await;
        if all < AT_ONCE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn send(store: &Store, caller: &Arc<Caller>, settings: &Webhook, due: DueWebhook, log: &Logger) {
    if let Err(error) = try_to_send(store, caller, settings, &due, log).await {
        // It stays due, and is called again when this one's time is over.
        warn!(log, "a webhook could not be looked after"; "execution" => %due.execution(), "error" => %error);
    }
}

async fn try_to_send(
    store: &Store,
    caller: &Arc<Caller>,
    settings: &Webhook,
    due: &DueWebhook,
    log: &Logger,
) -> Result<(), StoreError> {
    let id = due.execution();
    let execution = store.execution_without_output(&id).await?;
    let body = serde_json::to_string(&execution).unwrap_or_default();
    let (caller, url, delivery) = (Arc::clone(caller), due.url.clone(), id.to_string());
    let called = tokio::task::spawn_blocking(move || caller.call(&url, &delivery, &body)).await;
    let Err(why) = called.unwrap_or_else(|stopped| Err(stopped.to_string())) else {
        METRICS.webhooks.add(&["taken"], 1);
        info!(log, "webhook taken"; "execution" => %id, "try" => due.tries);
        return store.delete_webhook(&id).await;
    };
    if due.tries.unsigned_abs() >= settings.tries {
        METRICS.webhooks.add(&["given_up"], 1);
        warn!(log, "webhook given up"; "execution" => %id, "tries" => due.tries, "why" => why);
        return store.delete_webhook(&id).await;
    }
    METRICS.webhooks.add(&["failed"], 1);
    let after = pause(settings.retry_after.0, due.tries.unsigned_abs());
    info!(log, "webhook not taken"; "execution" => %id, "try" => due.tries, "again_in_s" => after.as_secs(), "why" => &why);
    store.reschedule_webhook(&id, after, why).await
}

fn pause(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let first = Duration::from_secs(10);
        assert_eq!([1, 2, 3, 30].map(|tries| pause(first, tries).as_secs()), [10, 20, 40, 3600]);
    }
}
