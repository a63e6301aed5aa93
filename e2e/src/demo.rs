//! The demo: apply a view, stream six months of a web shop's events, ask for features, check every number.
//!
//! It can be run again and again: a view of an earlier run is deleted first, and with it its rows and consumer group.

mod report;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::clickstream::Clickstream;
use crate::cluster::Cluster;
use crate::feed::Feed;
use crate::online::{Answer, Client};
use crate::oracle;
use crate::progress::{Step, wait_for};

const NAMESPACE: &str = "demo";
const TOPIC: &str = "clickstream";
const VIEW: &str = "shopper";
const PARTITIONS: i32 = 8;
const HOUR: i64 = 3_600_000;

/// Runs the demo on a cluster where the chart is installed. Gives whether every value was equal to DuckDB's.
///
/// # Errors
/// What failed, in words, with what to do.
pub async fn run(cluster: &Cluster) -> Result<bool, String> {
    println!("\nA web shop's clickstream: what is known of each shopper, right now and as of any time\n");
    let step = Step::begin("fetching the clickstream and DuckDB from PyPI");
    let clickstream = Clickstream::fetch().map_err(|e| e.to_string())?.ending_at(Timestamp::now().as_millisecond());
    let users = clickstream.users();
    step.done(&format!("{} events of {} shoppers over six months", clickstream.events.len(), users.len()));

    clean(cluster)?;
    let feed = Feed::new(&cluster.kafka(), TOPIC).map_err(|e| e.to_string())?;
    let step = Step::begin("making the Kafka topic clickstream");
    feed.recreate(PARTITIONS).await.map_err(|e| format!("{}: {e}", cluster.kafka()))?;
    step.done(&format!("with {PARTITIONS} partitions"));
    apply(cluster)?;
    stream(&clickstream, &feed)?;

    let client = Client::new(&cluster.server());
    let features = report::features();
    let sent = Timestamp::now().as_millisecond();
    let step = Step::begin("waiting until every event sent can be read");
    wait_for("the feature server", Duration::from_mins(3), || async {
        let answer = client.get(VIEW, &features[..1], "user_id", &users[..1], None).map_err(|e| e.to_string())?;
        step.note(&format!("complete to {}", answer.metadata["complete_to"]));
        match millis(&answer.metadata["complete_to"]) {
            Some(t) if t >= sent => Ok(()),
            _ => Err(format!("complete to {}", answer.metadata["complete_to"])),
        }
    })
    .await?;
    step.done("all of them");
    println!("\n$ kubectl -n {NAMESPACE} get featureview,architecture");
    println!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "featureview,architecture"])?);

    let shown = report::most_active(&clickstream, 2 * 24 * HOUR);
    let equal = check(&clickstream, &client, &features, &users, &shown)?;
    report::next(cluster, NAMESPACE, shown.first().unwrap_or(&users[0]));
    Ok(equal)
}

/// Deletes what an earlier run left.
fn clean(cluster: &Cluster) -> Result<(), String> {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
    cluster.apply(NAMESPACE, &namespace)?;
    let step = Step::begin("deleting the view of an earlier run, its rows and its consumer group");
    cluster.kubectl(&["-n", NAMESPACE, "delete", "featureview", VIEW, "--ignore-not-found", "--timeout=120s"])?;
    step.done("");
    Ok(())
}

fn apply(cluster: &Cluster) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clickstream");
    let folder = folder.to_string_lossy();
    println!("\n$ kubectl -n {NAMESPACE} apply -f examples/clickstream");
    print!("{}", cluster.kubectl(&["-n", NAMESPACE, "apply", "-f", &folder])?);
    println!();
    for (object, condition) in [("architecture/realtime", "Ready"), ("featureview/shopper", "Ready")] {
        let step = Step::begin(&format!("waiting for {object} to be {condition}"));
        cluster.kubectl(&[
            "-n",
            NAMESPACE,
            "wait",
            object,
            &format!("--for=condition={condition}"),
            "--timeout=180s",
        ])?;
        step.done("");
    }
    Ok(())
}

fn stream(clickstream: &Clickstream, feed: &Feed) -> Result<(), String> {
    let step = Step::bar("streaming the events through Kafka, keyed by shopper", clickstream.events.len() as u64);
    for event in &clickstream.events {
        feed.send(event.user.as_bytes(), event.json().as_bytes(), event.ts, None).map_err(|e| e.to_string())?;
        step.advance(1);
    }
    feed.flush().map_err(|e| e.to_string())?;
    step.done(&format!("{} events", clickstream.events.len()));
    Ok(())
}

/// Asks for all shoppers at now and at three times before, shows some of it, and counts what is equal.
fn check(
    clickstream: &Clickstream,
    client: &Client,
    features: &[String],
    users: &[String],
    shown: &[String],
) -> Result<bool, String> {
    let mut tally = report::Tally::default();
    for ago in [0, 6 * HOUR, 24 * HOUR, 48 * HOUR] {
        let as_of = (ago > 0).then(|| Timestamp::now().as_millisecond() - ago);
        let answer = client.get(VIEW, features, "user_id", users, as_of).map_err(|e| e.to_string())?;
        // Without `as_of` the server's clock was the time of the read; it says which.
        let t = as_of.or_else(|| millis(&answer.metadata["t"])).ok_or("the answer does not say its time `t`")?;
        let reads: Vec<_> = users.iter().map(|u| (u.clone(), t)).collect();
        let computed = oracle::ask(clickstream, &reads).map_err(|e| e.to_string())?;
        for (i, user) in users.iter().enumerate() {
            tally.add(&answer, &computed[i], i);
            if shown.contains(user) && (ago == 0 || user == &shown[0]) {
                report::table(user, t, ago, &answer, &computed[i], i);
            }
        }
    }
    Ok(tally.verdict())
}

/// A time of the answer's metadata: RFC 3339 text, or milliseconds.
fn millis(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond))
}

/// The value served for entity `i`; NULL if the feature is missing.
fn served(answer: &Answer, feature: &str, i: usize) -> Value {
    answer.features.get(feature).and_then(|cells| cells.get(i)).map_or(Value::Null, |c| c.value.clone())
}
