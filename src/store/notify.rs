//! Notifications between processes, by NOTIFY: queued, ended and changed executions, and requested cancellations.
//!
//! Notifications only speed things up, and they may get lost: every waiter also polls. They are sent in batches after the
//! commit, because a NOTIFY within a transaction serialises all commits of the database.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use parking_lot::Mutex;
use slog::{Logger, debug, warn};
use tokio::sync::{Notify, broadcast};

use crate::execution::ExecutionId;
use crate::store::subscriptions::{Subscription, Subscriptions};
use crate::store::{Result, Store, sql::pg_notify};

/// diesel does not expose the socket, so the listener polls, which costs a system call and no query.
const POLL_EVERY: Duration = Duration::from_millis(20);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// A payload has less than 8,000 bytes, and an item at most 50.
const BATCH: usize = 150;
/// Beyond this, notifications that cannot be sent are dropped.
const OUTGOING_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    Queued,
    Ended(ExecutionId),
    Cancel,
    /// It started, wrote output, or returned to the queue. For followers only.
    Changed(ExecutionId),
    /// The sending process has followers of it.
    Follow(ExecutionId),
}

pub(crate) struct Notifier {
    /// Identifies this process, so that it ignores its own notifications.
    origin: String,
    queued: Notify,
    cancels: Notify,
    ended: broadcast::Sender<ExecutionId>,
    subscriptions: Arc<Subscriptions>,
    outgoing: Mutex<Vec<Notification>>,
    has_outgoing: Notify,
}

impl Notifier {
    pub fn new() -> Self {
        Self {
            origin: ulid::Ulid::generate().to_string(),
            queued: Notify::new(),
            cancels: Notify::new(),
            ended: broadcast::channel(1024).0,
            subscriptions: Arc::default(),
            outgoing: Mutex::default(),
            has_outgoing: Notify::new(),
        }
    }

    /// To this process at once, to the others soon.
    pub fn publish(&self, notification: Notification) {
        self.deliver(&notification);
        // Output is frequent, and other processes need it only for followers.
        if let Notification::Changed(execution) = &notification
            && !self.subscriptions.has_remote_followers(execution)
        {
            return;
        }
        let mut outgoing = self.outgoing.lock();
        let is_pending = outgoing.iter().rev().take(BATCH).any(|pending| *pending == notification);
        if outgoing.len() < OUTGOING_MAX && !is_pending {
            outgoing.push(notification);
        }
        self.has_outgoing.notify_one();
    }

    fn deliver(&self, notification: &Notification) {
        match notification {
            Notification::Queued => self.queued.notify_one(),
            Notification::Cancel => self.cancels.notify_one(),
            Notification::Ended(execution) => {
                // Fails if nothing waits for ends.
                drop(self.ended.send(execution.clone()));
                self.subscriptions.wake(execution);
                self.subscriptions.forget(execution);
            }
            Notification::Changed(execution) => self.subscriptions.wake(execution),
            // For other processes only.
            Notification::Follow(_) => {}
        }
    }

    fn take(&self) -> Vec<Notification> {
        let mut outgoing = self.outgoing.lock();
        let count = outgoing.len().min(BATCH);
        outgoing.drain(..count).collect()
    }

    fn receive(&self, payload: &str) {
        let mut items = payload.split(' ');
        if items.next() == Some(self.origin.as_str()) {
            return;
        }
        for notification in items.filter_map(parse) {
            match &notification {
                Notification::Follow(execution) => self.subscriptions.note_remote_follower(execution),
                other => self.deliver(other),
            }
        }
    }

    /// Wakes every waiter, because notifications may have been missed.
    fn wake_all(&self) {
        self.deliver(&Notification::Queued);
        self.deliver(&Notification::Cancel);
        self.subscriptions.wake_all();
    }
}

fn encode(notification: &Notification) -> String {
    match notification {
        Notification::Queued => "queued".to_owned(),
        Notification::Cancel => "cancel".to_owned(),
        Notification::Ended(execution) => format!("ended:{execution}"),
        Notification::Changed(execution) => format!("changed:{execution}"),
        Notification::Follow(execution) => format!("follow:{execution}"),
    }
}

/// None for an item of a newer version.
fn parse(item: &str) -> Option<Notification> {
    let (kind, id) = item.split_once(':').unwrap_or((item, ""));
    let id = ExecutionId::from_stored(id.to_owned());
    match kind {
        "queued" => Some(Notification::Queued),
        "cancel" => Some(Notification::Cancel),
        "ended" => Some(Notification::Ended(id)),
        "changed" => Some(Notification::Changed(id)),
        "follow" => Some(Notification::Follow(id)),
        _ => None,
    }
}

