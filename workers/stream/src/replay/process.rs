//! The life of a replay's process: read what is handed over, check what must hold, read the part, say how it ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::replay::{Part, Replay, State};
use engine::row::{replay_key, trouble_key};
use prometheus_client::registry::Registry;
use shell::admin::{self, Readiness};
use shell::backoff::Backoff;
use shell::group::{self, GroupProtocol};
use shell::kafka::{KafkaError, KafkaSettings};
use shell::redis::Connector;
use shell::store::RedisStore;
use shell::topic::TopicError;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ReplayError;
use super::archive::{Laying, Records};
use super::decide::{Order, Refusal};
use super::driver::{Driver, End};
use super::observe::is_done;
use super::telling::{Meter, ReplayMetrics, Teller};
use crate::args::{EdgeArgs, ReplayArgs};
use crate::dead_letter::DeadLetters;
use crate::horizon;
use crate::link::{self, Link};
use crate::metrics::Metrics;
use crate::plan_run::PlanRun;
use crate::setup::{self, Checked, SetupError};
use crate::shared::{Shared, World};
use crate::trouble;

/// The subject of the readiness of all that is checked before reading.
const SUBJECT: &str = "setup";
/// What the brokers know the consumer by.
const CLIENT_ID: &str = "featuremill-replay";
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What one process is to do.
struct Task {
    replay: Replay,
    plans: Arc<[PlanRun]>,
    part: Part,
}

