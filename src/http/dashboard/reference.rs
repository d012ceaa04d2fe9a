//! The page of the API at `/docs`: `/openapi.json` in a readable form.

use actix_web::web::Data;
use maud::{Markup, html};
use serde_json::Value;

use crate::http::dashboard::{html_response, layout};
use crate::http::{Api, ApiError, HttpResult};

const SCHEMAS: &str = "#/components/schemas/";

pub(crate) async fn page(api: Data<Api>) -> HttpResult {
    let document: Value =
        serde_json::from_str(&api.document).map_err(|error| ApiError::Internal(error.to_string()))?;
    let mut calls = Vec::new();
    for (path, methods) in entries(&document, "/paths") {
        for (method, call) in entries(methods, "") {
            let name = format!("{} {path}", method.to_uppercase());
            let anchor: String =
                path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            calls.push((name, format!("{method}{anchor}"), call));
        }
    }
    let main = html! {
        h1.quiet { "HTTP API" }
        p { (prose(&document, "/info/description")) " As a machine-readable document: " a href="/openapi.json" { "openapi.json" } " (OpenAPI 3.1)." }
        nav aria-label="Calls" {
            ul.calls { @for (name, anchor, call) in &calls {
                li { a href={ "#" (anchor) } { code { (name) } } " " (prose(call, "/summary")) }
            } }
        }
        @for (name, anchor, call) in &calls {
            section id=(anchor) { h2 { code { (name) } } (call_details(call)) }
        }
        h2 { "Types" }
        @for (name, schema) in entries(&document, "/components/schemas") {
            section id={ "type-" (name) } { h2 { code { (name) } } (type_details(schema)) }
        }
    };
    Ok(html_response(layout::page(&api, "HTTP API", &main)))
}

fn call_details(call: &Value) -> Markup {
    let parameters = list(call, "/parameters");
    html! {
        p { (prose(call, "/summary")) ". " (prose(call, "/description")) }
        @if !parameters.is_empty() {
            table {
                thead { tr { th { "Parameter" } th { "In" } th { "Type" } th { "Description" } } }
                tbody { @for parameter in parameters { tr {
                    td { code { (text(parameter, "/name")) } (required(parameter.pointer("/required") == Some(&Value::Bool(true)))) }
                    td { (text(parameter, "/in")) }
                    td { (type_of(parameter.pointer("/schema"))) }
                    td { (prose(parameter, "/description")) }
                } } }
            }
        }
        @for (kind, content) in entries(call, "/requestBody/content") {
            p { "Body: " (type_of(content.pointer("/schema"))) ", " (kind) }
        }
        table {
            thead { tr { th { "Response" } th { "Body" } th { "Description" } } }
            tbody { @for (status, response) in entries(call, "/responses") { tr {
                td { code { (status) } }
                td { @for (kind, content) in entries(response, "/content") { (type_of(content.pointer("/schema"))) " " small { (kind) } } }
                td { (prose(response, "/description")) }
            } } }
        }
    }
}

fn type_details(schema: &Value) -> Markup {
    let needed: Vec<&str> = list(schema, "/required").iter().filter_map(Value::as_str).collect();
    html! {
        p { (prose(schema, "/description")) " " (choices(schema)) }
        @if schema.pointer("/properties").is_some() {
            table {
                thead { tr { th { "Field" } th { "Type" } th { "Description" } } }
                tbody { @for (name, field) in entries(schema, "/properties") { tr {
                    td { code { (name) } (required(needed.contains(&name))) }
                    td { (type_of(Some(field))) (limits(field)) }
                    td { (prose(field, "/description")) }
                } } }
            }
        }
    }
}

fn required(required: bool) -> Markup {
    html! { @if required { " " small { "required" } } }
}

/// The name of a schema's type, with a link if the type has its own section.
fn type_of(schema: Option<&Value>) -> Markup {
    let Some(schema) = schema else { return html! { "any" } };
    if let Some(name) = text(schema, "/$ref").strip_prefix(SCHEMAS) {
        return html! { a href={ "#type-" (name) } { (name) } };
    }
    let one_of: Vec<&Value> = ["/oneOf", "/anyOf", "/allOf"].iter().flat_map(|at| list(schema, at)).collect();
    if !one_of.is_empty() {
        return html! { @for (n, one) in one_of.iter().enumerate() { @if n > 0 { " or " } (type_of(Some(one))) } };
    }
    if let Some(items) = schema.pointer("/items") {
        return html! { "list of " (type_of(Some(items))) };
    }
    let kinds: Vec<&str> = match schema.pointer("/type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    };
    html! { (kinds.join(" or ")) }
}

fn limits(schema: &Value) -> Markup {
    let names = ["minimum", "exclusiveMinimum", "maximum", "maxLength", "maxItems", "maxProperties"];
    let limits: Vec<String> =
        names.iter().filter_map(|name| Some(format!("{name} {}", schema.get(name)?))).collect();
    html! { @if !limits.is_empty() { br; small { (limits.join(", ")) } } (choices(schema)) }
}

fn choices(schema: &Value) -> Markup {
    let choices: Vec<&str> = list(schema, "/enum").iter().filter_map(Value::as_str).collect();
    html! { @if !choices.is_empty() { " " small { "one of " @for choice in choices { code { (choice) } " " } } } }
}

/// Text in which backticks mark code.
fn prose(value: &Value, pointer: &str) -> Markup {
    let parts = text(value, pointer).split('`').enumerate();
    html! { @for (n, part) in parts { @if n % 2 == 1 { code { (part) } } @else { (part) } } }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn entries<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    let members = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}
