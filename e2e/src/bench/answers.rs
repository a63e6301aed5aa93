//! Whether the rows are right: sampled entities, read by the engine, against sums over all events.

use std::collections::HashMap;

use engine::lane::{Lane, Layout};
use engine::plan::{FeatureSource, Plan};
use engine::read::Reader;
use engine::row::{parse_lane_field, row_prefix};
use engine::time::window_bounds;
use engine::value::Value;
use redis::Pipeline;

use super::error::BenchError;
use super::workload::{Event, Workload};
use crate::services::Redis;

/// How many entities are compared.
const SAMPLE: usize = 2_000;
/// Commands a round trip.
const PIPELINE: usize = 1_000;

/// A row as it comes from Redis.
type Row = Vec<(String, Vec<u8>)>;

/// Compares every feature of a sample of entities at the time of the last event; how many values were equal.
pub async fn check(redis: &Redis, plan: &Plan, workload: &Workload) -> Result<usize, BenchError> {
    let layout = Layout::new(plan).map_err(|error| BenchError::View(error.to_string()))?;
    let sample = sample(workload);
    let users: Vec<u64> = sample.keys().copied().collect();
    let prefix = row_prefix(&plan.view.uid, &plan.revision, 0);
    let rows: Vec<Row> = ask(redis, "HGETALL", &[], &prefix, users.iter().copied()).await?;
    let features: Vec<usize> = (0..plan.features.len()).collect();
    let t = workload.last;
    let mut equal = 0;
    for (user, row) in users.iter().zip(&rows) {
        let lanes = lanes(&layout, row).map_err(|what| BenchError::Wrong(format!("{}: {what}", Event::user(*user))))?;
        let reads = Reader::new(&layout).read(&lanes, t, &features);
        for (feature, read) in plan.features.iter().zip(reads) {
            let FeatureSource::Window { window, .. } = &feature.source else { continue };
            let (start, end) = window_bounds(window, &plan.time, t);
            let inside = |event: &&Event| start.is_none_or(|start| event.time >= start) && event.time < end;
            let amounts: Vec<i64> = sample[user].iter().filter(inside).map(|event| event.amount).collect();
            let expected = expected(&feature.name, &amounts);
            let found = read.value.as_ref().and_then(number);
            if !same(found, expected) {
                let user = Event::user(*user);
                return Err(BenchError::Wrong(format!("{} of {user} is {found:?}, not {expected:?}", feature.name)));
            }
            equal += 1;
        }
    }
    Ok(equal)
}

/// `MEMORY USAGE` of these entities' rows.
pub async fn memory(redis: &Redis, prefix: &str, users: impl Iterator<Item = u64>) -> Result<Vec<f64>, BenchError> {
    let found: Vec<Option<u32>> = ask(redis, "MEMORY", &["USAGE"], prefix, users).await?;
    let all: Option<Vec<f64>> = found.into_iter().map(|bytes| bytes.map(f64::from)).collect();
    all.ok_or_else(|| BenchError::Wrong("an entity has no row".to_owned()))
}

/// The events of a sample: of half of it by entity, mostly of few events, and of half by event, mostly of many.
fn sample(workload: &Workload) -> HashMap<u64, Vec<Event>> {
    let every = usize::try_from(workload.events).unwrap_or(usize::MAX) / SAMPLE;
    let mut sample: HashMap<u64, Vec<Event>> =
        workload.events().step_by(every.max(1)).take(SAMPLE / 2).map(|event| (event.user, Vec::new())).collect();
    for event in workload.events() {
        let rare = event.user % (workload.entities / SAMPLE as u64).max(1) == 0 && sample.len() < SAMPLE;
        if rare {
            sample.entry(event.user).or_default();
        }
    }
    for event in workload.events() {
        if let Some(events) = sample.get_mut(&event.user) {
            events.push(event);
        }
    }
    sample
}

async fn ask<T: redis::FromRedisValue>(
    redis: &Redis,
    command: &str,
    words: &[&str],
    prefix: &str,
    users: impl Iterator<Item = u64>,
) -> Result<Vec<T>, BenchError> {
    let mut connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
    let users: Vec<u64> = users.collect();
    let mut answers = Vec::with_capacity(users.len());
    for users in users.chunks(PIPELINE) {
        let mut pipeline = Pipeline::with_capacity(users.len());
        for user in users {
            pipeline.cmd(command).arg(words).arg(format!("{prefix}{}", Event::user(*user)));
        }
        answers.extend(pipeline.query_async::<Vec<T>>(&mut connection).await?);
    }
    Ok(answers)
}

fn lanes(layout: &Layout, row: &Row) -> Result<Vec<Lane>, String> {
    let mut by_partition: HashMap<i32, Vec<(u8, &[u8])>> = HashMap::new();
    for (field, bytes) in row {
        let (partition, segment) = parse_lane_field(field).ok_or_else(|| format!("field {field} is no lane"))?;
        by_partition.entry(partition).or_default().push((segment, bytes));
    }
    by_partition.values().map(|segments| Lane::decode(layout, segments).map_err(|e| e.to_string())).collect()
}

/// What a feature of this name comes to over these amounts.
fn expected(name: &str, amounts: &[i64]) -> Option<f64> {
    let n = amounts.len() as f64;
    let sum = amounts.iter().sum::<i64>() as f64;
    let some = |value: f64| (!amounts.is_empty()).then_some(value);
    match name.split('_').next().unwrap_or_default() {
        "count" => Some(n),
        "sum" => some(sum),
        "avg" => some(sum / n),
        "min" => amounts.iter().min().map(|least| *least as f64),
        "max" => amounts.iter().max().map(|most| *most as f64),
        _ => {
            let squares = amounts.iter().map(|x| (*x as f64 - sum / n).powi(2)).sum::<f64>();
            (amounts.len() > 1).then(|| (squares / (n - 1.0)).sqrt())
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int64(x) => Some(*x as f64),
        Value::Double(x) => Some(*x),
        Value::Decimal(x) => Some(*x as f64),
        _ => None,
    }
}

fn same(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        _ => false,
    }
}
