//! Alerts that the operator posts itself: a real Alertmanager takes them, and tells people of each change once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, Uri};
use crds::FeatureView;
use e2e::services::{Alertmanager, Directory};
use kube::ResourceExt as _;
use operator::alertmanager::{Alertmanagers, Wording, url};
use operator::settings::Settings;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::faults::Faults;
use crate::fixtures::{VIEW, view_with, with};
use crate::lag::{ends_at, fresh, reads, served};
use crate::world::{Running, World, eventually, settings};

/// Who is told: requests as they came.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<Heard>>>);

#[derive(Clone)]
struct Heard {
    path: String,
    headers: HeaderMap,
    body: Value,
}

impl Sink {
    /// Listens at any path of an address of its own.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = self.0.clone();
        let hear = move |uri: Uri, headers: HeaderMap, Json(body): Json<Value>| async move {
            heard.lock().unwrap().push(Heard { path: uri.path().to_owned(), headers, body });
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(hear)).await });
        format!("http://{address}")
    }

    /// The statuses of an alert in the order in which an Alertmanager told of them.
    pub fn told(&self, alertname: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let heard = self.0.lock().unwrap();
        let alerts = heard.iter().flat_map(|heard| heard.body["alerts"].as_array().cloned().unwrap_or_default());
        alerts.filter(|a| a["labels"]["alertname"] == alertname).map(|alert| text(&alert["status"])).collect()
    }
}

fn start(world: &World, alertmanagers: Alertmanagers) -> Running {
    let settings = Settings { lag_poll: Duration::from_millis(200), alertmanagers: Some(alertmanagers), ..settings() };
    world.start_with(Faults::default(), settings, None)
}

fn told(urls: &[&str]) -> Alertmanagers {
    Alertmanagers {
        urls: urls.iter().map(|text| url(text).unwrap()).collect(),
        token_file: None,
        ca_file: None,
        wording: Wording {
            labels: [("cluster".to_owned(), "test".to_owned())].into(),
            runbooks: "https://runbooks.example".to_owned(),
            console: Some("https://mill.example".to_owned()),
        },
        resend: Duration::from_secs(1),
    }
}

fn tiers() -> Value {
    let tier = |tier: i32, lag: i32| json!({"tier": tier, "lagSeconds": lag, "forSeconds": 0});
    json!([tier(1, 3600), tier(2, 300), tier(3, 120)])
}

/// Waits until it holds this one alert, and answers with it; with none, until it holds none.
async fn holds(alertmanager: &Alertmanager, alertname: Option<&str>) -> Option<Value> {
    eventually(&format!("the Alertmanager holds {alertname:?}"), || async {
        let alerts = alertmanager.alerts().await?;
        let names: Vec<&str> = alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str()).collect();
        if names == alertname.into_iter().collect::<Vec<_>>() {
            Ok(alerts.first().cloned())
        } else {
            Err(format!("{alerts:#?}"))
        }
    })
    .await
}

async fn suspend(world: &World) {
    let suspended = with(view_with("/spec/freshness", json!({"alertTiers": tiers()})), "/spec/suspend", json!(true));
    world.apply::<FeatureView>(&suspended).await.unwrap();
}

