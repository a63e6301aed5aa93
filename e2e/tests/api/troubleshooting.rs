//! Five faults as somebody new meets them: each is planted, and every word of docs/troubleshooting.md is looked for where the
//! page says that it stands: in what kubectl prints, in the console in a real browser, in the runbook that it leads to. Then the
//! page's own command is typed, and what it says of afterwards must come true.
//!
//! Of the first two faults nothing is played but the kubelet: the broker, Redis and the workers are real.

mod kubelet;
mod page;
mod screens;

use std::sync::Arc;
use std::time::Duration;

use crds::{Architecture, FeatureView};
use e2e::services::{Kafka, Message, Redis};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ListParams;
use operator::edges::RealEdges;
use operator::settings::Settings;
use serde_json::{Value, json};
use shell::store::RowStore as _;
use tokio::sync::Mutex;

use self::kubelet::Kubelet;
use self::page::{Fault, headings};
use self::screens::Screens;
use crate::children::serve;
use crate::compares::{self, judged};
use crate::cutover::{self, active, candidate};
use crate::faults::Faults;
use crate::fixtures::{VIEW, architecture, view, view_with, with};
use crate::lag::{ends_at, reads, served};
use crate::monitoring::{drift, monitored, play};
use crate::world::{Running, World, eventually, settings};

const TOPIC: &str = "The topic has another name";
const PASSWORD: &str = "The brokers refuse the password";
const SLOW: &str = "More is written than the workers read";
const COMPARED: &str = "A new version gives other values";
const DRIFTED: &str = "A feature no longer looks as it did";

/// What the page calls the revision that is served, and the one that is to follow.
const REVISIONS: [&str; 2] = ["9b1c07de42", "3f0a55c81e"];

/// Lag is measured at once; of workers that are played it is that of those who were at the topic's end just now.
fn measured(world: &World) -> Settings {
    ends_at(world, jiff::Timestamp::now().as_millisecond() + 86_400_000);
    Settings { lag_poll: Duration::from_millis(200), ..settings() }
}

/// How the page tells of a lag that nobody notices: workers that are played were at the end a moment ago.
async fn hardly_late(world: &World) -> (String, String) {
    let view = world.view(VIEW, "its lag is known", |v| v.status.as_ref().is_some_and(|s| s.lag.is_some())).await;
    let seconds = view.status.unwrap().lag.unwrap().seconds;
    assert!(seconds < 15, "{seconds}");
    (format!("OnTime   {seconds} "), "OnTime   0 ".to_owned())
}

/// The page's names for what differs from run to run.
fn names<const N: usize>(all: [(&str, &str); N]) -> Vec<(String, String)> {
    all.into_iter().map(|(is, called)| (is.to_owned(), called.to_owned())).collect()
}

#[test]
fn every_fault_of_the_page_is_planted() {
    assert_eq!(headings(), [TOPIC, PASSWORD, SLOW, COMPARED, DRIFTED]);
}

/// A broker, a Redis, an operator and the kubelet.
struct House {
    world: World,
    kafka: Kafka,
    redis: Redis,
    operator: Running,
    kubelet: Mutex<Kubelet>,
}

impl House {
    async fn new(name: &str, properties: &str, client: &[(&str, &str)]) -> Self {
        let world = World::new(name).await;
        let (kafka, redis) = tokio::join!(Kafka::start_with(properties, client), Redis::start());
        let (kafka, redis) = (kafka.unwrap(), redis.unwrap());
        kafka.create_topic("clickstream", 1).await.unwrap();
        let event = |i: i64| {
            let now = jiff::Timestamp::now().as_millisecond();
            let event =
                json!({"user_id": format!("u{}", i % 10), "event_type": "click", "price": 1.5, "event_ts": now});
            Message { payload: Some(event.to_string().into_bytes()), time: Some(now), ..Message::default() }
        };
        kafka.produce("clickstream", (0..100).map(event)).await.unwrap();
        let settings = Settings { lag_poll: Duration::from_millis(200), ..settings() };
        let operator = world.start_over(Arc::new(RealEdges::default()), Faults::default(), settings, None);
        Self { world, kafka, redis, operator, kubelet: Mutex::new(Kubelet::new()) }
    }

