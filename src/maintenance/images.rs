//! Images that RGrid has pulled and that nobody has needed for long are removed. What others brought is theirs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};

use crate::http::Readiness;
use crate::maintenance::environments::SweepError;
use crate::metrics::METRICS;
use crate::sandbox::{DockerError, ImageId, ImageRemoval, PullPolicy, PulledImage};
use crate::store::StoredImage;
use crate::worker::Worker;

/// An operator brings images while the daemon runs.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Never returns.
pub(crate) async fn sweep_for_ever(worker: Arc<Worker>, log: Logger) {
    let interval = worker.settings.environments.sweep_interval.0;
    let mut sweeper = Sweeper { worker, pulled: Vec::new(), log };
    loop {
        if let Err(error) = sweeper.sweep().await {
            warn!(sweeper.log, "old images can't be looked after"; "error" => %error);
        }
        tokio::select! {
            () = sweeper.worker.docker.image_pulled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Keeps telling which images are here; never returns. What is not here keeps nobody from serving.
pub(crate) async fn tell_for_ever(worker: Arc<Worker>, readiness: Arc<Readiness>) {
    loop {
        // A Docker that is away is told by `engine::watch`.
        if let Ok(words) = what_is_here(&worker).await {
            readiness.set("images", Ok(words));
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

async fn what_is_here(worker: &Worker) -> Result<String, DockerError> {
    let (mut here, mut to_pull, mut missing) = (0, Vec::new(), Vec::new());
    for (name, runtime) in worker.runtimes.iter() {
        match (worker.docker.has_image(&runtime.image).await?, runtime.pull) {
            (true, _) => here += 1,
            (false, PullPolicy::Never) => missing.push(name),
            (false, _) => to_pull.push(name),
        }
    }
    let all = here + to_pull.len() + missing.len();
    let rest = |names: &[&str], what: &str| match names {
        [] => String::new(),
        names => format!("; {}: {}", what, names.join(", ")),
    };
    let to_pull = rest(&to_pull, "pulled when first needed, or got with `make images`");
    Ok(format!("{here} of {all} are here{to_pull}{}", rest(&missing, "missing, and never pulled")))
}

struct Sweeper {
    worker: Arc<Worker>,
    /// What is not written down yet.
    pulled: Vec<PulledImage>,
    log: Logger,
}

impl Sweeper {
    async fn sweep(&mut self) -> Result<(), SweepError> {
        let engine = self.worker.docker.engine_id().await?;
        self.pulled.extend(self.worker.docker.take_pulled_images());
        if !self.pulled.is_empty() {
            self.write_down(&engine).await?;
        }
        let used: HashSet<ImageId> = self.worker.docker.images_in_use().await?;
        self.worker.store.use_images(&engine, used.into_iter().collect()).await?;
        let age = self.worker.settings.retention.images.0;
        for old in self.worker.store.images(&engine).await? {
            if old.is_retired || age.is_some_and(|age| old.idle() > age) {
                self.remove(&engine, &old).await?;
            }
        }
        Ok(())
    }

    async fn write_down(&mut self, engine: &str) -> Result<(), SweepError> {
        while let Some(one) = self.pulled.last() {
            self.worker.store.add_image(engine, &one.id, &one.name, one.size).await?;
            self.pulled.pop();
        }
        // How large they are was not known before.
        Ok(self.worker.budget.enforce(&self.worker.store).await?)
    }

    async fn remove(&self, engine: &str, old: &StoredImage) -> Result<(), SweepError> {
        match self.worker.docker.remove_image(&old.image).await? {
            ImageRemoval::Removed => {
                info!(self.log, "an old image is removed"; "image" => &old.name, "id" => &old.image,
                    "idle_s" => old.idle().as_secs());
                // One that was given up was counted when it was.
                METRICS.swept.add(&["images"], u64::from(!old.is_retired));
                self.worker.store.forget_image(engine, &old.image).await?;
            }
            ImageRemoval::InUse(reason) => {
                info!(self.log, "an old image stays"; "image" => &old.name, "id" => &old.image,
                    "reason" => reason);
                self.worker.store.use_images(engine, vec![old.image.clone()]).await?;
            }
        }
        Ok(())
    }
}
