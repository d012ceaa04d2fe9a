//! The HTTP server: state shared by the handlers, routes and connection limits.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServerHandle, Service, ServiceRequest};
use actix_web::guard::{Any, Get, Head};
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, Data, post};
use actix_web::{App, HttpServer, Resource, ResponseError, Route};
use rgrid_api::units::format_size;
use slog::{Logger, error};
use socket2::SockRef;

use crate::http::body::BodyMemory;
use crate::http::connection_limit::{BusyBody, Connection, Connections};
use crate::http::dashboard::{self, LastHourCache};
use crate::http::events::{self, FollowerLimit};
use crate::http::middleware::auth::{require_key, require_key_for_page};
use crate::http::middleware::rate_limit::RateLimiter;
use crate::http::middleware::wrong_keys::WrongKeyLimiter;
use crate::http::problem::{method_not_allowed, path_not_found};
use crate::http::submit::QueueLimit;
use crate::http::{ApiError, Readiness, executions, meta, metrics, openapi, outputs, receipt, submit};
use crate::settings::{RuntimeTable, Settings};
use crate::store::{DiskBudget, Store};

/// Sent with every response, so that a client of another version can explain why it does not understand it.
const VERSION: HeaderName = HeaderName::from_static("x-rgrid-version");

/// Time that open requests get when the server stops.
const SHUTDOWN_SECONDS: u64 = 3;

/// State shared by all handlers.
#[derive(Clone)]
pub struct Api {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) runtimes: Arc<RuntimeTable>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) body_memory: BodyMemory,
    pub(crate) queue_limit: Arc<QueueLimit>,
    pub(crate) follower_limit: FollowerLimit,
    pub(crate) last_hour: Arc<LastHourCache>,
    pub(crate) budget: DiskBudget,
    pub(crate) rate_limiter: Arc<RateLimiter>,
    pub(crate) wrong_keys: Arc<WrongKeyLimiter>,
    /// The OpenAPI document.
    pub(crate) document: Arc<str>,
    pub(crate) log: Logger,
}

impl Api {
    pub fn new(
        store: Store,
        settings: Arc<Settings>,
        readiness: Arc<Readiness>,
        budget: DiskBudget,
        log: &Logger,
    ) -> Self {
        let runtimes = Arc::new(settings.runtimes());
        Self {
            store,
            readiness,
            body_memory: BodyMemory::new(&settings),
            queue_limit: Arc::default(),
            follower_limit: FollowerLimit::new(settings.http.followers),
            last_hour: Arc::default(),
            budget,
            rate_limiter: Arc::new(RateLimiter::new(settings.http.rate_limit, settings.http.rate_burst)),
            wrong_keys: Arc::new(WrongKeyLimiter::new()),
            document: openapi::document(&settings, &runtimes).into(),
            log: log.new(slog::o!("part" => "http")),
            settings,
            runtimes,
        }
    }
}

/// A running server.
pub struct Server {
    handle: ServerHandle,
    follower_limit: FollowerLimit,
}

impl Server {
    /// If `gracefully`, open requests get `SHUTDOWN_SECONDS` to finish.
    pub async fn stop(&self, gracefully: bool) {
        self.follower_limit.close();
        self.handle.stop(gracefully).await;
    }
}

/// Starts the server and returns its address: port 0 selects a free port.
pub fn serve(api: Api, listen: SocketAddr) -> io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    let (settings, log) = (Arc::clone(&api.settings), api.log.clone());
    let http = &settings.http;
    // Disconnects clients that stop reading a response. Accepted connections inherit the option.
    SockRef::from(&listener).set_tcp_user_timeout(Some(http.idle_timeout.0))?;
    let max_head = usize::try_from(http.max_header.0).unwrap_or(usize::MAX);
    let follower_limit = api.follower_limit.clone();
    let connections = Arc::new(Connections::new(&settings));
    let data = Data::new(api);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::QueryConfig::default().error_handler(|error, _| {
                ApiError::BadRequest(format!("cannot parse the query: {error}")).into()
            }))
            .app_data(web::PathConfig::default().error_handler(|error, _| {
                ApiError::NotFound(format!("cannot parse the path: {error}")).into()
            }))
            .wrap_fn(move |request, service| {
                let start = Instant::now();
                let busy = request.conn_data::<Connection>().map(Connection::begin_request);
                let handled = match head_size(&request) {
                    size if size > max_head => {
                        Err(request.into_response(head_too_large(size, max_head).error_response()))
                    }
                    _ => Ok(service.call(request)),
                };
                async move {
                    let mut response = match handled {
                        Ok(response) => response.await?,
                        Err(rejected) => rejected,
                    };
                    if response.request().method() == Method::HEAD {
                        response = response.map_body(|_, body| OmittedBody(body.size()).boxed());
                    }
                    metrics::count_response(&response, start.elapsed());
                    let headers = response.headers_mut();
                    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
                    Ok(response.map_body(|_, body| BusyBody::new(body, busy)))
                }
            })
            .configure(configure)
    })
    .on_connect(move |stream, data| {
        let connection = stream.downcast_ref().and_then(|stream| connections.add(stream));
        if let Some(connection) = connection {
            data.insert(connection);
        }
    })
    .workers(http.workers)
    // actix applies this limit to each of its threads.
    .max_connections(http.max_connections.div_ceil(http.workers))
    .client_request_timeout(http.header_timeout.0)
    .keep_alive(http.idle_timeout.0)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(reason) = server.await {
            error!(log, "the HTTP server stopped unexpectedly"; "error" => %reason);
        }
    });
    Ok((Server { handle, follower_limit }, address))
}

