//! What the API server itself refuses, and what it takes.

use crds::{Architecture, FeatureView};
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::fixtures::{VIEW, architecture, view, view_with, with};
use crate::world::World;

/// What is put where, and what the refusal must say.
#[allow(clippy::too_many_lines)]
fn refused_views() -> Vec<(&'static str, Value, &'static str)> {
    let feature = |value| ("/spec/features/0", value);
    let mut table = vec![
        ("/spec/features", json!([]), "spec.features"),
        ("/spec/features/4", json!({"name": "clicks_1h", "aggregate": "Count"}), "Duplicate value"),
        ("/spec/features/0/window", json!("1 hour"), "spec.features[0].window"),
        ("/spec/features/0/name", json!("Clicks"), "spec.features[0].name"),
        ("/spec/features/0/aggregate", json!("Median"), "spec.features[0].aggregate"),
        ("/spec/features/0/hop", json!("7m"), "spec.features[0].hop"),
        ("/spec/features/2/percentile", json!("1.5"), "spec.features[2].percentile"),
        ("/spec/entity/keys", json!([]), "spec.entity.keys"),
        ("/spec/entity/keys", json!(["nobody"]), "must be a column of source.schema"),
        ("/spec/entity/keys", json!(["user_id", "user_id"]), "Duplicate value"),
        ("/spec/source/topic", json!("no spaces"), "spec.source.topic"),
        ("/spec/source/topic", Value::Null, "topic, table or both"),
        ("/spec/source/table", json!({"uri": "lake/clicks"}), "spec.source.table.uri"),
        ("/spec/source/table", json!({"uri": "s3://lake/x", "format": "Parquet"}), "must be NewestEvent"),
        ("/spec/schedule", json!({"schedule": "at night"}), "spec.schedule.schedule"),
        ("/spec/schedule", json!({"schedule": "@daily", "concurrencyPolicy": "Allow"}), "concurrencyPolicy"),
        ("/spec/schedule", json!({"schedule": "@daily", "suspend": true}), "unknown field"),
        ("/spec/qualityGate", json!({"maxPsi": "much"}), "spec.qualityGate.maxPsi"),
        ("/spec/monitoring", json!({}), "drift, skew, or both"),
        ("/spec/monitoring", json!({"drift": {"maxPsi": "much"}}), "spec.monitoring.drift.maxPsi"),
        ("/spec/monitoring", json!({"drift": {"sampleKeys": 199}}), "spec.monitoring.drift.sampleKeys"),
        ("/spec/monitoring", json!({"drift": {"reference": "PreviousCheck", "baseline": "a"}}), "reference: Baseline"),
        ("/spec/monitoring", json!({"drift": {"schedule": "at noon"}}), "spec.monitoring.drift.schedule"),
        ("/spec/monitoring", json!({"skew": {"lookback": "a day"}}), "spec.monitoring.skew.lookback"),
        ("/spec/monitoring", json!({"skew": {"maxMismatchRatio": "2"}}), "spec.monitoring.skew.maxMismatchRatio"),
        ("/spec/silver", json!({}), "dedup, rules or both"),
        ("/spec/silver", json!({"dedup": ["nobody"]}), "must be a column of source.schema"),
        (
            "/spec/silver",
            json!({"rules": [{"name": "x", "expression": "a"}, {"name": "x", "expression": "b"}]}),
            "Duplicate value",
        ),
        ("/spec/horizonMaxAge", json!("a week"), "spec.horizonMaxAge"),
        ("/spec/source/format", json!("Avro"), "spec.source.format"),
        ("/spec/source/epoch", json!(-1), "spec.source.epoch"),
        ("/spec/source/schema/0/type", json!("Blob"), "spec.source.schema[0].type"),
        ("/spec/source/schema/2", json!({"name": "price", "type": "Decimal"}), "precision and scale"),
        ("/spec/source/schema/2", json!({"name": "price", "type": "Double", "precision": 3}), "precision and scale"),
        (
            "/spec/source/schema/2",
            json!({"name": "price", "type": "Decimal", "precision": 3, "scale": 4}),
            "scale must not exceed",
        ),
        ("/spec/source/schema/3", json!({"name": "price", "type": "Double"}), "Duplicate value"),
        ("/spec/allowedLateness", json!("4 hours"), "spec.allowedLateness"),
        ("/spec/replicas", json!(-1), "spec.replicas"),
        ("/spec/deletionPolicy", json!("Keep"), "spec.deletionPolicy"),
        ("/spec/rollout", json!({"strategy": "BlueGreen"}), "unknown field"),
        ("/spec/rollout", json!({"servingRevision": "v1"}), "spec.rollout.servingRevision"),
        ("/spec/rollout", json!({"scaleDownDelaySeconds": -1}), "spec.rollout.scaleDownDelaySeconds"),
        (
            "/spec/rollout",
            json!({"catchUp": {"stableForSeconds": 60, "deadlineSeconds": 60}}),
            "must be less than deadlineSeconds",
        ),
        ("/spec/rollout", json!({"comparison": {"maxMismatchRatio": "2"}}), "spec.rollout.comparison.maxMismatchRatio"),
        ("/spec/rollout", json!({"comparison": {"maxPsi": "-1"}}), "spec.rollout.comparison.maxPsi"),
        ("/spec/rollout", json!({"comparison": {"sampleKeys": -1}}), "spec.rollout.comparison.sampleKeys"),
        ("/spec/rollout", json!({"comparison": {"failurePolicy": "Retry"}}), "spec.rollout.comparison.failurePolicy"),
        ("/spec/rollout", json!({"catchUp": {"maxLagSeconds": 0}}), "spec.rollout.catchUp.maxLagSeconds"),
        ("/spec/rollout", json!({"startFrom": {"policy": "Whenever"}}), "spec.rollout.startFrom.policy"),
        ("/spec/rollout", json!({"startFrom": {"policy": "Timestamp"}}), "timestamp goes with policy Timestamp"),
        (
            "/spec/rollout",
            json!({"startFrom": {"policy": "Earliest", "timestamp": "2026-01-01T00:00:00Z"}}),
            "timestamp goes with policy Timestamp",
        ),
        (
            "/spec/rollout",
            json!({"startFrom": {"policy": "Timestamp", "timestamp": "yesterday"}}),
            "spec.rollout.startFrom.timestamp",
        ),
        ("/spec/rollout", json!({"replay": {"parallelism": 0}}), "spec.rollout.replay.parallelism"),
        ("/spec/rollout", json!({"replay": {"maxRecordsPerSecond": 0}}), "spec.rollout.replay.maxRecordsPerSecond"),
        ("/spec/worker", json!({"resources": {"limits": {"memory": "lots"}}}), "memory"),
        ("/spec/worker", json!({"image": "other"}), "unknown field"),
        ("/metadata/name", json!("a".repeat(41)), "at most 40 characters"),
        ("/metadata/name", json!("with.dots"), "at most 40 characters"),
    ];
    let both = json!({"name": "x", "aggregate": "Count", "expression": "clicks_24h"});
    let features = [
        (both, "exactly one of aggregate and expression"),
        (json!({"name": "x"}), "exactly one of aggregate and expression"),
        (json!({"name": "x", "expression": "clicks_24h", "window": "1h"}), "an expression takes none"),
        (json!({"name": "x", "aggregate": "Sum", "window": "1h"}), "needs of"),
        (json!({"name": "x", "aggregate": "MaxTimestamp", "of": "price"}), "take no of"),
        (json!({"name": "x", "aggregate": "Percentile", "of": "price"}), "percentile must be given"),
        (json!({"name": "x", "aggregate": "Count", "percentile": "0.5"}), "percentile must be given"),
        (json!({"name": "x", "aggregate": "LastK", "of": "price"}), "k must be given"),
        (json!({"name": "x", "aggregate": "Max", "of": "price", "k": 3}), "k must be given"),
        (json!({"name": "x", "aggregate": "TopK", "of": "price", "k": 0}), "features[0].k"),
        (json!({"name": "x", "aggregate": "Count", "hop": "1m"}), "need a window"),
        (json!({"name": "x", "aggregate": "Count", "type": "Tumbling"}), "need a window"),
        (json!({"name": "x", "aggregate": "Count", "window": "1h", "type": "Tumbling", "hop": "1m"}), "takes no hop"),
    ];
    table.extend(features.into_iter().map(|(value, says)| (feature(value.clone()).0, value, says)));
    table
}

