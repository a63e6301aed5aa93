//! `Erasure`: which stores and tables its Job removes the entity from, and what became of it. Pure; [`crate::once`] drives it.
//!
//! Invariant: the entity's values stand in the object itself and in a Secret that it owns, and nowhere else: in no name, label,
//! argument, status, condition or event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crds::architecture::Archive;
use crds::condition::{ConditionStatus, reasons, types};
use crds::erasure::ErasedView;
use crds::once::{Limits, Progress};
use crds::pod::PodOverrides;
use crds::{Architecture, Erasure, ErasureStatus, FeatureView};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::architecture::archive::{BASE_MEMORY_MIB, MERGE_MEMORY_MIB, SPILL_GIB};
use crate::conditions::{find, seconds};
use crate::feature_view::resolve::Refusal;
use crate::names::{self, ERASURE_LABEL};
use crate::once::{Known, Once, Revision, Views, Work};
use crate::pods::{Life, Mount, Pod};

impl Once for Erasure {
    type Input = Secret;
    type Status = ErasureStatus;
    const WORK: Work = Work { name: "erase", label: ERASURE_LABEL, file: "erase.json" };

    fn architecture(&self) -> &str {
        &self.spec.architecture_ref.name
    }

    fn limits(&self) -> &Limits {
        &self.spec.limits
    }

    fn known(&self) -> Option<&ErasureStatus> {
        self.status.as_ref()
    }

    fn progress(status: &mut ErasureStatus) -> &mut Progress {
        &mut status.progress
    }

    /// Without names it may be any: which keys a view has, its revisions tell, and the spec only which it will have.
    fn concerns(&self, view: &FeatureView) -> bool {
        self.spec.views.is_empty() || self.spec.views.contains(&view.name_any())
    }

    fn resolve(&self, architecture: &Architecture, views: &Views) -> Result<Value, Refusal> {
        let refuse = |reason, message| Err(Refusal { reason, message, pending: false });
        let keys = || self.spec.entity.keys().cloned().collect::<Vec<_>>().join(", ");
        if let Some(name) = self.spec.views.iter().find(|name| !views.known.contains_key(*name)) {
            let message = format!(
                "spec.views: there is no FeatureView {name:?} of Architecture {:?} in this namespace; make an Erasure without it",
                architecture.name_any()
            );
            return refuse(reasons::VIEW_NOT_FOUND, message);
        }
        let named = !self.spec.views.is_empty();
        if let Some(known) = views.known.values().find(|known| named && !concerned(self, known)) {
            let message = format!(
                "spec.entity: FeatureView {:?} is of ({}), not of ({}); make an Erasure of its keys, or without it",
                known.view.name_any(),
                known.view.spec.entity.keys.join(", "),
                keys()
            );
            return refuse(reasons::NO_VIEW_MATCHES, message);
        }
        let concerned: Vec<&Known> = views.known.values().filter(|known| concerned(self, known)).collect();
        if concerned.is_empty() {
            let all: Vec<String> = views
                .all
                .iter()
                .map(|view| format!("{} of ({})", view.name_any(), view.spec.entity.keys.join(", ")))
                .collect();
            let message = format!(
                "spec.entity: no FeatureView of Architecture {:?} has exactly the keys ({}); there {}",
                architecture.name_any(),
                keys(),
                if all.is_empty() { "is none at all".to_owned() } else { format!("is {}", all.join(", ")) }
            );
            return refuse(reasons::NO_VIEW_MATCHES, message);
        }
        let lake = names::lake(architecture);
        let mut erased = Vec::new();
        for known in concerned {
            let places = places(self, known, lake.as_deref());
            if places.is_empty() {
                return Err(not_running(known));
            }
            erased.extend(places);
        }
        let mut config = json!({"entity": self.spec.entity, "views": erased});
        if let Some(lake) = lake {
            config["lake"] = lake.into();
        }
        Ok(config)
    }

