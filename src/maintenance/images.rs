//! Removes images that RGrid pulled and no longer needs. Images from other sources are never removed.

use std::{collections::HashSet, sync::Arc};

use slog::{Logger, info, warn};

use crate::maintenance::environments::SweepError;
use crate::metrics::METRICS;
use crate::sandbox::{DockerError, ImageId, ImageRemoval, PullPolicy, PulledImage};
use crate::store::StoredImage;
use crate::worker::Worker;

/// Never returns.
pub(crate) async fn run(worker: Arc<Worker>, log: Logger) {
    let interval = worker.settings.environments.sweep_interval.0;
    let mut cleaner = ImageCleaner { worker, unrecorded: Vec::new(), log };
    loop {
        if let Err(error) = cleaner.sweep().await {
            warn!(cleaner.log, "cannot remove old images"; "error" => %error);
        }
        tokio::select! {
            () = cleaner.worker.docker.image_pulled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Summarises which images of the runtime table are present.
pub(crate) async fn availability(worker: &Worker) -> Result<String, DockerError> {
    let mut images = Vec::new();
    for (name, runtime) in worker.runtimes.iter() {
        images.push((name, worker.docker.has_image(&runtime.image).await?, runtime.pull));
    }
    Ok(summary(&images))
}

fn summary(images: &[(&str, bool, PullPolicy)]) -> String {
    let absent = |is_never: bool| -> Vec<&str> {
        let absent = images.iter().filter(|(_, is_present, _)| !is_present);
        let matching = absent.filter(|(.., pull)| (*pull == PullPolicy::Never) == is_never);
        matching.map(|(name, ..)| *name).collect()
    };
    let present = images.iter().filter(|(_, is_present, _)| *is_present).count();
    let mut text = format!("{present} of {} present", images.len());
    for (names, fate) in [
        (absent(false), "pulled on first use, or by `make images`"),
        (absent(true), "missing, and never pulled (pull = \"never\")"),
    ] {
        if !names.is_empty() {
            text += &format!("; {fate}: {}", names.join(", "));
        }
    }
    text
}

struct ImageCleaner {
    worker: Arc<Worker>,
    /// Pulled images that are not recorded in the database yet.
    unrecorded: Vec<PulledImage>,
    log: Logger,
}

impl ImageCleaner {
    async fn sweep(&mut self) -> Result<(), SweepError> {
        let worker = Arc::clone(&self.worker);
        let (store, docker) = (&worker.store, &worker.docker);
        let engine = docker.engine_id().await?;
        self.unrecorded.extend(docker.take_pulled_images());
        if !self.unrecorded.is_empty() {
            while let Some(image) = self.unrecorded.last() {
                store.add_image(&engine, &image.id, &image.name, image.size).await?;
                self.unrecorded.pop();
            }
            // The size of an image is known only after the pull.
            worker.budget.enforce(store).await?;
        }
        let used: HashSet<ImageId> = docker.images_in_use().await?;
        store.use_images(&engine, used.into_iter().collect()).await?;
        let max_age = worker.settings.retention.images.0;
        for image in store.images(&engine).await? {
            if image.is_retired || max_age.is_some_and(|max_age| image.idle() > max_age) {
                self.remove(&engine, &image).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, engine: &str, image: &StoredImage) -> Result<(), SweepError> {
        let (store, docker) = (&self.worker.store, &self.worker.docker);
        match docker.remove_image(&image.image).await? {
            ImageRemoval::Removed => {
                info!(self.log, "removed an old image"; "image" => &image.name, "id" => &image.image,
                    "idle_s" => image.idle().as_secs());
                // A retired image was counted when it was retired.
                METRICS.swept.add(&["images"], u64::from(!image.is_retired));
                store.forget_image(engine, &image.image).await?;
            }
            ImageRemoval::InUse(reason) => {
                info!(self.log, "kept an old image that is in use"; "image" => &image.name, "id" => &image.image,
                    "reason" => reason);
                store.use_images(engine, vec![image.image.clone()]).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_lists_absent_images_by_what_happens_to_them() {
        use PullPolicy::{Always, Missing, Never};
        for (images, expected) in [
            (&[("a", true, Missing), ("b", true, Never)][..], "2 of 2 present"),
            (
                &[("a", true, Always), ("b", false, Missing), ("c", false, Always)],
                "1 of 3 present; pulled on first use, or by `make images`: b, c",
            ),
            (&[("a", false, Never)], "0 of 1 present; missing, and never pulled (pull = \"never\"): a"),
        ] {
            assert_eq!(summary(images), expected);
        }
    }
}
