//! Watches the horizons of Lambda plans, so that events which come too late for the batch that is served are counted.
//!
//! It is for people only: no event is treated otherwise for it, so a horizon may be seen seconds late, or not while the
//! online store is away.

use std::sync::Arc;
use std::time::Duration;

use engine::row::Head;
use shell::store::{RowStore, StoreError};
use tokio::time::MissedTickBehavior;

use crate::plan_run::PlanRun;
use crate::shared::Shared;

/// How often the pointers are read.
const PERIOD: Duration = Duration::from_secs(5);

/// Watches until it is aborted; ends at once if no plan is a Lambda's.
pub async fn watch<S: RowStore>(shared: Arc<Shared<S>>) {
    if shared.plans.iter().all(|plan| plan.head_key.is_none()) {
        return;
    }
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(connection) = shared.link.current() else { continue };
        match look(&shared.plans, &connection.store).await {
            Ok(()) => {}
            Err(error) if error.is_away() => shared.link.broke(connection.number, &error),
            Err(error) => tracing::warn!(%error, "the horizon of the batch cannot be read"),
        }
    }
}

/// Reads the horizon of each Lambda plan.
///
/// # Errors
/// [`StoreError`]; plans not reached keep what was seen before.
pub async fn look<S: RowStore>(plans: &[PlanRun], store: &S) -> Result<(), StoreError> {
    for (plan, key) in plans.iter().filter_map(|plan| Some((plan, plan.head_key.as_ref()?))) {
        let head: Option<Head> = store.pointer(key).await?;
        let published = head.filter(|head| head.generation > 0);
        plan.set_horizon(published.map_or(i64::MIN, |head| head.horizon));
    }
    Ok(())
}
