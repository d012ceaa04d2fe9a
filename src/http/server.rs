//! The server: what the handlers share, the routes, and how connections are limited.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{ServerHandle, Service};
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{App, HttpServer, web};
use slog::{Logger, error};

use super::dashboard::{self, Hour};
use super::events::{self, Seats};
use super::problem::{no_such_method, no_such_path};
use super::submission::Gate;
use super::{Readiness, executions, listing, metrics, outputs, receipt, service};
use crate::settings::{RuntimeTable, Settings};
use crate::store::{Budget, Store};

/// A client that needs longer for its request line and headers is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// For requests that are open when the server stops.
const SHUTDOWN_SECONDS: u64 = 3;
const MAX_CONNECTIONS: usize = 4096;

/// What all handlers share.
#[derive(Clone)]
pub struct Api {
    pub(super) store: Store,
    pub(super) settings: Arc<Settings>,
    pub(super) runtimes: Arc<RuntimeTable>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) gate: Arc<Gate>,
    pub(super) seats: Seats,
    pub(super) hour: Arc<Hour>,
    pub(super) budget: Budget,
    pub(super) log: Logger,
}

impl Api {
    pub fn new(
        store: Store,
        settings: Arc<Settings>,
        readiness: Arc<Readiness>,
        budget: Budget,
        log: &Logger,
    ) -> Self {
        let runtimes = Arc::new(settings.runtimes());
        let log = log.new(slog::o!("part" => "http"));
        let seats = Seats::new(settings.http.followers);
        Self {
            store,
            settings,
            runtimes,
            readiness,
            gate: Arc::default(),
            seats,
            hour: Arc::default(),
            budget,
            log,
        }
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
    let (workers, log) = (api.settings.http.workers, api.log.clone());
    let seats = api.seats.clone();
    let data = web::Data::new(api);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap_fn(|request, service| {
                let answer = service.call(request);
                let begun = std::time::Instant::now();
                async move {
                    let mut answer = answer.await?;
                    metrics::answered(&answer, begun.elapsed());
                    let headers = answer.headers_mut();
                    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    Ok(answer)
                }
            })
            .configure(routes)
    })
    .workers(workers)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
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

fn routes(config: &mut web::ServiceConfig) {
    let one = |path: &str, route: actix_web::Route| {
        web::resource(path).route(route).default_service(web::to(no_such_method))
    };
    config
        .service(one("/healthz", web::get().to(service::healthz)))
        .service(one("/metrics", web::get().to(metrics::metrics)))
        .service(one("/readyz", web::get().to(service::readyz)))
        .service(
            web::scope("/api/v1")
                .service(
                    web::resource("/executions")
                        .route(web::post().to(executions::submit))
                        .route(web::get().to(listing::list))
                        .default_service(web::to(no_such_method)),
                )
                .service(one("/executions/{id}", web::get().to(executions::get)))
                .service(one("/executions/{id}/logs", web::get().to(executions::logs)))
                .service(one("/executions/{id}/events", web::get().to(events::events)))
                .service(one("/executions/{id}/receipt", web::get().to(receipt::receipt)))
                .service(one("/executions/{id}/cancel", web::post().to(executions::cancel)))
                .service(one("/executions/{id}/retry", web::post().to(executions::retry)))
                .service(one("/executions/{id}/outputs", web::get().to(outputs::list)))
                .service(one("/executions/{id}/outputs/{name:.*}", web::get().to(outputs::download)))
                .service(one("/runtimes", web::get().to(service::runtimes)))
                .service(one("/workers", web::get().to(service::workers)))
                .default_service(web::to(no_such_path)),
        )
        .configure(dashboard::routes)
        .default_service(web::to(no_such_path));
}
