//! Topics that are not what they were, and tables that are not ours: the worker says why, and what to do.

use std::time::Duration;

use lake::{Identity, Owner, Storage, bronze};

use super::world::{Chance, TOPIC, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_not_mixed_with_the_old_one() {
    let world = World::new(1).await;
    let mut chance = Chance(11);
    let mut worker = world.worker("worker", &[]);
    world.produce(&mut chance, 1, 500).await;
    world.until_archived().await;
    let status = worker.process.terminate(Duration::from_secs(25)).await.unwrap();
    assert!(status.success(), "{status}");
    let before = world.rows(None).await;
    let admin = world.kafka.admin().unwrap();
    admin.delete_topics(&[TOPIC], &rdkafka::admin::AdminOptions::new()).await.unwrap();
    // The name is free again once the broker has taken the deletion in.
    e2e::services::until("a new topic", Duration::from_secs(30), async || {
        world.kafka.create_topic(TOPIC, 1).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    world.produce(&mut chance, 1, 100).await;
    let mut worker = world.worker("again", &[]);
    worker.unready("SourceReset").await;
    assert!((worker.metric("featuremill_archive_source_reset{partition=\"0\"}").await - 1.0).abs() < f64::EPSILON);
    assert_eq!(world.rows(None).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_hold_the_partition_until_a_person_decides() {
    let world = World::new(1).await;
    let mut chance = Chance(12);
    let mut worker = world.worker("worker", &[]);
    world.produce(&mut chance, 1, 500).await;
    world.until_archived().await;
    worker.process.kill().await.unwrap();
    world.produce(&mut chance, 1, 500).await;
    let admin = world.kafka.admin().unwrap();
    let mut until = rdkafka::TopicPartitionList::new();
    until.add_partition_offset(TOPIC, 0, rdkafka::Offset::Offset(700)).unwrap();
    admin.delete_records(&until, &rdkafka::admin::AdminOptions::new()).await.unwrap();
    let mut worker = world.worker("halted", &[]);
    worker.unready("SourceGap").await;
    worker.unready("[500, 700)").await;
    worker.process.kill().await.unwrap();
    let mut worker = world.worker("on", &["--on-gap", "continue"]);
    worker.ready().await;
    world.until_archived().await;
    let (_, state) = world.state().await.unwrap();
    assert_eq!(state.gaps, [bronze::Gap { partition: 0, from: 500, to: 700 }]);
    let rows = world.rows(None).await;
    assert_eq!(rows.len(), 800);
    assert!(rows.values().all(|of| of.len() == 1) && !rows.contains_key(&(0, 600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_table_is_left_alone() {
    let world = World::new(1).await;
    let identity = Identity { uid: "somebody".into(), owner: Owner::Topic(TOPIC.into()) };
    lake::ensure(&world.uri(), &Storage::local(), &bronze::spec(identity, None)).await.unwrap();
    let mut worker = world.worker("worker", &[]);
    worker.unready("belongs to topic events (somebody)").await;
    assert_eq!(world.state().await.unwrap().0, 0);
}
