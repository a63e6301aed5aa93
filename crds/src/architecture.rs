//! `Architecture`: how views are computed, over which log and into which store, and the feature server of all its views.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::feature_view::FreshnessDefaults;
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
    printcolumn(name = "Up-To-Date", type_ = "integer", json_path = ".status.updatedViews"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.mode == 'Batch' || has(self.kafka)")
        .message("kafka must be given in this mode: its views read topics").field_path(".kafka"),
    validation = Rule::new("self.mode == 'Kappa' || has(self.offlineStore)")
        .message("offlineStore must be given in this mode: its feature tables stand there").field_path(".offlineStore"),
    validation = Rule::new("self.mode != 'Kappa' || !has(self.batch)")
        .message("mode Kappa runs no batch").field_path(".batch"),
    validation = Rule::new("has(self.kafka) || !has(oldSelf.kafka)")
        .message("kafka cannot be taken away: offsets mean nothing elsewhere").field_path(".kafka"),
    validation = Rule::new("has(self.offlineStore) || !has(oldSelf.offlineStore)")
        .message("offlineStore cannot be taken away: its tables do not move by themselves").field_path(".offlineStore")
)]
#[serde(rename_all = "camelCase")]
pub struct ArchitectureSpec {
    /// Who lays the tiles: stream workers (`Kappa`), batch runs over a table (`Batch`), batch runs up to a horizon and
    /// stream workers from there on (`Lambda`), or batch runs, minutes apart, over tables that an archive makes of the
    /// stream (`Lakehouse`, also called `Streamhouse`). A change makes a new revision of every view, each of which is rolled
    /// out like any other, `migration.maxConcurrent` at once.
    pub mode: Mode,
    /// How views follow a change of `mode`.
    #[serde(default)]
    pub migration: Migration,
    /// The log that events are read from. A `Batch` whose views read tables alone needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
    /// The store that features are served from.
    pub online_store: OnlineStore,
    /// Where tables are: feature tables, and the archive of topics. Of every mode but `Kappa`, and of a `Kappa` with
    /// archived topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_store: Option<OfflineStore>,
    /// How batch runs are carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// The pods that append topics to the archive, and that keep its tables in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// The feature server.
    #[serde(default)]
    pub serving: Serving,
    /// What holds for all views that say nothing else.
    #[serde(default)]
    pub freshness: FreshnessDefaults,
}

/// Who lays the tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The streaming Deployment alone.
    #[default]
    Kappa,
    /// A CronJob over a table.
    Batch,
    /// A CronJob up to a horizon, and a streaming Deployment from there on.
    Lambda,
    /// A CronJob, minutes apart, over tables that an archive makes of the stream.
    Lakehouse,
    /// Another name of `Lakehouse`.
    Streamhouse,
}

impl Mode {
    /// The mode under its first name.
    #[must_use]
    pub fn canonical(self) -> Self {
        if self == Self::Streamhouse { Self::Lakehouse } else { self }
    }

    /// Whether stream workers run.
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(self, Self::Kappa | Self::Lambda)
    }

    /// Whether batch runs publish generations.
    #[must_use]
    pub fn batches(self) -> bool {
        self != Self::Kappa
    }
}

/// How views follow a change of `mode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// How many views may be computed anew in the mode at once; the others wait, in the order of their names. One that was
    /// given up keeps its place, so that what is wrong with one does not go through all.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent: i32,
}

impl Default for Migration {
    fn default() -> Self {
        Self { max_concurrent: one() }
    }
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

/// A Redis, or a Redis Cluster, of which the URL names any server; it must run with `maxmemory-policy noeviction`.
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

/// Where tables are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfflineStore {
    /// Delta tables.
    pub delta: Delta,
}

/// A folder of Delta tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.uri.startsWith('file://') == has(self.claimRef)")
    .message("claimRef must be given for a file:// uri, and only for it").field_path(".claimRef"))]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// The folder: `s3://bucket/path`, `gs://`, `az://`, `abfss://` or `file:///path`. Immutable: tables do not move by
    /// themselves.
    #[schemars(
        length(min = 6, max = 1024),
        regex(pattern = crate::schema::TABLE_URI)
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("offlineStore.delta.uri is immutable; make a new Architecture for another folder"))]
    pub uri: String,
    /// A Secret whose keys are settings of the object store, such as `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_REGION` and `AWS_ENDPOINT`, and whose values are theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalReference>,
    /// The PersistentVolumeClaim that is mounted at the folder of a `file://` uri, in every pod that reads or writes
    /// tables. With more than one node it must be `ReadWriteMany`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<LocalReference>,
}

