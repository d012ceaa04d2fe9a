//! One execution: how it stands, what it said, what it left.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use rgrid_api::units::format_size;
use rgrid_api::{Execution, Status, Stream};

use crate::execution::StreamOffsets;
use crate::http::dashboard::parts::{ago, badge, duration, labels};
use crate::http::dashboard::timeline::timeline;
use crate::http::dashboard::{html as answer, layout};
use crate::http::middleware::auth::Asking;
use crate::http::problem::ApiError;
use crate::http::resolve;
use crate::http::server::Api;
use crate::store::{Progress, StreamText};

pub(crate) async fn page(
    api: Data<Api>,
    Asking(caller): Asking,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = resolve::execution(&api, &caller, &id).await?;
    // The standing is older than the texts, so what happens in between is told once more, never left out.
    let standing = api.store.progress(&id).await?;
    let execution = api.store.execution_without_output(&id).await?;
    let mut texts = Vec::new();
    let mut position = StreamOffsets::start_of(standing.attempt);
    for stream in [Stream::Stdout, Stream::Stderr, Stream::Install] {
        let text = api.store.stream(&id, stream).await?;
        position.set(stream, text.text.len() as u64);
        texts.push((stream, text));
    }
    let shown = Shown { execution: &execution, standing, texts: &texts, position };
    let main = shown.main();
    if request.query_string() == "part" {
        return Ok(answer(main));
    }
    Ok(answer(layout::page(&api, &execution.script, &html! { div id="execution" { (main) } })))
}

struct Shown<'a> {
    execution: &'a Execution,
    standing: Progress,
    texts: &'a [(Stream, StreamText)],
    position: StreamOffsets,
}

impl Shown<'_> {
    fn main(&self) -> Markup {
        let execution = self.execution;
        let events = format!("/executions/{}/events?after={}", execution.id, self.position);
        html! {
            nav.path aria-label="Where you are" { a href="/" { "Executions" } " / " span { (execution.id) } }
            // The script follows the events from where this page ends.
            div.title data-id=(execution.id) data-events=[(!execution.status.is_final()).then_some(events)] {
                h1 { (execution.script) }
                span id="status" role="status" { (badge(execution.status)) " " span.note { (self.note()) } }
                (self.buttons())
            }
            @if let Some(error) = &execution.execution_error { p.error { (error) } }
            (self.facts())
            (timeline(&execution.phases))
            @for (stream, text) in self.texts { (self.output(*stream, text)) }
            (self.files())
        }
    }

    fn note(&self) -> String {
        match (self.execution.status, self.standing.phase, self.standing.queue_position) {
            (Status::Queued, ..) if self.standing.waits_for.is_some() => {
                self.standing.waits_for.clone().unwrap_or_default()
            }
            (Status::Queued, _, Some(place)) => format!("number {place} in the queue"),
            (Status::Running, Some(rgrid_api::Phase::Environment), _) => {
                "installing its requirements".to_owned()
            }
            (Status::Running, Some(rgrid_api::Phase::Sandbox), _) => "getting its sandbox".to_owned(),
            _ => String::new(),
        }
    }

    fn buttons(&self) -> Markup {
        let id = &self.execution.id;
        html! {
            div.buttons {
                @if self.execution.status.is_final() {
                    button data-post={ "/executions/" (id) "/retry" } { "Run again" }
                } @else {
                    button.danger data-post={ "/executions/" (id) "/cancel" } { "Cancel" }
                }
                noscript { small { "The button needs JavaScript; " code { "rgrid cancel " (id) } " and " code { "rgrid retry " (id) } " do not." } }
            }
            p.error id="action-error" role="alert" hidden {}
        }
    }

    fn facts(&self) -> Markup {
        let execution = self.execution;
        let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
        html! {
            dl.facts {
                (fact("Submitted", ago(&execution.created_at)))
                @if let Some(start) = &execution.started_at { (fact("Started", ago(start))) }
                @if execution.started_at.is_some() { (fact("Took", html! { (duration(execution)) })) }
                @if let Some(code) = execution.exit_code { (fact("Exit code", html! { (code) })) }
                (fact("Runtime", html! { (execution.runtime) }))
                (fact("Attempt", html! { (execution.attempt_label()) }))
                @if let Some(worker) = &execution.worker { (fact("Worker", html! { (worker) })) }
                @if let Some(usage) = &execution.usage {
                    (fact("Peak memory", html! { (format_size(usage.peak_memory_bytes)) }))
                    (fact("CPU time", html! { (crate::http::dashboard::parts::took(usage.cpu_ms)) }))
                }
                @if execution.priority != 0 { (fact("Priority", html! { (execution.priority) })) }
                @if !execution.on.is_empty() { (fact("Runs on", html! { @for (key, value) in &execution.on { code { (key) "=" (value) } " " } })) }
                @if !execution.args.is_empty() { (fact("Arguments", html! { @for arg in &execution.args { code { (arg) } " " } })) }
                @if !execution.env_keys.is_empty() { (fact("Variables", html! { @for key in &execution.env_keys { code { (key) } " " } })) }
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
        let empty = text.text.is_empty();
        // An empty stream that can still say something is there for the script to fill.
        let shown = !empty || stream == Stream::Stdout;
        let cut = text.ended && total > text.text.len() as u64;
        html! {
            section.output id={ "section-" (stream) } hidden[!shown] aria-labelledby={ "head-" (stream) } {
                h2 id={ "head-" (stream) } {
                    (name) " " small { (stream) @if cut { ", cut: " (format_size(total)) " in all" } }
                    @if !empty { a.raw href={ "/api/v1/executions/" (self.execution.id) "/logs?stream=" (stream) } { "raw" } }
                }
                pre id={ "stream-" (stream) } tabindex="0" { (text.text) }
            }
        }
    }

    fn files(&self) -> Markup {
        html! {
            @if !self.execution.files().is_empty() {
                section aria-labelledby="files" {
                    h2 id="files" { "Files" }
                    ul.files { @for file in self.execution.files() {
                        li { a href={ "/executions/" (self.execution.id) "/outputs/" (path_of(&file.name)) } download { (file.name) } small { (format_size(file.size)) } }
                    } }
                }
            }
            @for left_out in &self.execution.outputs_left_out { p.note { (left_out) } }
            @if self.execution.pruned_at.is_some() { p.note { "Its output and files were removed by the retention's rules." } }
        }
    }
}

/// Each part of a name in a URL, whatever a script called it.
fn path_of(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    name.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_stays_a_path() {
        assert_eq!(path_of("plots/ä b?.png"), "plots/%C3%A4%20b%3F.png");
        assert_eq!(path_of("\"><script>"), "%22%3E%3Cscript%3E");
    }
}
