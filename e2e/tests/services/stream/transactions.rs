//! Transactions of producers: what stands behind one that is open has not been read, and nobody may say that it was.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::services::until;
use operator::edges::{Edges as _, LogAddress, RealEdges};
use operator::lag::measure::{Seen, measure};
use shell::store::Markers;

use super::world::{Chance, LIMIT, TOPIC, World, events, now, record};

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_an_open_transaction_counts_as_unread() {
    let world = World::new(1).await;
    let (mut chance, now_ms) = (Chance(31), now());
    let all = events(&mut chance, 20, 5, now_ms);
    let put = |from: usize, to: usize| all[from..to].iter().map(|event| record(event, 0, now_ms)).collect::<Vec<_>>();
    world.kafka.produce(TOPIC, put(0, 10)).await.unwrap();
    let mut worker = world.worker("worker");
    world.until_read(10).await;
    let complete_to = async || world.markers().await[&0].read_to_end_at;

    // A producer that begins a transaction and hangs: its record holds back all that come after it.
    let hanging = world.kafka.hang(TOPIC, 0).await.unwrap();
    let before = now();
    world.kafka.produce(TOPIC, put(10, 20)).await.unwrap();

    let claimed = until("a claim of completeness", Duration::from_secs(8), async || match complete_to().await {
        at if at > before + 3_000 => Ok(at),
        at => Err(format!("complete to {at}")),
    });
    let claimed = claimed.await.ok();
    let read = world.markers().await[&0].offset;
    assert_eq!(
        claimed.map(|at| at - before),
        None,
        "the topic was said to be read to its end that many ms after ten events were written which nobody has read: the marker is {read}"
    );
    // But it is no lag of the worker, which stands where it can read no further.
    assert_eq!(lag(&world).await, Ok((10, 0)));
    // It is said again once they are read.
    hanging.abort().await.unwrap();
    until("completeness", LIMIT, async || match complete_to().await {
        at if at > before => Ok(()),
        at => Err(format!("complete to {at}")),
    })
    .await
    .unwrap();
    world.assert_equal(&all, now_ms).await;
    // Twenty events, what was taken back, and the record that says so: it counts among offsets, and nobody is given it.
    until("no lag", LIMIT, async || match lag(&world).await {
        Ok((22, 0)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    worker.ready().await;
}

/// The end of the topic's partition and the records before it that were not read, as the operator finds them.
async fn lag(world: &World) -> Result<(i64, i64), String> {
    let markers = Markers { partitions: Some(1), by_partition: world.markers().await, ..Markers::default() };
    let address = LogAddress { bootstrap: world.kafka.bootstrap(), properties: BTreeMap::new() };
    let ends = RealEdges::default().ends(&address, &[TOPIC.to_owned()].into()).await.map_err(|e| e.to_string())?;
    let bounds = &ends[TOPIC];
    let (measured, _) = measure(&markers, bounds, now(), 0, &Seen::default());
    Ok((bounds[&0].end, measured.records))
}
