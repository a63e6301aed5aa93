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
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use shell::store::Markers;

use super::figures::View;
use super::measure::{Bounds, measure};
use super::tier::decide;
use super::{Before, Judged, Subject, Unknown, told};
use crate::context::Context;
use crate::edges::{Ends, LogAddress};

/// How many views' markers are read at once.
const AT_ONCE: usize = 64;
/// How long store and brokers may take, each: they bound their own calls, and this is for what they forget.
const PATIENCE: Duration = Duration::from_secs(12);

/// Sweeps until it is dropped. `wake` asks for a round of a view.
pub async fn watch(context: Arc<Context>, views: Store<FeatureView>, wake: impl Fn(ObjectRef<FeatureView>)) {
    let mut ticks = tokio::time::interval(context.settings.lag_poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        once(&context, &views, &wake).await;
    }
}

/// One sweep.
async fn once(context: &Context, views: &Store<FeatureView>, wake: &impl Fn(ObjectRef<FeatureView>)) {
    let reference = |subject: &Subject| ObjectRef::<FeatureView>::new(&subject.name).within(&subject.namespace);
    let stands = |uid: &str, subject: &Subject| {
        views.get(&reference(subject)).is_some_and(|view| {
            view.uid().as_deref() == Some(uid) && view.metadata.deletion_timestamp.is_none()
        })
    };
    let all = context.lags.all(stands);
    let start = Instant::now();
    let markers = read_markers(context, &all).await;
    // Ends that are asked for later would only be larger.
    let now = (context.now)().as_millisecond();
    let ends = ask_ends(context, &all).await;
    let mut unmeasured = 0;
    for (uid, before) in &all {
        let found = bounds(&ends, &before.subject).and_then(|bounds| {
            let markers = markers.get(uid).ok_or(Unknown::Store)?;
            Ok(judge(before, markers, bounds, now))
        });
        unmeasured += usize::from(found.is_err());
        let Some((standing, otherwise)) = context.lags.found(uid, &before.subject, found) else { continue };
        context.metrics.lag.show(&before.subject, &standing);
        let Some(view) = views.get(&reference(&before.subject)) else { continue };
        let said = view.status.as_ref().and_then(|status| status.lag.as_ref());
        if otherwise || told::status(&standing, said).as_ref() != said {
            wake(reference(&before.subject));
        }
    }
    let named = |before: &Before| View {
        namespace: before.subject.namespace.clone(),
        feature_view: before.subject.name.clone(),
    };
    context.metrics.lag.keep(&all.values().map(named).collect());
    context.metrics.lag.swept(start.elapsed(), unmeasured, now);
}

fn judge(before: &Before, markers: &Markers, bounds: &BTreeMap<i32, Bounds>, now: i64) -> (super::Seen, Judged) {
    let subject = &before.subject;
    let (measured, seen) = measure(markers, bounds, now, subject.ahead_ms, &before.seen);
    let alarm = decide(&measured, &subject.thresholds, subject.suspended, now, &before.alarm);
    (seen, Judged { revision: subject.revision.clone(), at: now, measured, alarm })
}

/// The markers of every view whose store answers, by UID.
async fn read_markers(context: &Context, all: &BTreeMap<String, Before>) -> HashMap<String, Markers> {
    let read = async |(uid, before): (&String, &Before)| {
        let answer = tokio::time::timeout(PATIENCE, of_view(context, uid, &before.subject)).await;
        let answer = answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        answer
            .map_err(|problem| tracing::warn!(view = before.subject.name, problem, "reading markers"))
            .ok()
            .map(|markers| (uid.clone(), markers))
    };
    stream::iter(all).map(read).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn of_view(context: &Context, uid: &str, subject: &Subject) -> Result<Markers, String> {
    let store = context.edges.store(&subject.address.store).await.map_err(|error| error.to_string())?;
    let head = store.head(&head_key(uid, &subject.revision)).await.map_err(|error| error.to_string())?;
    let incarnation = head.map_or(0, |head| head.incarnation);
    let key = marker_key(uid, &subject.revision, incarnation, 0);
    store.markers(&key).await.map_err(|error| error.to_string())
}

/// The ends of all topics, by cluster.
async fn ask_ends<'a>(
    context: &Context,
    all: &'a BTreeMap<String, Before>,
) -> HashMap<&'a LogAddress, Result<Ends, String>> {
    let mut clusters: HashMap<&LogAddress, BTreeSet<String>> = HashMap::new();
    for before in all.values() {
        clusters.entry(&before.subject.address.log).or_default().insert(before.subject.topic.clone());
    }
    let ask = async |(log, topics): (&'a LogAddress, BTreeSet<String>)| {
        let answer = tokio::time::timeout(PATIENCE, context.edges.ends(log, &topics)).await;
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
    let answer = ends.get(&subject.address.log).and_then(|answer| answer.as_ref().ok()).ok_or(Unknown::Brokers)?;
    answer.get(&subject.topic).ok_or(Unknown::Topic)
}
