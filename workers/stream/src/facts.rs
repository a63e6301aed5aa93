//! What must be known of a partition before it is read: who was erased, its markers, and what the topic still holds of it.

use std::sync::Arc;
use std::time::Duration;

use engine::row::Marker;
use rdkafka::consumer::Consumer;
use shell::backoff::Backoff;
use shell::clock::now_ms;
use shell::store::{Erased, RowStore, StoreError};
use shell::topic::keeps_ms;

use crate::ends::SUBJECT;
use crate::group::GroupConsumer;
use crate::link::Connected;
use crate::lost::Lost;
use crate::shared::Shared;
use crate::start::{self, Observed};

/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The facts about one partition, and what follows from them.
#[derive(Debug)]
pub struct Facts<S> {
    /// Which.
    pub partition: i32,
    /// Which reading of it they are for.
    pub term: u64,
    /// The connection that the markers were read over.
    pub connection: Connected<S>,
    /// By plan.
    pub markers: Vec<Option<Marker>>,
    /// By plan: who was erased.
    pub erased: Vec<Arc<Erased>>,
    /// By plan: what the topic had lost, as it was told.
    pub lost: Vec<Option<Lost>>,
    /// Where the topic ends.
    pub end: i64,
    /// What to do.
    pub decision: start::Start,
}

/// Observes a partition, however long the store or the brokers are away; `None` when the worker ends.
pub async fn gather<S: RowStore>(
    shared: Arc<Shared<S>>,
    consumer: Arc<GroupConsumer>,
    partition: i32,
    term: u64,
    delay: Duration,
) -> Option<Facts<S>> {
    tokio::time::sleep(delay).await;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
    let (low, end) = loop {
        let (asked, topic) = (consumer.clone(), shared.topic.clone());
        let answer = tokio::task::spawn_blocking(move || asked.fetch_watermarks(&topic, partition, TIMEOUT)).await;
        match answer.ok()? {
            Ok(watermarks) => break watermarks,
            Err(error) => {
                shared.readiness.block(SUBJECT, format!("asking for the ends of partition {partition}: {error}"));
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    };
    // An idle partition may have lost all it had, and yet nothing that a window counts.
    let is_idle = low > 0 && low == end;
    let keeps = if is_idle { keeps_ms(&shared.kafka, &shared.topic).await.unwrap_or(None) } else { None };
    // One that keeps all, and yet has lost some, was cleared by hand.
    let keeps = keeps.filter(|keeps| *keeps < i64::MAX).unwrap_or(0);
    let mut link = shared.link.clone();
    loop {
        let connection = link.connected().await?;
        let stored = async {
            let (erased, markers) = stored(&shared, &connection.store, partition).await?;
            // Of a partition with records the first of them will say it.
            let now = now_ms();
            let latest = if low < end { now } else { now.saturating_sub(keeps) };
            let lost: Vec<Option<Lost>> =
                markers.iter().map(|marker| Lost::before(marker.as_ref(), partition, low, latest)).collect();
            for (plan, lost) in shared.plans.iter().zip(&lost) {
                if let Some(lost) = lost {
                    lost.tell(&connection.store, plan).await?;
                }
            }
            Ok((erased, markers, lost))
        };
        match stored.await {
            Ok((erased, markers, lost)) => {
                let observed = Observed { markers, low, end };
                let decision = start::decide(&observed);
                let markers = observed.markers;
                return Some(Facts { partition, term, connection, markers, erased, lost, end, decision });
            }
            Err(error) => {
                link.broke(connection.number, &error);
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Who was erased, and the markers, by plan: in this order, for an erasure moves the markers back.
pub(crate) async fn stored<S: RowStore>(
    shared: &Shared<S>,
    store: &S,
    partition: i32,
) -> Result<(Vec<Arc<Erased>>, Vec<Option<Marker>>), StoreError> {
    let (mut erased, mut markers) = (Vec::new(), Vec::new());
    for plan in shared.plans.iter() {
        erased.push(plan.erased(store).await?);
        markers.push(store.markers(&plan.marker_key).await?.by_partition.get(&partition).copied());
    }
    Ok((erased, markers))
}
