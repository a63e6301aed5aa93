//! Whose lag is measured, as a round of its view finds it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::plan::Plan;
use kube::ResourceExt as _;

use super::tier::Thresholds;
use crate::edges::{LogAddress, StoreAddress};
use crate::feature_view::observe::{Observed, StoreView};
use crate::scaling;

/// Where a view's topic and rows are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The brokers.
    pub log: LogAddress,
    /// The online store.
    pub store: StoreAddress,
}

/// A view whose live revision reads a topic.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its live revision.
    pub revision: String,
    /// The topic that this revision reads: the spec may name another by now.
    pub topic: String,
    /// How far events may be ahead of their time.
    pub ahead_ms: i64,
    /// When who is told.
    pub thresholds: Thresholds,
    /// Whether its workers are stopped on purpose.
    pub suspended: bool,
    /// How its workers are scaled, if they are by lag.
    pub scaling: Option<scaling::Subject>,
    /// Where all of it is; none while no round has been told, since the online store does not answer.
    pub address: Option<Arc<Address>>,
}

/// What a round says of whether a view is followed.
pub enum Follow {
    /// Its live revision reads no topic, or there is none.
    No,
    /// The round could not ask the online store. If nothing is known of the view, because the operator was restarted, it is
    /// followed as status and what stands tell of it: what is not measured must be told of, and what was raised stays so.
    AsBefore(Option<Box<Subject>>),
    /// It does.
    Yes(Box<Subject>),
}

/// What a round found: `live` is the revision that reads go to after it.
#[must_use]
pub fn of_round(
    observed: &Observed,
    store: &StoreView,
    plans: &BTreeMap<String, Arc<Plan>>,
    live: Option<&str>,
) -> Follow {
    let facts = match store {
        StoreView::Known(facts) => Some(facts),
        StoreView::NotAsked | StoreView::Unreachable(_) => None,
    };
    let Some(live) = live else { return if facts.is_some() { Follow::No } else { Follow::AsBefore(None) } };
    let Some(plan) = plans.get(live) else { return Follow::AsBefore(None) };
    let Some(stream) = plan.source.stream.as_ref().filter(|_| plan.mode.has_stream_lanes()) else { return Follow::No };
    let view = &observed.view;
    let defaults = observed.architecture.as_ref().map(|a| a.spec.freshness.alert_tiers.as_slice());
    let subject = Subject {
        namespace: view.namespace().unwrap_or_default(),
        name: view.name_any(),
        revision: live.to_owned(),
        topic: stream.topic.clone(),
        ahead_ms: plan.time.max_future_ms,
        thresholds: Thresholds::of(&view.spec.freshness.alert_tiers, defaults.unwrap_or_default()),
        suspended: view.spec.suspend,
        scaling: scaling::subject(observed, live),
        address: None,
    };
    let Some(secrets) = facts.map(|facts| &facts.secrets) else { return Follow::AsBefore(Some(Box::new(subject))) };
    let Some(log) = secrets.log.clone() else { return Follow::No };
    let address = Some(Arc::new(Address { log, store: secrets.store.clone() }));
    Follow::Yes(Box::new(Subject { address, ..subject }))
}
