//! `GET /openapi.json`: the document of this API. Paths and types are written beside their code; here they are
//! put together, with the limits that this server has.

use actix_web::HttpResponse;
use actix_web::web::Data;
use rgrid_api::{Problem, Status, Stream, names};
use serde_json::{Value, json};
use utoipa::{IntoResponses, OpenApi};

use crate::http::list;
use crate::http::meta;
use crate::http::server::Api;
use crate::http::{events, executions, metrics, outputs, receipt};
use crate::settings::{AuthMode, RuntimeTable, Settings};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RGrid",
        description = "Runs scripts once each in fresh, locked-down containers. Unknown fields are refused; \
                       times are RFC 3339 in UTC; errors are RFC 9457 problems.",
        license(name = "MIT", identifier = "MIT")
    ),
    paths(
        executions::submit,
        list::list,
        executions::get,
        executions::logs,
        events::events,
        receipt::receipt,
        executions::cancel,
        executions::retry,
        outputs::list,
        outputs::download,
        meta::runtimes,
        meta::workers,
        meta::healthz,
        meta::readyz,
        metrics::metrics,
        openapi
    ),
    components(schemas(Status, Stream))
)]
struct Document;

/// What any call may be answered with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) enum Refused {
    /// There is no key, or no good one.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The key lacks the scope.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// Too many requests, or too much in the queue; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooManyRequests(Problem),
    /// The request's line and headers are too large.
    #[response(status = 431, content_type = "application/problem+json")]
    HeadTooLarge(Problem),
    /// The database is away; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What a call about one execution may be answered with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) enum NoSuch {
    /// There is none of that id for this key.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The id is the beginning of several, or the execution's state does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
}

/// A query or a body of the wrong kind.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) enum Wrong {
    /// It can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// It can be read, but these fields are wrong.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(Problem),
}

/// A body that is not taken.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) enum NotTaken {
    /// It did not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// It is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// It is no JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Problem),
    /// What waits and runs fills all that the server may store.
    #[response(status = 507, content_type = "application/problem+json")]
    InsufficientStorage(Problem),
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, body = Value)))]
pub(crate) async fn openapi(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(api.document.to_string())
}

/// As text, made once.
pub(crate) fn document(settings: &Settings, runtimes: &RuntimeTable) -> String {
    // These types always serialise.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for (place, more) in limits(settings, runtimes) {
        add(&mut document, place, more);
    }
    if settings.auth.mode == AuthMode::Keys {
        ask_for_keys(&mut document);
    }
    document.to_string()
}

/// Adds what is not there; a place that does not exist is a mistake that a test finds.
fn add(document: &mut Value, place: &str, more: Value) -> bool {
    let (Some(Value::Object(target)), Value::Object(more)) = (document.pointer_mut(place), more) else {
        return false;
    };
    target.extend(more);
    true
}

/// Health and this document stay open to all.
fn ask_for_keys(document: &mut Value) {
    let scheme = json!({ "key": { "type": "http", "scheme": "bearer", "bearerFormat": "rg_<id>_<secret>" } });
    add(document, "/components", json!({ "securitySchemes": scheme }));
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, operations) in paths.filter(|(path, _)| path.starts_with("/api/") || *path == "/metrics") {
        for operation in operations.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            add(operation, "", json!({ "security": [{ "key": [] }] }));
        }
    }
}

const FILE_NAME: &str = r"^(?!\.{1,2}$)[^/\u0000-\u001f\u007f-\u009f]+$";
const TEXT: &str = r"^[^\u0000]*$";

