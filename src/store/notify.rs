//! Notification between processes, by NOTIFY: what was queued, what ended, what is to be cancelled.
//!
//! Notification only makes things faster. It is sent after the commit, outside of the statement that it speaks of (a
//! NOTIFY within would make all commits of the database take turns), several at once, and may get lost:
//! whoever waits for it also looks by itself from time to time.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use slog::{Logger, debug, warn};
use tokio::sync::{Notify, broadcast};

use crate::execution::ExecutionId;
use crate::store::statement::statement;
use crate::store::subscriptions::{self, Subscription, Subscriptions};
use crate::store::{Store, StoreError};

/// diesel gives no socket to wait at, so the listener looks; a look costs a system call and no query.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// Postgres takes less than 8,000 bytes in one NOTIFY; an item has 50 at most.
const ITEMS_AT_ONCE: usize = 150;
/// What can't be sent is dropped beyond this.
const ITEMS_KEPT: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    Queued,
    Ended(ExecutionId),
    Cancel,
    /// It began, said something, or went back to the queue. For its followers alone.
    Changed(ExecutionId),
    /// Somebody in the process that says so follows it.
    Follow(ExecutionId),
}

pub(crate) struct Notifier {
    /// Of this process, so that it does not listen to itself.
    origin: String,
    queued: Notify,
    cancels: Notify,
    ended: broadcast::Sender<ExecutionId>,
    watchers: Arc<Subscriptions>,
    outgoing: Mutex<Vec<Notification>>,
    filled: Notify,
}