#[tokio::test]
async fn an_alertmanager_hears_of_each_tier_once_and_of_its_end() {
    let world = World::new("alerts").await;
    let sink = Sink::default();
    let mut alertmanager = Alertmanager::start(&sink.listen().await).await.unwrap();
    // Another that takes connections and never answers keeps nobody waiting.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", hanging.local_addr().unwrap());
    let operator = start(&world, told(&[&silent, &alertmanager.url()]));
    let view = served(&world, &tiers()).await;
    holds(&alertmanager, None).await;

    // It was at its end half an hour ago, and nobody has read since.
    let offset = jiff::Timestamp::now().as_millisecond() + 1000;
    reads(&world, &view, offset, 1800).await;
    ends_at(&world, offset + 50);
    let alert = holds(&alertmanager, Some("FeaturemillLagTier2")).await.unwrap();
    let labels = json!({
        "alertname": "FeaturemillLagTier2", "severity": "warning", "tier": "2", "cluster": "test",
        "namespace": world.namespace, "feature_view": VIEW,
    });
    assert_eq!(alert["labels"], labels);
    let annotations = &alert["annotations"];
    let description = annotations["description"].as_str().unwrap();
    assert!(description.starts_with("30m ") && description.contains("tier 2 begins at 5m 0s"), "{description}");
    assert_eq!(annotations["runbook_url"], "https://runbooks.example/FeaturemillLagTier2.md");
    assert_eq!(alert["generatorURL"], format!("https://mill.example/#/{}/{VIEW}", world.namespace));
    // The view says the same.
    world.view(VIEW, "late", |v| fresh(v, "False", "LagTier2")).await;

    // Worse: one alert takes the place of the other, and people hear of both changes.
    reads(&world, &view, offset + 1, 4000).await;
    holds(&alertmanager, Some("FeaturemillLagTier1")).await;
    eventually("people are told", || async {
        let (two, one) = (sink.told("FeaturemillLagTier2"), sink.told("FeaturemillLagTier1"));
        if (two.as_slice(), one.as_slice())
            == (["firing", "resolved"].map(str::to_owned).as_slice(), ["firing".to_owned()].as_slice())
        {
            Ok(())
        } else {
            Err(format!("{two:?} {one:?}"))
        }
    })
    .await;

    // It goes and comes back with an empty memory; the operator works on and tells it again.
    alertmanager.stop().await.unwrap();
    ends_at(&world, offset + 9000);
    let known = |v: &FeatureView| v.status.as_ref().and_then(|s| s.lag.as_ref()).is_some_and(|lag| lag.tier == Some(1));
    world.view(VIEW, "still late", known).await;
    alertmanager.resume().await.unwrap();
    let first = holds(&alertmanager, Some("FeaturemillLagTier1")).await.unwrap();
    // It goes on although each post lets it live for four seconds alone.
    eventually("it is posted again and again", || async {
        let now = holds(&alertmanager, Some("FeaturemillLagTier1")).await.unwrap();
        let time = |alert: &Value| alert["endsAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(now["startsAt"], first["startsAt"]);
        if time(&now).duration_since(time(&first)).as_secs() >= 6 { Ok(()) } else { Err(format!("{now:#}")) }
    })
    .await;

    // Another operator goes on where this one was: nobody is told anything.
    operator.stop().await;
    let operator = start(&world, told(&[&alertmanager.url()]));
    suspend(&world).await;
    world.view(VIEW, "suspended", |v| fresh(v, "False", "Suspended")).await;
    holds(&alertmanager, None).await;
    eventually("people are told of the end", || async {
        let told = sink.told("FeaturemillLagTier1");
        if told.last().is_some_and(|last| last == "resolved") { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert_eq!(sink.told("FeaturemillLagTier2"), ["firing", "resolved"]);
    operator.stop().await;
}

#[tokio::test]
async fn an_alertmanager_with_tls_and_one_behind_a_path_that_asks_for_a_token_are_told() {
    let world = World::new("alerts-tls").await;
    let files = Directory::new("alerts").unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (ca, token) = (files.path().join("ca.crt"), files.path().join("token"));
    std::fs::write(&ca, cert.pem()).unwrap();
    std::fs::write(&token, "open-sesame\n").unwrap();
    let (people, proxy) = (Sink::default(), Sink::default());
    let alertmanager =
        Alertmanager::start_tls(&people.listen().await, &cert.pem(), &signing_key.serialize_pem()).unwrap();
    let behind = format!("{}/alertmanager", proxy.listen().await);
    let them =
        Alertmanagers { ca_file: Some(ca), token_file: Some(token), ..told(&[&alertmanager.tls_url(), &behind]) };
    let operator = start(&world, them);
    let view = served(&world, &tiers()).await;
    let offset = jiff::Timestamp::now().as_millisecond() + 1000;
    reads(&world, &view, offset, 200).await;
    ends_at(&world, offset + 1);
    eventually("both are told", || async {
        let told = people.told("FeaturemillLagTier3");
        if told == ["firing"] && !proxy.0.lock().unwrap().is_empty() { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let Heard { path, headers, body } = proxy.0.lock().unwrap()[0].clone();
    assert_eq!(path, "/alertmanager/api/v2/alerts");
    assert_eq!(headers["authorization"], "Bearer open-sesame");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body[0]["labels"]["feature_view"], view.name_any());
    operator.stop().await;
}
