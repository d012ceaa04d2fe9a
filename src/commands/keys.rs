//! `rgridd keys create|list|revoke`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use slog::{Discard, Logger, o};

use crate::daemon::database::Database;
use crate::execution::{Key, KeyId, Scope};
use crate::settings::Settings;
use crate::store::{KeyRow, NewKey, StoreError};

const NAME_MAX: usize = 100;

/// Shows the new key on stdout, this one time.
pub fn create(
    settings: Settings,
    name: String,
    scopes: BTreeSet<Scope>,
    lifetime: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let plain = !name.chars().any(char::is_control) && (1..=NAME_MAX).contains(&name.chars().count());
    if !plain {
        bail!("a key's name has 1 to {NAME_MAX} characters, none of them control characters");
    }
    let key = new_key()?;
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let words = words.join(", ");
    let new = NewKey { name, scopes, lifetime };
    let first = Database::is_to_be_made(&settings);
    with_database(&settings, async |database| Ok(database.store.create_key(&key, new).await?))?;
    println!("{}", key.reveal());
    eprintln!("This is key {} ({words}). It is shown this once and kept nowhere.", key.id());
    if first {
        let folder = settings.data_dir.display();
        eprintln!("Its database is new, in {folder}: only a daemon with that data folder knows this key.");
    }
    eprintln!("  hint: `rgrid init` asks for it; or set RGRID_API_KEY");
    Ok(ExitCode::SUCCESS)
}

pub fn list(settings: Settings, json: bool) -> anyhow::Result<ExitCode> {
    refuse_without_database(&settings)?;
    let keys = with_database(&settings, async |database| Ok(database.store.keys().await?))?;
    if json {
        let items: Vec<_> = keys.iter().map(as_json).collect();
        println!("{}", serde_json::json!({ "items": items }));
        return Ok(ExitCode::SUCCESS);
    }
    if keys.is_empty() {
        eprintln!("there is no key yet; `rgridd keys create --name NAME` makes one");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<13} {:<16} {:<10} {:<20} NAME", "ID", "SCOPES", "STATE", "LAST USED");
    for key in &keys {
        let used = key.last_used_at.map_or_else(|| "never".to_owned(), minutes);
        println!("{:<13} {:<16} {:<10} {:<20} {}", key.id, key.scopes.join(","), state(key), used, key.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Effective for the next request, in all processes.
pub fn revoke(settings: Settings, key: &str) -> anyhow::Result<ExitCode> {
    let wrong = || anyhow!("{:?} is no id of a key; `rgridd keys list` shows them", shortened(key));
    let id = KeyId::parse(key).ok_or_else(wrong)?;
    refuse_without_database(&settings)?;
    let revoked = with_database(&settings, async |database| {
        database.store.revoke_key(&id).await.map_err(|error| match error {
            StoreError::NotFound => anyhow!("there is no key {id}; `rgridd keys list` shows those there are"),
            other => other.into(),
        })
    })?;
    println!("key {id} is revoked since {}", minutes(revoked));
    Ok(ExitCode::SUCCESS)
}

fn new_key() -> anyhow::Result<Key> {
    let (mut id, mut secret) = ([0; 6], [0; 32]);
    let random = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret));
    random.context("the operating system gives no random numbers")?;
    Ok(Key::from_random(id, secret))
}

/// Who asks for the keys of a daemon named the wrong folder.
fn refuse_without_database(settings: &Settings) -> anyhow::Result<()> {
    if Database::is_to_be_made(settings) {
        let folder = settings.data_dir.display();
        bail!(
            "there is no database in {folder}; name the daemon's data folder (RGRID_DATA_DIR) or its database (DATABASE_URL)"
        );
    }
    Ok(())
}

/// With the schema that keys need.
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

/// A whole key with a mistake in it is still a secret.
fn shortened(text: &str) -> String {
    text.chars().take(16).collect()
}
