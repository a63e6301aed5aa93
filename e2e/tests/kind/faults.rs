//! Workers killed, Redis robbed of its last second, Kafka restarted, all in mid-stream: still every value equals DuckDB.

use std::process::Command;
use std::time::Duration;

use e2e::progress::wait_for;

use crate::values::{assert_equal_and_telling, check};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_mid_stream_lose_nothing_and_count_nothing_twice() {
    let mut world = World::new("faults", 8).await;
    world.serve_shopper();
    let (cluster, namespace) = (world.cluster.clone(), world.namespace.clone());
    let kubectl = move |args: &[&str]| cluster.kubectl(args);
    let disturb = async |step: usize| match step {
        // What was just fed is being read while the fault strikes.
        7 | 17 | 27 | 37 | 47 => kill_worker(&kubectl, &namespace),
        22 => cut_redis(&kubectl).await,
        42 => restart_kafka(&kubectl),
        _ => Ok(()),
    };
    let report = check(&mut world, |_, event| (event.user.clone(), None), disturb).await;
    assert_equal_and_telling(&report);
}

/// SIGKILL: a pod deleted without grace.
fn kill_worker(kubectl: &impl Fn(&[&str]) -> Result<String, String>, namespace: &str) -> Result<(), String> {
    let selector = "featuremill.dev/view=shopper";
    kubectl(&["-n", namespace, "delete", "pod", "-l", selector, "--grace-period=0", "--force"]).map(drop)
}

/// Stops Redis and cuts its append-only file to what it was a second before: what an unsynced second costs in a crash.
async fn cut_redis(kubectl: &impl Fn(&[&str]) -> Result<String, String>) -> Result<(), String> {
    let size = on_node("stat -c %s /var/local/featuremill/redis/appendonlydir/*.incr.aof | tail -1")?;
    let before: u64 = size.trim().parse().map_err(|e| format!("size of the append-only file {size:?}: {e}"))?;
    // The fault needs something to lose: wait until the file has grown past what will be kept.
    wait_for("Redis to write what will be lost", Duration::from_secs(30), || async {
        let size = on_node("stat -c %s /var/local/featuremill/redis/appendonlydir/*.incr.aof | tail -1")?;
        if size.trim().parse::<u64>().is_ok_and(|now| now > before) { Ok(()) } else { Err(size) }
    })
    .await?;
    kubectl(&["-n", "data", "scale", "statefulset/redis", "--replicas=0"])?;
    kubectl(&["-n", "data", "wait", "pod/redis-0", "--for=delete", "--timeout=120s"])?;
    on_node(&format!(
        "truncate -s {before} \"$(ls -t /var/local/featuremill/redis/appendonlydir/*.incr.aof | head -1)\""
    ))?;
    kubectl(&["-n", "data", "scale", "statefulset/redis", "--replicas=1"])?;
    kubectl(&["-n", "data", "rollout", "status", "statefulset/redis", "--timeout=120s"]).map(drop)
}

fn restart_kafka(kubectl: &impl Fn(&[&str]) -> Result<String, String>) -> Result<(), String> {
    kubectl(&["-n", "data", "delete", "pod/kafka-0", "--grace-period=0", "--force"])?;
    kubectl(&["-n", "data", "rollout", "status", "statefulset/kafka", "--timeout=180s"]).map(drop)
}

/// A command in the cluster's node, where the volumes are folders.
fn on_node(script: &str) -> Result<String, String> {
    let name = std::env::var("FEATUREMILL_CLUSTER").unwrap_or_else(|_| "featuremill".into());
    let output = Command::new("docker")
        .args(["exec", &format!("{name}-control-plane"), "sh", "-c", script])
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
