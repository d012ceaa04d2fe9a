//! What became of a batch: failures first.

use rgrid_api::{Execution, Status};

use crate::batch::progress::{Member, Watch};
use crate::error::Failure;
use crate::output::console::{Console, Tone};
use crate::output::times;

/// More that went well are counted, not listed.
const COMPLETED_MAX: usize = 20;

/// The table and the count.
pub fn show(watch: &Watch, console: &Console) -> Result<(), Failure> {
    let (completed, failed): (Vec<&Member>, Vec<&Member>) =
        watch.members.iter().partition(|member| member.completed());
    let rows: Vec<_> =
        failed.iter().chain(completed.iter().take(COMPLETED_MAX)).map(|member| row(member)).collect();
    console.table(&["STATUS", "INPUT", "ID", "RESULT"], &rows)?;
    if completed.len() > COMPLETED_MAX {
        let (more, id) = (completed.len() - COMPLETED_MAX, &watch.id);
        console.line(&format!("… and {more} more that completed; `rgrid list {id}` shows all"))?;
    }
    console.line(&counted(completed.len(), failed.len()))?;
    if let Some(id) = failed.iter().find_map(|member| member.id.as_ref()) {
        console
            .hint(&format!("see what one said with `rgrid logs {id}`, run it again with `rgrid retry {id}`"));
    }
    Ok(())
}

fn counted(completed: usize, failed: usize) -> String {
    let all = completed + failed;
    match failed {
        0 if all == 1 => "1 completed".to_owned(),
        0 => format!("all {all} completed"),
        failed => format!("{completed} of {all} completed, {failed} did not"),
    }
}

fn row(member: &Member) -> Vec<(String, Tone)> {
    let plain = |text: String| (text, Tone::Plain);
    let (status, tone) = match &member.ended {
        Some(ended) => (ended.status.to_string(), Tone::of(ended.status)),
        None => ("not taken".to_owned(), Tone::Bad),
    };
    vec![
        (status, tone),
        plain(member.input.clone()),
        plain(member.id.clone().unwrap_or_else(|| "-".to_owned())),
        plain(member.result()),
    ]
}

/// How long it took, or what went wrong.
pub fn result(ended: &Execution) -> String {
    match ended.status {
        Status::Completed => ended.duration_ms.map(times::milliseconds).unwrap_or_default(),
        _ => ended.execution_error.clone().unwrap_or_else(|| format!("it was {}", ended.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        assert_eq!([counted(1, 0), counted(3, 0)], ["1 completed", "all 3 completed"]);
        assert_eq!(counted(2, 1), "2 of 3 completed, 1 did not");
    }
}
