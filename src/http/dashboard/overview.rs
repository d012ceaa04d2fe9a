//! The first page: how the deployment stands, and its executions.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use rgrid_api::{Execution, Status};

use crate::http::dashboard::parts::{ago, badge, duration, encoded, labels, short, took};
use crate::http::dashboard::{chart, html as answer, layout};
use crate::http::list;
use crate::http::middleware::auth::Asking;
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::store::{Filter, Minute, Page, QueueDepth, WorkerRow};

const ROWS: usize = 25;

pub(crate) async fn page(
    api: Data<Api>,
    Asking(caller): Asking,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut asked = Asked::read(request.query_string())?;
    asked.filter.owner = caller.restricted_to().cloned();
    let live = live(&api, &asked).await?;
    if asked.fragment {
        return Ok(answer(live));
    }
    let main = html! {
        h1.quiet { "Executions" }
        (form(&asked))
        div id="live" data-refresh="2000" { (live) }
    };
    Ok(answer(layout::page(&api, "Executions", &main)))
}

/// What a reader looks for.
struct Asked {
    filter: Filter,
    text: String,
    label: String,
    /// Only the part of the page that changes.
    fragment: bool,
}

impl Asked {
    /// An empty field of the form is none.
    fn read(query: &str) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| ApiError::BadRequest(format!("the query can't be read: {error}")))?;
        let value =
            |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim().to_owned());
        let filters: Vec<_> =
            pairs.iter().filter(|(name, value)| name != "part" && !value.trim().is_empty()).collect();
        let filters = serde_urlencoded::to_string(filters).unwrap_or_default();
        let filter = Filter { limit: ROWS, ..list::filter(&filters)? };
        let (text, label) = (value("text").unwrap_or_default(), value("label").unwrap_or_default());
        Ok(Self { filter, text, label, fragment: value("part").is_some() })
    }

    fn is_narrowed(&self) -> bool {
        self.filter.status.is_some() || !self.text.is_empty() || !self.label.is_empty()
    }

    /// The query of the page behind this one.
    fn older(&self, cursor: &str) -> String {
        let status = self.filter.status.map_or("", Status::as_str);
        format!(
            "/?status={status}&text={}&label={}&cursor={cursor}",
            encoded(&self.text),
            encoded(&self.label)
        )
    }
}

fn form(asked: &Asked) -> Markup {
    html! {
        form.filter method="get" action="/" role="search" aria-label="Filter executions" {
            label { span { "State" }
                select name="status" {
                    option value="" { "All" }
                    @for status in Status::ALL {
                        option value=(status.as_str()) selected[asked.filter.status == Some(status)] { (status.as_str()) }
                    }
                }
            }
            label.wide { span { "Text" } input type="search" name="text" value=(asked.text) placeholder="script, id or label" autocomplete="off"; }
            label { span { "Label" } input type="text" name="label" value=(asked.label) placeholder="team=data" autocomplete="off"; }
            button type="submit" { "Filter" }
            @if asked.is_narrowed() || asked.filter.before.is_some() { a.reset href="/" { "Show all" } }
        }
    }
}

async fn live(api: &Api, asked: &Asked) -> Result<Markup, ApiError> {
    let queue = api.store.queue_depth().await?;
    let workers = api.store.workers().await?;
    let hour = api.hour.get(api).await?;
    let page = api.store.list(asked.filter.clone()).await?;
    Ok(html! {
        (tiles(&queue, &workers, &hour))
        (pictures(&hour))
        (table(asked, &page))
        (worker_table(&workers))
    })
}

