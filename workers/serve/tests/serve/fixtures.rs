//! What the tests share: small views, an online store in memory whose pointers can be moved between two reads, and a
//! server put together from them.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use engine::definition::{ColumnDefinition, FeatureDefinition, ViewDefinition};
use engine::plan::{Plan, Stream, TimestampField, TimestampUnit, ViewIdentity};
use engine::row::{
    CatalogEntry, Head, Live, Marker, PARTITIONS_FIELD, batch_field, head_key, lane_field, live_key, marker_key,
    row_key,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use serve::metrics::Metrics;
use serve::read::Reader;
use serve::select::Limits;
use serve::store::{CatalogReply, Fields, Query, Reply, Store, StoreError};
use serve::watch::{CatalogWatch, Settings};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The key of the catalog in every test.
pub const CATALOG: &str = "arch/catalog";

/// A feature that counts events of `kind` over `window`; `None` is lifetime.
pub fn count(name: &str, kind: &str, window: Option<&str>) -> FeatureDefinition {
    FeatureDefinition {
        name: name.into(),
        aggregate: Some("Count".into()),
        condition: Some(format!("kind = '{kind}'")),
        window: window.map(Into::into),
        ..Default::default()
    }
}

/// A feature that aggregates `of` over `window`.
pub fn aggregate(name: &str, function: &str, of: Option<&str>, window: Option<&str>) -> FeatureDefinition {
    FeatureDefinition {
        name: name.into(),
        aggregate: Some(function.into()),
        of: of.map(Into::into),
        window: window.map(Into::into),
        ..Default::default()
    }
}

/// A feature over other features.
pub fn expression(name: &str, sql: &str) -> FeatureDefinition {
    FeatureDefinition { name: name.into(), expression: Some(sql.into()), ..Default::default() }
}

/// A Kappa's view of events `{ts, kind, amount, <keys>}`, with UID `uid-<name>`.
pub fn plan(name: &str, keys: &[(&str, &str)], features: Vec<FeatureDefinition>) -> Plan {
    plan_of("Kappa", name, keys, features)
}

/// The same in another mode.
pub fn plan_of(mode: &str, name: &str, keys: &[(&str, &str)], features: Vec<FeatureDefinition>) -> Plan {
    let column = |(name, type_name): (&str, &str)| ColumnDefinition {
        name: name.into(),
        type_name: type_name.into(),
        precision: (type_name == "Decimal").then_some(20),
        scale: (type_name == "Decimal").then_some(2),
    };
    let columns = [("kind", "String"), ("amount", "Double"), ("price", "Decimal")];
    let definition = ViewDefinition {
        view: ViewIdentity { uid: format!("uid-{name}"), namespace: "shop".into(), name: name.into() },
        mode: mode.into(),
        entity_keys: keys.iter().map(|(key, _)| (*key).to_owned()).collect(),
        stream: Some(Stream { topic: "events".into(), epoch: 0 }),
        table: None,
        archive: true,
        timestamp: TimestampField { field: "ts".into(), unit: TimestampUnit::Milliseconds },
        schema: keys.iter().copied().chain(columns).map(column).collect(),
        allowed_lateness: "1h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features,
    };
    engine::resolve::resolve(&definition).unwrap()
}

/// The catalog entry of a view with these plans, fresh within a minute.
pub fn entry(plans: &[&Plan]) -> Vec<u8> {
    let plans: Vec<Plan> = plans.iter().map(|plan| (*plan).clone()).collect();
    serde_json::to_vec(&CatalogEntry {
        uid: plans[0].view.uid.clone(),
        freshness_target_ms: 60_000,
        horizon_target_ms: None,
        plans,
        shadow: None,
    })
    .unwrap()
}

/// What an online store holds, as plain maps.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub strings: HashMap<String, Vec<u8>>,
    pub hashes: HashMap<String, BTreeMap<String, Vec<u8>>>,
    pub catalog_version: Option<u64>,
}

impl Contents {
    /// Points the view at one of its plans.
    pub fn set_live(&mut self, plan: &Plan, fence: u64) {
        let live = serde_json::to_vec(&Live { revision: plan.revision.clone(), fence }).unwrap();
        self.strings.insert(live_key(&plan.view.uid), live);
    }

    /// Points the revision at one incarnation of its rows.
    pub fn set_head(&mut self, plan: &Plan, incarnation: u32) {
        let head = Head { incarnation, fence: u64::from(incarnation) + 1, ..Head::default() };
        self.strings.insert(head_key(&plan.view.uid, &plan.revision), serde_json::to_vec(&head).unwrap());
    }

    /// Points the revision at one generation of the batch lanes in its rows.
    pub fn set_generation(&mut self, plan: &Plan, generation: u64, horizon: i64) {
        let head = Head { incarnation: 0, generation, horizon, fence: generation + 1 };
        self.strings.insert(head_key(&plan.view.uid, &plan.revision), serde_json::to_vec(&head).unwrap());
    }

    /// Writes one batch lane of one entity.
    pub fn set_batch_lane(&mut self, plan: &Plan, entity: &str, generation: u64, lane: &[(u8, Vec<u8>)]) {
        let hash = self.hashes.entry(row_key(&plan.view.uid, &plan.revision, 0, entity)).or_default();
        for (segment, bytes) in lane {
            hash.insert(batch_field(generation, *segment), bytes.clone());
        }
    }

