//! Measures the lag of all views, again and again.
//!
//! Invariants: markers are read before ends are asked for; a cluster of brokers is asked once for all topics of all its views; no
//! store or cluster that is away keeps the others waiting longer than one answer may take.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::FeatureView;
use engine::row::{head_key, marker_key};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use shell::store::Markers;

use super::figures::{Figures, View};
use super::measure::{Bounds, measure};
use super::tier::decide;
use super::{Before, Found, Judged, Lags, Standing, Subject, Unknown, told};
use crate::context::Context;
use crate::edges::{EdgeError, Edges, Ends, LogAddress, StoreAddress};
use crate::scaling;

/// How many views' markers are read from a store at once.
const AT_ONCE: usize = 64;
/// How long store and brokers may take, each: they bound their own calls, and this is for what they forget.
const PATIENCE: Duration = Duration::from_secs(12);

/// Sweeps until it is dropped. `wake` asks for a round of a view.
pub async fn watch(context: Arc<Context>, views: Store<FeatureView>, wake: impl Fn(ObjectRef<FeatureView>)) {
    let Context { edges, lags, metrics, settings, now, swept, .. } = &*context;
    let reference = |subject: &Subject| ObjectRef::<FeatureView>::new(&subject.name).within(&subject.namespace);
    let stands = |uid: &str, subject: &Subject| {
        let view = views.get(&reference(subject));
        view.is_some_and(|v| v.uid().as_deref() == Some(uid) && v.metadata.deletion_timestamp.is_none())
    };
    let mut ticks = tokio::time::interval(settings.lag_poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let all = once(&**edges, lags, &metrics.lag, *now, stands).await;
        swept.send_replace(Some(now().as_millisecond()));
        for Swept { subject, standing, otherwise } in all {
            let Some(view) = views.get(&reference(&subject)) else { continue };
            let status = view.status.as_ref();
            let said = status.and_then(|status| status.lag.as_ref());
            let scaled = status.and_then(|status| status.scaling.as_deref());
            let revision = Some(subject.revision.as_str());
            let scales =
                scaling::told::status(subject.scaling.as_ref(), revision, &standing, scaled).as_ref() != scaled;
            if otherwise || scales || told::status(&standing, said).as_ref() != said {
                wake(reference(&subject));
            }
        }
    }
}

/// What a sweep found of a view.
pub struct Swept {
    /// The view.
    pub subject: Arc<Subject>,
    /// How it stands.
    pub standing: Standing,
    /// Whether it became unknown, or known again, since its last round.
    pub otherwise: bool,
}

/// Measures every view that is followed and that `stands` knows.
pub async fn once(
    edges: &dyn Edges,
    lags: &Lags,
    figures: &Figures,
    now: fn() -> Timestamp,
    stands: impl Fn(&str, &Subject) -> bool,
) -> Vec<Swept> {
    let start = Instant::now();
    let all = lags.all(stands);
    let markers = read_markers(edges, &all).await;
    // Ends that are asked for later would only be larger.
    let at = now().as_millisecond();
    let ends = ask_ends(edges, &all).await;
    let (mut swept, mut unmeasured) = (Vec::with_capacity(all.len()), 0);
    for (uid, before) in &all {
        let subject = before.subject.clone();
        let found = bounds(&ends, &subject).and_then(|bounds| {
            let markers = markers.get(uid).ok_or(Unknown::Store)?;
            Ok(judge(before, markers, bounds, at))
        });
        unmeasured += usize::from(found.is_err());
        let Some(Found { standing, raised, otherwise }) = lags.found(uid, &subject, found) else { continue };
        figures.show(&subject, &standing, raised);
        swept.push(Swept { subject, standing, otherwise });
    }
    let view = |subject: &Subject| View { namespace: subject.namespace.clone(), feature_view: subject.name.clone() };
    figures.keep(&all.values().map(|before| view(&before.subject)).collect());
    figures.swept(start.elapsed(), unmeasured, at);
    swept
}