impl Task {
    fn read(path: &Path, index: usize) -> Result<Self, Refusal> {
        let failed = |detail: String| Refusal::Plan(format!("replay {}: {detail}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let replay: Replay = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let part = replay.part(index)?;
        let run = PlanRun::new(&replay.assignment).map_err(|error| failed(error.to_string()))?;
        Ok(Self { plans: [run].into(), part, replay })
    }
}

impl Task {
    fn order(&self) -> Order {
        let archived = self.replay.archive.as_ref().is_some_and(|of| of.partitions.contains(&self.part.partition));
        Order { part: self.part, complete_from: self.replay.complete_from_ms, archived }
    }
}

/// What lasts as long as the process.
struct Process {
    edge: EdgeArgs,
    task: Task,
    kafka: KafkaSettings,
    link: Link<RedisStore>,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
    /// The archive to read, in place of the topic.
    archive: Option<Arc<dyn Records>>,
}

/// Reads of the part what the topic no longer holds, from its archive, until the topic can be read on from the marker.
///
/// # Errors
/// [`ReplayError`] if that is not so.
pub async fn run_archive(
    args: ReplayArgs,
    records: Arc<dyn Records>,
    shutdown: CancellationToken,
) -> Result<(), ReplayError> {
    read_part(args, Some(records), shutdown).await
}

/// Reads the part until it is done or `shutdown` is cancelled; then everything read is flushed.
///
/// # Errors
/// [`ReplayError`] if the part is not done.
pub async fn run(args: ReplayArgs, shutdown: CancellationToken) -> Result<(), ReplayError> {
    read_part(args, None, shutdown).await
}

async fn read_part(
    args: ReplayArgs,
    archive: Option<Arc<dyn Records>>,
    shutdown: CancellationToken,
) -> Result<(), ReplayError> {
    let ReplayArgs { replay, index, edge } = args;
    let task = Task::read(&replay, index).map_err(ReplayError::Refused)?;
    if archive.is_some() && !task.order().archived {
        tracing::info!(partition = task.part.partition, "the topic holds all of it: nothing is read from the archive");
        return Ok(());
    }
    let again = |what: String| move |error: std::io::Error| ReplayError::Again(format!("{what}: {error}"));
    let mut registry = Registry::default();
    let (metrics, told) = (Metrics::new(&mut registry), ReplayMetrics::new(&mut registry));
    let readiness = Readiness::default();
    readiness.block(SUBJECT, "starting");
    let listener = TcpListener::bind(edge.admin).await.map_err(again(format!("admin port {}", edge.admin)))?;
    let stop_serving = CancellationToken::new();
    let server = tokio::spawn(admin::serve(listener, Arc::new(registry), readiness.clone(), stop_serving.clone()));
    let connector = Connector::new(&edge.redis_url, edge.redis_config_dir.as_deref())
        .map_err(|error| ReplayError::Again(error.to_string()))?;
    // It outlasts a shutdown, which only ends the reading: what was read is still to be flushed, and the end told.
    let link = link::connect(connector, readiness.clone(), stop_serving.clone());
    let (view, revision) = (&task.plans[0].plan().view.uid, &task.plans[0].plan().revision);
    let incarnation = task.replay.assignment.incarnation;
    let keys = vec![trouble_key(view, revision, incarnation)];
    let troubles = trouble::tell(readiness.clone(), link.clone(), keys, edge.worker.clone(), stop_serving.clone());
    let troubles = tokio::spawn(troubles);
    let key = replay_key(view, revision, incarnation);
    let teller = Teller { link: link.clone(), key, meter: Meter::new(task.part), metrics: told };
    let kafka = KafkaSettings { bootstrap: edge.kafka_bootstrap.clone(), config_dir: edge.kafka_config_dir.clone() };
    let part = task.part;
    let end = Process { edge, task, kafka, link, metrics, readiness, shutdown, archive }.live(teller).await;
    stop_serving.cancel();
    // They only take back what they said, and say it to a store that may be away.
    let _ = tokio::time::timeout(LAST_WORDS, async { (troubles.await, server.await) }).await;
    let Part { partition, from, to } = part;
    match end {
        End::Done => {
            tracing::info!(partition, from, to, "replayed");
            Ok(())
        }
        End::Stopped => Err(ReplayError::Again("stopped before the end; the next attempt goes on".to_owned())),
        End::Failed(reason) => Err(ReplayError::Again(reason)),
        End::Refused(refusal) => Err(ReplayError::Refused(refusal)),
    }
}

impl Process {
    /// Reads, and has the last word on it.
    async fn live(&self, mut teller: Teller<RedisStore>) -> End {
        let part = self.task.part;
        let (end, position) = self.read(&mut teller).await;
        let last = match &end {
            // Behind the archive the topic is still to be read.
            End::Done if self.archive.is_some() => position.map(|position| (position, State::Running)),
            End::Done => Some((part.to, State::Done)),
            End::Refused(refusal) => {
                let (reason, message) = (refusal.reason().to_owned(), refusal.to_string());
                Some((position.unwrap_or(part.from), State::Refused { reason, message }))
            }
            End::Stopped | End::Failed(_) => position.map(|position| (position, State::Running)),
        };
        if let Some((position, state)) = last {
            // The marker and the exit code say it, too; if the store is away now, nobody waits for this.
            let _ = tokio::time::timeout(LAST_WORDS, teller.say(position, state)).await;
        }
        end
    }

    /// Reads the part, if anything of it is left; gives where the reading stood, if it came to one.
    async fn read(&self, teller: &mut Teller<RedisStore>) -> (End, Option<i64>) {
        let part = self.task.part;
        let done = is_done(self.link.clone(), &self.task.plans[0], part);
        match self.shutdown.run_until_cancelled(done).await.flatten() {
            None => return (End::Stopped, None),
            Some(true) => return (End::Done, None),
            Some(false) => {}
        }
        let shared = match self.check().await {
            Ok(checked) => self.shared(checked),
            Err(end) => return (end, None),
        };
        let shared = match shared {
            Ok(shared) => Arc::new(shared),
            Err(error) => return (End::Failed(error.to_string()), None),
        };
        if let (Some(records), Some(archive)) = (&self.archive, &self.task.replay.archive) {
            self.readiness.clear(SUBJECT);
            let laying = Laying { shared: &shared, order: self.task.order(), archive, records: records.as_ref() };
            let end = tokio::select! {
                end = laying.run(&self.shutdown) => end,
                never = teller.tell(&shared) => match never {},
            };
            return (end, shared.position(part.partition));
        }
        let driver = match self.driver(&shared) {
            Ok(driver) => driver,
            Err(reason) => return (End::Failed(reason), None),
        };
        self.readiness.clear(SUBJECT);
        let horizons = tokio::spawn(horizon::watch(shared.clone()));
        let shutdown = self.shutdown.clone();
        let driving = tokio::task::spawn_blocking(move || driver.run(&shutdown));
        let end = tokio::select! {
            end = driving => end.unwrap_or_else(|error| End::Failed(error.to_string())),
            never = teller.tell(&shared) => match never {},
        };
        horizons.abort();
        (end, shared.position(part.partition))
    }

    /// Checks what must hold, until it does.
    async fn check(&self) -> Result<Checked, End> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
        loop {
            let check = setup::check(&self.kafka, self.task.plans.clone());
            match self.shutdown.run_until_cancelled(check).await {
                None => return Err(End::Stopped),
                Some(Ok(checked)) => return Ok(checked),
                Some(Err(SetupError::Topic(error @ TopicError::Compacted { .. }))) => {
                    return Err(End::Refused(Refusal::Compacted(error.to_string())));
                }
                Some(Err(error)) => self.readiness.block(SUBJECT, format!("{}: {error}", error.reason())),
            }
            if self.shutdown.run_until_cancelled(tokio::time::sleep(backoff.delay())).await.is_none() {
                return Err(End::Stopped);
            }
        }
    }

    fn shared(&self, checked: Checked) -> Result<Shared<RedisStore>, KafkaError> {
        let Checked { plans, topic, partitions, .. } = checked;
        let world = World {
            kafka: self.kafka.clone(),
            plans,
            topic,
            partitions,
            link: self.link.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            dead_letters: DeadLetters::new(&self.kafka, self.readiness.clone())?,
            flush_interval: Duration::from_millis(self.edge.flush_interval_ms),
            cache_bytes: self.edge.memory() / 2,
            records_per_second: self.task.replay.records_per_second,
        };
        Ok(Shared::new(world, Handle::current()))
    }

    fn driver(&self, shared: &Arc<Shared<RedisStore>>) -> Result<Driver<RedisStore>, String> {
        let (group, queue_kib) = (&self.task.plans[0].group, self.edge.queue_kib(1));
        let consumer = group::consumer(&self.kafka, group, CLIENT_ID, GroupProtocol::Classic, queue_kib);
        let consumer = consumer.map_err(|error| error.to_string())?;
        let lag = Duration::from_millis(self.edge.durability_lag_ms);
        Driver::new(shared.clone(), consumer, self.task.order(), lag).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::plan::Assignment;

    use super::*;

    /// Reads a file that holds `text`.
    fn read(name: &str, text: &str, index: usize) -> Result<Task, Refusal> {
        let path = std::env::temp_dir().join(format!("featuremill-{name}-{}.json", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let task = Task::read(&path, index);
        std::fs::remove_file(&path).unwrap();
        task
    }

    fn file(mode: &str) -> String {
        let plan = crate::fixtures::plan(mode);
        let part = Part { partition: 4, from: 3, to: 9 };
        let assignment = Assignment { incarnation: 2, plan };
        serde_json::to_string(&Replay {
            assignment,
            parts: vec![part],
            records_per_second: None,
            complete_from_ms: None,
            archive: None,
        })
        .unwrap()
    }

    #[test]
    fn a_file_gives_the_part_and_the_rows_it_goes_into() {
        let task = read("replay", &file("Kappa"), 0).unwrap();
        assert_eq!((task.part.partition, task.part.from, task.part.to), (4, 3, 9));
        assert!(task.plans[0].marker_key.ends_with("/2/m/0"), "{}", task.plans[0].marker_key);
    }

    #[test]
    fn a_file_that_cannot_be_run_is_refused_and_named() {
        let refused = |name, text: &str, index| {
            let refusal = read(name, text, index).err().unwrap();
            assert_eq!(refusal.reason(), "PlanRefused");
            ReplayError::Refused(refusal).to_string()
        };
        assert!(refused("empty", "{}", 0).contains("featuremill-empty"));
        assert!(refused("index", &file("Kappa"), 1).contains("index 1"));
        assert!(refused("batch", &file("Batch"), 0).contains("no stream"), "a batch has nothing to replay");
        assert!(Task::read(Path::new("/nowhere/replay.json"), 0).err().unwrap().to_string().contains("/nowhere"));
    }
}
