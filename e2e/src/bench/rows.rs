//! Rows for the feature server, made by the engine as a stream worker would have left them.

use std::sync::Arc;

use engine::event::Decoder;
use engine::lane::{Lane, Layout};
use engine::plan::Plan;
use engine::program::Program;
use engine::row::{CatalogEntry, Head, Live, Marker, catalog_key, head_key, live_key, marker_key, row_key};
use shell::redis::Connector;
use shell::store::{Fence, LaneWrite, MarkerWrite, RedisStore, RowStore as _};

use super::error::BenchError;
use super::workload::Event;
use super::zipf::Random;

/// How many entities have a row.
pub const ENTITIES: u64 = 10_000;
/// How many events each has seen, over as many milliseconds.
const EVENTS: u64 = 50;
const SPREAD_MS: f64 = 60.0 * 86_400_000.0;

/// Fills the store with everything that a server of `architecture` needs to answer for `plan`.
pub async fn fill(url: &str, architecture: &str, plan: &Plan, now: i64) -> Result<(), BenchError> {
    let connector = Connector::new(url, None).map_err(shell::store::StoreError::from)?;
    let store = RedisStore::connect(&connector).await?;
    let view = &plan.view;
    let writes = writes(plan, now)?;
    let fence = Fence { uid: &view.uid, version: 0 };
    for writes in writes.chunks(1_000) {
        store.flush(0, None, fence, writes).await?;
    }
    let marker = Marker {
        offset: i64::try_from(ENTITIES * EVENTS).unwrap_or(0),
        event_time: now,
        end_offset: 0,
        read_to_end_at: now,
    };
    let key = marker_key(&view.uid, &plan.revision, 0, 0);
    store.write_marker(&key, 1, fence, MarkerWrite { partition: 0, base: None, marker }).await?;
    let head = Head { fence: 1, ..Head::default() };
    store.swap_pointer(&head_key(&view.uid, &plan.revision), None, &head).await?;
    let live = Live { revision: plan.revision.clone(), fence: 1 };
    store.swap_pointer(&live_key(&view.uid), None, &live).await?;
    let entry = CatalogEntry {
        uid: view.uid.clone(),
        freshness_target_ms: 3_600_000,
        horizon_target_ms: None,
        plans: vec![plan.clone()],
        shadow: None,
    };
    Ok(store.put_catalog(&catalog_key(architecture), &view.name, &entry).await?)
}

fn writes(plan: &Plan, now: i64) -> Result<Vec<LaneWrite>, BenchError> {
    let view_error = |what: String| BenchError::View(what);
    let layout = Layout::new(plan).map_err(|error| view_error(error.to_string()))?;
    let program = Program::new(Arc::new(plan.clone())).map_err(|error| view_error(error.to_string()))?;
    let mut decoder = Decoder::new(plan);
    let mut random = Random(3);
    let mut payload = Vec::new();
    (0..ENTITIES)
        .map(|user| {
            for _ in 0..EVENTS {
                // More of them lately than long ago, so that every window holds some.
                #[allow(clippy::cast_possible_truncation, reason = "within 60 days")]
                let time = now - (SPREAD_MS * random.unit().powi(4)) as i64;
                let amount = i64::try_from(100 + random.below(50_000)).unwrap_or(0);
                Event { time, user, amount, noise: random.bits() }.write(&mut payload);
                decoder.push(Some(&payload), time).map_err(|reject| view_error(reject.to_string()))?;
            }
            let columns = decoder.take();
            let batch = columns.record_batch().map_err(|error| view_error(error.to_string()))?;
            let evaluated = program.evaluate(&batch, columns.times().to_vec());
            let mut lane = Lane::new();
            for row in 0..evaluated.len() {
                lane.insert(&layout, &evaluated, row);
            }
            lane.set_offset(i64::try_from(user + 1).unwrap_or(1));
            let key = row_key(&plan.view.uid, &plan.revision, 0, &Event::user(user));
            let (new, segments) = (lane.offset(), lane.encode(&layout).segments);
            Ok(LaneWrite { key, base: None, new, whole: true, may_have_expired: false, segments, removed: Vec::new() })
        })
        .collect()
}
