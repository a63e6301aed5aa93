//! What rows do not hold is told beside the markers, so that every read of them is exact, or known not to be: of a replay that
//! begins where the longest window does, and of a worker whose topic had lost its first records.

use e2e::services::Message;
use engine::lane::{Lane, Layout};
use engine::read::{Layer, Reader, Status};
use engine::replay::Part;
use engine::row::{COMPLETE_FROM_FIELD, complete_from_field, marker_key, parse_lane_field};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::topic_partition_list::Offset;

use super::world::{Chance, Event, LIMIT, TOPIC, UID, World, definition, events, now, record};

const WHOLE: u32 = 0;
const PART: u32 = 1;
const HOUR: i64 = 3_600_000;

async fn complete_from(world: &World, incarnation: u32) -> Option<i64> {
    let key = marker_key(UID, &world.plan.revision, incarnation, 0);
    world.redis.command(&["HGET", &key, COMPLETE_FROM_FIELD]).await.unwrap()
}

/// What the rows of an incarnation say of an entity: by feature, status and value as of `t`.
fn read(layout: &Layout, row: &[(String, Vec<u8>)], from: i64, t: i64) -> Vec<(Status, String)> {
    let mut segments: Vec<(u8, &[u8])> =
        row.iter().map(|(field, bytes)| (parse_lane_field(field).unwrap().1, bytes.as_slice())).collect();
    segments.sort_unstable();
    let lanes = if segments.is_empty() { vec![] } else { vec![Lane::decode(layout, &segments).unwrap()] };
    let layer = Layer { lanes: &lanes, from: i64::MIN, complete_from: from };
    let reads = Reader::new(layout).read_layers(&[layer], t, &[0, 1]);
    reads.into_iter().map(|read| (read.status, format!("{:?}", read.value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_what_a_replay_left_out_are_inexact_and_all_others_exact() {
    let mut world = World::new(1).await;
    let mut features = definition(UID);
    features.features.retain(|feature| feature.window.is_some());
    let hour = engine::definition::FeatureDefinition {
        name: "hour".into(),
        window: Some("1h".into()),
        ..features.features[0].clone()
    };
    features.features.push(hour);
    world.plan = engine::resolve::resolve(&features).unwrap();
    let (mut chance, now) = (Chance(31), now());
    // Five days of events at which nothing has come for a day; records are as old as their events.
    let all: Vec<Event> = (events(&mut chance, 3_000, 60, now).into_iter().enumerate())
        .map(|(i, event)| Event {
            time: now - 5 * 24 * HOUR + i64::try_from(i).unwrap() * 4 * 24 * HOUR / 3_000,
            ..event
        })
        .collect();
    let records = all.iter().map(|event| Message { time: Some(event.time), ..record(event, 0, now) });
    world.kafka.produce(TOPIC, records).await.unwrap();
    let needed = world.plan.time.retention_ms.unwrap();
    let since = now - needed;
    let first = all.iter().position(|event| event.time >= since).unwrap();
    let from = since + world.plan.time.max_future_ms;
    let (first, end) = (i64::try_from(first).unwrap(), 3_000);
    assert!(first > 500, "some of it is left out: {first}");

    let mut whole = world.replay("whole", (WHOLE, 0), &[Part { partition: 0, from: 0, to: end }], None);
    assert_eq!(whole.process.wait(LIMIT).await.unwrap().code(), Some(0), "{}", whole.process.log_tail());
    let part = [Part { partition: 0, from: first, to: end }];
    let mut replay = world.replay_from("part", (PART, 0), &part, Some(20), Some(from));
    // A store that loses all while it is read is told again.
    let told = replay.process.until("the first marker", LIMIT, async || {
        if world.markers_of(PART).await.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    told.await.unwrap();
    assert_eq!(complete_from(&world, PART).await, Some(from));
    let key = marker_key(UID, &world.plan.revision, PART, 0);
    let _: i64 = world.redis.command(&["DEL", &key]).await.unwrap();
    assert_eq!(replay.process.wait(LIMIT).await.unwrap().code(), Some(0), "{}", replay.process.log_tail());
    assert_eq!((complete_from(&world, WHOLE).await, complete_from(&world, PART).await), (None, Some(from)));

    let layout = Layout::new(&world.plan).unwrap();
    let (rows, others) = (world.bytes(WHOLE).await, world.bytes(PART).await);
    let (mut exact, mut inexact, mut would_be_wrong) = (0, 0, 0);
    for (entity, row) in &rows {
        let row: Vec<_> = row.clone().into_iter().collect();
        let other: Vec<_> = others.get(entity).cloned().unwrap_or_default().into_iter().collect();
        for t in (0..120).map(|i| now - i * HOUR / 2) {
            let expected = read(&layout, &row, i64::MIN, t);
            let unaware = read(&layout, &other, i64::MIN, t);
            for ((expected, found), unaware) in expected.iter().zip(read(&layout, &other, from, t)).zip(unaware) {
                if found.0 == Status::Inexact {
                    inexact += 1;
                    would_be_wrong += usize::from(unaware != *expected && unaware.0 != Status::Inexact);
                } else if expected.0 != Status::Inexact {
                    exact += 1;
                    assert_eq!(found, *expected, "{entity} {} min before", (now - t) / 60_000);
                }
            }
        }
    }
    assert!(exact > 100 && inexact > 100 && would_be_wrong > 20, "{exact} {inexact} {would_be_wrong}");
}

async fn told(world: &World, partition: i32) -> Option<i64> {
    let key = marker_key(UID, &world.plan.revision, WHOLE, 0);
    world.redis.command(&["HGET", &key, &complete_from_field(Some(partition))]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_marker_tells_what_its_topic_had_lost() {
    let world = World::new(3).await;
    let (now, future) = (now(), world.plan.time.max_future_ms);
    let all = events(&mut Chance(7), 300, 9, now);
    // Of partition 0 the records before 40 are gone, of partition 1 all of them, of partition 2 none.
    let records = all.iter().enumerate().map(|(i, event)| {
        let (partition, place) = (i32::try_from(i / 100).unwrap(), i64::try_from(i % 100).unwrap());
        Message { time: Some(now - HOUR + place), ..record(event, partition, now) }
    });
    world.kafka.produce(TOPIC, records).await.unwrap();
    let mut to = TopicPartitionList::new();
    to.add_partition_offset(TOPIC, 0, Offset::Offset(40)).unwrap();
    to.add_partition_offset(TOPIC, 1, Offset::End).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    world.kafka.admin().unwrap().delete_records(&to, &options).await.unwrap();
    let week = AlterConfig::new(ResourceSpecifier::Topic(TOPIC)).set("retention.ms", "604800000");
    world.kafka.admin().unwrap().alter_configs([&week], &options).await.unwrap()[0].as_ref().unwrap();

    let started = super::world::now();
    let mut worker = world.worker("first");
    world.until_read(300).await;
    assert_eq!(told(&world, 0).await, Some(now - HOUR + 40 + future));
    let (idle, week) = (told(&world, 1).await.unwrap(), 7 * 24 * HOUR);
    assert!(
        (started - week + future..=super::world::now() - week + future).contains(&idle),
        "what the topic keeps it has: {idle}"
    );
    assert_eq!(told(&world, 2).await, None, "nothing is lost of what begins at 0");
    // What comes late to a partition that held nothing takes nothing back.
    let late = Message { time: Some(now - HOUR), ..record(&all[0], 1, now) };
    world.kafka.produce(TOPIC, [late]).await.unwrap();
    world.until_read(301).await;
    assert_eq!(told(&world, 1).await, Some(idle));

    // One that goes on from a marker adds nothing, however much is gone by now.
    worker.process.kill().await.unwrap();
    to.add_partition_offset(TOPIC, 2, Offset::Offset(60)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    world.kafka.admin().unwrap().delete_records(&to, &options).await.unwrap();
    let mut worker = world.worker("second");
    worker.ready().await;
    world.kafka.produce(TOPIC, [record(&all[0], 2, now)]).await.unwrap();
    world.until_read(302).await;
    assert_eq!((told(&world, 1).await, told(&world, 2).await), (Some(idle), None));

    // A store that lost all is filled from what the topic still holds.
    let _: () = world.redis.command(&["FLUSHALL"]).await.unwrap();
    worker.process.kill().await.unwrap();
    let _worker = world.worker("third");
    world.until_read(302).await;
    assert_eq!(told(&world, 2).await, Some(now - HOUR + 60 + future));
}
