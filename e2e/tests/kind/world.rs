//! One test's share of the cluster: a namespace with an architecture and the clickstream's view, and a topic.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::feed::Feed;
use e2e::online::Client;
use e2e::progress::wait_for;
use engine::plan::ViewIdentity;
use engine::row::{self, Live, Marker};
use redis::Commands;

const ARCHITECTURE: &str = include_str!("../../../examples/clickstream/architecture.yaml");
const VIEW: &str = include_str!("../../../examples/clickstream/feature-view.yaml");

/// Every namespace of these tests bears it.
const LABEL: &str = "featuremill.dev/e2e=kind";

/// The name of the clickstream's view.
pub const SHOPPER: &str = "shopper";
/// The same for kubectl.
pub const SHOPPER_VIEW: &str = "featureview/shopper";

pub struct World {
    pub cluster: Cluster,
    pub namespace: String,
    pub topic: String,
    pub feed: Feed,
    forward: Option<Forward>,
}

impl World {
    /// A fresh namespace `e2e-{name}` with the architecture `realtime` and nothing else.
    pub async fn new(name: &str, partitions: i32) -> Self {
        let world = Self::bare(name, partitions).await;
        // The node port is the demo's; a test reaches its server through a forwarded port.
        let architecture =
            ARCHITECTURE.replace("type: NodePort", "type: ClusterIP").replace("      nodePort: 30566\n", "");
        world.apply(&architecture);
        world
    }

