//! What `rgridd doctor` looks at besides whether database and Docker answer: each with what to fix.

use std::fs;
use std::net::TcpListener;

use rgrid_api::units::{format_duration, format_size};

use crate::sandbox::Docker;
use crate::settings::Settings;
use crate::store::Store;

/// The oldest Postgres whose statements ours are.
const POSTGRES_MIN: i32 = 130_000;
/// Connections of a daemon besides its pool: the listener's, and room for an operator's psql.
const CONNECTIONS_MORE: i64 = 3;

pub(crate) type Found = Result<String, String>;

pub(crate) fn data_folder(settings: &Settings) -> Found {
    let folder = settings.data_dir.display();
    let is_new = !settings.data_dir.exists();
    fs::create_dir_all(&settings.data_dir).map_err(|error| {
        format!("{folder} can't be made ({error}): name another with data_dir, --data-dir")
    })?;
    tempfile::tempfile_in(&settings.data_dir).map_err(|error| {
        format!("{folder} can't be written to ({error}): give it to this user, or name another with data_dir")
    })?;
    if is_new {
        // Who only looks leaves nothing.
        let _ = fs::remove_dir(&settings.data_dir);
        return Ok(format!("{folder}, which the first start makes"));
    }
    Ok(folder.to_string())
}

pub(crate) fn address(settings: &Settings) -> Found {
    let listen = settings.http.listen.0;
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(format!("{listen} is in use; if that is no rgridd, choose another with http.listen"))
        }
        Err(error) => {
            Err(format!("{listen} can't be listened at ({error}): choose another with http.listen"))
        }
    }
}

pub(crate) fn certificates(settings: &Settings) -> Option<Found> {
    let bundle = &settings.install.ca_bundle;
    if bundle.as_os_str().is_empty() {
        return None;
    }
    let shown = bundle.display();
    Some(match fs::read_to_string(bundle) {
        Ok(text) if text.contains("BEGIN CERTIFICATE") => Ok(shown.to_string()),
        Ok(_) => Err(format!("install.ca_bundle: {shown} holds no certificate in PEM")),
        Err(error) => Err(format!("install.ca_bundle: {shown} can't be read ({error})")),
    })
}

pub(crate) async fn database(store: &Store, settings: &Settings) -> Found {
    let facts = store.database_facts().await.map_err(|error| error.to_string())?;
    let wanted = settings.database.connections as i64 + CONNECTIONS_MORE;
    if facts.version < POSTGRES_MIN {
        return Err(format!("Postgres {} is too old: 13 or newer is needed", facts.version_text));
    }
    if facts.read_only {
        return Err(
            "this Postgres is a stand-by and takes no writes: name the primary in database.url".to_owned()
        );
    }
    if facts.encoding != "UTF8" {
        return Err(format!("the database's encoding is {}: make one with ENCODING 'UTF8'", facts.encoding));
    }
    let free = i64::from(facts.max_connections) - facts.in_use;
    if free < wanted {
        return Err(format!(
            "{free} of {} connections are free, and {wanted} are wanted: raise max_connections, or lower database.connections",
            facts.max_connections
        ));
    }
    let rights = if facts.superuser { "; its role is a superuser, which is more than it needs" } else { "" };
    Ok(format!("Postgres {}, {free} connections free{rights}", facts.version_text))
}

pub(crate) async fn room(store: &Store, settings: &Settings) -> Found {
    let stored = store.stored_bytes().await.map_err(|error| error.to_string())?;
    let budget = settings.retention.disk_budget.0;
    match budget {
        0 => Ok(format!("{} stored, no limit (retention.disk_budget)", format_size(stored))),
        most if stored >= most => Err(format!(
            "{} stored of {}: the oldest outputs go; raise retention.disk_budget, or keep less (retention.outputs)",
            format_size(stored),
            format_size(most)
        )),
        most => Ok(format!("{} stored of {}", format_size(stored), format_size(most))),
    }
}

pub(crate) async fn engine(docker: &Docker) -> Found {
    let examined = docker.diagnose().await.map_err(|error| error.to_string())?;
    if examined.problems.is_empty() { Ok(examined.summary) } else { Err(examined.problems.join("; ")) }
}

/// The one check that shows that all of it works together.
pub(crate) async fn sandbox(docker: &Docker, settings: &Settings) -> Found {
    let table = settings.runtimes();
    let Some(runtime) = table.get(table.default_name()) else {
        return Err("the runtime table has no default: mark one with default = true".to_owned());
    };
    let image = docker.image(&runtime.image, crate::sandbox::PullPolicy::Never).await;
    let image = image.map_err(|error| error.to_string())?;
    let took =
        docker.test_sandbox(&image, settings.sandbox.memory.0).await.map_err(|error| error.to_string())?;
    Ok(format!("starts in {}", format_duration(took)))
}