fn judge(before: &Before, markers: &Markers, bounds: &BTreeMap<i32, Bounds>, now: i64) -> (super::Seen, Judged) {
    let subject = &before.subject;
    let (measured, mut seen) = measure(markers, bounds, now, subject.ahead_ms, &before.seen);
    let alarm = decide(&measured, &subject.thresholds, subject.suspended, now, &before.alarm);
    let scaled = before.scaling.as_ref().map(|b| scaling::judge(subject, &measured, seen.moved, &before.seen.flow, b));
    let (flow, scaling) = scaled.unzip();
    seen.flow = flow.unwrap_or_default();
    (seen, Judged { revision: subject.revision.clone(), at: now, measured, alarm, scaling })
}

/// The markers of every view whose store answers, by UID.
async fn read_markers(edges: &dyn Edges, all: &BTreeMap<String, Before>) -> HashMap<String, Markers> {
    let mut stores: HashMap<&StoreAddress, Vec<(&String, &Subject)>> = HashMap::new();
    for (uid, before) in all {
        let Some(address) = &before.subject.address else { continue };
        stores.entry(&address.store).or_default().push((uid, &before.subject));
    }
    let read = async |(address, views): (&StoreAddress, Vec<(&String, &Subject)>)| {
        let answer = tokio::time::timeout(PATIENCE, of_store(edges, address, views)).await;
        let answer = answer.unwrap_or_else(|_| Err(EdgeError("it did not answer in time".to_owned())));
        answer.unwrap_or_else(|problem| {
            tracing::warn!(store = address.url, %problem, "reading markers");
            Vec::new()
        })
    };
    futures::future::join_all(stores.into_iter().map(read)).await.into_iter().flatten().collect()
}

/// Those of views of one store, to which there is one connection.
async fn of_store(
    edges: &dyn Edges,
    address: &StoreAddress,
    views: Vec<(&String, &Subject)>,
) -> Result<Vec<(String, Markers)>, EdgeError> {
    let store = &edges.store(address).await?;
    let read = async |(uid, subject): (&String, &Subject)| match of_view(&**store, uid, subject).await {
        Ok(markers) => Ok((uid.clone(), markers)),
        Err(problem) => Err((format!("{}/{}", subject.namespace, subject.name), problem)),
    };
    let answers: Vec<_> = stream::iter(views).map(read).buffer_unordered(AT_ONCE).collect().await;
    let (known, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    // A store that goes away fails all views in the same way: one line says so, and of how many.
    let views = failed.len();
    if let Some(Err((view, problem))) = failed.into_iter().next() {
        tracing::warn!(store = address.url, views, view, %problem, "reading markers");
    }
    Ok(known.into_iter().flatten().collect())
}

async fn of_view(store: &dyn crate::edges::Store, uid: &str, subject: &Subject) -> Result<Markers, EdgeError> {
    let head = store.head(&head_key(uid, &subject.revision)).await?;
    let incarnation = head.map_or(0, |head| head.incarnation);
    store.markers(&marker_key(uid, &subject.revision, incarnation, 0)).await
}

/// The ends of all topics, by cluster.
async fn ask_ends<'a>(
    edges: &dyn Edges,
    all: &'a BTreeMap<String, Before>,
) -> HashMap<&'a LogAddress, Result<Ends, String>> {
    let mut clusters: HashMap<&LogAddress, BTreeSet<String>> = HashMap::new();
    for Before { subject, .. } in all.values() {
        let Some(address) = &subject.address else { continue };
        clusters.entry(&address.log).or_default().insert(subject.topic.clone());
    }
    let ask = async |(log, topics): (&'a LogAddress, BTreeSet<String>)| {
        let answer = tokio::time::timeout(PATIENCE, edges.ends(log, &topics)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("they did not answer in time".to_owned()),
        };
        if let Err(problem) = &answer {
            tracing::warn!(bootstrap = log.bootstrap, problem, "asking brokers where topics end");
        }
        (log, answer)
    };
    futures::future::join_all(clusters.into_iter().map(ask)).await.into_iter().collect()
}

fn bounds<'a>(
    ends: &'a HashMap<&LogAddress, Result<Ends, String>>,
    subject: &Subject,
) -> Result<&'a BTreeMap<i32, Bounds>, Unknown> {
    // A round tells of it as soon as the store answers.
    let address = subject.address.as_ref().ok_or(Unknown::Store)?;
    let answer = ends.get(&address.log).and_then(|answer| answer.as_ref().ok()).ok_or(Unknown::Brokers)?;
    answer.get(&subject.topic).ok_or(Unknown::Topic)
}
