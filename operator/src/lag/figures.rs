//! The metrics of lag. Each is labelled with the view, and goes with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::tier::{Thresholds, Tier};
use super::{Judged, Standing, Subject};
use crate::freshness;

/// A view.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct View {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub feature_view: String,
}

/// A tier of a view.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ViewTier {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub feature_view: String,
    /// 1, 2 or 3.
    pub tier: i32,
}

/// All of them. Clones share them.
#[derive(Clone)]
pub struct Figures {
    seconds: Family<View, Gauge>,
    records: Family<View, Gauge>,
    thresholds: Family<ViewTier, Gauge>,
    tier: Family<View, Gauge>,
    stalled: Family<View, Gauge>,
    took: Histogram,
    unmeasured: Gauge,
    last: Gauge,
    failures: Counter,
    shown: Arc<Mutex<BTreeSet<View>>>,
    /// How old is what is served.
    pub freshness: freshness::Figures,
}

impl Figures {
    /// Registers them, under the prefixes `featuremill_feature` and `featuremill_lag`.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            seconds: Family::default(),
            records: Family::default(),
            thresholds: Family::default(),
            tier: Family::default(),
            stalled: Family::default(),
            took: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            unmeasured: Gauge::default(),
            last: Gauge::default(),
            failures: Counter::default(),
            shown: Arc::default(),
            freshness: freshness::Figures::register(registry),
        };
        let views = registry.sub_registry_with_prefix("featuremill_feature");
        views.register(
            "lag_seconds",
            "For how long the oldest record that was not read may have waited",
            figures.seconds.clone(),
        );
        views.register("lag_records", "Records that were not read yet", figures.records.clone());
        views.register("lag_threshold_seconds", "The lag above which a tier is raised", figures.thresholds.clone());
        views.register("alert_tier", "The most urgent tier that is raised; 0 if none is", figures.tier.clone());
        views.register(
            "stalled_partitions",
            "Partitions with records that nobody reads, or that cannot be read on",
            figures.stalled.clone(),
        );
        let lag = registry.sub_registry_with_prefix("featuremill_lag");
        lag.register("measurement_duration_seconds", "How long measuring all views took", figures.took.clone());
        lag.register("measurement_failures", "Views that could not be measured, each time", figures.failures.clone());
        lag.register("unmeasured_views", "Views that could not be measured the last time", figures.unmeasured.clone());
        lag.register("last_measurement_timestamp_seconds", "When measuring all views last ended", figures.last.clone());
        figures
    }

    /// The seconds, records and tier of a view as they were measured last; none if they are not known now.
    #[must_use]
    pub fn of(&self, namespace: &str, name: &str) -> Option<(i64, i64, Option<i64>)> {
        let view = View { namespace: namespace.to_owned(), feature_view: name.to_owned() };
        let seconds = self.seconds.get(&view).map(|gauge| gauge.get())?;
        let records = self.records.get(&view).map(|gauge| gauge.get())?;
        let tier = self.tier.get(&view).map(|gauge| gauge.get()).filter(|tier| *tier > 0);
        Some((seconds, records, tier))
    }

    /// A view stands like this, and `raised` is its most urgent tier that is.
    pub(super) fn show(&self, subject: &Subject, standing: &Standing, raised: Option<Tier>) {
        let view = View { namespace: subject.namespace.clone(), feature_view: subject.name.clone() };
        self.thresholds(&view, &subject.thresholds);
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(view.clone());
        if let Standing::Known(judged) = standing {
            let Judged { measured, .. } = &**judged;
            let many = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            self.seconds.get_or_create(&view).set(measured.seconds);
            self.records.get_or_create(&view).set(measured.records);
            self.tier.get_or_create(&view).set(raised.map_or(0, |tier| tier.number().into()));
            self.stalled.get_or_create(&view).set(many(measured.stalled.len() + measured.broken.len()));
            let at = judged.at - measured.seconds * 1000;
            self.freshness.streamed(&subject.namespace, &subject.name, Some(at));
        } else {
            // A figure that nobody knows is not shown: an old one would look like a new one. A tier that was raised stays, also
            // in an operator that never knew the figure.
            if let Some(tier) = raised {
                self.tier.get_or_create(&view).set(tier.number().into());
            }
            self.seconds.remove(&view);
            self.records.remove(&view);
            self.stalled.remove(&view);
            self.freshness.streamed(&subject.namespace, &subject.name, None);
        }
    }

    fn thresholds(&self, view: &View, thresholds: &Thresholds) {
        for tier in Tier::ALL {
            let View { namespace, feature_view } = view.clone();
            let labels = ViewTier { namespace, feature_view, tier: tier.number() };
            self.thresholds.get_or_create(&labels).set(thresholds.get(tier).lag_seconds);
        }
    }

    /// Only these views are there; all series of others go.
    pub(super) fn keep(&self, views: &BTreeSet<View>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|view| {
            let kept = views.contains(view);
            if !kept {
                self.seconds.remove(view);
                self.records.remove(view);
                self.tier.remove(view);
                self.stalled.remove(view);
                self.freshness.streamed(&view.namespace, &view.feature_view, None);
                for tier in Tier::ALL {
                    let View { namespace, feature_view } = view.clone();
                    self.thresholds.remove(&ViewTier { namespace, feature_view, tier: tier.number() });
                }
            }
            kept
        });
    }

    /// All views were measured at `now_ms`, but for `unmeasured`.
    pub(super) fn swept(&self, took: Duration, unmeasured: usize, now_ms: i64) {
        self.took.observe(took.as_secs_f64());
        self.unmeasured.set(i64::try_from(unmeasured).unwrap_or(i64::MAX));
        self.failures.inc_by(u64::try_from(unmeasured).unwrap_or(u64::MAX));
        self.last.set(now_ms / 1000);
    }
}
