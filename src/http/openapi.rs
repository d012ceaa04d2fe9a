//! `GET /openapi.json`: the OpenAPI document, assembled from the annotations at handlers and types and from this server's
//! limits.

use actix_web::{HttpResponse, web::Data};
use rgrid_api::names::{PRIORITIES, WORKER_LABELS_MAX};
use rgrid_api::{Problem, Status, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, IntoResponses, OpenApi};

use crate::http::{Api, events, executions, meta, metrics, outputs, receipt, submit};
use crate::settings::{AuthMode, RuntimeTable, Settings};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RGrid",
        description = "Runs each script in a fresh, locked-down container. Requests with unknown fields are rejected. \
                       Times are in RFC 3339 format, in UTC. Errors are RFC 9457 problem documents.",
        license(name = "MIT", identifier = "MIT")
    ),
    paths(
        submit::submit,
        executions::list,
        executions::get,
        executions::logs,
        events::events,
        receipt::receipt,
        executions::cancel,
        submit::retry,
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

/// The ID in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct IdParameter {
    /// An ID, or any unambiguous prefix of one
    pub id: String,
}

/// Declares sets of error responses, which are all problem documents.
macro_rules! errors {
    ($($(#[$doc:meta])* $set:ident { $($name:ident $status:tt $text:literal;)+ })+) => { $(
        $(#[$doc])*
        #[derive(IntoResponses)]
        #[allow(dead_code, reason = "only its description is used")]
        pub(crate) enum $set {
            $(#[doc = $text] #[response(status = $status, content_type = "application/problem+json")] $name(Problem),)+
        }
    )+ };
}

errors! {
    /// Errors of every call that needs a key.
    CommonErrors {
        Unauthorized 401 "The key is missing or invalid";
        Forbidden 403 "The key lacks the required scope";
        TooManyRequests 429 "Too many requests, or the queue is full; try again after `Retry-After`";
        HeadTooLarge 431 "The request line and headers are too large";
        Unavailable 503 "The database is unavailable; try again after `Retry-After`";
    }
    /// Errors of calls for one execution.
    ExecutionErrors {
        NotFound 404 "No execution with this ID is visible to the key";
        Conflict 409 "The ID is ambiguous, or the execution's status does not allow the call";
    }
    /// Errors of a query or a body.
    ValidationErrors {
        BadRequest 400 "The query or body cannot be parsed";
        Unprocessable 422 "Well-formed but invalid; `errors` names the fields";
    }
    /// Errors of calls with a body.
    BodyErrors {
        Timeout 408 "The body did not arrive in time";
        TooLarge 413 "The body is too large";
        UnsupportedMediaType 415 "The body is not JSON";
        InsufficientStorage 507 "Queued and running executions use all the storage that this server may use";
    }
}

/// Get this document
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, body = Value)))]
pub(crate) async fn openapi(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(api.document.to_string())
}

/// The document as JSON text.
pub(crate) fn document(settings: &Settings, runtimes: &RuntimeTable) -> String {
    // Serializing these types cannot fail.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for (field, limit) in limits(settings, runtimes) {
        extend(&mut document, &pointer(field), limit);
    }
    if settings.auth.mode == AuthMode::Keys {
        require_keys(&mut document);
    }
    document.to_string()
}

/// Extends the object at a JSON pointer; `false` if there is none.
fn extend(document: &mut Value, pointer: &str, value: Value) -> bool {
    let (Some(Value::Object(target)), Value::Object(value)) = (document.pointer_mut(pointer), value) else {
        return false;
    };
    target.extend(value);
    true
}

/// The JSON pointer of a field, given as `Type/field`.
fn pointer(field: &str) -> String {
    format!("/components/schemas/{}", field.replace('/', "/properties/"))
}

/// Health checks and this document need no key.
fn require_keys(document: &mut Value) {
    let scheme = json!({ "key": { "type": "http", "scheme": "bearer", "bearerFormat": "rg_<id>_<secret>" } });
    extend(document, "/components", json!({ "securitySchemes": scheme }));
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, operations) in paths.filter(|(path, _)| path.starts_with("/api/") || *path == "/metrics") {
        for operation in operations.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            extend(operation, "", json!({ "security": [{ "key": [] }] }));
        }
    }
}