impl Store {
    /// Well before a follower in another process is forgotten.
    pub const FOLLOW_RENEWAL: Duration = Duration::from_secs(20);

    /// Waits until an execution may have been queued, by any process.
    pub async fn wait_for_queued(&self) {
        self.notifier.queued.notified().await;
    }

    /// Waits until the cancellation of a running execution may have been requested.
    pub async fn wait_for_cancellation(&self) {
        self.notifier.cancels.notified().await;
    }

    /// The ids of executions that end from now on.
    pub fn ended_executions(&self) -> broadcast::Receiver<ExecutionId> {
        self.notifier.ended.subscribe()
    }

    /// Follows an execution. Other processes report its changes until they forget the follower, unless it renews with
    /// [`Store::renew_follow`].
    pub fn follow(&self, execution: &ExecutionId) -> Subscription {
        let subscription = self.notifier.subscriptions.subscribe(execution);
        self.renew_follow(execution);
        subscription
    }

    /// To be called every [`Store::FOLLOW_RENEWAL`].
    pub fn renew_follow(&self, execution: &ExecutionId) {
        self.notifier.publish(Notification::Follow(execution.clone()));
    }

    /// Sends this process's notifications to the others. Never returns.
    pub async fn send_notifications(&self, log: Logger) {
        loop {
            let batch = self.notifier.take();
            if batch.is_empty() {
                self.notifier.has_outgoing.notified().await;
                continue;
            }
            let items: Vec<String> = batch.iter().map(encode).collect();
            let payload = format!("{} {}", self.notifier.origin, items.join(" "));
            let sent = self.query(|conn| diesel::select(pg_notify("rgrid", payload)).execute(conn)).await;
            if let Err(error) = sent {
                debug!(log, "notifications not sent; other processes poll"; "error" => %error);
            }
        }
    }

    /// Listens to the other processes, in a thread with a connection of its own, until the store is dropped.
    pub fn listen_for_notifications(&self, log: Logger) -> std::io::Result<()> {
        let (pool, notifier) = (Arc::downgrade(&self.pool), Arc::downgrade(&self.notifier));
        let listener = move || {
            while let Some(pool) = pool.upgrade().filter(|_| notifier.strong_count() > 0) {
                let connected = pool.connect();
                drop(pool);
                match connected.and_then(|conn| listen(conn, &notifier, &log)) {
                    Ok(()) => return,
                    Err(error) => warn!(log, "not listening for notifications; polling"; "error" => %error),
                }
                thread::sleep(RECONNECT_EVERY);
            }
        };
        thread::Builder::new().name("notifications".to_owned()).spawn(listener).map(|_| ())
    }
}

/// Returns when the store has been dropped.
fn listen(mut conn: PgConnection, notifier: &Weak<Notifier>, log: &Logger) -> Result<()> {
    conn.batch_execute("LISTEN rgrid")?;
    debug!(log, "listening for notifications");
    if let Some(notifier) = notifier.upgrade() {
        notifier.wake_all();
    }
    while let Some(notifier) = notifier.upgrade() {
        for notification in conn.notifications_iter() {
            notifier.receive(&notification?.payload);
        }
        drop(notifier);
        thread::sleep(POLL_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_round_trip() {
        for notification in [
            Notification::Queued,
            Notification::Cancel,
            Notification::Ended(ExecutionId::generate()),
            Notification::Changed(ExecutionId::generate()),
            Notification::Follow(ExecutionId::generate()),
        ] {
            assert_eq!(parse(&encode(&notification)), Some(notification));
        }
        assert_eq!(parse("weather:fine"), None);
    }

    #[test]
    fn a_process_ignores_its_own_notifications() {
        let (one, other) = (Notifier::new(), Notifier::new());
        let mut endings = one.ended.subscribe();
        let id = ExecutionId::generate();
        one.receive(&format!("{} ended:{id}", one.origin));
        assert!(endings.try_recv().is_err());
        one.receive(&format!("{} queued ended:{id}", other.origin));
        assert_eq!(endings.try_recv().ok(), Some(id));
    }

    #[test]
    fn other_processes_receive_changes_only_while_they_follow() {
        let (one, other) = (Notifier::new(), Notifier::new());
        let id = ExecutionId::generate();
        one.publish(Notification::Changed(id.clone()));
        assert_eq!(one.take(), []);
        one.receive(&format!("{} follow:{id}", other.origin));
        one.publish(Notification::Changed(id.clone()));
        assert_eq!(one.take(), [Notification::Changed(id)]);
    }
}
