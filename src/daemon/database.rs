//! The database: a configured one, or the embedded Postgres.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slog::{Discard, Logger, error, info, o, warn};

use crate::daemon::data_dir::DataDir;
use crate::settings::Settings;
use crate::store::{Store, StoreError, embedded_postgres::EmbeddedPostgres};

/// How long a start waits for a database that starts at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Database {
    pub store: Store,
    embedded: Option<Arc<EmbeddedPostgres>>,
}

impl Database {
    /// Whether opening it would create an embedded Postgres.
    pub fn is_to_be_made(settings: &Settings) -> bool {
        settings.embedded_database() && !EmbeddedPostgres::exists(&settings.data_dir)
    }

    /// Blocks while the embedded Postgres starts. Does not check the schema.
    pub fn open(settings: &Settings, log: &Logger) -> anyhow::Result<Self> {
        if !settings.embedded_database() {
            return Ok(Self { store: store(settings, &settings.database.url), embedded: None });
        }
        let started = std::time::Instant::now();
        let postgres = EmbeddedPostgres::start(&settings.data_dir, &settings.database.bin_dir)?;
        info!(log, "the embedded Postgres is running"; "took_ms" => started.elapsed().as_millis() as u64);
        Ok(Self { store: store(settings, &postgres.url()), embedded: Some(Arc::new(postgres)) })
    }

    /// Runs a command on the database of a running daemon, or opens the database for this command alone.
    pub fn beside<T>(
        settings: &Settings,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let log = Logger::root(Discard, o!());
        let (database, _data_dir) = Self::open_beside(settings, &log)?;
        database.run_and_close(work, &log)
    }

    /// Fails if a running daemon uses the embedded Postgres.
    pub fn alone<T>(
        settings: &Settings,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _data_dir =
            settings.embedded_database().then(|| DataDir::open(&settings.data_dir)).transpose()?;
        let log = Logger::root(Discard, o!());
        Self::open(settings, &log)?.run_and_close(work, &log)
    }

    fn run_and_close<T>(
        self,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
        log: &Logger,
    ) -> anyhow::Result<T> {
        let result = actix_rt::System::new().block_on(work(&self));
        self.close(log);
        result
    }

    /// For a command that may run beside a daemon that owns the embedded Postgres.
    pub fn open_beside(settings: &Settings, log: &Logger) -> anyhow::Result<(Self, Option<DataDir>)> {
        if !settings.embedded_database() {
            return Ok((Self::open(settings, log)?, None));
        }
        match DataDir::open(&settings.data_dir) {
            Ok(data_dir) => Ok((Self::open(settings, log)?, Some(data_dir))),
            Err(in_use) => {
                let url = EmbeddedPostgres::url_of_running(&settings.data_dir).ok_or(in_use)?;
                Ok((Self { store: store(settings, &url), embedded: None }, None))
            }
        }
    }

    /// Waits until the database responds, then applies the migrations.
    pub async fn prepare(&self, log: &Logger) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            match self.store.migrate().await {
                Ok(applied) => {
                    for migration in applied {
                        info!(log, "applied a migration"; "migration" => migration);
                    }
                    return Ok(());
                }
                Err(StoreError::Conflict(reason)) => bail!(reason),
                Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                    warn!(log, "waiting for the database"; "error" => %error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    return Err(error).context("the database cannot be used (database.url, DATABASE_URL)");
                }
            }
        }
    }

    /// Restarts the embedded Postgres when it dies, until the runtime ends.
    pub fn watch(&self, log: &Logger) {
        if let Some(postgres) = &self.embedded {
            actix_rt::spawn(keep_running(Arc::clone(postgres), log.clone()));
        }
    }

    /// Blocks while the embedded Postgres stops.
    pub fn close(self, log: &Logger) {
        if let Some(postgres) = self.embedded
            && let Err(error) = postgres.stop()
        {
            warn!(log, "the embedded Postgres did not stop"; "error" => %error);
        }
    }
}

fn store(settings: &Settings, url: &str) -> Store {
    Store::new(url, settings.database.connections).with_max_claims(settings.execution.max_claims)
}

/// Never returns. It cannot panic itself, because the work runs in blocking tasks.
async fn keep_running(postgres: Arc<EmbeddedPostgres>, log: Logger) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let (watched, started) = (Arc::clone(&postgres), std::time::Instant::now());
        let restarted = tokio::task::spawn_blocking(move || watched.restart_if_dead()).await;
        match restarted {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                let took = started.elapsed().as_millis() as u64;
                warn!(log, "restarted the embedded Postgres after it died"; "took_ms" => took);
            }
            Ok(Err(error)) => error!(log, "starting the embedded Postgres failed"; "error" => %error),
            Err(stopped) => error!(log, "checking the embedded Postgres failed"; "error" => %stopped),
        }
    }
}
