//! Whether this process can serve, and why not.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rgrid_api::server::Check;

/// Told by those who know; asked by `/readyz`.
#[derive(Default)]
pub struct Readiness {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    draining: bool,
    checks: BTreeMap<String, Result<String, String>>,
}

impl Readiness {
    /// What was found, or what is wrong and what to do.
    pub fn set(&self, name: &str, result: Result<String, String>) {
        self.lock().checks.insert(name.to_owned(), result);
    }

    /// From now on this process takes no new work.
    pub fn set_draining(&self) {
        self.lock().draining = true;
    }

    pub(crate) fn checks(&self) -> Vec<Check> {
        let state = self.lock();
        let mut checks: Vec<Check> = state
            .checks
            .iter()
            .map(|(name, result)| Check {
                name: name.clone(),
                ok: result.is_ok(),
                detail: result.clone().unwrap_or_else(|wrong| wrong),
            })
            .collect();
        if state.draining {
            let detail = "this server is stopping; ask another one, or again in a moment".to_owned();
            checks.push(Check { name: "draining".to_owned(), ok: false, detail });
        }
        checks
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
