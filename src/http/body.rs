//! Reads the bodies of submissions, within limits for their size, their pace, and the memory of all of them.
//!
//! Memory is reserved as bytes arrive, not when a body is announced. A body that stops arriving is given up soon, and a
//! client can use only its share. So no client can keep others from submitting.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use parking_lot::Mutex;
use rgrid_api::units::{format_duration, format_size};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::execution::Caller;
use crate::http::middleware::auth::check_again;
use crate::http::middleware::rate_limit::Client;
use crate::http::shares::share_of;
use crate::http::{Api, ApiError};
use crate::settings::Settings;

/// For the parts of a body without a limit of their own: names, labels and JSON syntax.
const JSON_OVERHEAD: u64 = 1024 * 1024;
/// Memory is reserved in steps of this size. A body that fits into one needs no reservation.
const STEP: u64 = 64 * 1024;
/// The slowest permitted pace in bytes per second, for bodies that need a reservation.
const MIN_RATE: u64 = 8 * 1024;
const STEP_TIMEOUT: Duration = Duration::from_secs(STEP / MIN_RATE);
/// How long a body waits for memory that others use.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(10);
/// After a body that took longer, the key is checked again.
const SLOW_BODY: Duration = Duration::from_secs(1);

pub(crate) struct Body {
    pub bytes: Bytes,
    /// Held as long as the body, or what was parsed from it, is in memory.
    pub memory: Reservation,
}

/// Reads the body of a submission.
pub(crate) async fn read(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Body, ApiError> {
    let settings = &api.settings;
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > max_body(settings)) {
        return Err(too_large(settings));
    }
    let start = Instant::now();
    let memory = api.body_memory.reservation(Client::of(request));
    let is_small = announced.is_some_and(|length| length <= STEP);
    let body = receive(settings, payload, memory, is_small).await?;
    if start.elapsed() > SLOW_BODY {
        check_again(api, caller).await?;
    }
    Ok(body)
}

async fn receive(
    settings: &Settings,
    mut payload: Payload,
    mut memory: Reservation,
    is_small: bool,
) -> Result<Body, ApiError> {
    let body_timeout = settings.http.body_timeout.0;
    let mut deadline = Instant::now() + body_timeout;
    let mut step_deadline = Instant::now() + STEP_TIMEOUT;
    let mut bytes = BytesMut::new();
    loop {
        let until = if is_small { deadline } else { deadline.min(step_deadline) };
        let part = timeout_at(until, payload.next()).await.map_err(|_| {
            ApiError::Timeout(if until == deadline {
                let timeout = format_duration(body_timeout);
                format!("the body did not arrive within {timeout} (http.body_timeout)")
            } else {
                format!("the body arrived more slowly than {}/s", format_size(MIN_RATE))
            })
        })?;
        let Some(part) = part else { return Ok(Body { bytes: bytes.freeze(), memory }) };
        let part = part.map_err(|error| {
            ApiError::BadRequest(format!("cannot read the body: the connection broke off: {error}"))
        })?;
        let size = (bytes.len() + part.len()) as u64;
        if size > max_body(settings) {
            return Err(too_large(settings));
        }
        if size > memory.size() {
            let waiting = Instant::now();
            memory.grow_to(size).await?;
            deadline += waiting.elapsed();
            step_deadline = Instant::now() + STEP_TIMEOUT;
        }
        bytes.extend_from_slice(&part);
    }
}

fn too_large(settings: &Settings) -> ApiError {
    ApiError::TooLarge(format!(
        "the request is too large: a submission has at most {} (files {}, script {})",
        format_size(max_body(settings)),
        format_size(settings.submission.max_files_size.0),
        format_size(settings.submission.max_script.0)
    ))
}

/// Base64 takes four bytes for three; a JSON escape takes up to six bytes for one.
fn max_body(settings: &Settings) -> u64 {
    let limits = &settings.submission;
    let text =
        limits.max_script.0 + limits.max_args_size.0 + 2 * limits.max_env_size.0 + limits.max_requirements.0;
    limits.max_files_size.0 / 3 * 4 + 6 * text + JSON_OVERHEAD
}

/// The memory for bodies that are being received.
#[derive(Clone)]
pub(crate) struct BodyMemory {
    all: Arc<Budget>,
    shares: Arc<Mutex<HashMap<Client, Weak<Budget>>>>,
    share: u64,
    largest: u64,
}

impl BodyMemory {
    pub fn new(settings: &Settings) -> Self {
        Self::with_sizes(settings.submission.max_in_memory.0, max_body(settings))
    }

    fn with_sizes(size: u64, largest: u64) -> Self {
        // Even the largest body fits, and a client with one leaves room for another client's.
        let size = size.max(2 * largest);
        let share = share_of(size).max(largest);
        Self { all: Arc::new(Budget::new(size, largest)), shares: Arc::default(), share, largest }
    }

