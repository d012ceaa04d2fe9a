//! The first page: the state of the deployment, and its executions.

use actix_web::{HttpRequest, web::Data};
use maud::{Markup, html};
use rgrid_api::{Execution, Status};

use crate::http::dashboard::layout::{badge, duration, format_ms, labels, query_value, relative_time};
use crate::http::dashboard::{chart, html_response, layout};
use crate::http::{Api, ApiError, Authenticated, HttpResult, executions};
use crate::store::{Filter, Minute, Page, QueueDepth, WorkerRow};

const ROWS: usize = 25;

pub(crate) async fn page(api: Data<Api>, caller: Authenticated, request: HttpRequest) -> HttpResult {
    let mut query = ListQuery::parse(request.query_string())?;
    query.filter.owner = caller.0.restricted_to().cloned();
    let live = live_part(&api, &query).await?;
    if query.live_part_only {
        return Ok(html_response(live));
    }
    let main = html! {
        h1.quiet { "Executions" }
        (filter_form(&query))
        div id="live" data-refresh="2000" { (live) }
    };
    Ok(html_response(layout::page(&api, "Executions", &main)))
}

struct ListQuery {
    filter: Filter,
    text: String,
    label: String,
    live_part_only: bool,
}

impl ListQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        // The form also sends its empty fields.
        let filters = pairs.iter().filter(|(name, value)| name != "part" && !value.trim().is_empty());
        let filter = executions::parse_filter(filters.map(|(name, value)| (name, value)))?;
        Ok(Self {
            filter: Filter { limit: ROWS, ..filter },
            text: value("text").unwrap_or_default().to_owned(),
            label: value("label").unwrap_or_default().to_owned(),
            live_part_only: value("part").is_some(),
        })
    }

    fn has_filters(&self) -> bool {
        self.filter.status.is_some() || !self.text.is_empty() || !self.label.is_empty()
    }

    fn next_page(&self, cursor: &str) -> String {
        let status = self.filter.status.map_or("", Status::as_str);
        let (text, label) = (query_value(&self.text), query_value(&self.label));
        format!("/?status={status}&text={text}&label={label}&cursor={cursor}")
    }
}

fn filter_form(query: &ListQuery) -> Markup {
    html! {
        form.filter method="get" action="/" role="search" aria-label="Filter executions" {
            label { span { "Status" }
                select name="status" {
                    option value="" { "All" }
                    @for status in Status::ALL {
                        option value=(status.as_str()) selected[query.filter.status == Some(status)] { (status.as_str()) }
                    }
                }
            }
            label.wide { span { "Text" } input type="search" name="text" value=(query.text) placeholder="script, ID or label" autocomplete="off"; }
            label { span { "Label" } input type="text" name="label" value=(query.label) placeholder="team=data" autocomplete="off"; }
            button type="submit" { "Filter" }
            @if query.has_filters() || query.filter.before.is_some() { a.reset href="/" { "Show all" } }
        }
    }
}

/// The part of the page that the script refreshes.
async fn live_part(api: &Api, query: &ListQuery) -> Result<Markup, ApiError> {
    let queue = api.store.queue_depth().await?;
    let workers = api.store.workers().await?;
    let last_hour = api.last_hour.get(api).await?;
    let page = api.store.list(query.filter.clone()).await?;
    Ok(html! {
        (tiles(&queue, &workers, &last_hour))
        div.charts {
            figure {
                figcaption { "Ended per minute"
                    span.legend { i.completed {} "completed" i.failed {} "failed" i.cancelled {} "cancelled" } }
                (chart::throughput(&last_hour))
            }
            figure {
                figcaption { "Time from submission to end" span.legend { i.median {} "median" i.slow {} "95th percentile" } }
                (chart::latency(&last_hour))
            }
        }
        (execution_table(query, &page))
        (worker_table(&workers))
    })
}