impl Notifier {
    pub fn new() -> Self {
        Self {
            origin: ulid::Ulid::generate().to_string(),
            queued: Notify::new(),
            cancels: Notify::new(),
            ended: broadcast::channel(1024).0,
            watchers: Arc::default(),
            outgoing: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// For this process at once, for others soon.
    pub fn publish(&self, news: Notification) {
        self.spread(&news);
        // Of each piece of output nobody else wants to hear, but for followers.
        if let Notification::Changed(execution) = &news
            && !self.watchers.is_followed_elsewhere(execution)
        {
            return;
        }
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if outgoing.len() < ITEMS_KEPT
            && !outgoing.iter().rev().take(ITEMS_AT_ONCE).any(|known| *known == news)
        {
            outgoing.push(news);
        }
        self.filled.notify_one();
    }

    fn spread(&self, news: &Notification) {
        match news {
            Notification::Queued => self.queued.notify_one(),
            Notification::Cancel => self.cancels.notify_one(),
            Notification::Ended(execution) => {
                // Nobody waiting for it is fine.
                drop(self.ended.send(execution.clone()));
                self.watchers.wake(execution);
                self.watchers.forget(execution);
            }
            Notification::Changed(execution) => self.watchers.wake(execution),
            // Of this process its watchers know themselves.
            Notification::Follow(_) => {}
        }
    }

    fn take(&self) -> Vec<Notification> {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let count = outgoing.len().min(ITEMS_AT_ONCE);
        outgoing.drain(..count).collect()
    }

    fn receive(&self, payload: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(self.origin.as_str()) {
            return;
        }
        for news in words.filter_map(parse) {
            match &news {
                Notification::Follow(execution) => self.watchers.note_elsewhere(execution),
                other => self.spread(other),
            }
        }
    }

    /// Something may have been missed: everybody looks for themselves.
    fn missed(&self) {
        self.spread(&Notification::Queued);
        self.spread(&Notification::Cancel);
        self.watchers.wake_all();
    }
}

fn write(news: &Notification) -> String {
    match news {
        Notification::Queued => "queued".to_owned(),
        Notification::Cancel => "cancel".to_owned(),
        Notification::Ended(execution) => format!("ended:{execution}"),
        Notification::Changed(execution) => format!("changed:{execution}"),
        Notification::Follow(execution) => format!("follow:{execution}"),
    }
}

/// None for a word of a newer version.
fn parse(word: &str) -> Option<Notification> {
    let Some((what, id)) = word.split_once(':') else {
        return match word {
            "queued" => Some(Notification::Queued),
            "cancel" => Some(Notification::Cancel),
            _ => None,
        };
    };
    let id = ExecutionId::from_stored(id.to_owned());
    match what {
        "ended" => Some(Notification::Ended(id)),
        "changed" => Some(Notification::Changed(id)),
        "follow" => Some(Notification::Follow(id)),
        _ => None,
    }
}

impl Store {
    pub const FOLLOW_RENEWAL: Duration = subscriptions::REPEAT_AFTER;

    /// Waits until something may have been queued, in this process or another.
    pub async fn wait_for_queued(&self) {
        self.news.queued.notified().await;
    }

    /// Waits until something that runs may be to be cancelled.
    pub async fn wait_for_cancellation(&self) {
        self.news.cancels.notified().await;
    }

    /// Ids of executions that end, from now on.
    pub fn ended_executions(&self) -> broadcast::Receiver<ExecutionId> {
        self.news.ended.subscribe()
    }

    /// Follows an execution: the other processes tell of its changes too. They forget it after a
    /// while: see [`Store::renew_follow`].
    pub fn follow(&self, execution: &ExecutionId) -> Subscription {
        let watch = self.news.watchers.watch(execution);
        self.renew_follow(execution);
        watch
    }

    /// To be called every [`Store::FOLLOW_RENEWAL`], so that the others go on telling.
    pub fn renew_follow(&self, execution: &ExecutionId) {
        self.news.publish(Notification::Follow(execution.clone()));
    }

    /// Sends this process's news to the others. Never returns.
    pub async fn send_notifications(&self, log: Logger) {
        loop {
            let news = self.news.take();
            if news.is_empty() {
                self.news.filled.notified().await;
                continue;
            }
            let words: Vec<String> = news.iter().map(write).collect();
            let payload = format!("{} {}", self.news.origin, words.join(" "));
            if let Err(error) = self.notify(payload).await {
                debug!(log, "news was not sent; others find it by looking"; "error" => %error);
            }
        }
    }

    async fn notify(&self, payload: String) -> Result<(), StoreError> {
        self.run(move |conn| {
            statement("SELECT pg_notify('rgrid', $1)").bind::<Text, _>(payload).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Listens to the others on a connection and a thread of its own, until the store is dropped.
    pub fn listen_for_notifications(&self, log: Logger) -> std::io::Result<()> {
        let (connections, news) = (Arc::downgrade(&self.connections), Arc::downgrade(&self.news));
        let listener = move || {
            while let (Some(connections), Some(room)) = (connections.upgrade(), news.upgrade()) {
                let connected = connections.connect();
                drop((connections, room));
                match connected {
                    Ok(conn) => {
                        if let Err(error) = listen(conn, &news, &log) {
                            debug!(log, "the connection for news broke"; "error" => %error);
                        }
                    }
                    Err(error) => warn!(log, "not listening for news; looking instead"; "error" => %error),
                }
                thread::sleep(RECONNECT_EVERY);
            }
        };
        thread::Builder::new().name("news".to_owned()).spawn(listener).map(|_| ())
    }
}

/// Returns when nobody is there any more to hear it.
fn listen(mut conn: PgConnection, news: &Weak<Notifier>, log: &Logger) -> Result<(), StoreError> {
    conn.batch_execute("LISTEN rgrid")?;
    debug!(log, "listening for news");
    if let Some(room) = news.upgrade() {
        room.missed();
    }
    while let Some(room) = news.upgrade() {
        for notification in conn.notifications_iter() {
            room.receive(&notification?.payload);
        }
        drop(room);
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_comes_out_as_it_went_in() {
        for news in [
            Notification::Queued,
            Notification::Cancel,
            Notification::Ended(ExecutionId::generate()),
            Notification::Changed(ExecutionId::generate()),
            Notification::Follow(ExecutionId::generate()),
        ] {
            assert_eq!(parse(&write(&news)), Some(news));
        }
        assert_eq!(parse("weather:fine"), None);
    }

    #[test]
    fn a_process_does_not_listen_to_itself() {
        let (one, other) = (Notifier::new(), Notifier::new());
        let mut endings = one.ended.subscribe();
        let id = ExecutionId::generate();
        one.receive(&format!("{} ended:{id}", one.origin));
        assert!(endings.try_recv().is_err());
        one.receive(&format!("{} queued ended:{id}", other.origin));
        assert_eq!(endings.try_recv().ok(), Some(id));
    }

    #[test]
    fn of_changes_others_hear_only_when_they_follow() {
        let (one, other) = (Notifier::new(), Notifier::new());
        let id = ExecutionId::generate();
        one.publish(Notification::Changed(id.clone()));
        assert_eq!(one.take(), []);
        one.receive(&format!("{} follow:{id}", other.origin));
        one.publish(Notification::Changed(id.clone()));
        assert_eq!(one.take(), [Notification::Changed(id)]);
    }
}