    fn reservation(&self, client: Option<Client>) -> Reservation {
        let part_of = |budget| Part { budget, steps: None, last: None };
        let share = client.map(|client| part_of(self.share_of(client)));
        Reservation { share, all: part_of(Arc::clone(&self.all)), steps: 1 }
    }

    fn share_of(&self, client: Client) -> Arc<Budget> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&client).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Budget::new(self.share, self.largest));
        shares.insert(client, Arc::downgrade(&share));
        share
    }
}

/// Memory that several bodies share.
struct Budget {
    steps: Arc<Semaphore>,
    /// Bodies that each hold a part and wait for more would wait for ever. So there is room for one of the largest size
    /// besides, and the body that gets it needs no steps any more.
    last: Arc<Semaphore>,
}

impl Budget {
    fn new(size: u64, largest: u64) -> Self {
        let steps = usize::try_from(size.saturating_sub(largest) / STEP).unwrap_or(Semaphore::MAX_PERMITS);
        Self { steps: Arc::new(Semaphore::new(steps)), last: Arc::new(Semaphore::new(1)) }
    }
}

/// What one body holds of a budget.
struct Part {
    budget: Arc<Budget>,
    steps: Option<OwnedSemaphorePermit>,
    last: Option<OwnedSemaphorePermit>,
}

impl Part {
    async fn add_step(&mut self) {
        if self.last.is_some() {
            return;
        }
        // The semaphores are never closed.
        tokio::select! {
            biased;
            Ok(step) = Arc::clone(&self.budget.steps).acquire_owned() => match &mut self.steps {
                Some(steps) => steps.merge(step),
                none => *none = Some(step),
            },
            Ok(last) = Arc::clone(&self.budget.last).acquire_owned() => self.last = Some(last),
            else => {}
        }
    }
}

/// The memory that one body uses. Dropping it returns the memory.
pub(crate) struct Reservation {
    /// Of its client; `None` for a client without limits.
    share: Option<Part>,
    all: Part,
    /// The first one belongs to no budget.
    steps: u64,
}

impl Reservation {
    fn size(&self) -> u64 {
        self.steps * STEP
    }

    async fn grow_to(&mut self, size: u64) -> Result<(), ApiError> {
        let grow = async {
            while self.size() < size {
                if let Some(share) = &mut self.share {
                    share.add_step().await;
                }
                self.all.add_step().await;
                self.steps += 1;
            }
        };
        timeout(MEMORY_TIMEOUT, grow).await.map_err(|_| {
            ApiError::TooManyRequests(
                "too many large submissions at the same time (submission.max_in_memory)".to_owned(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn client(number: u8) -> Option<Client> {
        Some(Client::from_address(IpAddr::from([192, 0, 2, number])))
    }

    /// 16 MiB, of which a client may use 4, and bodies of up to 2 MiB.
    fn memory() -> BodyMemory {
        BodyMemory::with_sizes(16 * MIB, 2 * MIB)
    }

    async fn holding(memory: &BodyMemory, client: Option<Client>, size: u64) -> Option<Reservation> {
        let mut reservation = memory.reservation(client);
        reservation.grow_to(size).await.ok().map(|()| reservation)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_can_use_only_its_share() {
        let memory = memory();
        let mut held = Vec::new();
        while let Some(reservation) = holding(&memory, client(1), MIB).await {
            held.push(reservation);
        }
        // The first step of each is free.
        assert!((3..=4).contains(&held.len()), "{}", held.len());
        for number in 2..5 {
            held.push(holding(&memory, client(number), 2 * MIB).await.unwrap());
        }
        held.remove(0);
        assert!(holding(&memory, client(1), MIB).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_clients_together_can_use_the_whole_memory() {
        let memory = memory();
        let mut held = Vec::new();
        while let Some(reservation) = holding(&memory, client(held.len() as u8), 2 * MIB).await {
            held.push(reservation);
        }
        assert_eq!(held.len(), 8);
        assert!(holding(&memory, client(100), STEP).await.is_some(), "a small body needs no memory");
        assert!(holding(&memory, None, 2 * MIB).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_grow_at_the_same_time_all_arrive() {
        let memory = memory();
        let bodies = (0..20).map(|_| {
            let mut reservation = memory.reservation(client(1));
            async move {
                let mut size = 0;
                while size < 2 * MIB {
                    size += STEP;
                    reservation.grow_to(size).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, ApiError>(())
            }
        });
        for received in futures_util::future::join_all(bodies).await {
            received.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_body_always_fits() {
        let memory = BodyMemory::with_sizes(0, 2 * MIB);
        let _other = holding(&memory, client(1), 2 * MIB).await.unwrap();
        assert!(holding(&memory, client(2), 2 * MIB).await.is_some());
    }
}