#[tokio::test]
async fn views_that_cannot_be_are_refused_at_once() {
    let world = World::new("cel").await;
    for (path, value, says) in refused_views() {
        let object = view_with(path, value.clone());
        match world.create::<FeatureView>(&object).await {
            Ok(_) => panic!("{path} = {value} was taken"),
            Err(error) => assert!(error.to_string().contains(says), "{path} = {value}: {error} does not say {says:?}"),
        }
    }
}

#[tokio::test]
async fn every_aggregate_window_and_override_is_taken() {
    let world = World::new("cel-good").await;
    let mut object = view();
    let all = ["Count", "Sum", "Avg", "Min", "Max", "StdDev", "Variance", "CountDistinct", "First", "Last"];
    let mut features: Vec<Value> =
        all.iter().map(|a| json!({"name": a.to_lowercase(), "aggregate": a, "of": "price", "window": "1h"})).collect();
    features.push(json!({"name": "percentile", "aggregate": "Percentile", "of": "price", "percentile": "0.5"}));
    features.push(json!({"name": "last_k", "aggregate": "LastK", "of": "price", "k": 3}));
    features.push(json!({"name": "top_k", "aggregate": "TopK", "of": "price", "k": 1000}));
    features.push(json!({"name": "first_at", "aggregate": "MinTimestamp"}));
    features.push(json!({"name": "last_at", "aggregate": "MaxTimestamp", "window": "7d", "type": "Sliding"}));
    features.push(json!({"name": "closed", "aggregate": "Count", "window": "1d", "type": "Tumbling"}));
    for hop in ["1s", "10s", "1m", "5m", "15m", "1h", "6h", "1d"] {
        features.push(json!({"name": format!("hop_{hop}"), "aggregate": "Count", "window": "90d", "hop": hop}));
    }
    object["spec"]["features"] = json!(features);
    object["spec"]["source"]["schema"][2] = json!({"name": "price", "type": "Decimal", "precision": 10, "scale": 2});
    object["spec"]["worker"] = json!({
        "memoryMiB": 64, "resources": {"requests": {"cpu": 1, "memory": "128Mi"}, "limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], "imagePullSecrets": [{"name": "s"}], "serviceAccountName": "x",
    });
    world.apply::<FeatureView>(&object).await.unwrap();
}

#[tokio::test]
async fn what_must_not_change_does_not() {
    let world = World::new("cel-fixed").await;
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&view()).await.unwrap();
    let says = |error: kube::Error| assert!(error.to_string().contains("immutable"), "{error}");
    for (path, value) in [
        ("/spec/onlineStore/redis/url", json!("redis://other:6379")),
        ("/spec/kafka/bootstrapServers", json!("other:9092")),
    ] {
        says(world.apply::<Architecture>(&with(architecture(), path, value)).await.unwrap_err());
    }
}

