//! `GET /executions`: filters from the query, page by page.

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use rgrid_api::{ExecutionList, FieldError, Status, names};

use crate::execution::ExecutionId;
use crate::http::middleware::auth::Asking;
use crate::http::openapi::{Refused, Wrong};
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::store::Filter;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1000;

/// List executions, the newest first, without their outputs
#[utoipa::path(
    get, path = "/api/v1/executions", tag = "executions",
    params(("status" = Option<Status>, Query),
        ("label" = Option<Vec<String>>, Query, description = "As in `team=data`; all of them must be there"),
        ("text" = Option<String>, Query, description = "A part of the id, the script's name or the labels"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, pattern = "^exec_[0-9a-z]{26}$", description = "The last page's next_cursor")),
    responses((status = 200, body = ExecutionList), Refused, Wrong)
)]
pub(crate) async fn list(
    api: Data<Api>,
    Asking(caller): Asking,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let filter = Filter { owner: caller.restricted_to().cloned(), ..filter(request.query_string())? };
    let page = api.store.list(filter).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(HttpResponse::Ok().json(ExecutionList { items: page.items, next_cursor }))
}

pub(crate) fn filter(query: &str) -> Result<Filter, ApiError> {
    let mut filter = Filter { limit: LIMIT_DEFAULT, ..Filter::default() };
    let mut errors = Vec::new();
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
        .map_err(|error| ApiError::BadRequest(format!("the query can't be read: {error}")))?;
    for (name, value) in pairs {
        let result = match name.as_str() {
            "status" => status(&value).map(|status| filter.status = Some(status)),
            "label" => label(&value, &mut filter.labels),
            "limit" => limit(&value).map(|limit| filter.limit = limit),
            "text" => {
                filter.text = Some(value.clone()).filter(|text| !text.is_empty());
                Ok(())
            }
            "cursor" => cursor(&value).map(|before| filter.before = Some(before)),
            _ => Err("there is no such filter; there are status, label, text, limit and cursor".to_owned()),
        };
        if let Err(message) = result {
            errors.push(FieldError { field: name, message });
        }
    }
    if errors.is_empty() { Ok(filter) } else { Err(ApiError::Unprocessable(errors)) }
}

fn status(value: &str) -> Result<Status, String> {
    let known = Status::ALL.map(Status::as_str).join(", ");
    let found = Status::ALL.into_iter().find(|status| status.as_str() == value);
    found.ok_or_else(|| format!("{value:?} is no status; there are {known}"))
}

fn label(value: &str, labels: &mut BTreeMap<String, String>) -> Result<(), String> {
    let (key, value) = value.split_once('=').ok_or("write it like label=team=data")?;
    names::check_label_key(key)?;
    names::check_label_value(value)?;
    labels.insert(key.to_owned(), value.to_owned());
    Ok(())
}

fn limit(value: &str) -> Result<usize, String> {
    let found = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    found.ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))
}

/// Opaque to clients: the last id of the page before.
fn cursor(value: &str) -> Result<ExecutionId, String> {
    let id = ExecutionId::normalise_prefix(value).filter(|id| id.len() == ExecutionId::LENGTH && id == value);
    id.map(ExecutionId::from_stored).ok_or_else(|| "is not one that this server gave".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_from_the_query() {
        let read = filter("status=failed&label=team%3Ddata&label=a=b&limit=7").unwrap();
        assert_eq!((read.status, read.limit, read.labels.len()), (Some(Status::Failed), 7, 2));
    }

    #[test]
    fn each_wrong_filter_is_told() {
        for bad in
            ["limit=0", "limit=-1", "limit=1e9", "limit=1001", "status=asleep", "cursor=x", "label=x", "x=1"]
        {
            assert!(matches!(filter(bad), Err(ApiError::Unprocessable(_))), "{bad}");
        }
    }
}