    /// Lists the view with these plans.
    pub fn set_entry(&mut self, plans: &[&Plan]) {
        self.catalog().insert(plans[0].view.name.clone(), entry(plans));
        self.catalog_version = self.catalog_version.map(|v| v + 1);
    }

    pub fn catalog(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        self.hashes.entry(CATALOG.into()).or_default()
    }

    /// Lists the view and makes the plan live, with partition 0 read to its end at `read_to_end_at`.
    pub fn publish(&mut self, plan: &Plan, read_to_end_at: i64) {
        self.set_entry(&[plan]);
        self.set_live(plan, 1);
        self.set_head(plan, 0);
        self.set_marker(plan, 0, 1, Marker { offset: 9, event_time: 5, end_offset: 9, read_to_end_at });
    }

    pub fn set_marker(&mut self, plan: &Plan, incarnation: u32, partitions: i32, marker: Marker) {
        let key = marker_key(&plan.view.uid, &plan.revision, incarnation, 0);
        let hash = self.hashes.entry(key).or_default();
        hash.insert(PARTITIONS_FIELD.into(), partitions.to_string().into_bytes());
        hash.insert("0".into(), marker.encode().into_bytes());
    }

    /// Writes one lane of one entity.
    pub fn set_lane(&mut self, plan: &Plan, incarnation: u32, entity: &str, partition: i32, lane: &[(u8, Vec<u8>)]) {
        let hash = self.hashes.entry(row_key(&plan.view.uid, &plan.revision, incarnation, entity)).or_default();
        for (segment, bytes) in lane {
            hash.insert(lane_field(partition, *segment), bytes.clone());
        }
    }
}

/// Called before each read with the number of reads before it; may change what the store holds, or make it fail.
pub type Script = Box<dyn FnMut(usize, &mut Contents) -> Result<(), StoreError> + Send>;

/// The online store in memory.
#[derive(Default)]
pub struct FakeStore {
    pub contents: Mutex<Contents>,
    script: Mutex<Option<Script>>,
    reads: Mutex<usize>,
    polls: Mutex<usize>,
}

impl FakeStore {
    pub fn new(fill: impl FnOnce(&mut Contents)) -> Arc<Self> {
        let store = Self::default();
        fill(&mut store.contents.lock().unwrap());
        Arc::new(store)
    }

    pub fn script(&self, script: impl FnMut(usize, &mut Contents) -> Result<(), StoreError> + Send + 'static) {
        *self.script.lock().unwrap() = Some(Box::new(script));
    }

    pub fn reads(&self) -> usize {
        *self.reads.lock().unwrap()
    }

    pub fn polls(&self) -> usize {
        *self.polls.lock().unwrap()
    }
}

fn hash(contents: &Contents, key: &str) -> Fields {
    let fields = contents.hashes.get(key).into_iter().flatten();
    fields.map(|(field, value)| (field.clone().into_bytes(), value.clone())).collect()
}

impl Store for FakeStore {
    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        async move {
            let mut contents = self.contents.lock().unwrap();
            let mut reads = self.reads.lock().unwrap();
            if let Some(script) = self.script.lock().unwrap().as_mut() {
                script(*reads, &mut contents)?;
            }
            *reads += 1;
            Ok(Reply {
                live: contents.strings.get(query.live).cloned(),
                head: contents.strings.get(query.head).cloned(),
                markers: hash(&contents, query.markers),
                rows: query.entities.iter().map(|e| hash(&contents, &format!("{}{e}", query.row_prefix))).collect(),
            })
        }
        .boxed()
    }

    fn say_shadow<'a>(
        &'a self,
        key: &'a str,
        server: &'a str,
        json: Vec<u8>,
        _: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut contents = self.contents.lock().unwrap();
            contents.hashes.entry(key.to_owned()).or_default().insert(server.to_owned(), json);
            Ok(())
        }
        .boxed()
    }

    fn catalog<'a>(&'a self, key: &'a str, known: Option<&'a [u8]>) -> BoxFuture<'a, Result<CatalogReply, StoreError>> {
        async move {
            let contents = self.contents.lock().unwrap();
            *self.polls.lock().unwrap() += 1;
            let version = contents.catalog_version.map(|v| v.to_string().into_bytes());
            if version.is_some() && version.as_deref() == known {
                return Ok(CatalogReply::Unchanged);
            }
            Ok(CatalogReply::Changed { version, fields: hash(&contents, key) })
        }
        .boxed()
    }
}

/// A reader over a store, with its catalog polled once already; polling ends with the guard.
pub async fn reader(store: Arc<dyn Store>) -> (Reader, DropGuard) {
    let metrics = Arc::new(Metrics::new(&mut Registry::default()));
    let catalog = CatalogWatch::new(Settings { least_gap: std::time::Duration::from_millis(1), ..Settings::default() });
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&catalog).run(Arc::clone(&store), CATALOG.into(), Arc::clone(&metrics), stop.clone()));
    catalog.refresh().await.unwrap();
    (Reader { store, catalog, metrics, limits: Limits { rows: 1_000, values: 10_000 } }, stop.drop_guard())
}
