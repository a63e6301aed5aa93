//! Workers killed, Redis robbed of its last second, Kafka restarted, all in mid-stream: still every value equals DuckDB.
//!
//! The short form strikes seven times; the long one, for `make soak`, fifty times at random with whatever there is to strike.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::cluster::Cluster;
use e2e::in_step::STEPS;
use e2e::online::Client;
use e2e::progress::wait_for;

use crate::values::{assert_equal_and_telling, check};
use crate::world::World;

/// What can be struck while events are being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// SIGKILL to every stream worker.
    KillWorkers,
    /// SIGKILL to every feature server.
    KillServers,
    /// SIGKILL to the operator.
    KillOperator,
    /// Stream workers are replaced one by one, by a rollout.
    RollWorkers,
    /// SIGKILL to Redis; what it had not synced is gone.
    KillRedis,
    /// Redis stopped and its append-only file cut to what it was a second before.
    CutRedis,
    /// SIGKILL to Kafka.
    KillKafka,
}

const ALL: [Fault; 7] = [
    Fault::KillWorkers,
    Fault::KillServers,
    Fault::KillOperator,
    Fault::RollWorkers,
    Fault::KillRedis,
    Fault::CutRedis,
    Fault::KillKafka,
];

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_mid_stream_lose_nothing_and_count_nothing_twice() {
    let mut world = World::new("faults", 8).await;
    world.serve_shopper();
    let target = Target { cluster: world.cluster.clone(), namespace: world.namespace.clone() };
    let disturb = async |step: usize| match step {
        // What was just fed is being read while the fault strikes.
        7 | 17 | 27 | 37 | 47 => target.strike(Fault::KillWorkers).await,
        22 => target.strike(Fault::CutRedis).await,
        42 => target.strike(Fault::KillKafka).await,
        _ => Ok(()),
    };
    let client = world.client();
    let report = check(&world, &client, |_, event| (event.user.clone(), None), disturb).await;
    assert_equal_and_telling(&report);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: make soak"]
async fn fifty_faults_at_random_lose_nothing_and_count_nothing_twice() {
    const FAULTS: usize = 50;
    let seed = std::env::var("FEATUREMILL_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    println!("FEATUREMILL_SEED={seed} strikes the same again");
    let world = World::new("soak", 8).await;
    world.serve_shopper();
    let target = Target { cluster: world.cluster.clone(), namespace: world.namespace.clone() };
    let mut struck: BTreeMap<Fault, usize> = BTreeMap::new();
    let disturb = async |step: usize| {
        // Fifty of the sixty-three steps, evenly.
        if step * FAULTS / STEPS == (step - 1) * FAULTS / STEPS {
            return Ok(());
        }
        let mut random = DefaultHasher::new();
        (seed, step).hash(&mut random);
        let fault = ALL[usize::try_from(random.finish() % 7).unwrap()];
        println!("step {step}: {fault:?}");
        *struck.entry(fault).or_default() += 1;
        target.strike(fault).await
    };
    // A forwarded port ends with the server that it leads to, and servers are struck too.
    let client = Client::new(&world.node_port().await);
    // Random keys: every row has several lanes, so that one lost lane shows.
    let report = check(&world, &client, |i, _| (format!("{:x}", i * 2_654_435_761), None), disturb).await;
    println!("struck: {struck:?}");
    assert_equal_and_telling(&report);
    assert_eq!(struck.values().sum::<usize>(), FAULTS);
}

/// The cluster and the test's part of it.
struct Target {
    cluster: Cluster,
    namespace: String,
}

impl Target {
    async fn strike(&self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::KillWorkers => self.kill(&self.namespace, "featuremill.dev/view=shopper"),
            Fault::KillServers => self.kill_servers(),
            Fault::KillOperator => self.kill("featuremill-system", "app.kubernetes.io/component=operator"),
            Fault::RollWorkers => self.roll(),
            Fault::KillRedis => self.restart("redis"),
            Fault::CutRedis => self.cut_redis().await,
            Fault::KillKafka => self.restart("kafka"),
        }
    }

    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.cluster.kubectl(args)
    }

    /// SIGKILL: pods deleted without grace.
    fn kill(&self, namespace: &str, selector: &str) -> Result<(), String> {
        let said = self.kubectl(&["-n", namespace, "delete", "pod", "-l", selector, "--grace-period=0", "--force"])?;
        if said.contains("deleted") { Ok(()) } else { Err(format!("no pod of {selector} to kill: {said:?}")) }
    }

    /// The API server forgets a pod at once, its process ends a moment later: until then it would answer, and then no more.
    fn kill_servers(&self) -> Result<(), String> {
        self.kill(&self.namespace, "app.kubernetes.io/component=server")?;
        let uid = "jsonpath={.metadata.uid}";
        let uid = self.kubectl(&["-n", &self.namespace, "get", "architecture", "realtime", "-o", uid])?;
        // The brackets keep this command from finding itself.
        on_node(&format!("pkill -9 -f '[a]rchitecture-uid={uid}' || true")).map(drop)
    }

    fn roll(&self) -> Result<(), String> {
        let selector = "featuremill.dev/view=shopper";
        self.kubectl(&["-n", &self.namespace, "rollout", "restart", "deployment", "-l", selector]).map(drop)
    }

    fn restart(&self, what: &str) -> Result<(), String> {
        self.kubectl(&["-n", "data", "delete", "pod", &format!("{what}-0"), "--grace-period=0", "--force"])?;
        self.kubectl(&["-n", "data", "rollout", "status", &format!("statefulset/{what}"), "--timeout=180s"]).map(drop)
    }

    /// Stops Redis and cuts its append-only file to what it was a second before: what an unsynced second costs in a crash.
    async fn cut_redis(&self) -> Result<(), String> {
        let size = on_node("stat -c %s /var/local/featuremill/redis/appendonlydir/*.incr.aof | tail -1")?;
        let before: u64 = size.trim().parse().map_err(|e| format!("size of the append-only file {size:?}: {e}"))?;
        // The fault needs something to lose: wait until the file has grown past what will be kept.
        wait_for("Redis to write what will be lost", Duration::from_secs(30), || async {
            let size = on_node("stat -c %s /var/local/featuremill/redis/appendonlydir/*.incr.aof | tail -1")?;
            if size.trim().parse::<u64>().is_ok_and(|now| now > before) { Ok(()) } else { Err(size) }
        })
        .await?;
        self.kubectl(&["-n", "data", "scale", "statefulset/redis", "--replicas=0"])?;
        self.kubectl(&["-n", "data", "wait", "pod/redis-0", "--for=delete", "--timeout=120s"])?;
        on_node(&format!(
            "truncate -s {before} \"$(ls -t /var/local/featuremill/redis/appendonlydir/*.incr.aof | head -1)\""
        ))?;
        self.kubectl(&["-n", "data", "scale", "statefulset/redis", "--replicas=1"])?;
        self.kubectl(&["-n", "data", "rollout", "status", "statefulset/redis", "--timeout=120s"]).map(drop)
    }
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