/// The body of a response to HEAD. Ends streams, which would otherwise run on unread.
struct OmittedBody(BodySize);

impl MessageBody for OmittedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// Approximate size of the request line and headers.
fn head_size(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.uri().to_string().len() + headers.sum::<usize>()
}

fn head_too_large(size: usize, limit: usize) -> ApiError {
    ApiError::HeadTooLarge(format!(
        "the request line and headers are too large: {}, at most {} are allowed (http.max_header)",
        format_size(size as u64),
        format_size(limit as u64)
    ))
}

/// A path, and its handler for each method.
pub(crate) type Endpoint = (&'static str, Vec<(&'static str, Route)>);

/// The endpoints that need no key.
fn open_endpoints() -> [Endpoint; 3] {
    [
        ("/healthz", vec![("GET", get().to(meta::healthz))]),
        ("/readyz", vec![("GET", get().to(meta::readyz))]),
        ("/openapi.json", vec![("GET", get().to(openapi::openapi))]),
    ]
}

/// Takes the key like a page of the dashboard, which links to it.
fn metrics_endpoint() -> Endpoint {
    ("/metrics", vec![("GET", get().to(metrics::metrics))])
}

/// The endpoints below `/api/v1`.
fn api_endpoints() -> [Endpoint; 11] {
    [
        ("/executions", vec![("GET", get().to(executions::list)), ("POST", post().to(submit::submit))]),
        ("/executions/{id}", vec![("GET", get().to(executions::get))]),
        ("/executions/{id}/logs", vec![("GET", get().to(executions::logs))]),
        ("/executions/{id}/events", vec![("GET", get().to(events::events))]),
        ("/executions/{id}/receipt", vec![("GET", get().to(receipt::receipt))]),
        ("/executions/{id}/cancel", vec![("POST", post().to(executions::cancel))]),
        ("/executions/{id}/retry", vec![("POST", post().to(submit::retry))]),
        ("/executions/{id}/outputs", vec![("GET", get().to(outputs::list))]),
        ("/executions/{id}/outputs/{name:.*}", vec![("GET", get().to(outputs::download))]),
        ("/runtimes", vec![("GET", get().to(meta::runtimes))]),
        ("/workers", vec![("GET", get().to(meta::workers))]),
    ]
}

/// GET, and HEAD, which gets the same response without its body (RFC 9110).
pub(crate) fn get() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

/// Any other method gets 405 with the allowed ones.
pub(crate) fn resource((path, methods): Endpoint) -> Resource {
    let allowed = methods.iter().map(|(method, _)| if *method == "GET" { "GET, HEAD" } else { *method });
    let allowed = allowed.collect::<Vec<_>>().join(", ");
    methods
        .into_iter()
        .fold(web::resource(path), |resource, (_, route)| resource.route(route))
        .default_service(web::to(move |request| method_not_allowed(request, allowed.clone())))
}

fn configure(config: &mut web::ServiceConfig) {
    for endpoint in open_endpoints() {
        config.service(resource(endpoint));
    }
    config.service(resource(metrics_endpoint()).wrap(from_fn(require_key_for_page)));
    let api = web::scope("/api/v1").wrap(from_fn(require_key)).default_service(web::to(path_not_found));
    config
        .service(api_endpoints().map(resource).into_iter().fold(api, |api, resource| api.service(resource)))
        .configure(dashboard::configure)
        .default_service(web::to(path_not_found));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_endpoint_is_in_the_openapi_document() {
        let settings = crate::settings::load(None, []).unwrap();
        let document: serde_json::Value =
            serde_json::from_str(&openapi::document(&settings, &settings.runtimes())).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, calls)| {
                calls.as_object().unwrap().keys().map(move |m| format!("{} {path}", m.to_uppercase()))
            })
            .collect();
        let names = |prefix: &'static str, endpoints: Vec<Endpoint>| {
            endpoints.into_iter().flat_map(move |(path, methods)| {
                let path = path.replace(":.*}", "}");
                methods.into_iter().map(move |(method, _)| format!("{method} {prefix}{path}"))
            })
        };
        let registered: BTreeSet<String> = names("", open_endpoints().into())
            .chain(names("", vec![metrics_endpoint()]))
            .chain(names("/api/v1", api_endpoints().into()))
            .collect();
        assert_eq!(documented, registered);
    }
}