const FILE_NAME: &str = r"^(?!\.{1,2}$)[^/\u0000-\u001f\u007f-\u009f]+$";
const TEXT: &str = r"^[^\u0000]*$";
const NOT_BLANK: &str = r"^[^\u0000]*[^\s\u0000][^\u0000]*$";
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// The limits that the types do not express, by `Type/field`.
fn limits(settings: &Settings, runtimes: &RuntimeTable) -> Vec<(&'static str, Value)> {
    let (submission, sandbox) = (&settings.submission, &settings.sandbox);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let text = json!({ "type": "string", "pattern": TEXT });
    let variables = json!({ "maxProperties": submission.max_env,
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": text });
    let runtimes: Vec<&str> = runtimes
        .iter()
        .flat_map(|(name, entry)| std::iter::once(name).chain(entry.aliases.iter().map(String::as_str)))
        .collect();
    let seconds = settings.execution.max_timeout.0.as_secs_f64();
    let attempts = submission.max_attempts.max(settings.execution.max_attempts);
    vec![
        ("Script/name", json!({ "pattern": FILE_NAME, "maxLength": 63 })),
        ("Script/content", json!({ "pattern": NOT_BLANK, "maxLength": submission.max_script.0 })),
        ("InputFile/name", json!({ "pattern": FILE_NAME, "maxLength": 63 })),
        ("InputFile/content_base64", json!({ "contentEncoding": "base64", "pattern": BASE64 })),
        ("Submission/args", json!({ "maxItems": submission.max_args, "items": text })),
        ("Submission/env", variables.clone()),
        ("Submission/secrets", variables.clone()),
        ("Retry/secrets", variables),
        ("Submission/files", json!({ "maxItems": submission.max_files })),
        ("Submission/runtime", json!({ "enum": nullable(runtimes) })),
        ("Submission/requirements", json!({ "pattern": TEXT, "maxLength": submission.max_requirements.0 })),
        ("Submission/timeout_seconds", json!({ "exclusiveMinimum": 0, "maximum": seconds })),
        ("Submission/memory_mb", json!({ "minimum": 16, "maximum": mib(sandbox.max_memory.0) })),
        ("Submission/cpus", json!({ "minimum": 0.05, "maximum": sandbox.max_cpus })),
        ("Submission/max_attempts", json!({ "minimum": 1, "maximum": attempts })),
        ("Submission/labels", labels(submission.max_labels)),
        ("Submission/on", labels(WORKER_LABELS_MAX)),
        ("Submission/priority", json!({ "minimum": PRIORITIES.start(), "maximum": PRIORITIES.end() })),
    ]
}

fn labels(max: usize) -> Value {
    json!({ "maxProperties": max,
        "propertyNames": { "pattern": "^[A-Za-z0-9._/-]{1,63}$" },
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$" } })
}

fn nullable(names: Vec<&str>) -> Value {
    names.into_iter().map(Value::from).chain([Value::Null]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed() -> Value {
        let settings = crate::settings::load(None, [("auth.mode", "keys".into())]).unwrap();
        serde_json::from_str(&document(&settings, &settings.runtimes())).unwrap()
    }

    #[test]
    fn every_limit_applies_to_an_existing_field() {
        let settings = crate::settings::load(None, []).unwrap();
        let mut document = parsed();
        for (field, limit) in limits(&settings, &settings.runtimes()) {
            assert!(extend(&mut document, &pointer(field), limit), "{field}");
        }
    }

    #[test]
    fn only_health_checks_and_the_document_need_no_key() {
        let document = parsed();
        let without_key = document["paths"].as_object().unwrap().iter().filter(|(_, operations)| {
            operations.as_object().unwrap().values().any(|operation| operation["security"].is_null())
        });
        assert_eq!(
            without_key.map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["/healthz", "/openapi.json", "/readyz"]
        );
    }
}
