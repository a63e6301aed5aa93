//! A replay and then a live worker make the rows of one worker that read it all, to the byte; whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::services::{Message, until};
use engine::replay::{Part, State};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::world::{Chance, Event, LIMIT, TOPIC, UID, Worker, World, events, now, record};

const LETTERS: &str = "featuremill.shop.user-events.dead-letters";
/// The incarnation that one live worker fills alone.
const LIVE: u32 = 0;
/// The incarnation that is filled by a replay, and then by a live worker.
const REPLAYED: u32 = 1;

fn part(partition: i32, from: i64, to: i64) -> Part {
    Part { partition, from, to }
}

/// Waits for the end of a process; gives its exit code.
async fn code(worker: &mut Worker) -> i32 {
    worker.process.wait(LIMIT).await.unwrap().code().unwrap()
}

/// Events over `partitions` partitions in turn, as records.
fn spread(events: &[Event], partitions: usize, now: i64) -> Vec<Message> {
    events.iter().enumerate().map(|(i, event)| record(event, i32::try_from(i % partitions).unwrap(), now)).collect()
}

/// Lets a live worker read all of the topic into [`LIVE`].
async fn live(world: &World, records: usize) {
    let mut worker = world.worker_of_incarnation("live", LIVE);
    world.until_read_of(LIVE, records).await;
    worker.process.terminate(LIMIT).await.unwrap();
}

/// Waits until the replay of a partition says that it has read something; gives where it stands.
async fn until_reading(world: &World, worker: &mut Worker, partition: i32) -> i64 {
    let reading = worker.process.until("its first records", LIMIT, async || {
        let said = world.progress(REPLAYED).await;
        let position = said.get(&partition).map_or(0, |progress| progress.position);
        if position > 0 { Ok(position) } else { Err(format!("{said:?}")) }
    });
    reading.await.unwrap()
}

