//! Who asks: every request of the API is from somebody, and may do what its key is for.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, ResponseError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{Ready, ready};
use slog::warn;

use crate::execution::{Caller, Key, Scope};
use crate::http::middleware::client_address;
use crate::http::middleware::cross_origin;
use crate::http::middleware::rate_limit::Client;
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::settings::{self, AuthMode};
use crate::store::Authentication;

/// Around the whole API: whoever comes through has a [`Caller`] and may use the method. What changes
/// something needs `run`, so that a new route is not open to all by being forgotten here.
pub(crate) async fn guard(
    api: Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = bearer(request.request());
    behind(&api, key, request, next).await
}

/// The same around pages, where a browser asks its reader for the key and sends it with every request to them.
/// That is why the API takes none from there: a foreign page could have it sent along.
pub(crate) async fn guard_page(
    api: Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let key = basic(request.request()).map_or_else(|| bearer(request.request()), Ok);
    let mut answer = behind(&api, key, request, next).await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        let ask =
            HeaderValue::from_static("Basic realm=\"rgrid: the key is the password\", charset=\"UTF-8\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, ask);
    }
    Ok(answer)
}

async fn behind(
    api: &Api,
    key: Result<Key, ApiError>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match admitted(api, key, request.request()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(refused) => Ok(request.into_response(refused.error_response())),
    }
}

async fn admitted(api: &Api, key: Result<Key, ApiError>, request: &HttpRequest) -> Result<Caller, ApiError> {
    let address = client_address::address(request, &api.settings.http.trusted_proxies);
    let changes = !is_safe(request.method());
    if api.settings.auth.mode == AuthMode::None {
        cross_origin::refuse(request, changes, is_for_others(&api.settings.http))?;
        if let Some(address) = address.filter(|address| !address.is_loopback()) {
            api.rates.take(Client::Address(address))?;
        }
        return Ok(Caller::unauthenticated());
    }
    let caller = known(api, key).await.inspect_err(|refused| {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        warn!(api.log, "a request was refused"; "client" => address, "reason" => %refused);
    })?;
    if let Some(key) = caller.key() {
        api.rates.take(Client::Key(key.clone()))?;
    }
    let needed = if changes { Scope::Run } else { Scope::Read };
    if caller.may(needed) { Ok(caller) } else { Err(ApiError::Forbidden(needed)) }
}

async fn known(api: &Api, key: Result<Key, ApiError>) -> Result<Caller, ApiError> {
    let refused = |words: &str| ApiError::Unauthorized(words.to_owned());
    match api.store.authenticate(&key?).await? {
        Authentication::Valid(caller) => Ok(caller),
        Authentication::Unknown => Err(refused("there is no such key")),
        Authentication::Revoked => Err(refused("this key was revoked")),
        Authentication::Expired => Err(refused("this key has expired")),
    }
}

fn bearer(request: &HttpRequest) -> Result<Key, ApiError> {
    let refused = |words: &str| ApiError::Unauthorized(words.to_owned());
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().ok_or_else(|| refused("this server asks for a key"))?;
    if headers.next().is_some() {
        return Err(refused("there are two Authorization headers; send one"));
    }
    let (scheme, text) = header.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    let key = Some(text.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer")).and_then(Key::parse);
    key.ok_or_else(|| refused("the Authorization header has no key in the form `Bearer rg_…`"))
}

/// The password of HTTP Basic (RFC 7617), whatever the name.
fn basic(request: &HttpRequest) -> Option<Key> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().filter(|_| headers.next().is_none())?;
    let (scheme, text) = header.to_str().ok()?.split_once(' ')?;
    let text = Some(text.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()?;
    Key::parse(pair.split_once(':')?.1)
}

/// Whether others than this host's own users may ask.
fn is_for_others(http: &settings::Http) -> bool {
    !http.listen.0.ip().is_loopback() || !http.trusted_proxies.is_empty()
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// For handlers: who asks. There is none outside of the guard, and that is a mistake of ours.
pub(crate) struct Asking(pub Caller);

impl FromRequest for Asking {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        let missing = || ApiError::Internal("a route is not behind the guard".to_owned());
        ready(caller.map(Self).ok_or_else(missing))
    }
}
