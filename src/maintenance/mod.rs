//! Background work that belongs to no single execution: retention, old environments and images, webhooks.

pub(crate) mod environments;
pub(crate) mod holders;
pub(crate) mod images;
pub(crate) mod retention;
pub(crate) mod webhooks;

use slog::Logger;

use crate::worker::{FatalError, PanicCounter, RESTART_PAUSE};

/// Runs a background loop in a task, and restarts it after a panic.
pub(crate) fn run_in_background<F, T>(name: &'static str, fatal: &FatalError, log: &Logger, start: F)
where
    F: Fn() -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    let mut panics = PanicCounter::new(name, fatal.clone(), log.clone());
    actix_rt::spawn(async move {
        while let Err(stopped) = actix_rt::spawn(start()).await
            && stopped.is_panic()
            && panics.may_restart()
        {
            tokio::time::sleep(RESTART_PAUSE).await;
            panics.started();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn a_loop_that_panics_is_restarted() {
        tokio::time::pause();
        let starts = Rc::new(Cell::new(0));
        let counter = Rc::clone(&starts);
        let log = Logger::root(slog::Discard, slog::o!());
        let (done, ended) = tokio::sync::oneshot::channel();
        let done = Rc::new(Cell::new(Some(done)));
        run_in_background("test", &FatalError::default(), &log, move || {
            let (starts, done) = (Rc::clone(&counter), Rc::clone(&done));
            async move {
                starts.set(starts.get() + 1);
                assert!(starts.get() >= 3, "as a bug would");
                let _ = done.take().unwrap().send(());
            }
        });
        ended.await.unwrap();
        assert_eq!(starts.get(), 3);
    }
}
