//! What must be known of a part before it is read, or read anew.

use std::sync::Arc;
use std::time::Duration;

use engine::replay::Part;
use engine::row::Marker;
use shell::backoff::Backoff;
use shell::store::{Erased, RowStore, StoreError};
use shell::topic::{self, TopicError};

use super::decide::{Decision, Order, decide, done};
use crate::ends;
use crate::facts::stored;
use crate::link::{Connected, Link};
use crate::plan_run::PlanRun;
use crate::shared::Shared;

/// The subject of the readiness of the topic.
pub(super) const TOPIC: &str = "topic";

/// What was observed, and what follows from it.
pub(super) struct Observed<S> {
    /// The connection that the markers were read over.
    pub(super) connection: Connected<S>,
    /// By plan.
    pub(super) markers: Vec<Option<Marker>>,
    /// By plan: who was erased.
    pub(super) erased: Vec<Arc<Erased>>,
    /// What to do.
    pub(super) decision: Decision,
}

/// Observes, however long the store or the brokers are away; `None` when the worker ends. Who is done asks no broker.
///
/// Before anything else it says in the store what the replay leaves out: a store that lost its rows lost that, too.
pub(super) async fn observe<S: RowStore>(shared: &Shared<S>, order: Order) -> Option<Observed<S>> {
    let part = order.part;
    let mut backoff = backoff();
    let mut link = shared.link.clone();
    loop {
        let connection = link.connected().await?;
        let (erased, markers) = match known(shared, &connection.store, order).await {
            Ok(known) => known,
            Err(error) => {
                link.broke(connection.number, &error);
                tokio::time::sleep(backoff.delay()).await;
                continue;
            }
        };
        // A replay has one plan.
        let marker = markers.iter().flatten().map(|marker| marker.offset).min();
        let observed = |decision| Some(Observed { connection, markers, erased, decision });
        if done(part, marker) {
            return observed(Decision::Done);
        }
        match topic::partition_bounds(&shared.kafka, &shared.topic, part.partition).await {
            Ok(bounds) => {
                shared.readiness.clear(TOPIC);
                return observed(decide(&shared.topic, order, marker, bounds));
            }
            Err(error @ TopicError::Missing { .. }) => shared.readiness.block(TOPIC, format!("TopicMissing: {error}")),
            Err(error) => shared.readiness.block(ends::SUBJECT, error.to_string()),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

pub(super) type Known = (Vec<Arc<Erased>>, Vec<Option<Marker>>);

/// Who was erased, and the markers, after it was said what is left out.
pub(super) async fn known<S: RowStore>(shared: &Shared<S>, store: &S, order: Order) -> Result<Known, StoreError> {
    if let Some(time) = order.complete_from {
        for plan in shared.plans.iter() {
            store.put_complete_from(&plan.marker_key, None, time).await?;
        }
    }
    stored(shared, store, order.part.partition).await
}

/// Whether the marker says that nothing is left to do; `None` when the worker ends.
pub(super) async fn is_done<S: RowStore>(mut link: Link<S>, plan: &PlanRun, part: Part) -> Option<bool> {
    let mut backoff = backoff();
    loop {
        let connection = link.connected().await?;
        match connection.store.markers(&plan.marker_key).await {
            Ok(markers) => return Some(done(part, markers.by_partition.get(&part.partition).map(|of| of.offset))),
            Err(error) => link.broke(connection.number, &error),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(3))
}
