//! Kafka: records go through it unchanged and stay over restarts.

use e2e::services::{Kafka, Message};

/// Numbered records, each to a partition of four, as old as the demo's.
fn messages(numbers: std::ops::Range<i64>) -> Vec<Message> {
    let message = |number: i64| Message {
        partition: Some(i32::try_from(number % 4).unwrap()),
        key: Some(format!("key{number}").into_bytes()),
        payload: (number % 10 != 9).then(|| format!("{{\"n\":{number}}}").into_bytes()),
        time: Some(1_500_000_000_000 + number),
        headers: vec![("number".into(), Some(number.to_string().into_bytes())), ("empty".into(), None)],
        ..Message::default()
    };
    numbers.map(message).collect()
}

/// What reading all of them gives: by partition, with offsets.
fn stored(count: i64) -> Vec<Message> {
    let mut messages = messages(0..count);
    for (number, message) in (0_i64..).zip(&mut messages) {
        message.offset = number / 4;
    }
    messages.sort_by_key(|message| (message.partition, message.offset));
    messages
}

/// One broker for all of it: it takes seconds to start.
#[tokio::test(flavor = "multi_thread")]
async fn records_survive_every_sort_of_restart() {
    let mut kafka = Kafka::start().await.unwrap();
    let bootstrap = kafka.bootstrap();
    kafka.create_topic("events", 4).await.unwrap();
    assert!(kafka.create_topic("events", 4).await.unwrap_err().to_string().contains("create topic events"));
    assert_eq!(kafka.read_all("events").await.unwrap(), []);
    assert!(kafka.read_all("none").await.is_err());

    kafka.produce("events", messages(0..1_000)).await.unwrap();
    let read = kafka.read_all("events").await.unwrap();
    assert_eq!(read, stored(1_000));
    assert_eq!(read[0].header("number"), Some("0"));
    assert_eq!((read[0].header("empty"), read[0].header("none")), (None, None));

    kafka.restart().await.unwrap();
    assert_eq!(kafka.read_all("events").await.unwrap(), stored(1_000), "after an orderly restart");

    kafka.produce("events", messages(1_000..2_000)).await.unwrap();
    kafka.kill().await.unwrap();
    assert!(kafka.process().is_err());
    kafka.resume().await.unwrap();
    assert_eq!(kafka.bootstrap(), bootstrap);
    assert_eq!(kafka.read_all("events").await.unwrap(), stored(2_000), "after a kill");

    kafka.add_partitions("events", 6).await.unwrap();
    let last = Message { partition: Some(5), payload: Some(b"last".to_vec()), ..Message::default() };
    kafka.produce("events", [last]).await.unwrap();
    assert_eq!(kafka.read_all("events").await.unwrap().last().unwrap().payload.as_deref(), Some(&b"last"[..]));
}
