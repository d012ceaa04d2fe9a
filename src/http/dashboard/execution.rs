//! The page of one execution: its status, output and files, and the calls of its buttons.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rgrid_api::units::format_size;
use rgrid_api::{Execution, Phase, Phases, Status, Stream};

use crate::execution::StreamOffsets;
use crate::http::dashboard::layout::{badge, duration, format_ms, labels, relative_time};
use crate::http::dashboard::{html_response, layout};
use crate::http::{ApiError, ExecutionRequest, HttpResult, executions, submit};
use crate::store::{Progress, StreamText};

/// Cancel and retry need this header. Forms and pages of other sites cannot send it without a preflight request, so a link
/// on another site cannot trigger them in the user's browser.
const DASHBOARD_HEADER: &str = "x-rgrid-dashboard";

/// Everything in a path segment except unreserved characters, and `/`, which separates the segments of a file's name.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Proof that the request has the dashboard's header. The first argument of a handler, so that nothing else is looked up
/// without it.
pub(crate) struct FromDashboard;

impl FromRequest for FromDashboard {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.headers().contains_key(DASHBOARD_HEADER).then_some(Self).ok_or_else(|| {
            let reason = format!("the header {DASHBOARD_HEADER} is missing; the dashboard's calls need it");
            ApiError::BadRequest(reason)
        }))
    }
}

pub(crate) async fn cancel(_: FromDashboard, execution: ExecutionRequest) -> HttpResult {
    executions::cancel(execution).await
}

pub(crate) async fn retry(
    _: FromDashboard,
    execution: ExecutionRequest,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResult {
    submit::retry(execution, request, payload).await
}

pub(crate) async fn page(
    ExecutionRequest { api, id, .. }: ExecutionRequest,
    request: HttpRequest,
) -> HttpResult {
    // Progress is read before the texts, so a change in between is reported twice rather than missed.
    let progress = api.store.progress(&id).await?;
    let execution = api.store.execution_without_output(&id).await?;
    let mut outputs = Vec::new();
    let mut offsets = StreamOffsets::start_of(progress.attempt);
    for stream in [Stream::Stdout, Stream::Stderr, Stream::Install] {
        let text = api.store.stream(&id, stream).await?;
        offsets.set(stream, text.text.len() as u64);
        outputs.push((stream, text));
    }
    let page = ExecutionPage { execution: &execution, progress, outputs: &outputs, offsets };
    let content = page.content();
    if request.query_string() == "part" {
        return Ok(html_response(content));
    }
    let main = html! { div id="execution" { (content) } };
    Ok(html_response(layout::page(&api, &execution.script, &main)))
}

struct ExecutionPage<'a> {
    execution: &'a Execution,
    progress: Progress,
    outputs: &'a [(Stream, StreamText)],
    offsets: StreamOffsets,
}

