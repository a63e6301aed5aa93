//! One leader at a time; a clean end hands over at once.

use std::time::{Duration, Instant};

use crds::Architecture;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use operator::settings::Settings;

use crate::faults::Faults;
use crate::fixtures::{ARCHITECTURE, architecture};
use crate::world::{World, eventually};

#[tokio::test]
async fn one_leads_and_hands_over_when_it_stops() {
    let world = World::new("lease").await;
    let api = world.api::<Lease>();
    let holder = || async { api.get_opt("featuremill-operator").await.unwrap().and_then(|l| l.spec?.holder_identity) };
    let leads = |who: &'static str| {
        let holder = &holder;
        move || async move {
            let is = holder().await;
            if is.as_deref() == Some(who) { Ok(()) } else { Err(format!("{is:?}")) }
        }
    };
    let first = world.start_with(Faults::default(), Settings::default(), Some("first"));
    eventually("the first leads", leads("first")).await;
    let second = world.start_with(Faults::default(), Settings::default(), Some("second"));
    world.apply::<Architecture>(&architecture()).await.unwrap();
    let deployments = world.api::<Deployment>();
    let server = format!("{ARCHITECTURE}-server");
    eventually("the server is made", || async {
        deployments.get_opt(&server).await.unwrap().map(drop).ok_or_else(String::new)
    })
    .await;
    assert_eq!(second.faults.writes(), Vec::<String>::new());
    let start = Instant::now();
    first.stop().await;
    eventually("the second leads", leads("second")).await;
    assert!(start.elapsed() < Duration::from_secs(6), "the hand-over took {:?}", start.elapsed());
    second.stop().await;
    assert_eq!(holder().await, None);
}