    /// A fresh namespace `e2e-{name}` with nothing, and a topic of that name.
    pub async fn bare(name: &str, partitions: i32) -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&Cluster::from_env()));
        let cluster = Cluster::from_env();
        let namespace = format!("e2e-{name}");
        cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
        cluster.kubectl(&["label", "namespace", &namespace, LABEL]).unwrap();
        let feed = Feed::new(&cluster.kafka(), &namespace).unwrap();
        feed.recreate(partitions).await.unwrap();
        // Dead letters of an earlier run are another view's, and a worker refuses to mix them with its own.
        let view = ViewIdentity { uid: String::new(), namespace: namespace.clone(), name: SHOPPER.into() };
        Feed::new(&cluster.kafka(), &row::dead_letter_topic(&view)).unwrap().delete().await.unwrap();
        Self { cluster, topic: namespace.clone(), namespace, feed, forward: None }
    }

    /// The clickstream's view over this test's topic.
    pub fn shopper(&self) -> String {
        VIEW.replace("topic: clickstream", &format!("topic: {}", self.topic))
    }

    pub fn apply(&self, yaml: &str) {
        self.cluster.apply(&self.namespace, yaml).unwrap();
    }

    /// kubectl in the test's namespace.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(args);
        self.cluster.kubectl(&all)
    }

    /// What an object's status holds at a path.
    pub fn status(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{.status.{path}}}")]).unwrap()
    }

    /// A field of one of an object's conditions.
    pub fn condition(&self, object: &str, kind: &str, field: &str) -> String {
        self.status(object, &format!(r#"conditions[?(@.type=="{kind}")].{field}"#))
    }

    /// Applies the clickstream's view and waits until it and the architecture are ready.
    pub fn serve_shopper(&self) {
        self.apply(&self.shopper());
        for object in ["architecture/realtime", "featureview/shopper"] {
            self.ready(object);
        }
    }

    /// Waits until an object is ready; if it does not become so, says what kubectl tells of it and of the pods.
    pub fn ready(&self, object: &str) {
        if let Err(error) = self.kubectl(&["wait", object, "--for=condition=Ready", "--timeout=180s"]) {
            let conditions =
                r#"jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}"#;
            let conditions = self.kubectl(&["get", object, "-o", conditions]).unwrap_or_else(|e| e);
            let pods = self.cluster.kubectl(&["get", "pods", "-A", "-o", "wide"]).unwrap_or_else(|e| e);
            panic!("{error}\n{conditions}\n{pods}");
        }
    }

    /// Opens a port of the node for the server, and gives its URL. Unlike a forwarded port it leads to whichever server
    /// is ready, so it outlives any one of them.
    pub async fn node_port(&self) -> String {
        self.apply(&ARCHITECTURE.replace("      nodePort: 30566\n", ""));
        self.ready("architecture/realtime");
        self.node_port_url("realtime-server").await
    }

    /// Where a server is reached at a node's port that it has already, once the node knows of it: kube-proxy hears of a port and
    /// of the pods behind it a moment after the API server.
    pub async fn node_port_url(&self, service: &str) -> String {
        let port = self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.ports[0].nodePort}"]);
        let address = r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
        let address = self.cluster.kubectl(&["get", "nodes", "-o", address]);
        let address = format!("{}:{}", address.unwrap().trim(), port.unwrap().trim());
        let open = wait_for("the node to know of the port", Duration::from_mins(1), || async {
            tokio::net::TcpStream::connect(&address).await.map_err(|e| format!("{address}: {e}"))
        });
        drop(open.await.unwrap());
        format!("http://{address}")
    }

    /// A client of the architecture's server, through a port forwarded for as long as the world lives.
    pub fn client(&mut self) -> Client {
        self.client_of("service/realtime-server")
    }

    /// As [`Self::client`], of another server.
    pub fn client_of(&mut self, server: &str) -> Client {
        let forward = Forward::start(&self.cluster, &self.namespace, server, 6566);
        let client = Client::new(&format!("http://127.0.0.1:{}", forward.port));
        self.forward = Some(forward);
        client
    }

    /// A view's UID.
    pub fn uid(&self, view: &str) -> String {
        self.kubectl(&["get", "featureview", view, "-o", "jsonpath={.metadata.uid}"]).unwrap()
    }

    /// Waits until every record of the topic is in the rows of a view's live revision.
    pub async fn settled(&self, uid: &str) -> Result<(), String> {
        wait_for("the markers to reach the topic's end", Duration::from_mins(3), || async {
            let ends = self.feed.end_offsets().map_err(|e| e.to_string())?;
            let markers = self.markers(uid)?;
            let behind = |p: &usize| markers.get(*p).copied().flatten().is_none_or(|m| m.offset < ends[*p]);
            match (0..ends.len()).find(behind) {
                None => Ok(()),
                Some(p) => Err(format!("partition {p} ends at {}, its marker is {:?}", ends[p], markers.get(p))),
            }
        })
        .await
    }

    /// Waits for an Event of this type and reason whose note has this text.
    pub async fn is_told(&self, type_: &str, reason: &str, text: &str, within: Duration) {
        let path = format!(r#"jsonpath={{range .items[?(@.reason=="{reason}")]}}{{.type}} {{.note}}{{"\n"}}{{end}}"#);
        wait_for(&format!("Event {reason}"), within, || async {
            let notes = self.kubectl(&["get", "events.events.k8s.io", "-o", &path])?;
            let of_type = |line: &&str| line.split_once(' ').is_some_and(|(found, _)| found == type_);
            if notes.lines().filter(of_type).any(|line| line.contains(text)) { Ok(()) } else { Err(notes) }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    }

    /// How many records of the topic are in the rows of a view's live revision.
    pub fn read(&self, uid: &str) -> Result<i64, String> {
        Ok(self.markers(uid)?.into_iter().flatten().map(|marker| marker.offset).sum())
    }

    /// The markers of a view's live revision, by partition.
    pub fn markers(&self, uid: &str) -> Result<Vec<Option<Marker>>, String> {
        let text = |e: redis::RedisError| e.to_string();
        let mut redis = redis::Client::open(self.cluster.redis()).and_then(|c| c.get_connection()).map_err(text)?;
        let live: Option<String> = redis.get(row::live_key(uid)).map_err(text)?;
        let live: Live = serde_json::from_str(&live.ok_or("no live pointer")?).map_err(|e| e.to_string())?;
        let key = row::marker_key(uid, &live.revision, 0, 0);
        let partitions = self.feed.end_offsets().map_err(|e| e.to_string())?.len();
        (0..partitions)
            .map(|p| {
                let marker: Option<String> = redis.hget(&key, p.to_string()).map_err(text)?;
                marker.map(|m| Marker::decode(&m).map_err(|e| e.to_string())).transpose()
            })
            .collect()
    }

    /// How many keys of a view are in Redis.
    pub fn keys_of(&self, uid: &str) -> usize {
        let mut redis = redis::Client::open(self.cluster.redis()).and_then(|c| c.get_connection()).unwrap();
        redis.scan_match::<_, String>(format!("{uid}/*")).unwrap().count()
    }

    /// What of a revision of the clickstream's view still stands anywhere; empty if nothing does.
    pub fn left_of(&self, uid: &str, revision: &str) -> Result<String, String> {
        let label = format!("featuremill.dev/view={SHOPPER},featuremill.dev/revision={revision}");
        let objects =
            self.kubectl(&["get", "deployments,cronjobs,jobs,configmaps,pods", "-l", &label, "-o", "name"])?;
        let groups = self.feed.groups().map_err(|e| e.to_string())?;
        let groups: Vec<String> = groups.into_iter().filter(|g| g.starts_with(&format!("{uid}.{revision}."))).collect();
        let keys = self.keys_of(&format!("{uid}/{revision}"));
        let nothing = objects.trim().is_empty() && groups.is_empty() && keys == 0;
        Ok(if nothing { String::new() } else { format!("{} {groups:?} {keys} keys", objects.trim()) })
    }
}

impl Drop for World {
    /// A test that passed leaves nothing on the cluster; of one that failed everything stays, to be looked at.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            clear(&self.cluster, &self.namespace, false);
        }
    }
}

/// Deletes every namespace that tests of an earlier run left.
fn sweep(cluster: &Cluster) {
    let found = cluster.kubectl(&["get", "namespaces", "-l", LABEL, "-o", "name"]).unwrap_or_default();
    for namespace in found.split_whitespace().filter_map(|n| n.strip_prefix("namespace/")) {
        clear(cluster, namespace, true);
    }
}

/// Deletes a namespace, its views first: their finalizers need the operator, which needs nothing of the namespace. No other
/// test has its name, so only `wait` waits until its servers have drained.
fn clear(cluster: &Cluster, namespace: &str, wait: bool) {
    cluster.kubectl(&["-n", namespace, "delete", "featureview", "--all", "--timeout=120s"]).ok();
    let wait = format!("--wait={wait}");
    cluster.kubectl(&["delete", "namespace", namespace, "--timeout=120s", &wait]).ok();
}

/// `kubectl port-forward`, ended with its owner.
pub struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    pub fn start(cluster: &Cluster, namespace: &str, target: &str, port: u16) -> Self {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["-n", namespace, "port-forward", "--address=127.0.0.1", target, &format!(":{port}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // "Forwarding from 127.0.0.1:41234 -> 6566"
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let port = line
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|p| p.parse().ok());
        let port = port.unwrap_or_else(|| panic!("port-forward to {target} said {line:?}"));
        // It goes on printing a line a connection; unread, the pipe would fill and stop it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, port }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