/// What the types alone do not say.
fn limits(settings: &Settings, runtimes: &RuntimeTable) -> Vec<(&'static str, Value)> {
    let (submission, sandbox) = (&settings.submission, &settings.sandbox);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let variables = json!({ "maxProperties": submission.max_env,
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": "string", "pattern": TEXT } });
    let runtimes: Vec<&str> = runtimes
        .iter()
        .flat_map(|(name, entry)| std::iter::once(name).chain(entry.aliases.iter().map(String::as_str)))
        .collect();
    let seconds = settings.execution.max_timeout.0.as_secs_f64();
    let attempts = submission.max_attempts.max(settings.execution.max_attempts);
    vec![
        ("/components/schemas/Script/properties/name", json!({ "pattern": FILE_NAME, "maxLength": 63 })),
        (
            "/components/schemas/Script/properties/content",
            json!({ "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$", "maxLength": submission.max_script.0 }),
        ),
        ("/components/schemas/InputFile/properties/name", json!({ "pattern": FILE_NAME, "maxLength": 63 })),
        (
            "/components/schemas/InputFile/properties/content_base64",
            json!({ "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$" }),
        ),
        (
            "/components/schemas/Submission/properties/args",
            json!({ "maxItems": submission.max_args, "items": { "type": "string", "pattern": TEXT } }),
        ),
        ("/components/schemas/Submission/properties/env", variables.clone()),
        ("/components/schemas/Submission/properties/secrets", variables.clone()),
        ("/components/schemas/Retry/properties/secrets", variables),
        ("/components/schemas/Submission/properties/files", json!({ "maxItems": submission.max_files })),
        ("/components/schemas/Submission/properties/runtime", json!({ "enum": nullable(runtimes) })),
        (
            "/components/schemas/Submission/properties/requirements",
            json!({ "pattern": TEXT, "maxLength": submission.max_requirements.0 }),
        ),
        (
            "/components/schemas/Submission/properties/timeout_seconds",
            json!({ "exclusiveMinimum": 0, "maximum": seconds }),
        ),
        (
            "/components/schemas/Submission/properties/memory_mb",
            json!({ "minimum": 16, "maximum": mib(sandbox.max_memory.0) }),
        ),
        (
            "/components/schemas/Submission/properties/cpus",
            json!({ "minimum": 0.05, "maximum": sandbox.max_cpus }),
        ),
        (
            "/components/schemas/Submission/properties/max_attempts",
            json!({ "minimum": 1, "maximum": attempts }),
        ),
        ("/components/schemas/Submission/properties/labels", labels(submission.max_labels)),
        ("/components/schemas/Submission/properties/on", labels(names::WORKER_LABELS_MAX)),
        (
            "/components/schemas/Submission/properties/priority",
            json!({ "minimum": names::PRIORITIES.start(), "maximum": names::PRIORITIES.end() }),
        ),
    ]
}

fn labels(most: usize) -> Value {
    json!({ "maxProperties": most,
        "propertyNames": { "pattern": "^[A-Za-z0-9._/-]{1,63}$" },
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$" } })
}

fn nullable(names: Vec<&str>) -> Value {
    names.into_iter().map(Value::from).chain([Value::Null]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Value {
        let settings = crate::settings::load(None, [("auth.mode", "keys".into())]).unwrap();
        serde_json::from_str(&document(&settings, &settings.runtimes())).unwrap()
    }

    #[test]
    fn every_limit_has_its_place() {
        let settings = crate::settings::load(None, []).unwrap();
        let mut document = made();
        for (place, more) in limits(&settings, &settings.runtimes()) {
            assert!(add(&mut document, place, more), "{place}");
        }
    }

    #[test]
    fn every_route_is_in_the_document() {
        let documented: Vec<String> = made()["paths"].as_object().unwrap().keys().cloned().collect();
        let source = include_str!("server.rs");
        let routes = source.split_once("fn routes").unwrap().1;
        let mut expected: Vec<String> = routes
            .split('"')
            .filter(|text| text.starts_with('/') && *text != "/api/v1")
            .map(|route| route.replace(":.*}", "}"))
            .map(|route| {
                let of_server =
                    ["/healthz", "/readyz", "/openapi.json", "/metrics"].contains(&route.as_str());
                if of_server { route } else { format!("/api/v1{route}") }
            })
            .collect();
        expected.sort();
        assert_eq!(documented, expected);
    }

    #[test]
    fn only_health_and_the_document_need_no_key() {
        let document = made();
        let open = document["paths"].as_object().unwrap().iter().filter(|(_, operations)| {
            operations.as_object().unwrap().values().any(|operation| operation["security"].is_null())
        });
        assert_eq!(
            open.map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["/healthz", "/openapi.json", "/readyz"]
        );
    }
}