    fn pod<'a>(&'a self, architecture: &'a Architecture, input: Mount) -> Pod<'a> {
        static NONE: LazyLock<PodOverrides> = LazyLock::new(PodOverrides::default);
        let (kafka, redis) = (architecture.spec.kafka.as_ref(), &architecture.spec.online_store.redis);
        let mut arguments = vec!["erase".to_owned(), format!("--config={}", input.file(Self::WORK.file))];
        arguments.extend(kafka.map(|kafka| format!("--kafka-bootstrap={}", kafka.bootstrap_servers)));
        let retention =
            architecture.spec.archive.as_ref().map_or(Archive::default().retention_days, |a| a.retention_days);
        arguments.extend([
            format!("--redis-url={}", redis.url),
            format!("--retention-hours={}", i64::from(retention) * 24),
            format!("--memory-mib={MERGE_MEMORY_MIB}"),
        ]);
        let kafka = kafka.and_then(|kafka| kafka.secret_ref.as_ref());
        let mut mounts = vec![input];
        mounts.extend(kafka.map(|s| Mount::secret("kafka", "--kafka-config-dir", &s.name)));
        mounts.extend(redis.secret_ref.iter().map(|s| Mount::secret("redis", "--redis-config-dir", &s.name)));
        mounts.extend(Mount::tables(architecture));
        mounts.push(Mount::scratch("spill", "--spill-dir", SPILL_GIB));
        let archive = architecture.spec.archive.as_ref().map(|archive| &archive.pod);
        Pod {
            name: Self::WORK.name,
            command: "/usr/local/bin/featuremill-archive",
            arguments,
            ports: Vec::new(),
            mounts,
            memory_mib: BASE_MEMORY_MIB + MERGE_MEMORY_MIB,
            overrides: self.spec.worker.as_ref().or(archive).unwrap_or(&NONE),
            account: names::worker_account(&architecture.name_any()),
            secrets_version: architecture
                .status
                .as_ref()
                .and_then(|s| s.secrets_version.as_deref())
                .unwrap_or_default(),
            life: Life::Ends,
        }
    }

    fn begun(status: &mut ErasureStatus, input: &Value) {
        let views = input["views"].as_array().into_iter().flatten();
        let names = views.filter_map(|view| view["assignment"]["plan"]["view"]["name"].as_str());
        // In the order of their names, and each once, however many of its revisions run.
        let names: BTreeSet<&str> = names.collect();
        status.views =
            names.into_iter().map(|name| ErasedView { name: name.to_owned(), ..ErasedView::default() }).collect();
    }

    fn ended(status: &mut ErasureStatus, report: &str) -> Option<String> {
        let report: Report = serde_json::from_str(report).ok()?;
        for told in report.views {
            let name = told.view.rsplit('/').next().unwrap_or_default();
            for view in status.views.iter_mut().filter(|view| view.name == name) {
                add(view, &told);
            }
        }
        let rows: i64 = status.views.iter().map(|view| view.online_rows).sum();
        let events: i64 = status.views.iter().map(|view| view.bronze).sum();
        let mut text = format!(
            "removed from {} views: {rows} rows of the online store, {events} records of archives",
            status.views.len()
        );
        let theirs: BTreeSet<&str> = status.views.iter().filter_map(|view| view.not_ours.as_deref()).collect();
        if !theirs.is_empty() {
            let theirs: Vec<&str> = theirs.into_iter().collect();
            text.push_str("; your own tables are left as they are, so remove it there: ");
            text.push_str(&theirs.join(", "));
        }
        Some(text)
    }
}

/// What the Job reports.
#[derive(Deserialize)]
struct Report {
    views: Vec<ViewReport>,
}

/// What the Job reports of one revision of a view.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ViewReport {
    view: String,
    online_rows: i64,
    bronze: i64,
    silver: i64,
    quarantine: i64,
    gold: i64,
    covers: BTreeMap<String, i64>,
    covers_before_ms: Option<i64>,
    not_ours: Option<String>,
}

/// Adds what was removed of one revision to what was removed of its view. What two revisions share, the first removed.
fn add(view: &mut ErasedView, told: &ViewReport) {
    view.online_rows += told.online_rows;
    view.bronze += told.bronze;
    view.silver += told.silver;
    view.quarantine += told.quarantine;
    view.gold += told.gold;
    for (partition, offset) in &told.covers {
        let known = view.covers.entry(partition.clone()).or_insert(*offset);
        *known = (*known).max(*offset);
    }
    view.covers_before = told.covers_before_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(seconds);
    view.not_ours.clone_from(&told.not_ours);
}

