//! A batch run whose events are folded on a Ballista cluster: the bytes in the store are those of a run that folds by itself.

use std::collections::BTreeMap;

use e2e::clickstream::Clickstream;
use e2e::history::History;
use engine::row;
use jiff::Timestamp;
use redis::Commands as _;

use crate::modes::{compare, example, horizon, lake, table};
use crate::world::{SHOPPER, World};

const CLUSTER: &str = include_str!("../../../examples/ballista/cluster.yaml");
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// By entity, the row of a view's live revision.
fn rows(world: &World) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let revision = world.kubectl(&["get", "featureview", SHOPPER, "-o", "jsonpath={.status.activeRevision}"]).unwrap();
    let prefix = row::row_prefix(&world.uid(SHOPPER), revision.trim(), 0);
    let mut redis = redis::Client::open(world.cluster.redis()).and_then(|client| client.get_connection()).unwrap();
    let keys: Vec<String> = redis.scan_match(format!("{prefix}*")).unwrap().collect::<Result<_, _>>().unwrap();
    keys.into_iter().map(|key| (key[prefix.len()..].to_owned(), redis.hgetall(&key).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballista_cluster_gives_the_bytes_of_one_machine() {
    let clickstream = Clickstream::fetch().unwrap().ending_at(Timestamp::now().as_millisecond() - 4 * DAY);
    let last = clickstream.events.last().unwrap().ts;
    let mut worlds = Vec::new();
    for cluster in [false, true] {
        let world = World::bare(if cluster { "ballista" } else { "no-ballista" }, 1).await;
        let lake = lake(&world);
        // In three commits, so that there are several files to deal.
        for third in 0..3 {
            let complete_until = Timestamp::from_millisecond(last + 4 * DAY).unwrap();
            let part = History::clickstream(&world.cluster, &table(&lake), complete_until);
            let mode = if third == 0 { "overwrite" } else { "append" };
            History { mode, ..part.of(&format!("i % 3 = {third}")) }.write(&clickstream).unwrap();
        }
        let mut yaml = example(&world, "Batch", &lake);
        if cluster {
            world.apply(CLUSTER);
            let batch =
                "  batch: {engine: Ballista, schedulerUrl: \"http://ballista-scheduler:50050\", partitions: 4}\n";
            yaml = yaml.replacen("  onlineStore:\n", &format!("{batch}  onlineStore:\n"), 1);
            assert!(yaml.contains("Ballista"), "the example has changed");
        }
        world.apply(&yaml);
        worlds.push(world);
    }
    for world in &worlds {
        horizon(world, last / HOUR * HOUR).await;
        world.ready("featureview/shopper");
    }
    let [alone, spread] = <[World; 2]>::try_from(worlds).unwrap_or_else(|_| panic!("two worlds"));
    let (alone_rows, spread_rows) = (rows(&alone), rows(&spread));
    assert!(alone_rows.len() > 400, "{}", alone_rows.len());
    assert_eq!(alone_rows, spread_rows);
    println!("{} rows are equal, byte for byte", alone_rows.len());

    // Both executors had a part in it.
    let pods = spread.kubectl(&["get", "pods", "-l", "app.kubernetes.io/component=ballista-executor", "-o", "name"]);
    let pods = pods.unwrap();
    let pods: Vec<&str> = pods.split_whitespace().collect();
    assert_eq!(pods.len(), 2, "{pods:?}");
    for pod in pods {
        let log = spread.kubectl(&["logs", pod]).unwrap();
        assert!(log.contains("Finished task"), "{pod} did nothing:\n{log}");
    }
    let mut spread = spread;
    let client = spread.client_of("service/shop-server");
    let common = (last + HOUR) / HOUR * HOUR;
    let (_, telling) = compare(&spread, &client, &clickstream, "true", common);
    assert!(telling > 1_000, "a cluster could pass by folding nothing: {telling}");
}