/// What the group of [`REPLAYED`] has committed of the first partition.
async fn committed(world: &World) -> i64 {
    let mut config = world.kafka.client_config();
    config.set("group.id", engine::row::consumer_group(UID, &world.plan.revision, REPLAYED));
    let ask = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut of = TopicPartitionList::new();
        of.add_partition(TOPIC, 0);
        consumer.committed_offsets(of, LIMIT).unwrap().elements()[0].offset().to_raw().unwrap()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_and_then_a_live_worker_make_the_rows_of_one_that_read_all() {
    // The last partition is empty.
    let world = World::new(4).await;
    let (mut chance, now) = (Chance(21), now());
    let all = events(&mut chance, 9_000, 400, now);
    let bad = |partition| Message {
        partition: Some(partition),
        payload: Some(b"not json".to_vec()),
        time: Some(now),
        ..Message::default()
    };
    let (before, after) = all.split_at(6_000);
    world.kafka.produce(TOPIC, spread(before, 3, now)).await.unwrap();
    world.kafka.produce(TOPIC, [bad(0), bad(2)]).await.unwrap();
    let parts = [part(0, 0, 2_001), part(1, 0, 2_000), part(2, 0, 2_001), part(3, 0, 0)];
    // What comes after the ends were captured is not the replay's.
    world.kafka.produce(TOPIC, [bad(0)]).await.unwrap();
    world.kafka.produce(TOPIC, spread(after, 3, now)).await.unwrap();

    let mut processes: Vec<Worker> =
        (0..4).map(|i| world.replay(&format!("replay-{i}"), (REPLAYED, i), &parts, None)).collect();
    for process in &mut processes {
        assert_eq!(code(process).await, 0, "{}", process.process.log_tail());
    }
    let markers = world.markers_of(REPLAYED).await;
    let ends: BTreeMap<i32, i64> = markers.iter().map(|(partition, marker)| (*partition, marker.offset)).collect();
    assert_eq!(ends, parts.iter().map(|part| (part.partition, part.to)).collect());
    for (partition, progress) in world.progress(REPLAYED).await {
        assert_eq!((progress.state, progress.position, progress.to), (State::Done, ends[&partition], ends[&partition]));
    }
    let letters = world.kafka.read_all(LETTERS).await.unwrap();
    let coordinates = letters.iter().map(|letter| {
        (
            letter.header("featuremill-partition").unwrap().to_owned(),
            letter.header("featuremill-offset").unwrap().to_owned(),
        )
    });
    let expected = [("0".to_owned(), "2000".to_owned()), ("2".to_owned(), "2000".to_owned())];
    assert_eq!(coordinates.collect::<std::collections::BTreeSet<_>>(), expected.into(), "none of what is not its own");

    let total = all.len() + 3;
    let mut worker = world.worker_of_incarnation("after", REPLAYED);
    world.until_read_of(REPLAYED, total).await;
    worker.process.terminate(LIMIT).await.unwrap();
    live(&world, total).await;
    world.assert_equal(&all, now).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_again_and_again_ends_with_the_same_rows() {
    let mut world = World::new(1).await;
    let (mut chance, now) = (Chance(22), now());
    // Far more lanes than 16 MiB hold, so that they are flushed, dropped and read back all the time; and more events than
    // the rounds come to, of which each ends soon after its first flush.
    let all = events(&mut chance, 300_000, 15_000, now);
    world.kafka.produce(TOPIC, spread(&all, 1, now)).await.unwrap();
    let parts = [part(0, 0, 300_000)];
    for round in 0..7 {
        let mut process = world.replay(&format!("round-{round}"), (REPLAYED, 0), &parts, Some(20_000));
        let before = world.redis.append_only_length().unwrap();
        // Rows at least; what is said of the progress is shorter.
        let written = process.process.until("rows in the store", LIMIT, async || {
            let length = world.redis.append_only_length().map_err(|error| error.to_string())?;
            if length > before + 20_000 { Ok(()) } else { Err(format!("{length} bytes, {before} before")) }
        });
        written.await.unwrap();
        // At no particular point of its work.
        tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
        if round == 3 {
            // The store goes away and comes back with all it had: the same process goes on.
            world.redis.restart().await.unwrap();
            process.ready().await;
        }
        let status = process.process.kill().await.unwrap();
        assert_eq!(status.code(), None, "it was killed and had not ended");
    }
    let mut last = world.replay("last", (REPLAYED, 0), &parts, None);
    assert_eq!(code(&mut last).await, 0, "{}", last.process.log_tail());
    assert_eq!(world.markers_of(REPLAYED).await[&0].offset, 300_000);
    live(&world, all.len()).await;
    world.assert_equal(&all, now).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_asked_to_stop_keeps_what_it_read_and_goes_on_there() {
    let world = World::new(1).await;
    let (mut chance, now) = (Chance(23), now());
    let all = events(&mut chance, 4_000, 100, now);
    world.kafka.produce(TOPIC, spread(&all, 1, now)).await.unwrap();
    let parts = [part(0, 0, 4_000)];
    let mut process = world.replay("stopped", (REPLAYED, 0), &parts, Some(500));
    let seen = until_reading(&world, &mut process, 0).await;
    let status = process.process.terminate(LIMIT).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.process.log_tail());
    let marker = world.markers_of(REPLAYED).await[&0].offset;
    assert!((seen..4_000).contains(&marker), "it had read {seen}, and its marker stands at {marker}");
    let said = world.progress(REPLAYED).await.remove(&0).unwrap();
    assert_eq!(said.state, State::Running, "another attempt goes on");

    let mut process = world.replay("resumed", (REPLAYED, 0), &parts, None);
    assert_eq!(code(&mut process).await, 0, "{}", process.process.log_tail());
    let log = std::fs::read_to_string(process.process.log()).unwrap();
    assert!(log.contains(&format!("position={marker}")), "it begins at the marker {marker}:\n{log}");
    live(&world, all.len()).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_come_in_mid_replay_are_read_by_the_live_worker_after_it() {
    let mut world = World::new(1).await;
    // Offsets are committed as soon as their marker stands.
    world.arguments = ["--durability-lag-ms", "0"].map(Into::into).to_vec();
    let (mut chance, now) = (Chance(24), now());
    let all = events(&mut chance, 6_000, 200, now);
    let (old, new) = all.split_at(3_000);
    world.kafka.produce(TOPIC, spread(old, 1, now)).await.unwrap();
    let (parts, start) = ([part(0, 0, 3_000)], Instant::now());
    let mut process = world.replay("replay", (REPLAYED, 0), &parts, Some(500));
    let seen = until_reading(&world, &mut process, 0).await;
    assert!(seen < 3_000, "it is in the midst");
    world.kafka.add_partitions(TOPIC, 3).await.unwrap();
    world.kafka.produce(TOPIC, spread(new, 3, now)).await.unwrap();
    assert_eq!(code(&mut process).await, 0, "{}", process.process.log_tail());
    assert!(start.elapsed() >= Duration::from_secs(5), "3,000 records at 500 a second took {:?}", start.elapsed());
    let markers = world.markers_of(REPLAYED).await;
    assert_eq!(markers.into_iter().map(|(partition, of)| (partition, of.offset)).collect::<Vec<_>>(), [(0, 3_000)]);
    let committed = committed(&world).await;
    assert!((1..=3_000).contains(&committed), "tools see how far it is: {committed}");

    let mut worker = world.worker_of_incarnation("after", REPLAYED);
    world.until_read_of(REPLAYED, all.len()).await;
    worker.process.terminate(LIMIT).await.unwrap();
    live(&world, all.len()).await;
    world.assert_equal(&all, now).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_entities_than_the_memory_holds_are_flushed_and_read_back() {
    let world = World::new(1).await;
    let (mut chance, now) = (Chance(25), now());
    let mut all = events(&mut chance, 80_000, 1, now);
    // Every user once, then every one again: by then the lanes of the first have gone from memory.
    for (i, event) in all.iter_mut().enumerate() {
        event.user = format!("user|{}", i % 40_000);
    }
    world.kafka.produce(TOPIC, spread(&all, 1, now)).await.unwrap();
    let mut process = world.replay("replay", (REPLAYED, 0), &[part(0, 0, 80_000)], Some(16_000));
    let (mut most, mut loaded) = (0.0_f64, 0.0_f64);
    let ended = until("the end of the replay", LIMIT, async || {
        if let Some(status) = process.process.ended().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if let Some(bytes) = process.try_metric("featuremill_stream_cache_bytes{thread=\"0\"}").await {
            most = most.max(bytes);
        }
        if let Some(lanes) = process.try_metric("featuremill_stream_lanes_loaded_total").await {
            loaded = loaded.max(lanes);
        }
        Err(process.process.log_tail())
    });
    assert_eq!(ended.await.unwrap().code(), Some(0), "{}", process.process.log_tail());
    assert!(most > 0.0 && most < 16.0 * 1024.0 * 1024.0, "lanes took {most} bytes");
    assert!(loaded > 10_000.0, "{loaded} lanes were read back");
    live(&world, all.len()).await;
    world.assert_equal(&all, now).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_before_the_end_is_waited_for_and_what_it_leaves_is_passed() {
    let world = World::new(1).await;
    let (mut chance, now) = (Chance(26), now());
    let all = events(&mut chance, 1_000, 50, now);
    world.kafka.produce(TOPIC, spread(&all, 1, now)).await.unwrap();
    let hanging = world.kafka.hang(TOPIC, 0).await.unwrap();
    // The end of the log: its record is before it, and nobody knows yet whether it counts.
    let mut process = world.replay("replay", (REPLAYED, 0), &[part(0, 0, 1_001)], None);
    process.ready().await;
    let all_but_it = process.process.until("all that can be read", LIMIT, async || {
        match world.markers_of(REPLAYED).await.get(&0).map(|marker| marker.offset) {
            Some(1_000) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    all_but_it.await.unwrap();
    assert_eq!(process.process.ended().unwrap(), None, "it waits");
    hanging.abort().await.unwrap();
    assert_eq!(code(&mut process).await, 0, "{}", process.process.log_tail());
    assert_eq!(world.markers_of(REPLAYED).await[&0].offset, 1_001);
    // The transaction's own record, and what ends it.
    world.kafka.produce(TOPIC, spread(&all[..500], 1, now)).await.unwrap();
    let mut worker = world.worker_of_incarnation("after", REPLAYED);
    world.until_read_of(REPLAYED, all.len() + 2 + 500).await;
    worker.process.terminate(LIMIT).await.unwrap();
    live(&world, all.len() + 2 + 500).await;
    world.assert_same_bytes(LIVE, REPLAYED).await;
}
