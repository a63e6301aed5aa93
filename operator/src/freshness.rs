//! The metrics of how old is what is served: what a generation's newest events were when it was published, and up to when what
//! is served now counts. Workers tell the former of the stream layer themselves ([`shell::freshness`]).
//!
//! Invariant: a generation is told of once: when it comes into status. Series go with their view.

use crds::FeatureViewStatus;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use shell::freshness::{self, Freshness};

/// A layer of a view.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Layer {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub feature_view: String,
    /// `batch` or `stream`.
    pub layer: &'static str,
}

/// Both of them. Clones share them.
#[derive(Clone, Default)]
pub struct Figures {
    freshness: Family<Layer, Freshness>,
    complete_to: Family<Layer, Gauge>,
}

impl Figures {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self::default();
        let views = registry.sub_registry_with_prefix("featuremill_feature");
        views.register("freshness_seconds", freshness::HELP, figures.freshness.clone());
        views.register(
            "complete_to_timestamp_seconds",
            "The time up to which what is served counts events",
            figures.complete_to.clone(),
        );
        figures
    }

    /// The status of a view changed.
    pub fn reported(&self, namespace: &str, name: &str, before: &FeatureViewStatus, after: &FeatureViewStatus) {
        let label = layer(namespace, name, "batch");
        let Some(horizon) = after.horizon.as_deref().and_then(ms) else {
            self.complete_to.remove(&label);
            return;
        };
        self.complete_to.get_or_create(&label).set(horizon / 1000);
        // A generation that is gone back to, or found by an operator that forgot all, is not new.
        let run = after.last_run.as_ref().filter(|run| before.last_run.as_ref() != Some(run));
        let published = run.filter(|run| {
            run.outcome == "Published"
                && after.generation == Some(run.generation)
                && after.active_revision.as_ref() == Some(&run.revision)
        });
        if let Some(at) = published.and_then(|run| ms(&run.finished)) {
            self.freshness.get_or_create(&label).observe(at - horizon, 1);
        }
    }

    /// What is served of a view's stream counts all events of before `at`; not known: `None`.
    pub(crate) fn streamed(&self, namespace: &str, name: &str, at: Option<i64>) {
        let label = layer(namespace, name, "stream");
        match at {
            Some(at) => _ = self.complete_to.get_or_create(&label).set(at / 1000),
            None => _ = self.complete_to.remove(&label),
        }
    }

    /// A view is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        for of in ["batch", "stream"] {
            let label = layer(namespace, name, of);
            self.complete_to.remove(&label);
            self.freshness.remove(&label);
        }
    }
}

fn layer(namespace: &str, name: &str, layer: &'static str) -> Layer {
    Layer { namespace: namespace.to_owned(), feature_view: name.to_owned(), layer }
}

fn ms(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crds::feature_view::LastRun;
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn published(generation: i64, horizon: &str, finished: &str) -> FeatureViewStatus {
        FeatureViewStatus {
            active_revision: Some("a".into()),
            generation: Some(generation),
            horizon: Some(horizon.into()),
            last_run: Some(LastRun {
                revision: "a".into(),
                generation,
                outcome: "Published".into(),
                finished: finished.into(),
                ..LastRun::default()
            }),
            ..FeatureViewStatus::default()
        }
    }

    #[test]
    fn a_generation_is_as_fresh_as_its_newest_events_once_and_its_horizon_stays_to_be_seen() {
        let mut registry = Registry::default();
        let figures = Figures::register(&mut registry);
        let shows = |what: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let found = text.lines().find(|line| line.starts_with(what)).map(str::to_owned);
            found.map(|line| line.rsplit(' ').next().unwrap().to_owned())
        };
        let nothing = FeatureViewStatus { active_revision: Some("a".into()), ..FeatureViewStatus::default() };
        let first = published(1, "2026-01-01T00:00:00Z", "2026-01-01T03:00:20Z");
        let second = published(2, "2026-01-02T00:00:00Z", "2026-01-02T03:00:40Z");
        for (before, after) in [(&nothing, &first), (&first, &first), (&first, &second)] {
            figures.reported("shop", "clicks", before, after);
        }
        let sum =
            "featuremill_feature_freshness_seconds_sum{namespace=\"shop\",feature_view=\"clicks\",layer=\"batch\"}";
        assert_eq!(shows(sum).unwrap(), "21660.0", "three hours and twenty, and forty, seconds");
        assert_eq!(shows("featuremill_feature_complete_to_timestamp_seconds{").unwrap(), "1767312000");
        // The way back to the first is no publication; a refused one is none, either.
        let back = FeatureViewStatus { last_run: second.last_run.clone(), ..first.clone() };
        figures.reported("shop", "clicks", &second, &back);
        assert_eq!(shows("featuremill_feature_complete_to_timestamp_seconds{").unwrap(), "1767225600");
        assert_eq!(shows(sum).unwrap(), "21660.0");
        figures.streamed("shop", "clicks", Some(1_767_312_000_500));
        figures.forget("shop", "clicks");
        assert_eq!(shows("featuremill_feature_"), None);
    }
}