/// How batch runs are carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(self.engine == 'Ballista') == has(self.schedulerUrl)")
        .message("schedulerUrl goes with engine Ballista: where the cluster's scheduler is").field_path(".schedulerUrl")
)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// What folds their events: `DataFusion`, in the pod of the run, or `Ballista`, on a cluster of executors.
    #[serde(default)]
    pub engine: BatchEngine,
    /// Where the Ballista cluster's scheduler is: `http://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^http://[^/ ]+:[0-9]+$"))]
    pub scheduler_url: Option<String>,
    /// Into how many partitions a Ballista cluster deals the files of a table, and then its entities: as many tasks can
    /// work beside each other.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 4096))]
    pub partitions: i32,
    /// The pods of the runs.
    #[serde(flatten)]
    pub pod: BatchPod,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            engine: BatchEngine::default(),
            scheduler_url: None,
            partitions: default_partitions(),
            pod: BatchPod::default(),
        }
    }
}

/// A pod that works on tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchPod {
    /// The memory in which it works before it spills to disk, in MiB; the container's default limit leaves 512 MiB beside it.
    #[serde(default = "default_batch_memory", rename = "memoryMiB")]
    #[schemars(range(min = 64, max = 1_048_576))]
    pub memory_mib: i32,
    /// The disk that it may spill to, in GiB.
    #[serde(default = "default_spill", rename = "spillGiB")]
    #[schemars(range(min = 1, max = 65_536))]
    pub spill_gib: i32,
    /// Overrides of the pod.
    #[serde(flatten)]
    pub overrides: PodOverrides,
}

impl Default for BatchPod {
    fn default() -> Self {
        Self { memory_mib: default_batch_memory(), spill_gib: default_spill(), overrides: PodOverrides::default() }
    }
}

/// What folds the events of batch runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BatchEngine {
    /// `DataFusion`, in the pod of the run.
    #[default]
    DataFusion,
    /// `Ballista`, on a cluster whose scheduler and executors are `featuremill-batch`.
    Ballista,
}

/// The archive of topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Archive {
    /// When its tables are compacted, and old files removed: five fields of a CronJob, in UTC.
    #[serde(default = "default_maintenance")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = crate::schema::SCHEDULE)
    )]
    pub maintenance: String,
    /// What is done where the topic no longer holds records that were not archived.
    #[serde(default)]
    pub on_gap: OnGap,
    /// The days that versions of its tables can be read again.
    #[serde(default = "default_retention_days")]
    #[schemars(range(min = 1, max = 36_500))]
    pub retention_days: i32,
    /// Overrides of its pods.
    #[serde(flatten)]
    pub pod: PodOverrides,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            maintenance: default_maintenance(),
            on_gap: OnGap::default(),
            retention_days: default_retention_days(),
            pod: PodOverrides::default(),
        }
    }
}

/// What is done where a topic no longer holds records that were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnGap {
    /// The partition stands still until a person decides.
    #[default]
    Halt,
    /// It goes on behind the gap, which is recorded with the table.
    Continue,
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
    /// How many of them are served as computed in its mode.
    #[serde(default)]
    pub updated_views: i32,
    /// Who follows a change of `mode` now; none while nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationStatus>,
    /// The topics that are archived.
    #[serde(default)]
    pub archives: i32,
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

/// Who follows a change of `mode`, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The views that are computed anew in the mode, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1024), inner(length(max = 63)))]
    pub migrating: Vec<String>,
    /// The views that wait, in this order; no more than the first 1,024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1024), inner(length(max = 63)))]
    pub waiting: Vec<String>,
}

fn one() -> i32 {
    1
}
fn default_partitions() -> i32 {
    16
}

fn default_batch_memory() -> i32 {
    1024
}
fn default_spill() -> i32 {
    20
}
fn default_maintenance() -> String {
    "17 2 * * *".to_owned()
}
fn default_retention_days() -> i32 {
    30
}
