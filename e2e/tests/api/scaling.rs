//! Scaling by lag: the workers are played, each of which reads so many records a second, and the topic's ends are given.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crds::feature_view::ScalingStatus;
use crds::{Architecture, FeatureView};
use engine::row::{Marker, marker_key};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, ResourceExt as _};
use operator::lag::measure::Bounds;
use operator::settings::Settings;
use serde_json::{Value, json};
use shell::store::{Fence, MarkerWrite, RowStore as _};
use tokio::task::JoinHandle;

use crate::children::finish;
use crate::cutover::{active, is_told};
use crate::faults::Faults;
use crate::fixtures::{VIEW, architecture, view_with};
use crate::world::{FakeEdges, PATIENCE, Running, World, has, settings};

const PARTITIONS: i32 = 6;
/// So many records a worker reads in a second.
const EACH: f64 = 2000.0;

fn start(world: &World) -> Running {
    // As seldom as the test has time for: a rate is of three looks at least, and a busy machine writes the played markers late.
    world.start_with(Faults::default(), Settings { lag_poll: Duration::from_millis(600), ..settings() }, None)
}

fn by_lag(max: i32) -> Value {
    let scaling = json!({
        "mode": "Lag", "maxReplicas": max, "targetProcessingSeconds": 5,
        "scaleUpCooldownSeconds": 1, "scaleDownCooldownSeconds": 3,
    });
    view_with("/spec/scaling", scaling)
}

fn scaling(view: &FeatureView) -> ScalingStatus {
    view.status.as_ref().and_then(|status| status.scaling.as_deref().cloned()).unwrap_or_default()
}

fn limited(view: &FeatureView, status: &str, reason: &str) -> bool {
    has(&view.status.clone().unwrap_or_default().conditions, "ScalingLimited", status, Some(reason))
}

/// A topic that is written to, and read by as many workers as there are, all the time.
struct Topic<'a> {
    world: &'a World,
    view: FeatureView,
    flow: Arc<Mutex<Flow>>,
    task: JoinHandle<()>,
}

/// How it is written to and read.
struct Flow {
    /// By partition: up to where it was read, where it ends, and when it was last read to its end.
    partitions: Vec<(f64, f64, i64)>,
    load: f64,
    /// What all workers together cannot exceed.
    most: f64,
    ready: i32,
    last: Instant,
}

impl Flow {
    /// As much is written and read as in the time since the last time; gives the ends and the markers.
    #[allow(clippy::cast_possible_truncation)]
    fn go_on(&mut self) -> (BTreeMap<i32, Bounds>, Vec<Marker>) {
        let (elapsed, now) = (self.last.elapsed().as_secs_f64(), jiff::Timestamp::now().as_millisecond());
        self.last = Instant::now();
        let share = elapsed / f64::from(PARTITIONS);
        let can = (f64::from(self.ready) * EACH).min(self.most) * share;
        let (mut ends, mut markers) = (BTreeMap::new(), Vec::new());
        for ((position, end, at_end), partition) in self.partitions.iter_mut().zip(0..) {
            *end += self.load * share;
            *position = (*position + can).min(*end);
            if *position as i64 == *end as i64 {
                *at_end = now;
            }
            ends.insert(partition, Bounds { start: 0, end: *end as i64, past: false });
            let (offset, end_offset) = (*position as i64, *end as i64);
            markers.push(Marker { offset, event_time: now, end_offset, read_to_end_at: *at_end });
        }
        (ends, markers)
    }
}