    /// Applies an architecture over these servers.
    async fn architecture(&self, kafka: Value) {
        let architecture = with(architecture(), "/spec/kafka", kafka);
        let architecture = with(architecture, "/spec/onlineStore/redis/url", json!(self.redis.url()));
        self.world.apply::<Architecture>(&architecture).await.unwrap();
    }

    async fn play(&self) {
        self.kubelet.lock().await.sync(&self.world).await;
    }

    /// Waits until a revision is what reads go to, and answers with it.
    async fn serves(&self, not: &str) -> String {
        eventually("a revision is live", || async {
            self.play().await;
            let view = self.world.api::<FeatureView>().get(VIEW).await.unwrap();
            let live = view.status.clone().and_then(|status| status.active_revision);
            live.filter(|live| live != not).ok_or_else(|| format!("{:#?}", view.status))
        })
        .await
    }

    /// The page's walk from a fault to its mending.
    async fn walk(self, heading: &str, moves: bool) {
        let (fault, mut screens) = (Fault::of(heading), Screens::of(&self.world).await);
        let first = self.serves("").await;
        let mut names = names([(&first, REVISIONS[0]), (&self.kafka.bootstrap(), "kafka:9092")]);
        screens.show(&fault.stands, &names, async || self.play().await).await;
        screens.leads_to(&fault);
        screens.typed(&fault.fix).await.unwrap();
        if moves {
            names.push((self.serves(&first).await, REVISIONS[1].to_owned()));
        }
        screens.show(&fault.mended, &names, async || self.play().await).await;
        screens.close().await;
        self.operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_has_another_name() {
    let house = House::new("fault-topic", "", &[]).await;
    house.architecture(json!({"bootstrapServers": house.kafka.bootstrap()})).await;
    house.world.apply::<FeatureView>(&view_with("/spec/source/topic", json!("clickstraem"))).await.unwrap();
    house.walk(TOPIC, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_refuse_the_password() {
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let properties = format!(
        "listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
        sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n\
        listener.name.client.plain.sasl.jaas.config={module} required username=\"mill\" password=\"open-sesame\" \
        user_mill=\"open-sesame\";\n"
    );
    let account = |password| {
        let protocol = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
        [protocol[0], protocol[1], ("sasl.username", "mill"), ("sasl.password", password)]
    };
    let house = House::new("fault-password", &properties, &account("open-sesame")).await;
    let wrong: serde_json::Map<String, Value> =
        account("open-sesami").into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kafka-client"}, "stringData": wrong});
    house.world.create::<Secret>(&secret).await.unwrap();
    let kafka = json!({"bootstrapServers": house.kafka.bootstrap(), "secretRef": {"name": "kafka-client"}});
    house.architecture(kafka).await;
    house.world.apply::<FeatureView>(&view()).await.unwrap();
    house.walk(PASSWORD, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_is_written_than_the_workers_read() {
    let (fault, world) = (Fault::of(SLOW), World::new("fault-slow").await);
    let settings = Settings { lag_poll: Duration::from_millis(200), ..settings() };
    let operator = world.start_with(Faults::default(), settings, None);
    let mut screens = Screens::of(&world).await;
    // A tier must last for long enough that it is known whether the lag rises.
    let view = served(&world, &json!([{"tier": 1, "lagSeconds": 600, "forSeconds": 3}])).await;
    let begin = jiff::Timestamp::now().as_millisecond() + 1_000;
    // So many records were written, and so many of them read: with each look a few more, and more of the former.
    let at = Mutex::new((183_000, 0));
    let falls_behind = async || {
        let (written, read) = {
            let mut at = at.lock().await;
            *at = (at.0 + 60, at.1 + 20);
            *at
        };
        world.roll_out().await;
        ends_at(&world, begin + written);
        reads(&world, &view, begin + read, 742).await;
    };
    let told = eventually("the tier", || async {
        falls_behind().await;
        let view = world.api::<FeatureView>().get(VIEW).await.unwrap();
        let lag = view.status.clone().and_then(|status| status.lag).filter(|lag| lag.tier.is_some());
        lag.ok_or_else(|| format!("{:#?}", view.status))
    })
    .await;
    let rate = -told.drained_per_second.expect("whether it rises");
    let names = names([
        (&active(&view), REVISIONS[0]),
        (&format!("{} records;", told.records), "183250 records;"),
        (&format!("by {rate} records/s"), "by 250 records/s"),
        (&format!(" {} ", told.seconds), " 742 "),
    ]);
    screens.show(&fault.stands, &names, falls_behind).await;
    screens.leads_to(&fault);
    screens.typed(&fault.fix).await.unwrap();
    let (end, _) = *at.lock().await;
    let catches_up = async || {
        world.roll_out().await;
        reads(&world, &view, begin + end, 0).await;
    };
    screens.show(&fault.mended, &names, catches_up).await;
    screens.close().await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_gives_other_values() {
    let (fault, world) = (Fault::of(COMPARED), World::new("fault-compared").await);
    let operator = world.start_with(Faults::default(), measured(&world), None);
    let mut screens = Screens::of(&world).await;
    let old = active(&serve(&world).await);
    world.apply::<FeatureView>(&compares::edited("2h", &json!({}))).await.unwrap();
    let new = candidate(&world).await;
    compares::until(&world, "it is held", judged, |v| cutover::phase(v) == "ComparisonFailed").await;
    let mut names = names([(&old, REVISIONS[0]), (&new, REVISIONS[1])]);
    names.push(hardly_late(&world).await);
    screens.show(&fault.stands, &names, async || drop(cutover::caught_up(&world).await)).await;
    screens.leads_to(&fault);
    screens.typed(&fault.fix).await.unwrap();
    let lag_is_known =
        |v: &FeatureView| v.status.as_ref().and_then(|s| s.lag.as_ref()).is_some_and(|lag| lag.revision == new);
    compares::until(&world, "it takes over", judged, |v| active(v) == new && lag_is_known(v)).await;
    names.push(hardly_late(&world).await);
    screens.show(&fault.mended, &names, async || drop(cutover::caught_up(&world).await)).await;
    screens.close().await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_no_longer_looks_as_it_did() {
    let (fault, world) = (Fault::of(DRIFTED), World::new("fault-drift").await);
    let operator = world.start_with(Faults::default(), measured(&world), None);
    let mut screens = Screens::of(&world).await;
    world.apply::<Architecture>(&architecture()).await.unwrap();
    world.apply::<FeatureView>(&monitored(json!({"drift": {}}))).await.unwrap();
    let view = crate::children::finish(&world).await;
    let (uid, revision) = (view.uid().unwrap(), active(&view));
    let check: CronJob = eventually("the check", || async {
        let all = world.api::<CronJob>().list(&ListParams::default()).await.unwrap().items;
        all.into_iter().next().ok_or_else(|| "no CronJob".to_owned())
    })
    .await;
    let key = engine::row::drift_key(&uid, &revision);
    world.edges.store.put_text(&key, &drift(&revision, 0.61, 0.02).encode()).await.unwrap();
    play(&world, &check, "by-its-schedule", true).await;
    let mut names = names([(&revision, REVISIONS[0])]);
    names.push(hardly_late(&world).await);
    screens.show(&fault.stands, &names, async || drop(cutover::caught_up(&world).await)).await;
    screens.leads_to(&fault);
    screens.typed(&fault.fix).await.unwrap();
    // The Job that the page has one make, and what it finds.
    let look = world.api::<Job>().get("look").await.unwrap();
    world.edges.store.put_text(&key, &drift(&revision, 0.01, 0.02).encode()).await.unwrap();
    compares::end(&world, &look, true).await;
    screens.show(&fault.mended, &names, async || drop(cutover::caught_up(&world).await)).await;
    screens.close().await;
    operator.stop().await;
}
