//! The page of the API at `/docs`: what `/openapi.json` says, to be read.

use actix_web::HttpResponse;
use actix_web::web::Data;
use maud::{Markup, html};
use serde_json::Value;

use crate::http::dashboard::{html_response, layout};
use crate::http::problem::ApiError;
use crate::http::server::Api;

const SCHEMAS: &str = "#/components/schemas/";

pub(crate) async fn page(api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let document: Value =
        serde_json::from_str(&api.document).map_err(|e| ApiError::Internal(e.to_string()))?;
    let main = html! {
        h1.quiet { "HTTP API" }
        p { (prose(&document, "/info/description")) " The same for machines: " a href="/openapi.json" { "openapi.json" } " (OpenAPI 3.1)." }
        nav aria-label="Calls" { ul.calls { @for call in calls(&document) { li { (link_to(&call)) } } } }
        @for call in calls(&document) { (section(&call)) }
        h2 { "Types" }
        @for (name, schema) in entries(&document, "/components/schemas") { (type_of_its_own(name, schema)) }
    };
    Ok(html_response(layout::page(&api, "HTTP API", &main)))
}

struct Call<'d> {
    method: String,
    path: &'d str,
    operation: &'d Value,
}

impl Call<'_> {
    fn anchor(&self) -> String {
        let path: String =
            self.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("{}{path}", self.method.to_ascii_lowercase())
    }
}

fn calls(document: &Value) -> Vec<Call<'_>> {
    let of_path = |(path, operations)| {
        entries(operations, "").map(move |(method, operation)| Call {
            method: method.to_uppercase(),
            path,
            operation,
        })
    };
    entries(document, "/paths").flat_map(of_path).collect()
}

fn link_to(call: &Call<'_>) -> Markup {
    html! { a href={ "#" (call.anchor()) } { code { (call.method) " " (call.path) } } " " (prose(call.operation, "/summary")) }
}

fn section(call: &Call<'_>) -> Markup {
    let parameters = list(call.operation, "/parameters");
    let body = call.operation.pointer("/requestBody/content").and_then(Value::as_object);
    html! {
        section id=(call.anchor()) {
            h2 { code { (call.method) " " (call.path) } }
            p { (prose(call.operation, "/summary")) " " (prose(call.operation, "/description")) }
            @if !parameters.is_empty() {
                table {
                    thead { tr { th { "Parameter" } th { "In" } th { "Type" } th { "" } } }
                    tbody { @for parameter in parameters { (row_of_parameter(parameter)) } }
                }
            }
            @for (kind, content) in body.into_iter().flatten() {
                p { "Body: " (kind_of(content.pointer("/schema"))) ", " (kind) }
            }
            table {
                thead { tr { th { "Answer" } th { "Body" } th { "" } } }
                tbody { @for (status, answer) in entries(call.operation, "/responses") { (row_of_answer(status, answer)) } }
            }
        }
    }
}

fn row_of_parameter(parameter: &Value) -> Markup {
    html! {
        tr {
            td { code { (text(parameter, "/name")) } (required(parameter.pointer("/required") == Some(&Value::Bool(true)))) }
            td { (text(parameter, "/in")) }
            td { (kind_of(parameter.pointer("/schema"))) }
            td { (prose(parameter, "/description")) }
        }
    }
}

fn row_of_answer(status: &str, answer: &Value) -> Markup {
    html! {
        tr {
            td { code { (status) } }
            td { @for (kind, content) in entries(answer, "/content") { (kind_of(content.pointer("/schema"))) " " small { (kind) } } }
            td { (prose(answer, "/description")) }
        }
    }
}

fn type_of_its_own(name: &str, schema: &Value) -> Markup {
    let needed: Vec<&str> = list(schema, "/required").iter().filter_map(Value::as_str).collect();
    html! {
        section id={ "type-" (name) } {
            h2 { code { (name) } }
            p { (prose(schema, "/description")) " " (choices(schema)) }
            @if schema.pointer("/properties").is_some() {
                table {
                    thead { tr { th { "Field" } th { "Type" } th { "" } } }
                    tbody {
                        @for (field, about) in entries(schema, "/properties") {
                            tr {
                                td { code { (field) } (required(needed.contains(&field))) }
                                td { (kind_of(Some(about))) (bounds(about)) }
                                td { (prose(about, "/description")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn required(is: bool) -> Markup {
    html! { @if is { " " small { "required" } } }
}

/// A schema in a few words; types of their own are links.
fn kind_of(schema: Option<&Value>) -> Markup {
    let Some(schema) = schema else { return html! { "anything" } };
    if let Some(name) =
        schema.pointer("/$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix(SCHEMAS))
    {
        return html! { a href={ "#type-" (name) } { (name) } };
    }
    let one_of: Vec<&Value> = ["/oneOf", "/anyOf", "/allOf"].iter().flat_map(|at| list(schema, at)).collect();
    if !one_of.is_empty() {
        return html! { @for (n, one) in one_of.iter().enumerate() { @if n > 0 { " or " } (kind_of(Some(one))) } };
    }
    if let Some(items) = schema.pointer("/items") {
        return html! { "list of " (kind_of(Some(items))) };
    }
    let kinds: Vec<&str> = match schema.pointer("/type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    html! { (kinds.join(" or ")) }
}

/// The limits that this server has.
fn bounds(schema: &Value) -> Markup {
    let names = ["minimum", "exclusiveMinimum", "maximum", "maxLength", "maxItems", "maxProperties"];
    let told = names.iter().filter_map(|name| Some(format!("{name} {}", schema.get(name)?)));
    let told: Vec<String> = told.collect();
    html! { @if !told.is_empty() { br; small { (told.join(", ")) } } (choices(schema)) }
}

fn choices(schema: &Value) -> Markup {
    let choices: Vec<&str> = list(schema, "/enum").iter().filter_map(Value::as_str).collect();
    html! { @if !choices.is_empty() { " " small { "one of " @for choice in choices { code { (choice) } " " } } } }
}

/// With what stands between backticks as code.
fn prose(value: &Value, at: &str) -> Markup {
    let pieces = text(value, at).split('`').enumerate();
    html! { @for (n, piece) in pieces { @if n % 2 == 1 { code { (piece) } } @else { (piece) } } }
}

fn text<'v>(value: &'v Value, at: &str) -> &'v str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, at: &str) -> &'v [Value] {
    value.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn entries<'v>(value: &'v Value, at: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    let members = value.pointer(at).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}