impl ExecutionPage<'_> {
    fn content(&self) -> Markup {
        let execution = self.execution;
        let id = &execution.id;
        let is_final = execution.status.is_final();
        let events = format!("/executions/{id}/events?after={}", self.offsets);
        html! {
            nav.path aria-label="Breadcrumb" { a href="/" { "Executions" } " / " span { (id) } }
            // The script follows the events from the end of this page's output.
            div.title data-id=(id) data-events=[(!is_final).then_some(events)] {
                h1 { (execution.script) }
                span id="status" role="status" { (badge(execution.status)) " " span.note { (self.note()) } }
                div.buttons {
                    @if is_final {
                        button data-post={ "/executions/" (id) "/retry" } { "Run again" }
                    } @else {
                        button.danger data-post={ "/executions/" (id) "/cancel" } { "Cancel" }
                    }
                    noscript { small {
                        "The button needs JavaScript. Without it, use " code { "rgrid cancel " (id) } " or " code { "rgrid retry " (id) } "."
                    } }
                }
                p.error id="action-error" role="alert" hidden {}
            }
            @if let Some(error) = &execution.execution_error { p.error { (error) } }
            (self.facts())
            (timeline(&execution.phases))
            @for (stream, text) in self.outputs { (self.output(*stream, text)) }
            (self.files())
        }
    }

    fn note(&self) -> String {
        let progress = &self.progress;
        match (self.execution.status, progress.phase, progress.queue_position) {
            (Status::Queued, _, position) => match (&progress.waits_for, position) {
                (Some(reason), _) => reason.clone(),
                (None, Some(position)) => format!("number {position} in the queue"),
                (None, None) => String::new(),
            },
            (Status::Running, Some(Phase::Environment), _) => "installing requirements".to_owned(),
            (Status::Running, Some(Phase::Sandbox), _) => "starting the sandbox".to_owned(),
            _ => String::new(),
        }
    }

    fn facts(&self) -> Markup {
        let execution = self.execution;
        let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
        let codes = |values: &[String]| html! { @for value in values { code { (value) } " " } };
        let on: Vec<String> = execution.on.iter().map(|(key, value)| format!("{key}={value}")).collect();
        html! {
            dl.facts {
                (fact("Submitted", relative_time(&execution.created_at)))
                @if let Some(start) = &execution.started_at {
                    (fact("Started", relative_time(start)))
                    (fact("Duration", html! { (duration(execution)) }))
                }
                @if let Some(code) = execution.exit_code { (fact("Exit code", html! { (code) })) }
                (fact("Runtime", html! { (execution.runtime) }))
                (fact("Attempt", html! { (execution.attempt_label()) }))
                @if let Some(worker) = &execution.worker { (fact("Worker", html! { (worker) })) }
                @if let Some(usage) = &execution.usage {
                    (fact("Peak memory", html! { (format_size(usage.peak_memory_bytes)) }))
                    (fact("CPU time", html! { (format_ms(usage.cpu_ms)) }))
                }
                @if execution.priority != 0 { (fact("Priority", html! { (execution.priority) })) }
                @if !on.is_empty() { (fact("Worker labels", codes(&on))) }
                @if !execution.args.is_empty() { (fact("Arguments", codes(&execution.args))) }
                @if !execution.env_keys.is_empty() { (fact("Variables", codes(&execution.env_keys))) }
                @if !execution.labels.is_empty() { (fact("Labels", labels(execution))) }
            }
        }
    }

    fn output(&self, stream: Stream, text: &StreamText) -> Markup {
        let (name, total) = match stream {
            Stream::Stdout => ("Output", self.execution.stdout_bytes),
            Stream::Stderr => ("Errors", self.execution.stderr_bytes),
            Stream::Install => ("Install", 0),
        };
        let is_empty = text.text.is_empty();
        // The script shows a hidden stream when output arrives.
        let hidden = is_empty && stream != Stream::Stdout;
        let is_cut = text.ended && total > text.text.len() as u64;
        html! {
            section.output id={ "section-" (stream) } hidden[hidden] aria-labelledby={ "head-" (stream) } {
                h2 id={ "head-" (stream) } {
                    (name) " " small { (stream) @if is_cut { ", cut: " (format_size(total)) " in total" } }
                    @if !is_empty { a.raw href={ "/api/v1/executions/" (self.execution.id) "/logs?stream=" (stream) } { "raw" } }
                }
                pre id={ "stream-" (stream) } tabindex="0" { (text.text) }
            }
        }
    }

    fn files(&self) -> Markup {
        let execution = self.execution;
        html! {
            @if !execution.files().is_empty() {
                section aria-labelledby="files" {
                    h2 id="files" { "Files" }
                    ul.files { @for file in execution.files() {
                        li {
                            a href={ "/executions/" (execution.id) "/outputs/" (utf8_percent_encode(&file.name, PATH)) } download { (file.name) }
                            small { (format_size(file.size)) }
                        }
                    } }
                }
            }
            @for left_out in &execution.outputs_left_out { p.note { (left_out) } }
            @if execution.pruned_at.is_some() { p.note { "The output and files have been removed (retention settings)." } }
        }
    }
}

const TIMELINE_WIDTH: f64 = 1000.0;
/// Even the shortest phase is visible.
const PHASE_WIDTH_MIN: f64 = 6.0;

/// The duration of each phase.
fn timeline(phases: &Phases) -> Markup {
    let phases: Vec<(&str, &str, u64)> = [
        ("queued", "Queued", phases.queued_ms),
        ("environment", "Requirements", phases.environment_ms),
        ("sandbox", "Sandbox", phases.sandbox_ms),
        ("script", "Script", phases.script_ms),
        ("recorded", "Recording", phases.recorded_ms),
    ]
    .into_iter()
    .filter_map(|(class, name, ms)| Some((class, name, ms?)))
    .collect();
    let bars = bars(&phases.iter().map(|(_, _, ms)| *ms).collect::<Vec<_>>());
    html! {
        @if !phases.is_empty() {
            section.timeline aria-labelledby="timeline" {
                h2 id="timeline" { "Timeline" }
                svg viewBox={ "0 0 " (TIMELINE_WIDTH) " 14" } preserveAspectRatio="none" aria-hidden="true" {
                    @for ((class, _, _), (x, width)) in phases.iter().zip(&bars) {
                        rect class={ "phase-" (class) } x=(format!("{x:.1}")) y="0" width=(format!("{:.1}", (width - 2.0).max(1.0))) height="14" rx="3" {}
                    }
                }
                ol {
                    @for (class, name, ms) in &phases {
                        li { span class={ "dot phase-" (class) } aria-hidden="true" {} (name) " " strong { (format_ms(*ms)) } }
                    }
                }
            }
        }
    }
}

/// Position and width of each phase's bar.
fn bars(times: &[u64]) -> Vec<(f64, f64)> {
    let total = times.iter().sum::<u64>().max(1) as f64;
    let widths: Vec<f64> =
        times.iter().map(|ms| (*ms as f64 / total * TIMELINE_WIDTH).max(PHASE_WIDTH_MIN)).collect();
    let sum: f64 = widths.iter().sum();
    let mut x = 0.0;
    let bar = |width: f64| {
        let (start, width) = (x, width / sum * TIMELINE_WIDTH);
        x += width;
        (start, width)
    };
    widths.into_iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_encoded_as_paths() {
        assert_eq!(utf8_percent_encode("plots/ä b?.png", PATH).to_string(), "plots/%C3%A4%20b%3F.png");
    }

    #[test]
    fn the_timeline_is_full_and_every_phase_visible() {
        let bars = bars(&[0, 1, 10_000]);
        let end = bars.last().map(|(x, width)| x + width).unwrap();
        assert!((end - TIMELINE_WIDTH).abs() < 0.01 && bars.iter().all(|(_, width)| *width > 5.0));
    }
}