/// Plays brokers and workers for as long as the test lasts. Often, so that rates are even however often they are looked at.
async fn flows(edges: FakeEdges, uid: String, revision: String, flow: Arc<Mutex<Flow>>) {
    let key = marker_key(&uid, &revision, 0, 0);
    let mut bases = edges.store.markers(&key).await.unwrap().by_partition;
    loop {
        let (ends, markers) = flow.lock().unwrap().go_on();
        *edges.ends.lock().unwrap() = ends;
        for (marker, partition) in markers.into_iter().zip(0_i32..) {
            let base = bases.insert(partition, marker).map(|known| known.offset);
            let write = MarkerWrite { partition, base, marker };
            edges.store.write_marker(&key, PARTITIONS, Fence { uid: &uid, version: 0 }, write).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl<'a> Topic<'a> {
    /// A view that is served, with all of its topic read, and the operator that measures it.
    async fn new(world: &'a World, view: &Value) -> (Self, Running) {
        let operator = start(world);
        world.apply::<Architecture>(&architecture()).await.unwrap();
        world.apply::<FeatureView>(view).await.unwrap();
        let view = finish(world).await;
        let now = jiff::Timestamp::now().as_millisecond();
        #[allow(clippy::cast_precision_loss)]
        let partitions = vec![((now + 1000) as f64, (now + 1000) as f64, now); PARTITIONS.try_into().unwrap()];
        let flow = Flow { partitions, load: 0.0, most: f64::INFINITY, ready: 1, last: Instant::now() };
        let flow = Arc::new(Mutex::new(flow));
        let task = tokio::spawn(flows(world.edges.clone(), view.uid().unwrap(), active(&view), flow.clone()));
        let topic = Self { world, view, flow, task };
        topic.world.view(VIEW, "a lag that is nothing", |v| limited(v, "False", "DesiredWithinRange")).await;
        (topic, operator)
    }

    /// So much comes in a second, all workers together read so much, and so many records come in now.
    fn set(&self, load: f64, most: f64, flood: f64) {
        let mut flow = self.flow.lock().unwrap();
        (flow.load, flow.most) = (load, most);
        for (_, end, _) in &mut flow.partitions {
            *end += flood / f64::from(PARTITIONS);
        }
    }

    /// Plays the kubelet until the view is as it should be.
    async fn until(&self, what: &str, is: impl Fn(&FeatureView, i32) -> bool) -> FeatureView {
        let (start, name) = (Instant::now(), format!("{VIEW}-stream-{}", active(&self.view)));
        loop {
            self.world.roll_out().await;
            let workers = self.world.api::<Deployment>().get(&name).await.unwrap();
            let ready = workers.status.and_then(|s| s.ready_replicas).unwrap_or_default();
            self.flow.lock().unwrap().ready = ready;
            let view = self.world.api::<FeatureView>().get(VIEW).await.unwrap();
            if is(&view, ready) {
                return view;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {ready} are ready: {:#?}", view.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn waiting(&self) -> f64 {
        self.flow.lock().unwrap().partitions.iter().map(|(position, end, _)| end - position).sum()
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_flood_is_read_by_more_workers_which_go_after_the_cooldown_and_a_restart_forgets_nothing() {
    let world = World::new("scaling").await;
    let (topic, operator) = Topic::new(&world, &by_lag(4)).await;
    let (revision, before) = (active(&topic.view), scaling(&topic.view));
    assert_eq!((before.desired_replicas, &before.revision), (1, &revision));
    topic.set(500.0, f64::INFINITY, 150_000.0);
    let most = topic.until("four workers", |_, ready| ready == 4).await;
    assert!(topic.waiting() > 0.0);
    let last = scaling(&most).last_scale.unwrap();
    assert_eq!((last.from_replicas, last.to_replicas), (2, 4), "twice as many at once at most");
    assert!(last.waiting_records > 50_000 && last.consumed_per_second > 2000, "{last:?}");
    is_told(&world, "ScaledUp", "from 1 to 2 workers").await;
    is_told(&world, "ScaledUp", "from 2 to 4 workers").await;
    topic.until("why there are not more", |v, _| limited(v, "True", "TooManyReplicas")).await;
    is_told(&world, "TooManyReplicas", "spec.scaling.maxReplicas, which is 4").await;
    assert_eq!(scaling(&most).revision, revision, "it is updated in place");

    // Another operator leaves them as they are while records wait.
    operator.stop().await;
    let operator = start(&world);
    let again = topic.until("measured anew", |v, ready| ready == 4 && topic_is(v, "TooManyReplicas")).await;
    assert!(topic.waiting() > 0.0, "{:?}", scaling(&again));
    topic
        .until("all is read", |v, ready| {
            assert_eq!((ready, scaling(v).desired_replicas), (4, 4), "not while records wait");
            v.status.as_ref().and_then(|s| s.lag.as_ref()).is_some_and(|_| limited(v, "False", "DesiredWithinRange"))
        })
        .await;
    let done = Instant::now();
    let fewer = topic.until("fewer workers", |v, ready| ready == 1 && scaling(v).desired_replicas == 1).await;
    assert!(done.elapsed() >= Duration::from_secs(2), "before the cooldown was over: {:?}", done.elapsed());
    let last = scaling(&fewer).last_scale.unwrap();
    assert_eq!((last.from_replicas, last.to_replicas), (4, 1));
    is_told(&world, "ScaledDown", "from 4 to 1 workers").await;
    assert_eq!((active(&fewer), fewer.spec.replicas), (revision, 1), "no new revision, and the spec is a person's");
    assert!(scaling(&fewer).capacity.unwrap().records_per_second > 500);
    operator.stop().await;
}

fn topic_is(view: &FeatureView, reason: &str) -> bool {
    scaling(view).reason == reason
}

#[tokio::test]
async fn where_more_workers_do_not_read_more_it_stops_and_says_so_and_so_does_the_next_operator() {
    let world = World::new("scaling-ineffective").await;
    let (topic, operator) = Topic::new(&world, &by_lag(6)).await;
    topic.set(3000.0, 2000.0, 100_000.0);
    let stopped = topic.until("it gives up", |v, _| limited(v, "True", "ScalingIneffective")).await;
    let known = scaling(&stopped).ineffective.unwrap();
    assert_eq!((known.from_replicas, known.to_replicas, scaling(&stopped).desired_replicas), (1, 2, 2));
    is_told(&world, "ScalingIneffective", "2 workers read").await;
    operator.stop().await;
    let operator = start(&world);
    // Many times as long as the cooldown.
    let asked = Instant::now();
    let still = topic.until("eight seconds", |_, _| asked.elapsed() > Duration::from_secs(8)).await;
    assert_eq!((scaling(&still).desired_replicas, scaling(&still).ineffective), (2, Some(known)));
    // What kept them from more is gone.
    topic.set(6000.0, f64::INFINITY, 0.0);
    topic.until("more workers", |v, ready| ready > 2 && scaling(v).ineffective.is_none()).await;
    operator.stop().await;
}

#[tokio::test]
async fn an_autoscaler_has_the_workers_to_itself_and_its_examples_are_taken() {
    let world = World::new("scaling-external").await;
    let external = view_with("/spec/scaling", json!({"mode": "External"}));
    let operator = start(&world);
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&external).await.unwrap();
    let view = finish(&world).await;
    assert!(limited(&view, "False", "External"));
    assert_eq!(view.status.as_ref().unwrap().scaling, None);

    // As an autoscaler does it.
    let api = world.api::<FeatureView>();
    let scale: Scale = api.get_scale(VIEW).await.unwrap();
    let selector = scale.status.as_ref().and_then(|s| s.selector.clone()).unwrap();
    assert!(selector.contains(&format!("featuremill.dev/revision={}", active(&view))), "{selector}");
    let before = operator.faults.writes().len();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch_scale(VIEW, &PatchParams::default(), &patch).await.unwrap();
    let name = format!("{VIEW}-stream-{}", active(&view));
    crate::world::eventually("three workers", || async {
        world.roll_out().await;
        let workers = world.api::<Deployment>().get(&name).await.unwrap();
        let view = api.get(VIEW).await.unwrap();
        let ready = view.status.map(|s| s.ready_replicas).unwrap_or_default();
        let wanted = workers.spec.and_then(|s| s.replicas);
        if (wanted, ready) == (Some(3), 3) { Ok(()) } else { Err(format!("{wanted:?}, {ready} are ready")) }
    })
    .await;
    let writes = operator.faults.writes().split_off(before);
    let of_view: Vec<&String> = writes.iter().filter(|w| w.contains(&format!("featureviews/{VIEW}"))).collect();
    assert!(!of_view.is_empty() && of_view.iter().all(|w| w.ends_with("/status")), "{of_view:?}");
    assert_eq!(api.get(VIEW).await.unwrap().spec.replicas, 3);
    operator.stop().await;

    let hpa: Value = example(include_str!("../../../examples/scaling/hpa.yaml"));
    let answer = world.create_dry::<HorizontalPodAutoscaler>(&hpa).await.unwrap();
    assert_eq!(answer.spec.unwrap().scale_target_ref.kind, "FeatureView");
    let wrong = crate::fixtures::with(hpa, "/spec/maxReplica", json!(3));
    let error = world.create_dry::<HorizontalPodAutoscaler>(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("maxReplica"), "a dry run takes nothing that there is not: {error}");
    keda(&world).await;
}

/// KEDA's own definition takes the example.
async fn keda(world: &World) {
    let fetched = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/keda/fetch")).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let file = String::from_utf8(fetched.stdout).unwrap();
    let text = std::fs::read_to_string(file.trim()).unwrap();
    let definition: CustomResourceDefinition = serde_yaml_ng::from_str(&text).unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(world.client.clone());
    let name = definition.name_any();
    definitions.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&definition)).await.unwrap();
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.expect("never established").unwrap();

    let example = example(include_str!("../../../examples/scaling/keda.yaml"));
    let resource = ApiResource {
        group: "keda.sh".into(),
        version: "v1alpha1".into(),
        api_version: "keda.sh/v1alpha1".into(),
        kind: "ScaledObject".into(),
        plural: "scaledobjects".into(),
    };
    let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let apply =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("tests").dry_run() };
    let taken = api.patch("shopper", &apply, &Patch::Apply(&example)).await.unwrap();
    assert_eq!(taken.data["spec"]["scaleTargetRef"]["kind"], "FeatureView");
    let wrong = crate::fixtures::with(example, "/spec/maxReplicas", json!(3));
    let error = api.patch("shopper", &apply, &Patch::Apply(&wrong)).await.unwrap_err().to_string();
    assert!(error.contains("maxReplicas"), "{error}");
}

fn example(yaml: &str) -> Value {
    serde_yaml_ng::from_str(yaml).unwrap()
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_and_bounds_and_modes_change_in_place() {
    let world = World::new("scaling-cel").await;
    for (scaling, words) in [
        (json!({}), "scaling.mode"),
        (json!({"mode": "Cpu", "maxReplicas": 3}), "scaling.mode"),
        (json!({"mode": "Lag"}), "needs maxReplicas"),
        (json!({"mode": "Lag", "minReplicas": 4, "maxReplicas": 3}), "minReplicas must not be above maxReplicas"),
        (json!({"mode": "Lag", "minReplicas": 0, "maxReplicas": 3}), "minReplicas"),
        (json!({"mode": "Lag", "maxReplicas": 257}), "maxReplicas"),
        (json!({"mode": "Lag", "maxReplicas": 3, "targetProcessingSeconds": 0}), "targetProcessingSeconds"),
        (json!({"mode": "External", "maxReplicas": 3}), "only scaling.mode Lag has bounds"),
        (json!({"mode": "Fixed", "scaleDownCooldownSeconds": 3}), "only scaling.mode Lag has bounds"),
        (json!({"mode": "Lag", "maxReplicas": 3, "lookbackSeconds": 3}), "lookbackSeconds: field not declared"),
    ] {
        let error = world.apply::<FeatureView>(&view_with("/spec/scaling", scaling)).await.unwrap_err().to_string();
        assert!(error.contains(words), "{words} in: {error}");
    }
    let fixed = view_with("/spec/replicas", json!(3));
    let (topic, operator) = {
        let operator = start(&world);
        world.apply::<Architecture>(&architecture()).await.unwrap();
        world.apply::<FeatureView>(&fixed).await.unwrap();
        (finish(&world).await, operator)
    };
    assert!(limited(&topic, "False", "Fixed"));
    // It begins with what there is, within the bounds; and what a person had written is again in effect when it goes.
    let patched = |scaling: Value| crate::fixtures::with(fixed.clone(), "/spec/scaling", scaling);
    for (view, wanted) in [
        (patched(json!({"mode": "Lag", "maxReplicas": 8})), 3),
        (patched(json!({"mode": "Lag", "maxReplicas": 2})), 2),
        (patched(json!({"mode": "Fixed"})), 3),
    ] {
        world.apply::<FeatureView>(&view).await.unwrap();
        let name = format!("{VIEW}-stream-{}", active(&topic));
        crate::world::eventually("as many workers", || async {
            let workers = world.api::<Deployment>().get(&name).await.unwrap();
            let found = workers.spec.and_then(|s| s.replicas);
            if found == Some(wanted) { Ok(()) } else { Err(format!("{found:?}, not {wanted}")) }
        })
        .await;
    }
    let last = world.view(VIEW, "fixed", |v| limited(v, "False", "Fixed")).await;
    assert_eq!((active(&last), last.status.unwrap().scaling), (active(&topic), None));
    operator.stop().await;
}