/// Whether these are exactly the keys of the entity that is erased.
fn has_keys(erasure: &Erasure, keys: &[String]) -> bool {
    keys.iter().collect::<BTreeSet<_>>() == erasure.spec.entity.keys().collect()
}

/// Whether a view is of such entities: by its spec, or by a revision that runs still, while another of other keys follows it.
fn concerned(erasure: &Erasure, known: &Known) -> bool {
    has_keys(erasure, &known.view.spec.entity.keys)
        || known.revisions.values().any(|revision| has_keys(erasure, &revision.assignment.plan.entity))
}

/// A view as the Job is told of it: once, for it finds the rows of all revisions, and once more for each revision with other
/// tables. Revisions of other keys know no such entity. Of two with the same tables the Job is told of the one that reads the
/// topic: by the other it would not learn which offsets are covered, and workers of the first would read the entity again.
fn places(erasure: &Erasure, known: &Known, lake: Option<&str>) -> Vec<Value> {
    let mut places: Vec<Value> = Vec::new();
    let mut revisions: Vec<&Revision> =
        known.revisions.values().filter(|revision| has_keys(erasure, &revision.assignment.plan.entity)).collect();
    revisions.sort_by_key(|revision| revision.assignment.plan.source.stream.is_none());
    for place in revisions.into_iter().map(|revision| tables(revision, lake)) {
        let same = |other: &Value| ["bronze", "silver", "gold"].iter().all(|table| other[table] == place[table]);
        if !places.iter().any(same) {
            places.push(place);
        }
    }
    places
}

/// One revision, and where its tables are.
fn tables(revision: &Revision, lake: Option<&str>) -> Value {
    let bronze = revision.archived.as_ref().zip(lake).map(|(topic, lake)| names::bronze_table(lake, topic));
    let mut view = json!({"assignment": revision.assignment});
    for (name, table) in
        [("bronze", bronze.as_ref()), ("silver", revision.silver.as_ref()), ("gold", revision.gold.as_ref())]
    {
        if let Some(table) = table {
            view[name] = table.as_str().into();
        }
    }
    view
}

