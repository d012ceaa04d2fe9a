//! Authentication and authorization of every request.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, ResponseError};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::future::{Ready, ready};
use slog::warn;

use crate::execution::{Caller, Key, Scope};
use crate::http::middleware::cross_origin;
use crate::http::middleware::rate_limit::{Client, client_address};
use crate::http::{Api, ApiError};
use crate::settings::AuthMode;
use crate::store::Authentication;

/// Wraps the whole API: handlers see only requests that have a [`Caller`] with the scope for the method. Every unsafe
/// method needs `run`, so a new route is never open to all by mistake.
pub(crate) async fn require_key(
    api: Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = bearer(request.request());
    authenticate(&api, key, request, next).await
}

/// Wraps pages, for which the browser asks its user for the key. It then sends the key with every request to this
/// server, even for another site's page, which is why the API itself does not accept HTTP Basic.
pub(crate) async fn require_key_for_page(
    api: Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = basic(request.request()).map_or_else(|| bearer(request.request()), Ok);
    let mut response = authenticate(&api, key, request, next).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge =
            HeaderValue::from_static("Basic realm=\"rgrid: the key is the password\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    Ok(response)
}

async fn authenticate(
    api: &Api,
    key: Result<Key, ApiError>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match caller(api, key, request.request()).await {
        Ok((caller, client)) => {
            request.extensions_mut().insert(caller);
            if let Some(client) = client {
                request.extensions_mut().insert(client);
            }
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(rejected) => Ok(request.into_response(rejected.error_response())),
    }
}

/// The caller, and as what its share of requests and resources is counted: nothing for a program on the host of a server
/// without keys.
async fn caller(
    api: &Api,
    key: Result<Key, ApiError>,
    request: &HttpRequest,
) -> Result<(Caller, Option<Client>), ApiError> {
    let http = &api.settings.http;
    let address = client_address(request, &http.trusted_proxies);
    let is_safe = request.method().is_safe();
    if api.settings.auth.mode == AuthMode::None {
        // Beyond loopback or behind a proxy, clients use names that this server does not know.
        let any_name = !http.listen.0.ip().is_loopback() || !http.trusted_proxies.is_empty();
        cross_origin::check(request, !is_safe, any_name)?;
        let client = address.filter(|address| !address.is_loopback()).map(Client::from_address);
        if let Some(client) = &client {
            api.rate_limiter.take(client.clone())?;
        }
        return Ok((Caller::unauthenticated(), client));
    }
    let verified = match key {
        Ok(key) => verify(api, &key, address.map(Client::from_address)).await,
        Err(malformed) => Err(malformed),
    };
    let caller = verified.inspect_err(|rejected| {
        // The wrong keys before were logged.
        if !matches!(rejected, ApiError::RateLimited { .. }) {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            warn!(api.log, "request rejected"; "client" => address, "reason" => %rejected);
        }
    })?;
    let client = caller.key().cloned().map(Client::Key);
    if let Some(client) = &client {
        api.rate_limiter.take(client.clone())?;
    }
    let needed = if is_safe { Scope::Read } else { Scope::Run };
    if caller.may(needed) { Ok((caller, client)) } else { Err(ApiError::Forbidden(needed)) }
}

fn unauthorized(detail: &str) -> ApiError {
    ApiError::Unauthorized(detail.to_owned())
}

async fn verify(api: &Api, key: &Key, from: Option<Client>) -> Result<Caller, ApiError> {
    if let Some(from) = &from {
        api.wrong_keys.check(key, from)?;
    }
    let reason = match api.store.authenticate(key).await? {
        Authentication::Valid(caller) => {
            api.wrong_keys.accepted(key);
            return Ok(caller);
        }
        Authentication::Unknown => "unknown API key",
        Authentication::Revoked => "the API key has been revoked",
        Authentication::Expired => "the API key has expired",
    };
    if let Some(from) = from {
        api.wrong_keys.rejected(key, from);
    }
    Err(unauthorized(reason))
}

/// For a request that has taken some time: fails if its key was revoked or has expired since it began.
pub(crate) async fn check_again(api: &Api, caller: &Caller) -> Result<(), ApiError> {
    match caller.key() {
        Some(key) if !api.store.is_key_still_valid(key).await? => {
            Err(unauthorized("the API key has been revoked or has expired"))
        }
        _ => Ok(()),
    }
}

fn bearer(request: &HttpRequest) -> Result<Key, ApiError> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header =
        headers.next().ok_or_else(|| unauthorized("the request has no API key; this server needs one"))?;
    if headers.next().is_some() {
        return Err(unauthorized("the request has two Authorization headers; send one"));
    }
    let (scheme, text) = header.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    let key = Some(text.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer")).and_then(Key::parse);
    key.ok_or_else(|| unauthorized("the Authorization header has no key of the form `Bearer rg_…`"))
}

/// The password of HTTP Basic (RFC 7617). The user name is ignored.
fn basic(request: &HttpRequest) -> Option<Key> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().filter(|_| headers.next().is_none())?;
    let (scheme, text) = header.to_str().ok()?.split_once(' ')?;
    let text = Some(text.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()?;
    Key::parse(pair.split_once(':')?.1)
}

/// Extracts the caller that the middleware stored.
pub(crate) struct Authenticated(pub Caller);

impl FromRequest for Authenticated {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.map(Self).ok_or_else(|| {
            ApiError::Internal(format!("{} is not behind the authentication middleware", request.path()))
        }))
    }
}
