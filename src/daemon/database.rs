//! The database of this daemon: the given one, or a private Postgres.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slog::{Discard, Logger, error, info, o, warn};

use crate::daemon::data_dir::DataDir;
use crate::settings::Settings;
use crate::store::embedded_postgres::EmbeddedPostgres;
use crate::store::{Store, StoreError};

/// How long a start waits for a database that does not answer yet: one that starts at the same time.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Database {
    pub store: Store,
    embedded: Option<Arc<EmbeddedPostgres>>,
}

impl Database {
    /// It is the private Postgres of a data folder, in which none was made yet: opening it would make it.
    pub fn is_to_be_made(settings: &Settings) -> bool {
        settings.embedded_database() && !EmbeddedPostgres::exists(&settings.data_dir)
    }

    /// Blocking for the private Postgres; does not look at the schema.
    pub fn open(settings: &Settings, log: &Logger) -> anyhow::Result<Self> {
        if !settings.embedded_database() {
            let store = Store::new(&settings.database.url, settings.database.connections);
            return Ok(Self { store, embedded: None });
        }
        let begun = std::time::Instant::now();
        let postgres = EmbeddedPostgres::start(&settings.data_dir, &settings.database.bin_dir)?;
        info!(log, "private Postgres runs"; "took_ms" => begun.elapsed().as_millis() as u64);
        let store = Store::new(&postgres.url(), settings.database.connections);
        Ok(Self { store, embedded: Some(Arc::new(postgres)) })
    }

    /// A command's work, beside a daemon that may be running, or else on a database that is opened for this alone.
    pub fn beside<T>(
        settings: &Settings,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let log = Logger::root(Discard, o!());
        let (database, _home) = Self::open_beside(settings, &log)?;
        database.lend(work, &log)
    }

    /// The same, but not under the feet of a daemon whose private Postgres it is.
    pub fn alone<T>(
        settings: &Settings,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _home = settings.embedded_database().then(|| DataDir::open(&settings.data_dir)).transpose()?;
        let log = Logger::root(Discard, o!());
        Self::open(settings, &log)?.lend(work, &log)
    }

    fn lend<T>(self, work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>, log: &Logger) -> anyhow::Result<T> {
        let result = actix_rt::System::new().block_on(work(&self));
        self.close(log);
        result
    }

    /// For a command that works beside a daemon that may be running, and then owns the private Postgres.
    pub fn open_beside(settings: &Settings, log: &Logger) -> anyhow::Result<(Self, Option<DataDir>)> {
        if !settings.embedded_database() {
            return Ok((Self::open(settings, log)?, None));
        }
        match DataDir::open(&settings.data_dir) {
            Ok(home) => Ok((Self::open(settings, log)?, Some(home))),
            Err(in_use) => {
                let url = EmbeddedPostgres::url_of_running(&settings.data_dir).ok_or(in_use)?;
                Ok((Self { store: Store::new(&url, settings.database.connections), embedded: None }, None))
            }
        }
    }

    /// Waits until it answers, then brings the schema up to date.
    pub async fn prepare(&self, log: &Logger) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.store.migrate().await {
                Ok(applied) => {
                    for step in applied {
                        info!(log, "schema step applied"; "step" => step);
                    }
                    return Ok(());
                }
                Err(StoreError::Conflict(words)) => bail!(words),
                Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                    warn!(log, "the database does not answer yet"; "error" => %error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    return Err(error).context("the database can't be used (database.url, DATABASE_URL)");
                }
            }
        }
    }

    /// Starts a private Postgres again when it dies. Needs the runtime; ends with it.
    pub fn watch(&self, log: &Logger) {
        if let Some(postgres) = &self.embedded {
            actix_rt::spawn(revive(Arc::clone(postgres), log.clone()));
        }
    }

    /// Blocking. The given one is not ours to stop.
    pub fn close(self, log: &Logger) {
        if let Some(postgres) = self.embedded
            && let Err(error) = postgres.stop()
        {
            warn!(log, "the private Postgres did not stop"; "error" => %error);
        }
    }
}

/// Never returns, and cannot panic: it only starts blocking work and hears how that went.
async fn revive(postgres: Arc<EmbeddedPostgres>, log: Logger) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let (asked, begun) = (Arc::clone(&postgres), std::time::Instant::now());
        let revived = tokio::task::spawn_blocking(move || asked.restart_if_dead()).await;
        match revived {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                let took = begun.elapsed().as_millis() as u64;
                warn!(log, "the private Postgres had died and runs again"; "took_ms" => took);
            }
            Ok(Err(error)) => error!(log, "the private Postgres can't be started"; "error" => %error),
            Err(stopped) => error!(log, "looking after the private Postgres failed"; "error" => %stopped),
        }
    }
}