fn tiles(queue: &QueueDepth, workers: &[WorkerRow], hour: &[Minute]) -> Markup {
    let claiming = || workers.iter().filter(|worker| !worker.draining);
    let slots: i32 = claiming().map(|worker| worker.slots).sum();
    let running: i64 = workers.iter().map(|worker| worker.running).sum();
    let (completed, failed) = hour.iter().fold((0, 0), |(c, f), m| (c + m.completed, f + m.failed));
    let tile = |name: &str, value: String, note: String| {
        html! { div.tile { dt { (name) } dd { strong { (value) } @if !note.is_empty() { small { (note) } } } } }
    };
    let waiting = if queue.queued > 0 {
        format!("first: {}", took(queue.oldest_ms.unsigned_abs()))
    } else {
        String::new()
    };
    html! {
        dl.tiles {
            (tile("Waiting", queue.queued.to_string(), waiting))
            (tile("Running", running.to_string(), format!("of {slots} slots")))
            (tile("Workers", claiming().count().to_string(), String::new()))
            (tile("Last hour", (completed + failed).to_string(), format!("{failed} failed")))
        }
    }
}

fn table(asked: &Asked, page: &Page) -> Markup {
    html! {
        @if page.items.is_empty() { (nothing(asked)) } @else {
            table.executions {
                caption.hidden { "Executions, newest first" }
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Script" } th scope="col" { "Runtime" }
                    th scope="col" { "Labels" } th scope="col" { "Submitted" } th.number scope="col" { "Took" }
                } }
                tbody { @for execution in &page.items { (row(execution)) } }
            }
            @if let Some(next) = &page.next { nav.pages aria-label="Pages" { a href=(asked.older(next.as_str())) rel="next" { "Older →" } } }
        }
    }
}

fn row(execution: &Execution) -> Markup {
    html! {
        tr {
            td data-name="State" { (badge(execution.status)) }
            th.script scope="row" {
                a href={ "/executions/" (execution.id) } id={ "row-" (execution.id) } { (execution.script) }
                small { (short(&execution.id)) }
                @if let Some(error) = &execution.execution_error { p.why { (error) } }
            }
            td data-name="Runtime" { (execution.runtime) }
            td data-name="Labels" { (labels(execution)) }
            td data-name="Submitted" { (ago(&execution.created_at)) }
            td.number data-name="Took" { (duration(execution)) }
        }
    }
}

fn nothing(asked: &Asked) -> Markup {
    html! {
        div.nothing {
            @if asked.is_narrowed() {
                p { "Nothing fits." } p { a href="/" { "Show all executions" } }
            } @else {
                p { "Nothing has been run yet." } p { "Begin with " code { "rgrid run script.py" } }
            }
        }
    }
}

fn pictures(hour: &[Minute]) -> Markup {
    html! {
        div.pictures {
            figure {
                figcaption { "Ended in each minute"
                    span.legend { i.completed {} "completed" i.failed {} "failed" i.cancelled {} "cancelled" } }
                (chart::throughput(hour))
            }
            figure {
                figcaption { "From submission to end" span.legend { i.median {} "median" i.slow {} "95 of 100" } }
                (chart::latency(hour))
            }
        }
    }
}

fn worker_table(workers: &[WorkerRow]) -> Markup {
    html! {
        section aria-labelledby="workers" {
            h2 id="workers" { "Workers" }
            @if workers.is_empty() { p.nothing { "No worker runs: start one with " code { "rgridd serve" } } } @else {
                table.workers {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Slots in use" } th scope="col" { "Started" } th scope="col" { "Last seen" } } }
                    tbody { @for worker in workers { tr {
                        th scope="row" { (worker.name) @for (key, value) in worker.labels() { " " code { (key) "=" (value) } } @if worker.draining { " " span.badge { "draining" } } }
                        td data-name="Slots in use" {
                            meter min="0" max=(worker.slots) value=(worker.running) aria-label={ (worker.running) " of " (worker.slots) " slots in use" } {}
                            " " (worker.running) " / " (worker.slots)
                        }
                        td data-name="Started" { (ago(&worker.started_at.to_rfc3339())) }
                        td data-name="Last seen" { (ago(&worker.last_seen.to_rfc3339())) }
                    } } }
                }
            }
        }
    }
}
