//! The console's own watches. Of what they see only the board is kept, not the objects.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::{Architecture, FeatureView};
use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};

use super::Shared;
use super::board::{Board, Figure, Key};
use super::flow::House;
use super::row::Row;
use super::seen::{Seen, architecture};
use crate::lag::figures::Figures;

/// How often it is asked whether the API server answers again, after it did not.
const PROBE: Duration = Duration::from_secs(2);

/// How often lag is looked at, which is measured every 15 s.
const MEASURED: Duration = Duration::from_secs(5);

/// Keeps the board, for ever.
pub async fn run(board: Shared, client: Client, namespace: Option<String>, figures: Figures) {
    let views = api::<FeatureView>(&client, namespace.as_deref());
    let architectures = api::<Architecture>(&client, namespace.as_deref());
    let see_view = |board: &mut Board, object: &DynamicObject| {
        let row = Row::of(&Seen::of(object));
        let measured = row.lag.as_ref().and_then(|lag| lag.measured_time.as_ref()?.parse::<Timestamp>().ok());
        board.set(row, measured.unwrap_or_else(Timestamp::now).as_second());
    };
    let see_architecture = |board: &mut Board, object: &DynamicObject| match architecture(object) {
        Ok(architecture) => board.set_house(House::of(&architecture)),
        Err(error) => tracing::warn!(architecture = object.name_any(), error, "it does not read and is not shown"),
    };
    tokio::join!(
        keep(&board, "featureviews", views.clone(), see_view, Board::remove, Board::retain),
        keep(&board, "architectures", architectures, see_architecture, Board::remove_house, Board::retain_houses),
        probe(&board, views),
        measure(&board, &figures),
    );
}

/// Takes up what this process measures, as often as it does.
async fn measure(board: &Shared, figures: &Figures) {
    loop {
        tokio::time::sleep(MEASURED).await;
        let now = Timestamp::now();
        for key in board.read(Board::keys) {
            if let Some((seconds, records, tier)) = figures.of(&key.0, &key.1) {
                board.write(|board| board.measure(&key, Figure { seconds, records, tier }, now));
            }
        }
    }
}

/// The API of a kind as it is written, not as this version knows it.
pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    }
}

async fn keep(
    board: &Shared,
    kind: &'static str,
    api: Api<DynamicObject>,
    see: impl Fn(&mut Board, &DynamicObject),
    remove: impl Fn(&mut Board, &Key),
    retain: impl Fn(&mut Board, &BTreeSet<Key>),
) {
    let mut events = watch(api, watcher::Config::default()).default_backoff().boxed();
    let mut seen = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => board.write(|board| see(board, &object)),
            Ok(Event::Delete(object)) => board.write(|board| remove(board, &key(&object))),
            Ok(Event::Init) => seen.clear(),
            Ok(Event::InitApply(object)) => {
                seen.insert(key(&object));
                board.write(|board| see(board, &object));
            }
            Ok(Event::InitDone) => board.write(|board| {
                retain(board, &seen);
                board.listed(kind);
                board.trouble(None);
                seen.clear();
            }),
            Err(error) => {
                tracing::warn!(kind, %error, "the console's watch");
                let problem = format!("the API server does not let {kind} be watched: {error}");
                board.write(|board| board.trouble(Some(problem)));
            }
        }
    }
}

/// A watch that goes on after an error says nothing until something happens. So it is asked.
async fn probe(board: &Shared, views: Api<DynamicObject>) {
    let one = ListParams::default().limit(1);
    loop {
        tokio::time::sleep(PROBE).await;
        if board.read(Board::is_troubled) && views.list_metadata(&one).await.is_ok() {
            board.write(|board| board.trouble(None));
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