#[tokio::test]
async fn architectures_that_cannot_be_are_refused_at_once() {
    let world = World::new("cel-arch").await;
    for (path, value, says) in [
        ("/spec/mode", json!("Gamma"), "spec.mode"),
        ("/spec/mode", json!("Batch"), "offlineStore must be given"),
        ("/spec/mode", json!("Lakehouse"), "offlineStore must be given"),
        ("/spec/kafka", Value::Null, "kafka must be given"),
        ("/spec/offlineStore", json!({"delta": {"uri": "ftp://lake"}}), "spec.offlineStore.delta.uri"),
        ("/spec/offlineStore", json!({"delta": {"uri": "file:///lake"}}), "claimRef must be given"),
        (
            "/spec/offlineStore",
            json!({"delta": {"uri": "s3://lake/x", "claimRef": {"name": "c"}}}),
            "claimRef must be given",
        ),
        ("/spec/onlineStore/redis/url", json!("http://redis"), "spec.onlineStore.redis.url"),
        ("/spec/onlineStore/redis/url", json!("redis://me:secret@redis"), "spec.onlineStore.redis.url"),
        ("/spec/serving", json!({"service": {"nodePort": 30000}}), "needs type: NodePort"),
        ("/spec/batch", json!({"engine": "DataFusion"}), "mode Kappa runs no batch"),
        ("/spec/batch", json!({"engine": "Ballista"}), "schedulerUrl goes with engine Ballista"),
        ("/spec/batch", json!({"schedulerUrl": "http://b:50050"}), "schedulerUrl goes with engine Ballista"),
        ("/spec/batch", json!({"engine": "Ballista", "schedulerUrl": "b:50050"}), "spec.batch.schedulerUrl"),
        ("/spec/batch", json!({"partitions": 0}), "spec.batch.partitions"),
        ("/spec/migration", json!({"maxConcurrent": 0}), "spec.migration.maxConcurrent"),
        ("/spec/archive", json!({"maintenance": "nightly"}), "spec.archive.maintenance"),
        ("/metadata/name", json!("1st"), "beginning with a letter"),
    ] {
        let error = world.create::<Architecture>(&with(architecture(), path, value)).await.unwrap_err().to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
}

#[tokio::test]
async fn scale_is_the_number_of_workers() {
    let world = World::new("scale").await;
    let operator = world.start(crate::faults::Faults::default());
    let served = crate::children::serve(&world).await;
    let api = world.api::<FeatureView>();
    let patch = json!({"spec": {"replicas": 3}});
    let scale: Scale = serde_json::from_value(
        serde_json::to_value(api.patch_scale(VIEW, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    let revision = served.status.unwrap().active_revision.unwrap();
    let deployments = world.api::<k8s_openapi::api::apps::v1::Deployment>();
    let name = format!("{VIEW}-stream-{revision}");
    crate::world::eventually("three workers", || async {
        let wanted = deployments.get(&name).await.unwrap().spec.unwrap().replicas;
        if wanted == Some(3) { Ok(()) } else { Err(format!("{wanted:?}")) }
    })
    .await;
    let served = crate::children::finish(&world).await;
    let status = api.get_scale(VIEW).await.unwrap().status.unwrap();
    assert_eq!(status.replicas, 3);
    let selector = status.selector.unwrap();
    assert!(selector.contains(&format!("featuremill.dev/revision={revision}")), "{selector}");
    assert_eq!(served.status.unwrap().ready_replicas, 3);
    operator.stop().await;
}
