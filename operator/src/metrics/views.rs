//! What of each view status says, as metrics: phase, conditions, rollout, comparison, generations. Made anew at each scrape from
//! the objects as they were seen last, so that nothing of a view outlives it. Only the replica that leads has them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crds::FeatureView;
use crds::condition::{ConditionStatus, types};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

#[cfg(test)]
mod tests;

/// The views that there are, once somebody watches them. Clones share them.
#[derive(Clone, Default)]
pub struct Views(Arc<Mutex<Option<Store<FeatureView>>>>);

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Views")
    }
}

impl Views {
    /// Registers their metrics, under the prefix `featuremill_feature`.
    pub fn register(registry: &mut Registry) -> Self {
        let views = Self::default();
        registry.sub_registry_with_prefix("featuremill_feature").register_collector(Box::new(views.clone()));
        views
    }

    /// These are they from now on.
    pub fn are(&self, store: Store<FeatureView>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }
}

impl Collector for Views {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let views = store.map(|store| store.state()).unwrap_or_default();
        for figure in &FIGURES {
            let mut samples = views.iter().flat_map(|view| labelled(view, figure)).peekable();
            if samples.peek().is_none() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(figure.name, figure.help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// A metric that each view has, perhaps with further labels, or has not.
struct Figure {
    name: &'static str,
    help: &'static str,
    of: fn(&FeatureView) -> Vec<(Labels, f64)>,
}

/// With the labels of the view.
fn labelled(view: &FeatureView, figure: &Figure) -> Vec<(Labels, f64)> {
    let own = [("namespace", view.namespace().unwrap_or_default()), ("feature_view", view.name_any())];
    let with = |(labels, value): (Labels, f64)| (own.iter().cloned().chain(labels).collect(), value);
    (figure.of)(view).into_iter().map(with).collect()
}

const FIGURES: [Figure; 11] = [
    Figure { name: "phase", help: "1 for the phase that the view is in", of: phase },
    Figure { name: "condition", help: "1 for the status that a condition has", of: condition },
    Figure { name: "revisions", help: "Revisions by what they are to the view", of: revisions },
    Figure { name: "replay_progress_ratio", help: "Share that a rollout's replay has read", of: replay },
    Figure { name: "comparison_equal_ratio", help: "Share of equal values of the worst feature", of: equal },
    Figure { name: "comparison_psi", help: "The largest PSI of a feature that was compared", of: psi },
    Figure { name: "comparison_entities", help: "Entities that were compared", of: entities },
    Figure { name: "generation", help: "The generation that is served", of: generation },
    Figure { name: "horizon_timestamp_seconds", help: "Up to when the generation counts events", of: horizon },
    Figure { name: "last_run_timestamp_seconds", help: "When the last batch run ended, by its outcome", of: last_run },
    Figure {
        name: "last_run_entities",
        help: "Entities of the generation that the last batch run made",
        of: last_rows,
    },
];

fn one(value: Option<f64>) -> Vec<(Labels, f64)> {
    value.map(|value| (Labels::new(), value)).into_iter().collect()
}

/// Counts as Prometheus has all numbers.
#[allow(clippy::cast_precision_loss)]
fn number(count: i64) -> f64 {
    count as f64
}

fn time(text: &str) -> Option<f64> {
    text.parse::<Timestamp>().ok().map(|time| number(time.as_second()))
}

fn phase(view: &FeatureView) -> Vec<(Labels, f64)> {
    let phase = view.status.as_ref().and_then(|status| status.phase.clone());
    vec![(vec![("phase", phase.unwrap_or_else(|| "Pending".to_owned()))], 1.0)]
}

/// Of those that a person acts on.
fn condition(view: &FeatureView) -> Vec<(Labels, f64)> {
    let known = view.status.iter().flat_map(|status| &status.conditions);
    let shown = known.filter(|known| [types::READY, types::STALLED, types::FRESH].contains(&known.type_.as_str()));
    let status = |status| match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    shown.map(|c| (vec![("type", c.type_.clone()), ("status", status(c.status).to_owned())], 1.0)).collect()
}

fn revisions(view: &FeatureView) -> Vec<(Labels, f64)> {
    let Some(status) = &view.status else { return Vec::new() };
    let there = |revision: &Option<String>| i64::from(revision.is_some());
    let retiring = i64::try_from(status.retiring.len()).unwrap_or(i64::MAX);
    [
        ("active", there(&status.active_revision)),
        ("candidate", there(&status.candidate_revision)),
        ("previous", there(&status.previous_revision)),
        ("retiring", retiring),
    ]
    .map(|(role, count)| (vec![("role", role.to_owned())], number(count)))
    .into()
}

fn replay(view: &FeatureView) -> Vec<(Labels, f64)> {
    let trial = view.status.as_ref().and_then(|status| status.rollout.as_ref()?.trial.as_ref());
    let progress = trial.and_then(|trial| trial.replay.as_ref()?.progress.as_ref());
    one(progress.map(|progress| f64::from(progress.percent) / 100.0))
}

/// Of the comparison that status tells of: the last one, or that of a candidate.
fn equal(view: &FeatureView) -> Vec<(Labels, f64)> {
    let comparison = view.status.as_ref().and_then(|status| status.rollout.as_ref()?.comparison.as_ref());
    one(comparison.map(|known| known.differences.iter().filter_map(|d| d.equal.parse().ok()).fold(1.0, f64::min)))
}

fn psi(view: &FeatureView) -> Vec<(Labels, f64)> {
    let comparison = view.status.as_ref().and_then(|status| status.rollout.as_ref()?.comparison.as_ref());
    let largest = |psi: Vec<f64>| psi.into_iter().reduce(f64::max);
    one(comparison.and_then(|c| largest(c.differences.iter().filter_map(|d| d.psi.as_ref()?.parse().ok()).collect())))
}

fn entities(view: &FeatureView) -> Vec<(Labels, f64)> {
    let comparison = view.status.as_ref().and_then(|status| status.rollout.as_ref()?.comparison.as_ref());
    one(comparison.map(|comparison| number(comparison.entities)))
}

fn generation(view: &FeatureView) -> Vec<(Labels, f64)> {
    one(view.status.as_ref().and_then(|status| status.generation).map(number))
}

fn horizon(view: &FeatureView) -> Vec<(Labels, f64)> {
    one(view.status.as_ref().and_then(|status| status.horizon.as_deref()).and_then(time))
}

fn last_run(view: &FeatureView) -> Vec<(Labels, f64)> {
    let run = view.status.as_ref().and_then(|status| status.last_run.as_ref());
    let ended = run.and_then(|run| Some((vec![("outcome", run.outcome.clone())], time(&run.finished)?)));
    ended.into_iter().collect()
}

fn last_rows(view: &FeatureView) -> Vec<(Labels, f64)> {
    one(view.status.as_ref().and_then(|status| status.last_run.as_ref()).map(|run| number(run.rows)))
}
