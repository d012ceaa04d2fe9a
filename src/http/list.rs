//! `GET /executions`: filters and pages.

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use rgrid_api::{ExecutionList, FieldError, Status, names};

use crate::execution::ExecutionId;
use crate::http::middleware::auth::Authenticated;
use crate::http::openapi::{CommonErrors, ValidationErrors};
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::store::Filter;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1000;

/// List executions, newest first, without their output
#[utoipa::path(
    get, path = "/api/v1/executions", tag = "executions",
    params(("status" = Option<Status>, Query),
        ("label" = Option<Vec<String>>, Query, description = "As in `team=data`; executions must have all of them"),
        ("text" = Option<String>, Query, description = "Part of the ID, the script's name or the labels"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, pattern = "^exec_[0-9a-z]{26}$", description = "The `next_cursor` of the previous page")),
    responses((status = 200, body = ExecutionList), CommonErrors, ValidationErrors)
)]
pub(crate) async fn list(
    api: Data<Api>,
    Authenticated(caller): Authenticated,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let filter = parse_filter(form_urlencoded::parse(request.query_string().as_bytes()))?;
    let page = api.store.list(Filter { owner: caller.restricted_to().cloned(), ..filter }).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(HttpResponse::Ok().json(ExecutionList { items: page.items, next_cursor }))
}

pub(crate) fn parse_filter<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl Iterator<Item = (N, V)>,
) -> Result<Filter, ApiError> {
    let mut filter = Filter { limit: LIMIT_DEFAULT, ..Filter::default() };
    let mut errors = Vec::new();
    for (name, value) in pairs {
        let (name, value) = (name.as_ref(), value.as_ref());
        let result = match name {
            "status" => parse_status(value).map(|status| filter.status = Some(status)),
            "label" => parse_label(value, &mut filter.labels),
            "limit" => parse_limit(value).map(|limit| filter.limit = limit),
            "text" => {
                filter.text = Some(value.to_owned()).filter(|text| !text.is_empty());
                Ok(())
            }
            "cursor" => parse_cursor(value).map(|before| filter.before = Some(before)),
            _ => Err("unknown filter; available: status, label, text, limit, cursor".to_owned()),
        };
        if let Err(message) = result {
            errors.push(FieldError { field: name.to_owned(), message });
        }
    }
    if errors.is_empty() { Ok(filter) } else { Err(ApiError::Unprocessable(errors)) }
}

fn parse_status(value: &str) -> Result<Status, String> {
    let status = Status::ALL.into_iter().find(|status| status.as_str() == value);
    status.ok_or_else(|| {
        format!("unknown status {value:?}; available: {}", Status::ALL.map(Status::as_str).join(", "))
    })
}

fn parse_label(value: &str, labels: &mut BTreeMap<String, String>) -> Result<(), String> {
    let (key, value) = value.split_once('=').ok_or("must have the form label=team=data")?;
    names::check_label_key(key)?;
    names::check_label_value(value)?;
    labels.insert(key.to_owned(), value.to_owned());
    Ok(())
}

fn parse_limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be a whole number between 1 and {LIMIT_MAX}"))
}

/// The last ID of the previous page; opaque to clients.
fn parse_cursor(value: &str) -> Result<ExecutionId, String> {
    let id = ExecutionId::normalise_prefix(value).filter(|id| id.len() == ExecutionId::LENGTH && id == value);
    id.map(ExecutionId::from_stored).ok_or_else(|| "was not issued by this server".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter, ApiError> {
        parse_filter(form_urlencoded::parse(query.as_bytes()))
    }

    #[test]
    fn filters_are_parsed_from_the_query() {
        let filter = filter("status=failed&label=team%3Ddata&label=a=b&limit=7").unwrap();
        assert_eq!((filter.status, filter.limit, filter.labels.len()), (Some(Status::Failed), 7, 2));
    }

    #[test]
    fn invalid_filters_are_rejected() {
        for query in
            ["limit=0", "limit=-1", "limit=1e9", "limit=1001", "status=asleep", "cursor=x", "label=x", "x=1"]
        {
            assert!(matches!(filter(query), Err(ApiError::Unprocessable(_))), "{query}");
        }
    }
}
