//! The HTTP server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use slog::{Logger, info, warn};

use crate::daemon::startup::{Daemon, Role};
use crate::http::{self, Api};
use crate::store::Store;

/// How long open requests may go on after everything else has stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct ApiServer(http::Server);

impl ApiServer {
    pub fn start(daemon: &Daemon, store: Store, role: Role) -> anyhow::Result<Self> {
        let Daemon { settings, readiness, budget, log, .. } = daemon;
        let listen = settings.http.listen.0;
        let api = Api::new(store, Arc::clone(settings), Arc::clone(readiness), budget.clone(), log);
        let (server, address) = http::serve(api, listen).with_context(|| {
            format!(
                "cannot listen on {listen} (http.listen); is another rgridd running there? Set RGRID_HTTP__LISTEN to \
                 another address"
            )
        })?;
        info!(log, "ready"; "address" => format!("http://{address}"), "role" => ?role,
            "slots" => settings.worker.slots, "version" => env!("CARGO_PKG_VERSION"));
        Ok(Self(server))
    }

    pub async fn stop(self, log: &Logger) {
        if tokio::time::timeout(STOP_TIMEOUT, self.0.stop(true)).await.is_err() {
            warn!(log, "open requests were cut off");
        }
    }
}
