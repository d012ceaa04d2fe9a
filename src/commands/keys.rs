//! `rgridd keys create|list|revoke`.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use slog::{Discard, Logger, o};

use crate::daemon::database::Database;
use crate::execution::{Key, KeyId, Scope};
use crate::settings::Settings;
use crate::store::{KeyRow, NewKey, StoreError};

const NAME_MAX: usize = 100;

#[derive(Subcommand)]
pub enum Keys {
    /// Create a key and print it to stdout; it cannot be shown again
    Create {
        /// The owner or purpose of the key
        #[arg(long)]
        name: String,
        /// What the key allows: read its own executions, run scripts, admin everything
        #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "read,run")]
        scope: Vec<Scope>,
        /// How long the key is valid, such as 90d [default: forever]
        #[arg(long, value_name = "DURATION", value_parser = rgrid_api::units::parse_duration)]
        expires: Option<Duration>,
    },
    /// List all keys with their scopes, state and last use
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key immediately
    Revoke {
        /// The ID of the key, as shown by `keys list`
        #[arg(value_name = "ID")]
        key: String,
    },
}

pub fn run(settings: &Settings, command: &Keys) -> anyhow::Result<()> {
    match command {
        Keys::Create { name, scope, expires } => {
            let scopes = scope.iter().copied().collect();
            create(settings, NewKey { name: name.clone(), scopes, lifetime: *expires })
        }
        Keys::List { json } => list(settings, *json),
        Keys::Revoke { key } => revoke(settings, key),
    }
}

fn create(settings: &Settings, new: NewKey) -> anyhow::Result<()> {
    if new.name.chars().any(char::is_control) || !(1..=NAME_MAX).contains(&new.name.chars().count()) {
        bail!("the name of a key must have 1 to {NAME_MAX} characters and no control characters");
    }
    let (mut id, mut secret) = ([0; 6], [0; 32]);
    getrandom::fill(&mut id)
        .and_then(|()| getrandom::fill(&mut secret))
        .context("the operating system provides no random numbers")?;
    let key = Key::from_random(id, secret);
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let scopes = scopes.join(", ");
    let is_first_use = Database::is_to_be_made(settings);
    with_database(settings, async |database| Ok(database.store.create_key(&key, new).await?))?;
    println!("{}", key.reveal());
    eprintln!("This is key {} ({scopes}). Store it now: it cannot be shown again.", key.id());
    if is_first_use {
        eprintln!(
            "A new database was created in {}. Only a daemon with this data directory accepts the key.",
            settings.data_dir.display()
        );
    }
    eprintln!("  hint: save it with `rgrid init`, or set RGRID_API_KEY");
    Ok(())
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<()> {
    require_database(settings)?;
    let keys = with_database(settings, async |database| Ok(database.store.keys().await?))?;
    if json {
        let items: Vec<_> = keys.iter().map(as_json).collect();
        println!("{}", serde_json::json!({ "items": items }));
    } else if keys.is_empty() {
        eprintln!("No keys.\n  hint: create one with `rgridd keys create --name NAME`");
    } else {
        println!("{:<13} {:<16} {:<10} {:<20} NAME", "ID", "SCOPES", "STATE", "LAST USED");
        for key in &keys {
            let used = key.last_used_at.map_or_else(|| "never".to_owned(), minutes);
            let scopes = key.scopes.join(",");
            println!("{:<13} {scopes:<16} {:<10} {used:<20} {}", key.id, state(key), key.name);
        }
    }
    Ok(())
}

/// Takes effect with the next request, in all processes.
fn revoke(settings: &Settings, key: &str) -> anyhow::Result<()> {
    let id = KeyId::parse(key).ok_or_else(|| {
        // Shortened, because a mistyped key still contains a secret.
        let shortened: String = key.chars().take(16).collect();
        anyhow!("{shortened:?} is not the ID of a key; list the IDs with `rgridd keys list`")
    })?;
    require_database(settings)?;
    let revoked = with_database(settings, async |database| {
        database.store.revoke_key(&id).await.map_err(|error| match error {
            StoreError::NotFound => anyhow!("key {id} does not exist; list the keys with `rgridd keys list`"),
            other => other.into(),
        })
    })?;
    println!("key {id} was revoked at {}", minutes(revoked));
    Ok(())
}

/// Without a database there are no keys, so the data directory is probably the wrong one.
fn require_database(settings: &Settings) -> anyhow::Result<()> {
    if Database::is_to_be_made(settings) {
        bail!(
            "there is no database in {}; set RGRID_DATA_DIR to the daemon's data directory, or DATABASE_URL to its database",
            settings.data_dir.display()
        );
    }
    Ok(())
}

fn with_database<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    Database::beside(settings, async |database| {
        database.prepare(&Logger::root(Discard, o!())).await?;
        work(database).await
    })
}

fn state(key: &KeyRow) -> &'static str {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= Utc::now() => "expired",
        _ => "valid",
    }
}

fn as_json(key: &KeyRow) -> serde_json::Value {
    let time = |time: Option<DateTime<Utc>>| time.map(|t| t.to_rfc3339_opts(SecondsFormat::Millis, true));
    serde_json::json!({
        "id": key.id, "name": key.name, "scopes": key.scopes, "state": state(key),
        "created_at": time(Some(key.created_at)), "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at), "last_used_at": time(key.last_used_at),
    })
}

fn minutes(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}
