//! `GET /executions/{id}/receipt`: what an execution consists of, and the `docker run` line that does the same.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use rgrid_api::{OutputFile, Receipt, ReceiptLimits};

use crate::http::middleware::auth::Authenticated;
use crate::http::openapi::{CommonErrors, ExecutionErrors, IdParameter};
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use crate::settings::{Ecosystem, RuntimeEntry};
use crate::store::JobDefinition;

/// Get the receipt: what the execution consists of
///
/// Includes a `docker run` line that does the same.
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/receipt", tag = "executions",
    params(IdParameter),
    responses((status = 200, body = Receipt), CommonErrors, ExecutionErrors)
)]
pub(crate) async fn receipt(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    let made = api.store.job_definition(&id).await?;
    let mut files = api.store.submitted_files(&id).await?;
    if files.is_empty() {
        return Err(ApiError::NotFound(format!(
            "the input files of {id} have been removed (retention settings)"
        )));
    }
    let script = files.remove(0);
    let runtime = api.runtimes.get(&made.runtime);
    let limits = ReceiptLimits {
        timeout_seconds: made.timeout_ms as f64 / 1000.0,
        memory_bytes: made.memory_bytes.unsigned_abs(),
        cpus: f64::from(made.cpus_milli) / 1000.0,
        pids: api.settings.sandbox.pids,
        network: made.network,
        output_limit: api.settings.execution.output_limit.0,
        max_attempts: made.max_attempts.unsigned_abs(),
    };
    let receipt = Receipt {
        id: id.to_string(),
        docker_run: docker_run(&made, &script, runtime, &limits),
        runtime: made.runtime.clone(),
        image: runtime.map(|entry| entry.image.clone()),
        image_digest: made.image.clone(),
        script,
        files,
        args: made.args(),
        env_keys: made.env_keys,
        requirements: made.requirements,
        limits,
    };
    Ok(HttpResponse::Ok().json(receipt))
}

/// Expresses the sandbox's profile as Docker options. The current directory becomes the workspace.
fn docker_run(
    made: &JobDefinition,
    script: &OutputFile,
    runtime: Option<&RuntimeEntry>,
    limits: &ReceiptLimits,
) -> String {
    let image = made.image.clone().or_else(|| runtime.map(|entry| entry.image.clone()));
    let command = runtime.map(|entry| entry.command.clone()).unwrap_or_default();
    let half = limits.memory_bytes / 2;
    let mut line: Vec<String> = ["timeout", &format!("{}s", limits.timeout_seconds), "docker", "run", "--rm"]
        .map(str::to_owned)
        .into();
    let mut add = |more: &[&str]| line.extend(more.iter().map(|word| quoted(word)));
    add(&["--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"]);
    add(&[
        "--tmpfs",
        &format!("/tmp:rw,exec,nosuid,nodev,size={half}"),
        "--pids-limit",
        &limits.pids.to_string(),
    ]);
    add(&["--memory", &limits.memory_bytes.to_string(), "--memory-swap", &limits.memory_bytes.to_string()]);
    add(&["--cpus", &limits.cpus.to_string(), "--network", if limits.network { "bridge" } else { "none" }]);
    add(&["--env", "LANG=C.UTF-8", "--env", "HOME=/tmp", "--env", "PYTHONUNBUFFERED=1"]);
    for name in &made.env_keys {
        add(&["--env", name]);
    }
    line.push("--volume \"$PWD\":/workspace --workdir /workspace".to_owned());
    line.push(quoted(&image.unwrap_or_else(|| "IMAGE".to_owned())));
    let python = runtime.is_some_and(|entry| entry.ecosystem() == Ecosystem::Python);
    let mut run: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    run.extend(std::iter::once(&script.name).chain(&made.args()).map(|word| quoted(word)));
    if let Some(requirements) = made.requirements.as_deref().filter(|_| python) {
        // The requirements may come from PEP 723 metadata, so there need not be a file.
        let install = format!(
            "printf %s {} >/tmp/requirements.txt && python3 -m pip install --quiet --target /tmp/packages -r /tmp/requirements.txt",
            quoted(requirements)
        );
        let script = format!("{install} && PYTHONPATH=/tmp/packages exec {}", run.join(" "));
        line.extend(["sh".to_owned(), "-c".to_owned(), quoted(&script)]);
    } else {
        line.extend(run);
    }
    line.join(" ")
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_makes_any_text_one_word() {
        assert_eq!(quoted("--cpus"), "--cpus");
        assert_eq!(quoted("$(rm -rf /)"), "'$(rm -rf /)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
