//! Deletes data that exceeds the retention limits. Several daemons may do this at the same time.

use std::time::Duration;

use slog::{Logger, info, warn};

use crate::metrics::METRICS;
use crate::settings::Retention;
use crate::store::{DiskBudget, Store, StoreError};

/// The first sweep waits until the daemon has started.
const FIRST_AFTER: Duration = Duration::from_secs(5);

/// Never returns.
pub(crate) async fn run(store: Store, budget: DiskBudget, retention: Retention, log: Logger) {
    let mut pause = FIRST_AFTER.min(retention.sweep_every.0);
    loop {
        tokio::time::sleep(pause).await;
        pause = retention.sweep_every.0;
        match sweep(&store, &budget, &retention).await {
            Ok(0) => {}
            Ok(deleted) => info!(log, "deleted data beyond the retention limits"; "deleted" => deleted),
            Err(error) => warn!(log, "the retention sweep failed; the next one continues"; "error" => %error),
        }
    }
}

async fn sweep(store: &Store, budget: &DiskBudget, retention: &Retention) -> Result<usize, StoreError> {
    let mut deleted = 0;
    if let Some(age) = retention.outputs.0 {
        deleted += repeat("outputs", || store.prune_older_than(age)).await?;
    }
    if let Some(age) = retention.executions.0 {
        deleted += repeat("executions", || store.remove_older_than(age)).await?;
    }
    if retention.max_executions > 0 {
        deleted += repeat("executions", || store.remove_all_but_newest(retention.max_executions)).await?;
    }
    if let Some(age) = retention.contents.0 {
        deleted += repeat("contents", || store.remove_unreferenced_blobs(age)).await?;
    }
    budget.enforce(store).await?;
    Ok(deleted)
}

/// Deletes in batches, so that no transaction is long, until nothing is left to delete.
async fn repeat<F>(kind: &'static str, mut delete: impl FnMut() -> F) -> Result<usize, StoreError>
where
    F: Future<Output = Result<usize, StoreError>>,
{
    let mut total = 0;
    loop {
        let deleted = delete().await?;
        METRICS.swept.add(&[kind], deleted as u64);
        total += deleted;
        if deleted == 0 {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_deleted_until_one_is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (batches, expected) in [(&[0][..], 0), (&[5, 0, 7], 5), (&[100, 100, 3, 0], 203)] {
            let mut left = batches.iter();
            let total = runtime.block_on(repeat("outputs", || std::future::ready(Ok(*left.next().unwrap()))));
            assert_eq!(total.unwrap(), expected, "{batches:?}");
        }
        let failed = runtime.block_on(repeat("outputs", || std::future::ready(Err(StoreError::NotFound))));
        assert!(failed.is_err());
    }
}
