//! The server: what the handlers share, the routes, and how connections are limited.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::{ServerHandle, Service, ServiceRequest};
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use rgrid_api::units::format_size;
use slog::{Logger, error};
use socket2::SockRef;

use crate::http::dashboard::{self, Hour};
use crate::http::events::{self, Seats};
use crate::http::list;
use crate::http::meta;
use crate::http::middleware::auth::{guard, guard_page};
use crate::http::middleware::rate_limit::Rates;
use crate::http::openapi::{document, openapi};
use crate::http::problem::{ApiError, no_such_method, no_such_path};
use crate::http::submit::Gate;
use crate::http::{Readiness, executions, metrics, outputs, receipt};
use crate::settings::{RuntimeTable, Settings};
use crate::store::{DiskBudget, Store};

/// On every answer, so that a client of another version can tell why it is not understood.
const VERSION: HeaderName = HeaderName::from_static("x-rgrid-version");

/// For requests that are open when the server stops.
const SHUTDOWN_SECONDS: u64 = 3;

/// What all handlers share.
#[derive(Clone)]
pub struct Api {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) runtimes: Arc<RuntimeTable>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) seats: Seats,
    pub(crate) hour: Arc<Hour>,
    pub(crate) budget: DiskBudget,
    pub(crate) rates: Arc<Rates>,
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
        let document = document(&settings, &runtimes).into();
        let log = log.new(slog::o!("part" => "http"));
        let gate = Arc::new(Gate::new(&settings));
        let rates = Arc::new(Rates::new(settings.http.rate_limit, settings.http.rate_burst));
        let (seats, hour) = (Seats::new(settings.http.followers), Arc::default());
        Self { store, settings, runtimes, readiness, gate, seats, hour, budget, rates, document, log }
    }
}

/// A server that is running.
pub struct Server {
    handle: ServerHandle,
    seats: Seats,
}

impl Server {
    /// Open requests get a moment when `gracefully`.
    pub async fn stop(&self, gracefully: bool) {
        self.seats.close();
        self.handle.stop(gracefully).await;
    }
}

/// Starts to serve; port 0 takes a free one, told in the answer.
pub fn serve(api: Api, listen: SocketAddr) -> io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    let (settings, log) = (Arc::clone(&api.settings), api.log.clone());
    let http = &settings.http;
    // A client that takes nothing of its answer for so long is cut off; accepted connections inherit it.
    SockRef::from(&listener).set_tcp_user_timeout(Some(http.idle_timeout.0))?;
    let max_head = usize::try_from(http.max_header.0).unwrap_or(usize::MAX);
    let seats = api.seats.clone();
    let data = web::Data::new(api);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::QueryConfig::default().error_handler(|error, _| {
                ApiError::BadRequest(format!("the query can't be read: {error}")).into()
            }))
            .app_data(web::PathConfig::default().error_handler(|error, _| {
                ApiError::NotFound(format!("the path can't be read: {error}")).into()
            }))
            .wrap_fn(move |request, service| {
                let begun = std::time::Instant::now();
                let answer = match head_size(&request) {
                    size if size > max_head => Err(request.into_response(head_too_large(size, max_head))),
                    _ => Ok(service.call(request)),
                };
                async move {
                    let mut answer = match answer {
                        Ok(answer) => answer.await?,
                        Err(refused) => refused,
                    };
                    metrics::answered(&answer, begun.elapsed());
                    let headers = answer.headers_mut();
                    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
                    Ok(answer)
                }
            })
            .configure(routes)
    })
    .workers(http.workers)
    // actix counts for each of its threads.
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
            error!(log, "the server ended"; "error" => %reason);
        }
    });
    Ok((Server { handle, seats }, address))
}

/// Request line and headers, about as they came.
fn head_size(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.uri().to_string().len() + headers.sum::<usize>()
}

fn head_too_large(size: usize, most: usize) -> HttpResponse {
    let (size, most) = (format_size(size as u64), format_size(most as u64));
    let words =
        format!("the request's line and headers have {size}, at most {most} are allowed (http.max_header)");
    ApiError::HeadTooLarge(words).error_response()
}

fn routes(config: &mut web::ServiceConfig) {
    let read = |path: &str, route: actix_web::Route| {
        web::resource(path).route(route).default_service(web::to(|asked| no_such_method(asked, "GET")))
    };
    let act = |path: &str, route: actix_web::Route| {
        web::resource(path).route(route).default_service(web::to(|asked| no_such_method(asked, "POST")))
    };
    config
        .service(read("/healthz", web::get().to(meta::healthz)))
        .service(read("/readyz", web::get().to(meta::readyz)))
        .service(read("/openapi.json", web::get().to(openapi)))
        .service(read("/metrics", web::get().to(metrics::metrics)).wrap(from_fn(guard_page)))
        .service(
            web::scope("/api/v1")
                .wrap(from_fn(guard))
                .service(
                    web::resource("/executions")
                        .route(web::post().to(executions::submit))
                        .route(web::get().to(list::list))
                        .default_service(web::to(|asked| no_such_method(asked, "GET, POST"))),
                )
                .service(read("/executions/{id}", web::get().to(executions::get)))
                .service(read("/executions/{id}/logs", web::get().to(executions::logs)))
                .service(read("/executions/{id}/events", web::get().to(events::events)))
                .service(read("/executions/{id}/receipt", web::get().to(receipt::receipt)))
                .service(act("/executions/{id}/cancel", web::post().to(executions::cancel)))
                .service(act("/executions/{id}/retry", web::post().to(executions::retry)))
                .service(read("/executions/{id}/outputs", web::get().to(outputs::list)))
                .service(read("/executions/{id}/outputs/{name:.*}", web::get().to(outputs::download)))
                .service(read("/runtimes", web::get().to(meta::runtimes)))
                .service(read("/workers", web::get().to(meta::workers)))
                .default_service(web::to(no_such_path)),
        )
        .configure(dashboard::routes)
        .default_service(web::to(no_such_path));
}
