//! `Architecture`: how views are computed, over which log and into which store, and the feature server of all its views.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::pod::{LocalReference, PodOverrides};

/// What is wanted of an architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "featuremill.dev",
    version = "v1alpha1",
    kind = "Architecture",
    namespaced,
    status = "ArchitectureStatus",
    shortname = "arch",
    category = "featuremill",
    derive = "PartialEq",
    doc = "How feature views are computed: the log they read, the store they are served from, and the server that serves them.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters, lower-case letters, digits and '-', beginning with a letter"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Views", type_ = "integer", json_path = ".status.views"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ArchitectureSpec {
    /// Who lays the tiles. `Kappa`: a streaming Deployment alone.
    #[x_kube(validation = Rule::new("self == oldSelf").message("mode is immutable"))]
    pub mode: Mode,
    /// The log that events are read from.
    pub kafka: Kafka,
    /// The store that features are served from.
    pub online_store: OnlineStore,
    /// The feature server.
    #[serde(default)]
    pub serving: Serving,
}

/// Who lays the tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The streaming Deployment alone.
    #[default]
    Kappa,
}

/// A Kafka cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Host and port of some brokers, separated by commas. Immutable: offsets mean nothing on another cluster.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("kafka.bootstrapServers is immutable; make a new Architecture for another cluster"))]
    pub bootstrap_servers: String,
    /// A Secret whose keys are librdkafka properties, such as `security.protocol`, `sasl.mechanism`, `sasl.username`,
    /// `sasl.password` and `ssl.ca.pem`, and whose values are theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalReference>,
}

/// The store that features are served from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineStore {
    /// A Redis.
    pub redis: Redis,
}

/// A Redis; it must run with `maxmemory-policy noeviction`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// `redis://host:port` or `rediss://host:port`, without credentials. Immutable: rows do not move by themselves.
    #[schemars(length(min = 9, max = 512), regex(pattern = "^rediss?://[^@/ ]+(/[0-9]+)?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("onlineStore.redis.url is immutable; make a new Architecture for another store"))]
    pub url: String,
    /// A Secret with any of the keys `username`, `password` and `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalReference>,
}

/// The feature server of all views of the architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// How many servers run.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 256))]
    pub replicas: i32,
    /// How clients reach them.
    #[serde(default)]
    pub service: ServingService,
    /// Overrides of the servers' pods.
    #[serde(flatten)]
    pub pod: PodOverrides,
}

impl Default for Serving {
    fn default() -> Self {
        Self { replicas: one(), service: ServingService::default(), pod: PodOverrides::default() }
    }
}

/// The Service before the feature servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type == 'NodePort'").message("serving.service.nodePort needs type: NodePort"))]
#[serde(rename_all = "camelCase")]
pub struct ServingService {
    /// Whether nodes open a port for it.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// The port that nodes open; one is chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// The type of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached from inside the cluster.
    #[default]
    ClusterIP,
    /// Reached at a port of every node too.
    NodePort,
}

/// What was observed of an architecture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchitectureStatus {
    /// The generation that the rest was observed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many views refer to it.
    #[serde(default)]
    pub views: i32,
    /// The feature server's URL inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Feature servers that run, and that are ready.
    #[serde(default)]
    pub replicas: i32,
    /// Feature servers that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The state of the referenced Secrets, as opaque text; pods are rolled when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_version: Option<String>,
    /// See the condition types in the documentation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

fn one() -> i32 {
    1
}
