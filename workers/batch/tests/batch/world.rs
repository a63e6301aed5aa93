//! One view, its tables in a folder, its Redis, and the binary that is run over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use batch::config::{BatchConfig, Completeness};
use batch::gate::Limits;
use batch::publish::{Published, published_key};
use engine::lane::{Lane, Layout};
use engine::plan::{Assignment, Plan};
use engine::program::{FeatureColumns, Program};
use engine::read::{Reader, Status};
use engine::row::{
    Head, RunReport, batch_field, batch_slot, head_key, parse_batch_field, row_prefix, run_key, writing_key,
};
use engine::value::Value;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::fixtures;
use crate::redis_server::Redis;

/// What every entity is served: by entity, by feature.
pub type Served = BTreeMap<String, BTreeMap<String, Option<Value>>>;

pub struct World {
    pub redis: Redis,
    pub connection: MultiplexedConnection,
    pub folder: TempDir,
    pub config: BatchConfig,
    /// Flags beside the usual ones.
    pub flags: Vec<String>,
}

/// How a run of the binary ended.
pub struct Ended {
    pub code: i32,
    pub log: String,
}

/// The binary: in `FEATUREMILL_BIN_DIR`, or as cargo built it.
pub fn binary() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_featuremill-batch"));
    match std::env::var_os("FEATUREMILL_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(built.file_name().unwrap()),
        None => built,
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a changed definition of the view.
    pub async fn with(change: impl FnOnce(&mut engine::definition::ViewDefinition)) -> Self {
        lake::install_crypto();
        let redis = Redis::start().await;
        let connection = redis.connect().await;
        let folder = TempDir::new().unwrap();
        let uri = folder.path().join("events").display().to_string();
        let mut definition = fixtures::definition("uid-1", &uri);
        change(&mut definition);
        let config = BatchConfig {
            assignment: Assignment { incarnation: 0, plan: fixtures::resolve(&definition) },
            feature_table: folder.path().join("gold").display().to_string(),
            source: None,
            silver: None,
            lake: None,
            gate: Limits { max_row_count_drop: 0.95, max_null_share_rise: 1.0, max_psi: 1_000.0 },
            completeness: Completeness::NewestEvent,
            version_as_of: None,
            full_refresh: false,
            cluster: None,
        };
        Self { redis, connection, folder, config, flags: Vec::new() }
    }

    pub fn plan(&self) -> &Plan {
        &self.config.assignment.plan
    }

    pub fn source(&self) -> String {
        self.plan().source.table.as_ref().unwrap().uri.clone()
    }

    /// Starts the binary; its log goes to the file that is returned.
    pub fn start(&self) -> (Child, PathBuf) {
        let name = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let config = self.folder.path().join(format!("{name}.json"));
        std::fs::write(&config, serde_json::to_string(&self.config).unwrap()).unwrap();
        let log = self.folder.path().join(format!("{name}.log"));
        let child = Command::new(binary())
            .args(["run", "--redis-url", &self.redis.url(), "--keep-previous-ms", "0", "--threads", "2", "--config"])
            .arg(&config)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        (child, log)
    }

    /// Runs the binary to its end.
    pub async fn run(&self) -> Ended {
        let (mut child, log) = self.start();
        let status = child.wait().await.unwrap();
        Ended { code: status.code().unwrap_or(-1), log: std::fs::read_to_string(log).unwrap() }
    }

    /// Runs it, and asserts how it ends.
    pub async fn run_to(&self, code: i32) -> Ended {
        let ended = self.run().await;
        assert_eq!(ended.code, code, "{}", ended.log);
        ended
    }

    /// Runs it to its end; one that ends with 1 is tried again, as a Job does. With a lease as short as a test wants it, a busy
    /// machine makes a run lose it.
    pub async fn run_to_its_end(&self) {
        for _ in 0..20 {
            let ended = self.run().await;
            match ended.code {
                0 => return,
                1 => {}
                code => panic!("ended with {code}: {}", ended.log),
            }
        }
        panic!("twenty runs were not enough");
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let text: Option<String> = redis::cmd("GET").arg(key).query_async(&mut self.connection.clone()).await.unwrap();
        text.map(|text| serde_json::from_str(&text).unwrap())
    }

    pub async fn head(&self) -> Option<Head> {
        self.get(&head_key(&self.plan().view.uid, &self.plan().revision)).await
    }

    pub async fn published(&self) -> Option<Published> {
        self.get(&published_key(&self.plan().view.uid, &self.plan().revision)).await
    }

    /// The newest generation whose rows a run has begun to write.
    pub async fn writing(&self) -> Option<u64> {
        self.get(&writing_key(&self.plan().view.uid, &self.plan().revision)).await
    }

    pub async fn report(&self) -> RunReport {
        self.get(&run_key(&self.plan().view.uid, &self.plan().revision)).await.unwrap()
    }

    /// Every row: by entity, its fields.
    pub async fn rows(&self) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let prefix = row_prefix(&self.plan().view.uid, &self.plan().revision, self.config.assignment.incarnation);
        let mut connection = self.connection.clone();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await.unwrap();
        let mut rows = BTreeMap::new();
        for keys in keys.chunks(1_000) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("HGETALL").arg(key);
            }
            let found: Vec<BTreeMap<String, Vec<u8>>> = pipeline.query_async(&mut connection).await.unwrap();
            rows.extend(keys.iter().map(|key| key[prefix.len()..].to_owned()).zip(found));
        }
        rows
    }

    /// By entity, the segments of the generation that the head names; of entities that have it.
    pub async fn lanes(&self, generation: u64) -> BTreeMap<String, Vec<(u8, Vec<u8>)>> {
        let of = |fields: BTreeMap<String, Vec<u8>>| {
            let segments = fields.into_iter().filter_map(|(field, bytes)| match parse_batch_field(&field)? {
                (slot, segment) if slot == batch_slot(generation) => Some((segment, bytes)),
                _ => None,
            });
            let mut segments: Vec<(u8, Vec<u8>)> = segments.collect();
            segments.sort_unstable_by_key(|(segment, _)| *segment);
            segments
        };
        let rows = self.rows().await.into_iter().map(|(entity, fields)| (entity, of(fields)));
        let named = |segments: &Vec<(u8, Vec<u8>)>| {
            segments.first().and_then(|(_, head)| Lane::peek_offset(head)) == i64::try_from(generation).ok()
        };
        rows.filter(|(_, segments)| named(segments)).collect()
    }

    /// How many of some entities have this generation by now; quick.
    pub async fn written(&self, entities: &[String], generation: u64) -> usize {
        let prefix = row_prefix(&self.plan().view.uid, &self.plan().revision, self.config.assignment.incarnation);
        let mut pipeline = redis::pipe();
        for entity in entities {
            pipeline.cmd("HGET").arg(format!("{prefix}{entity}")).arg(batch_field(generation, 0));
        }
        let heads: Vec<Option<Vec<u8>>> = pipeline.query_async(&mut self.connection.clone()).await.unwrap();
        let of = |head: &Vec<u8>| Lane::peek_offset(head) == i64::try_from(generation).ok();
        heads.iter().flatten().filter(|head| of(head)).count()
    }

    /// What a feature server answers under the head that stands, for all entities, at its horizon.
    pub async fn served(&self) -> Served {
        let head = self.head().await.expect("no head");
        self.served_at(&head, head.horizon).await
    }

    pub async fn served_at(&self, head: &Head, t: i64) -> Served {
        let plan = Arc::new(self.plan().clone());
        let program = Program::new(plan.clone()).unwrap();
        let layout = Layout::new(&plan).unwrap();
        let all: Vec<usize> = (0..plan.features.len()).collect();
        let base = program.base_features(&all);
        let mut served = Served::new();
        for (entity, segments) in self.lanes(head.generation).await {
            let segments: Vec<(u8, &[u8])> = segments.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
            let lane = Lane::decode(&layout, &segments).unwrap();
            let reads = Reader::new(&layout).read(&[lane], t, &base);
            let mut values = FeatureColumns { columns: vec![None; plan.features.len()] };
            for (feature, read) in base.iter().zip(reads) {
                assert_ne!(read.status, Status::Inexact, "{entity} {}", plan.features[*feature].name);
                values.columns[*feature] = Some(vec![read.value]);
            }
            program.derive(&all, 1, &mut values).unwrap();
            let by_name = plan.features.iter().zip(values.columns);
            served.insert(entity, by_name.map(|(f, v)| (f.name.clone(), v.unwrap().remove(0))).collect());
        }
        served
    }
}
