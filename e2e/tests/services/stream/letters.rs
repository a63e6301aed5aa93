//! Bad events end in the dead-letter topic with their reason, and hurt no good one.

use std::collections::BTreeMap;

use e2e::services::{Message, until};

use super::world::{Chance, LIMIT, TOPIC, UID, World, events, now, record};

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_kept_with_their_reason_and_good_ones_are_counted() {
    let world = World::new(3).await;
    let (mut chance, now) = (Chance(3), now());
    let good = events(&mut chance, 3_000, 40, now);
    let huge = vec![b'x'; 70 * 1024];
    let far = now + 3_600_000;
    let bad: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("EmptyPayload", None),
        ("EmptyPayload", Some(Vec::new())),
        ("InvalidJson", Some(b"not json".to_vec())),
        ("InvalidJson", Some(huge)),
        ("InvalidUtf8", Some(b"{\"user\":\"\xff\"}".to_vec())),
        ("MissingField", Some(format!(r#"{{"kind":"click","at":{now}}}"#).into_bytes())),
        ("NullField", Some(format!(r#"{{"user":null,"at":{now}}}"#).into_bytes())),
        ("WrongType", Some(format!(r#"{{"user":"u","amount":"many","at":{now}}}"#).into_bytes())),
        ("DuplicateField", Some(format!(r#"{{"user":"u","user":"v","at":{now}}}"#).into_bytes())),
        ("TooFarInFuture", Some(format!(r#"{{"user":"u","at":{far}}}"#).into_bytes())),
    ];
    let mut records: Vec<Message> = Vec::new();
    for (i, event) in good.iter().enumerate() {
        let partition = i32::try_from(i % 3).unwrap();
        records.push(record(event, partition, now));
        if i % 10 == 0 {
            let (_, payload) = &bad[i / 10 % bad.len()];
            let key = Some(format!("bad-{i}").into_bytes());
            records.push(Message {
                partition: Some(partition),
                key,
                payload: payload.clone(),
                time: Some(now),
                ..Message::default()
            });
        }
    }
    let total = records.len();
    world.kafka.produce(TOPIC, records.clone()).await.unwrap();
    let mut worker = world.worker("worker");
    worker.ready().await;
    // It dies while it sends; at least once is at least once.
    until("some progress", LIMIT, async || if world.markers().await.is_empty() { Err("none".into()) } else { Ok(()) })
        .await
        .unwrap();
    worker.process.kill().await.unwrap();
    let worker = world.worker("again");
    world.until_read(total).await;
    world.assert_equal(&good, now).await;

    let letters = world.kafka.read_all("featuremill.shop.user-events.dead-letters").await.unwrap();
    let mut found = BTreeMap::new();
    for letter in &letters {
        assert_eq!(letter.header("featuremill-view-uid"), Some(UID));
        assert_eq!(letter.header("featuremill-revision"), Some(world.plan.revision.as_str()));
        assert_eq!(letter.header("featuremill-topic"), Some(TOPIC));
        assert!(letter.header("featuremill-detail").is_some_and(|detail| !detail.is_empty()));
        let at = |name| letter.header(name).unwrap().parse::<i64>().unwrap();
        let place = (at("featuremill-partition"), at("featuremill-offset"));
        found.insert(place, letter);
    }
    assert_eq!(found.len(), total - good.len(), "each bad record, however often");
    let source = world.kafka.read_all(TOPIC).await.unwrap();
    for record in source.iter().filter(|record| record.key.as_deref().is_some_and(|key| key.starts_with(b"bad-"))) {
        let letter = found[&(i64::from(record.partition.unwrap()), record.offset)];
        assert_eq!(letter.key, record.key);
        let number: usize = std::str::from_utf8(&record.key.as_ref().unwrap()[4..]).unwrap().parse().unwrap();
        let (reason, payload) = &bad[number / 10 % bad.len()];
        assert_eq!(letter.header("featuremill-reason"), Some(*reason));
        let payload = payload.as_deref().unwrap_or_default();
        let kept = letter.payload.as_deref().unwrap_or_default();
        assert_eq!(kept, &payload[..payload.len().min(64 * 1024)]);
        assert_eq!(letter.header("featuremill-truncated"), (payload.len() > 64 * 1024).then_some("true"));
    }
    assert!(worker.metric("featuremill_stream_rejected_total{reason=\"InvalidJson\"}").await >= 0.0);
}
