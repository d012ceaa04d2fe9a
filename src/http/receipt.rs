//! `GET /executions/{id}/receipt`: what an execution consists of, and the `docker run` line that does the same.

use actix_web::HttpResponse;
use rgrid_api::{OutputFile, Receipt, ReceiptLimits};

use crate::execution::script_path;
use crate::http::{ApiError, CommonErrors, ExecutionErrors, ExecutionRequest, HttpResult, IdParameter};
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
pub(crate) async fn receipt(ExecutionRequest { api, id, .. }: ExecutionRequest) -> HttpResult {
    let job = api.store.job_definition(&id).await?;
    let mut files = api.store.submitted_files(&id).await?;
    if files.is_empty() {
        return Err(ApiError::NotFound(format!(
            "the input files of {id} have been removed (retention settings)"
        )));
    }
    let script = files.remove(0);
    let runtime = api.runtimes.get(&job.runtime);
    let limits = ReceiptLimits {
        timeout_seconds: job.timeout_ms as f64 / 1000.0,
        memory_bytes: job.memory_bytes.unsigned_abs(),
        cpus: f64::from(job.cpus_milli) / 1000.0,
        pids: api.settings.sandbox.pids,
        network: job.network,
        output_limit: api.settings.execution.output_limit.0,
        max_attempts: job.max_attempts.unsigned_abs(),
    };
    let receipt = Receipt {
        id: id.to_string(),
        docker_run: docker_run(&job, &script, runtime, &limits),
        runtime: job.runtime.clone(),
        image: runtime.map(|entry| entry.image.clone()),
        image_digest: job.image.clone(),
        script,
        files,
        args: job.args(),
        env_keys: job.env_keys(),
        requirements: job.requirements,
        limits,
    };
    Ok(HttpResponse::Ok().json(receipt))
}

/// Expresses the sandbox's profile as Docker options. The current directory becomes the workspace.
fn docker_run(
    job: &JobDefinition,
    script: &OutputFile,
    runtime: Option<&RuntimeEntry>,
    limits: &ReceiptLimits,
) -> String {
    let image = job.image.clone().or_else(|| runtime.map(|entry| entry.image.clone()));
    let memory = limits.memory_bytes;
    let mut line = format!(
        "timeout {}s docker run --rm --user 1000:1000 --cap-drop ALL --security-opt no-new-privileges --read-only \
         --tmpfs /tmp:rw,exec,nosuid,nodev,size={} --pids-limit {} --memory {memory} --memory-swap {memory} \
         --cpus {} --network {} --env LANG=C.UTF-8 --env HOME=/tmp --env PYTHONUNBUFFERED=1 ",
        limits.timeout_seconds,
        memory / 2,
        limits.pids,
        limits.cpus,
        if limits.network { "bridge" } else { "none" }
    );
    for name in &job.env_keys() {
        line.push_str(&format!("--env {} ", quoted(name)));
    }
    line.push_str("--volume \"$PWD\":/workspace --workdir /workspace ");
    line.push_str(&quoted(image.as_deref().unwrap_or("IMAGE")));
    let command = runtime.map(|entry| entry.command.clone()).unwrap_or_default();
    let words = command.into_iter().chain([script_path(&script.name)]).chain(job.args());
    let run = words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ");
    let is_python = runtime.is_some_and(|entry| entry.ecosystem() == Ecosystem::Python);
    match job.requirements.as_deref().filter(|_| is_python) {
        None => format!("{line} {run}"),
        // The requirements may come from PEP 723 metadata, so there need not be a file.
        Some(requirements) => {
            let script = format!(
                "printf %s {} >/tmp/requirements.txt && python3 -m pip install --quiet --target /tmp/packages \
                 -r /tmp/requirements.txt && PYTHONPATH=/tmp/packages exec {run}",
                quoted(requirements)
            );
            format!("{line} sh -c {}", quoted(&script))
        }
    }
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