/// Why a view of which no revision runs is not passed over: what it keeps of the entity could not be told.
fn not_running(known: &Known) -> Refusal {
    let status = known.view.status.clone().unwrap_or_default();
    let refused = find(&status.conditions, types::SPEC_ACCEPTED).filter(|c| c.status == ConditionStatus::False);
    let name = known.view.name_any();
    let message = match refused {
        Some(refused) => format!(
            "FeatureView {name:?} is not accepted: {}; mend or delete it, or make an Erasure that names the others",
            refused.message
        ),
        None => format!("FeatureView {name:?} has no revision yet"),
    };
    Refusal { reason: reasons::VIEW_NOT_READY, message, pending: refused.is_none() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::plan::{
        Assignment, Mode, Plan, SEMANTICS, Source, TimePolicy, TimestampField, TimestampUnit, ViewIdentity,
    };

    use super::*;

    /// A revision of the view `name` whose entity has these keys.
    fn revision(name: &str, number: &str, keys: &[&str]) -> (String, Revision) {
        let plan = Plan {
            semantics: SEMANTICS,
            view: ViewIdentity { uid: name.into(), namespace: "shop".into(), name: name.into() },
            revision: number.to_owned(),
            mode: Mode::Kappa,
            source: Source {
                stream: None,
                table: None,
                timestamp: TimestampField { field: "at".into(), unit: TimestampUnit::Milliseconds },
                columns: Vec::new(),
            },
            entity: keys.iter().map(|key| (*key).to_owned()).collect(),
            time: TimePolicy { allowed_lateness_ms: 0, max_future_ms: 0, retention_ms: None, finest_tile_ms: 1_000 },
            conditions: Vec::new(),
            inputs: Vec::new(),
            aggregates: Vec::new(),
            features: Vec::new(),
        };
        let assignment = Assignment { incarnation: 0, plan };
        (number.to_owned(), Revision { assignment, source: None, archived: None, silver: None, gold: None })
    }

    /// The view `name`, whose spec has these keys, and its revisions.
    fn view(name: &str, keys: &[&str], revisions: Vec<(String, Revision)>) -> (String, Known) {
        let view = serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": name},
            "spec": {
                "architectureRef": {"name": "realtime"}, "entity": {"keys": keys}, "features": [],
                "source": {"timestamp": {"field": "at", "unit": "Milliseconds"}, "schema": []},
            },
        }));
        (name.to_owned(), Known { view: view.unwrap(), revisions: revisions.into_iter().collect() })
    }

    fn resolve(entity: &Value, known: Vec<(String, Known)>) -> Result<Vec<(String, String)>, Refusal> {
        let erasure: Erasure = serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "Erasure", "metadata": {"name": "request"},
            "spec": {"architectureRef": {"name": "realtime"}, "entity": entity},
        }))
        .unwrap();
        let architecture: Architecture = serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "Architecture", "metadata": {"name": "realtime"},
            "spec": {"mode": "Kappa", "onlineStore": {"redis": {"url": "redis://redis:6379"}}},
        }))
        .unwrap();
        let known: BTreeMap<String, Known> = known.into_iter().collect();
        let views = Views { all: known.values().map(|known| known.view.clone()).collect(), known };
        let config = erasure.resolve(&architecture, &views)?;
        let text =
            |view: &Value, at: &str| view["assignment"]["plan"].pointer(at).unwrap().as_str().unwrap().to_owned();
        let views = config["views"].as_array().unwrap().iter();
        Ok(views.map(|view| (text(view, "/view/name"), text(view, "/revision"))).collect())
    }

    /// While a view goes from Batch to Lambda, both have the same Gold. Told of the Batch alone, which knows of no topic, the Job
    /// wrote a tombstone without offsets, and the workers of the Lambda read the entity again from the topic's beginning.
    #[test]
    fn of_revisions_with_the_same_tables_that_which_reads_the_topic_is_told() {
        for (batch, lambda) in [("1", "2"), ("2", "1")] {
            let of = |number: &str, topic: Option<&str>| {
                let (number, mut revision) = revision("clicks", number, &["user"]);
                let stream = topic.map(|topic| engine::plan::Stream { topic: topic.to_owned(), epoch: 0 });
                revision.assignment.plan.source.stream = stream;
                revision.gold = Some("s3://lake/gold/shop.clicks".to_owned());
                (number, revision)
            };
            let known = view("clicks", &["user"], vec![of(batch, None), of(lambda, Some("clicks"))]);
            let told = resolve(&json!({"user": "ada"}), vec![known]).unwrap();
            assert_eq!(told, [("clicks".to_owned(), lambda.to_owned())]);
        }
    }

    #[test]
    fn a_view_is_asked_by_the_keys_of_the_revisions_that_run() {
        let entity = json!({"user": "ada"});
        // The spec has the next keys already, and the revision of the old ones is served still.
        let rolled = || {
            view(
                "rolled",
                &["account"],
                vec![revision("rolled", "1", &["user"]), revision("rolled", "2", &["account"])],
            )
        };
        let steady = || view("steady", &["user"], vec![revision("steady", "7", &["user"])]);
        let other = || view("other", &["account"], vec![revision("other", "3", &["account"])]);
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, number)| ((*name).to_owned(), (*number).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            resolve(&entity, vec![rolled(), steady(), other()]).unwrap(),
            pairs(&[("rolled", "1"), ("steady", "7")])
        );
        let both = resolve(&json!({"account": "1"}), vec![rolled(), other()]).unwrap();
        assert_eq!(both, pairs(&[("other", "3"), ("rolled", "2")]));
        assert_eq!(resolve(&entity, vec![other()]).unwrap_err().reason, reasons::NO_VIEW_MATCHES);
        // Of the keys of its spec it has no revision yet: what it is about to keep of the entity cannot be told.
        let begun = view("begun", &["user"], vec![revision("begun", "1", &["account"])]);
        assert!(resolve(&entity, vec![begun]).unwrap_err().pending);
    }
}
