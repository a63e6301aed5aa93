//! A worker with one event too many: an event in an entity's row that no record holds.

use std::sync::Arc;

use engine::event::Decoder;
use engine::lane::{Lane, Layout};
use engine::plan::Plan;
use engine::program::Program;
use engine::row;

/// Adds an event to an entity's lane of a partition, as if a worker had counted it, and leaves the lane's offset as it was; the
/// row must stand. `now` is the time of the record that never was.
///
/// # Errors
/// What the engine or Redis says.
pub fn plant(
    redis: &str,
    plan: &Plan,
    incarnation: u32,
    (entity, partition): (&str, i32),
    event: &[u8],
    now: i64,
) -> Result<(), String> {
    fn said(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let layout = Layout::new(plan).map_err(said)?;
    let key = row::row_key(&plan.view.uid, &plan.revision, incarnation, entity);
    let mut redis = redis::Client::open(redis).and_then(|client| client.get_connection()).map_err(said)?;
    let fields: Vec<(String, Vec<u8>)> = redis::cmd("HGETALL").arg(&key).query(&mut redis).map_err(said)?;
    let segments: Vec<(u8, Vec<u8>)> = fields
        .into_iter()
        .filter_map(|(field, bytes)| {
            let (of, segment) = row::parse_lane_field(&field)?;
            (of == partition).then_some((segment, bytes))
        })
        .collect();
    if segments.is_empty() {
        return Err(format!("{key} has no lane of partition {partition}"));
    }
    let borrowed: Vec<(u8, &[u8])> = segments.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
    let mut lane = Lane::decode(&layout, &borrowed).map_err(said)?;
    let mut decoder = Decoder::new(plan);
    decoder.push(Some(event), now).map_err(|problem| format!("{problem:?}"))?;
    let columns = decoder.take();
    let program = Program::new(Arc::new(plan.clone())).map_err(said)?;
    let evaluated = program.evaluate(&columns.record_batch().map_err(said)?, columns.times().to_vec());
    lane.insert(&layout, &evaluated, 0);
    lane.forget_written();
    for (segment, bytes) in lane.encode(&layout).segments {
        let field = row::lane_field(partition, segment);
        redis::cmd("HSET").arg(&key).arg(field).arg(bytes).exec(&mut redis).map_err(said)?;
    }
    Ok(())
}
