//! Keeps what is stored within the retention's rules. Any daemon does it; several at once do no harm.

use std::time::Duration;

use slog::{Logger, info, warn};

use crate::metrics::METRICS;
use crate::settings::Retention;
use crate::store::{DiskBudget, Store, StoreError};

/// The first sweep, when the start is over.
const FIRST_AFTER: Duration = Duration::from_secs(5);

/// Never returns.
pub(crate) async fn sweep_for_ever(store: Store, budget: DiskBudget, retention: Retention, log: Logger) {
    let mut pause = FIRST_AFTER.min(retention.sweep_every.0);
    loop {
        tokio::time::sleep(pause).await;
        pause = retention.sweep_every.0;
        match sweep(&store, &budget, &retention).await {
            Ok(0) => {}
            Ok(removed) => info!(log, "swept by the retention's rules"; "removed" => removed),
            Err(error) => warn!(log, "the sweep stopped; it goes on at the next time"; "error" => %error),
        }
    }
}

async fn sweep(store: &Store, budget: &DiskBudget, retention: &Retention) -> Result<usize, StoreError> {
    let mut all = 0;
    if let Some(age) = retention.outputs.0 {
        all += to_the_end("outputs", || store.prune_older_than(age)).await?;
    }
    if let Some(age) = retention.executions.0 {
        all += to_the_end("executions", || store.remove_older_than(age)).await?;
    }
    if retention.max_executions > 0 {
        all += to_the_end("executions", || store.remove_all_but_newest(retention.max_executions)).await?;
    }
    if let Some(age) = retention.contents.0 {
        all += to_the_end("contents", || store.remove_unreferenced_blobs(age)).await?;
    }
    budget.enforce(store).await?;
    Ok(all)
}

/// Each call removes a bounded number.
async fn to_the_end<F>(what: &'static str, mut remove: impl FnMut() -> F) -> Result<usize, StoreError>
where
    F: Future<Output = Result<usize, StoreError>>,
{
    let mut all = 0;
    loop {
        let removed = remove().await?;
        METRICS.swept.add(&[what], removed as u64);
        all += removed;
        if removed == 0 {
            return Ok(all);
        }
    }
}
