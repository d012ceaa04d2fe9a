//! A property test of the queue's statements on a real Postgres: random interleavings of two workers that claim, finish,
//! come back late and crash, of leases that run out, and of cancellations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use proptest::prelude::*;
use rgridd::execution::{
    Claim, Claimed, EnvVars, ExecutionId, ExecutionRecord, FailureKind, FileContent, LabelSets, Limits,
    NewExecution, ReleaseReason, WorkerId,
};
use rgridd::store::{Chunk, FinishReply, Store};

use crate::support::Database;

const LEASE: Duration = Duration::from_secs(3600);
const MAX_ATTEMPTS: u32 = 2;

#[derive(Debug, Clone)]
enum Step {
    Submit,
    Claim(usize),
    /// The reply to the claim gets lost.
    LostClaim(usize),
    /// The worker releases the claims that it does not know.
    Disown(usize),
    /// The worker takes over a claim of the other one, which is certainly gone.
    Adopt(usize),
    /// The worker is certainly gone, so its claims are released.
    Bury(usize),
    Heartbeat(usize),
    Append(usize),
    Finish(usize),
    Release(usize, ReleaseReason),
    /// The worker loses its claims silently.
    Crash(usize),
    /// All leases run out.
    Expire,
    Rescue,
    Cancel,
}

fn anything() -> LabelSets {
    LabelSets::of(&Default::default())
}

fn reason() -> impl Strategy<Value = ReleaseReason> {
    use ReleaseReason::{Drained, EngineLost, NotStarted, WorkerLost};
    prop::sample::select(vec![NotStarted, Drained, WorkerLost, EngineLost])
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..2usize;
    prop_oneof![
        3 => Just(Step::Submit),
        4 => worker.clone().prop_map(Step::Claim),
        1 => worker.clone().prop_map(Step::LostClaim),
        1 => worker.clone().prop_map(Step::Disown),
        1 => worker.clone().prop_map(Step::Adopt),
        1 => worker.clone().prop_map(Step::Bury),
        2 => worker.clone().prop_map(Step::Heartbeat),
        2 => worker.clone().prop_map(Step::Append),
        4 => worker.clone().prop_map(Step::Finish),
        1 => worker.clone().prop_flat_map(|who| reason().prop_map(move |reason| Step::Release(who, reason))),
        1 => worker.prop_map(Step::Crash),
        2 => Just(Step::Expire),
        3 => Just(Step::Rescue),
        1 => Just(Step::Cancel),
    ]
}

/// The claims that each worker believes to own, and the results that were acknowledged.
struct World {
    store: Store,
    database: Database,
    workers: [WorkerId; 2],
    believed: [Vec<Claim>; 2],
    submitted: Vec<ExecutionId>,
    stored: HashMap<ExecutionId, String>,
    written: u64,
}

impl World {
    async fn new() -> Self {
        let database = Database::new();
        let store = Store::new(&database.url(), 2);
        store.migrate().await.unwrap();
        Self {
            store,
            database,
            workers: [WorkerId::generate(), WorkerId::generate()],
            believed: [Vec::new(), Vec::new()],
            submitted: Vec::new(),
            stored: HashMap::new(),
            written: 0,
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Submit => self.submit().await,
            Step::Claim(who) => {
                let claimed = self.store.claim(&self.workers[who], "w", &anything(), 2, LEASE).await.unwrap();
                self.check_order(&claimed);
                self.believed[who].extend(claimed.into_iter().map(|claimed| claimed.claim));
            }
            Step::LostClaim(who) => {
                drop(self.store.claim(&self.workers[who], "w", &anything(), 1, LEASE).await.unwrap())
            }
            Step::Disown(who) => {
                let known = self.believed[who].clone();
                let given_back = self.store.release_unknown(&self.workers[who], &known).await.unwrap();
                assert!(
                    given_back.iter().all(|one| known.iter().all(|claim| claim.execution != one.execution))
                );
            }
            Step::Adopt(who) => self.adopt(who).await,
            Step::Bury(who) => {
                self.believed[who].clear();
                for (claim, _) in self.store.claims_of(&self.workers[who..=who]).await.unwrap() {
                    self.store.release(&claim, ReleaseReason::WorkerLost).await.unwrap();
                }
            }
            Step::Heartbeat(who) => {
                let pulses =
                    self.store.heartbeat(&self.workers[who], &self.believed[who], LEASE).await.unwrap();
                self.believed[who].retain(|claim| {
                    pulses.iter().any(|p| p.execution == claim.execution && p.attempt == claim.attempt)
                });
            }
            Step::Append(who) => {
                if let Some(claim) = self.believed[who].first() {
                    let chunk =
                        Chunk { seq: 1, stream: rgridd::execution::Stream::Stdout, text: "said".to_owned() };
                    self.store.append(claim, vec![chunk]).await.unwrap();
                }
            }
            Step::Finish(who) => self.finish(who).await,
            Step::Release(who, reason) => {
                if let Some(claim) = self.believed[who].pop() {
                    self.store.release(&claim, reason).await.unwrap();
                }
            }
            Step::Crash(who) => self.believed[who].clear(),
            Step::Expire => {
                let expire =
                    "UPDATE executions SET lease_until = now() - interval '1 s' WHERE status = 'running'";
                self.database.connect().batch_execute(expire).unwrap();
            }
            Step::Rescue => drop(self.store.rescue(Duration::ZERO).await.unwrap()),
            Step::Cancel => {
                if let Some(id) = self.submitted.last() {
                    // An execution that has ended cannot be cancelled.
                    let _ = self.store.cancel(id).await;
                }
            }
        }
    }