fn tiles(queue: &QueueDepth, workers: &[WorkerRow], last_hour: &[Minute]) -> Markup {
    let claiming = || workers.iter().filter(|worker| !worker.draining);
    let slots: i32 = claiming().map(|worker| worker.slots).sum();
    let running: i64 = workers.iter().map(|worker| worker.running).sum();
    let completed: i64 = last_hour.iter().map(|minute| minute.completed).sum();
    let failed: i64 = last_hour.iter().map(|minute| minute.failed).sum();
    let tile = |name: &str, value: i64, note: String| {
        html! { div.tile { dt { (name) } dd { strong { (value) } @if !note.is_empty() { small { (note) } } } } }
    };
    let oldest = match queue.queued {
        0 => String::new(),
        _ => format!("oldest: {}", format_ms(queue.oldest_ms.unsigned_abs())),
    };
    html! {
        dl.tiles {
            (tile("Queued", queue.queued, oldest))
            (tile("Running", running, format!("of {slots} slots")))
            (tile("Workers", claiming().count() as i64, String::new()))
            (tile("Last hour", completed + failed, format!("{failed} failed")))
        }
    }
}

fn execution_table(query: &ListQuery, page: &Page) -> Markup {
    html! {
        @if page.items.is_empty() {
            div.empty {
                @if query.has_filters() {
                    p { "No matching executions." } p { a href="/" { "Show all executions" } }
                } @else {
                    p { "No executions yet." } p { "Start with " code { "rgrid run script.py" } }
                }
            }
        } @else {
            table.executions {
                caption.hidden { "Executions, newest first" }
                thead { tr {
                    @for name in ["Status", "Script", "Runtime", "Labels", "Submitted"] { th scope="col" { (name) } }
                    th.number scope="col" { "Duration" }
                } }
                tbody { @for execution in &page.items { (row(execution)) } }
            }
            @if let Some(next) = &page.next {
                nav.pages aria-label="Pages" { a href=(query.next_page(next.as_str())) rel="next" { "Older →" } }
            }
        }
    }
}

fn row(execution: &Execution) -> Markup {
    // IDs begin with the time, so only their ends differ visibly.
    let id = &execution.id;
    let short_id = id.get(id.len().saturating_sub(8)..).unwrap_or(id);
    html! {
        tr {
            td data-name="Status" { (badge(execution.status)) }
            th.script scope="row" {
                a href={ "/executions/" (id) } id={ "row-" (id) } { (execution.script) }
                small { (short_id) }
                @if let Some(error) = &execution.execution_error { p.reason { (error) } }
            }
            td data-name="Runtime" { (execution.runtime) }
            td data-name="Labels" { (labels(execution)) }
            td data-name="Submitted" { (relative_time(&execution.created_at)) }
            td.number data-name="Duration" { (duration(execution)) }
        }
    }
}

fn worker_table(workers: &[WorkerRow]) -> Markup {
    html! {
        section aria-labelledby="workers" {
            h2 id="workers" { "Workers" }
            @if workers.is_empty() { p.empty { "No workers. Start one with " code { "rgridd serve" } } } @else {
                table.workers {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Slots in use" } th scope="col" { "Started" } th scope="col" { "Last seen" } } }
                    tbody { @for worker in workers { tr {
                        th scope="row" { (worker.name) @for (key, value) in worker.labels() { " " code { (key) "=" (value) } } @if worker.draining { " " span.badge { "draining" } } @if let Some(problem) = problem(worker) { br; small.problem { (problem) } } }
                        td data-name="Slots in use" {
                            meter min="0" max=(worker.slots) value=(worker.running) aria-label={ (worker.running) " of " (worker.slots) " slots in use" } {}
                            " " (worker.running) " / " (worker.slots)
                        }
                        td data-name="Started" { (relative_time(&worker.started_at.to_rfc3339())) }
                        td data-name="Last seen" { (relative_time(&worker.last_seen.to_rfc3339())) }
                    } } }
                }
            }
        }
    }
}

fn problem(worker: &WorkerRow) -> Option<String> {
    let engine = worker.engine_problem.clone();
    engine.or_else(|| worker.firewall_problem.as_ref().map(|problem| format!("firewall: {problem}")))
}
