//! The metrics of scaling. Each is labelled with the view, and goes with it.

use crds::FeatureViewStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Policy;
use super::decide::Reason;
use crate::lag::figures::View;

/// A direction of a view's scaling.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Direction {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub feature_view: String,
    /// `up` or `down`.
    pub direction: &'static str,
}

/// All of them. Clones share them.
#[derive(Clone, Default)]
pub struct Figures {
    desired: Family<View, Gauge>,
    ready: Family<View, Gauge>,
    max: Family<View, Gauge>,
    limited: Family<View, Gauge>,
    changes: Family<Direction, Counter>,
}

impl Figures {
    /// Registers them, under the prefix `featuremill_feature`.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self::default();
        let views = registry.sub_registry_with_prefix("featuremill_feature");
        views.register("desired_workers", "Stream workers that the lag asks for", figures.desired.clone());
        views.register("ready_workers", "Stream workers that are ready", figures.ready.clone());
        views.register("max_workers", "The most stream workers that the lag may ask for", figures.max.clone());
        views.register(
            "scaling_limited",
            "1 while there are fewer stream workers than the lag asks for",
            figures.limited.clone(),
        );
        views.register("scalings", "Changes of the number of stream workers", figures.changes.clone());
        figures
    }

    /// The status of a view that is scaled by `policy`, if it is.
    pub fn reported(&self, view: View, policy: Option<&Policy>, before: &FeatureViewStatus, after: &FeatureViewStatus) {
        let (Some(policy), Some(scaling)) = (policy, after.scaling.as_deref()) else {
            return self.forget(&view);
        };
        let limited = [Reason::TooMany, Reason::TooFewPartitions, Reason::Ineffective];
        let is_limited = limited.into_iter().any(|reason| reason.name() == scaling.reason);
        self.desired.get_or_create(&view).set(scaling.desired_replicas.into());
        self.ready.get_or_create(&view).set(after.ready_replicas.into());
        self.max.get_or_create(&view).set(policy.max.into());
        self.limited.get_or_create(&view).set(is_limited.into());
        let changed = |status: &FeatureViewStatus| {
            status.scaling.as_ref().and_then(|scaling| scaling.last_scale.as_ref()).map(|last| last.time.clone())
        };
        if let Some(last) = scaling.last_scale.as_ref().filter(|_| changed(before) != changed(after)) {
            let direction = if last.to_replicas > last.from_replicas { "up" } else { "down" };
            let View { namespace, feature_view } = view;
            self.changes.get_or_create(&Direction { namespace, feature_view, direction }).inc();
        }
    }

    /// A view is gone, or no longer scaled by its lag.
    pub fn forget(&self, view: &View) {
        for family in [&self.desired, &self.ready, &self.max, &self.limited] {
            family.remove(view);
        }
        for direction in ["up", "down"] {
            let View { namespace, feature_view } = view.clone();
            self.changes.remove(&Direction { namespace, feature_view, direction });
        }
    }
}