    async fn submit(&mut self) {
        let id = ExecutionId::generate();
        let script = FileContent { name: "s.py".to_owned(), content: b"pass".to_vec() };
        let limits = Limits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1,
            cpus_milli: 1,
            network: false,
            max_attempts: MAX_ATTEMPTS,
        };
        let new = NewExecution {
            id: id.clone(),
            runtime: "python:3.11".to_owned(),
            script,
            args: Vec::new(),
            env: EnvVars::default(),
            // The database refuses to end an execution without deleting them.
            secrets: EnvVars([("TOKEN".to_owned(), "canary".to_owned())].into()),
            requirements: None,
            inputs: Vec::new(),
            limits,
            labels: Default::default(),
            on: Default::default(),
            priority: 0,
            idempotency: None,
            key: None,
            webhook: None,
        };
        self.store.submit(new).await.unwrap();
        self.submitted.push(id);
    }

    /// Each result has a different text, which identifies it.
    async fn finish(&mut self, who: usize) {
        let Some(claim) = self.believed[who].pop() else { return };
        self.written += 1;
        let text = format!("result {}", self.written);
        let conclusion = Arc::new(ExecutionRecord::failed(FailureKind::Exit, text.clone()));
        let recorded = self.store.finish(vec![(claim.clone(), conclusion)]).await.unwrap();
        if recorded == [FinishReply::Stored] {
            let before = self.stored.insert(claim.execution.clone(), text);
            assert_eq!(before, None, "{claim} was recorded twice");
        }
    }

    /// The claims of the other worker change hands and keep their attempt.
    async fn adopt(&mut self, who: usize) {
        let Some(abandoned) = self.believed[1 - who].pop() else { return };
        let adopted = self.store.adopt(&abandoned, &self.workers[who], "w", LEASE).await.unwrap();
        if let Some((claimed, _)) = adopted {
            assert_eq!(claimed.claim.attempt, abandoned.attempt);
            self.believed[who].push(claimed.claim);
            // A worker that was declared gone by mistake comes back late and changes nothing.
            let late = Arc::new(ExecutionRecord::failed(FailureKind::Exit, "late"));
            let recorded = self.store.finish(vec![(abandoned, late)]).await.unwrap();
            assert_eq!(recorded, [FinishReply::ClaimLost]);
        }
    }

    /// No execution that is still queued was submitted before a claimed one, even after releases and rescues.
    fn check_order(&self, claimed: &[Claimed]) {
        for one in claimed {
            let overtaken = format!(
                "SELECT count(*) FROM executions waits JOIN executions mine ON mine.id = '{}'
                 WHERE waits.status = 'queued' AND (waits.created_at, waits.id) < (mine.created_at, mine.id)",
                one.claim.execution
            );
            assert_eq!(self.database.number(&overtaken), 0, "{} came too early", one.claim);
        }
    }

    /// Acknowledged results stay, attempts stay within their limit, and ended executions have no chunks.
    async fn check(&self) {
        for (id, text) in &self.stored {
            let execution = self.store.execution(id).await.unwrap();
            assert_eq!(execution.execution_error.as_ref(), Some(text), "{id} was overwritten");
        }
        let broken = format!(
            "SELECT count(*) FROM executions WHERE attempt - released NOT BETWEEN 0 AND {MAX_ATTEMPTS}"
        );
        assert_eq!(self.database.number(&broken), 0);
        let left = "SELECT count(*) FROM output_chunks c JOIN executions e ON e.id = c.execution_id
                    WHERE e.status NOT IN ('running') OR c.attempt <> e.attempt";
        assert_eq!(self.database.number(left), 0, "chunks of an attempt that is over");
    }

    /// Every accepted execution ends.
    async fn settle(&mut self) {
        self.believed = [Vec::new(), Vec::new()];
        // All workers are gone, so their claims are rescued.
        for _ in 0..=2 * MAX_ATTEMPTS {
            self.take(Step::Expire).await;
            self.take(Step::Rescue).await;
            for _ in 0..self.submitted.len() {
                self.take(Step::Claim(0)).await;
            }
            while !self.believed[0].is_empty() {
                self.take(Step::Finish(0)).await;
            }
        }
        let open = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running')";
        assert_eq!(self.database.number(open), 0);
        let all = self.database.number("SELECT count(*) FROM executions");
        assert_eq!(all as usize, self.submitted.len());
        self.check().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_writer_wins_and_everything_ends(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await;
                world.check().await;
            }
            world.settle().await;
        });
    }
}
