//! The alerts of all views, as the chart's rules would have them. Pure.

use std::collections::BTreeMap;

use super::Wording;
use crate::lag::raised::{Raised, Summary};
use crate::lag::tier::Tier;

/// The labels that alerts have of themselves.
pub const OWN: [&str; 5] = ["alertname", "severity", "tier", "namespace", "feature_view"];

/// What tells one alert from another.
pub type Labels = BTreeMap<String, String>;

/// Alerts that go on.
pub type Firing = BTreeMap<Labels, Alert>;

/// What is said of an alert beside its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Since when, in milliseconds.
    pub since: i64,
    /// What people read.
    pub annotations: BTreeMap<&'static str, String>,
    /// Where it shows.
    pub shown: Option<String>,
}

/// Since when views could not be measured, for what is only told of after a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    unmeasured: Option<i64>,
}

/// What is old for longer than this is no longer measured: the rule's two minutes, and one that it waits.
const NOT_MEASURED_MS: i64 = 180_000;
/// For how long views must not be measured until that is told.
const UNMEASURED_MS: i64 = 600_000;

/// All alerts at `now`. `swept` is when all views were measured last, if they ever were.
#[must_use]
pub fn firing(views: &Summary, swept: Option<i64>, wording: &Wording, now: i64, before: Since) -> (Firing, Since) {
    let since = Since { unmeasured: (views.unmeasured > 0).then(|| before.unmeasured.unwrap_or(now)) };
    let mut firing: Firing = views.raised.iter().map(|raised| lag(raised, wording)).collect();
    if let Some(swept) = swept.filter(|swept| now - swept > NOT_MEASURED_MS) {
        let summary = "The operator measures no lag any more, so nobody is told if a FeatureView falls behind";
        let description = "It leads, and its last measurement is minutes old.";
        firing.extend([operator("FeaturemillLagNotMeasured", "critical", swept, summary, description, wording)]);
    }
    if let Some(from) = since.unmeasured.filter(|from| now - from >= UNMEASURED_MS) {
        let summary =
            format!("The lag of {} FeatureViews is not known, so nobody is told if they fall behind", views.unmeasured);
        let description =
            "Condition Fresh of these views says whether the online store, the brokers or the topic is missing.";
        firing.extend([operator("FeaturemillViewsUnmeasured", "warning", from, &summary, description, wording)]);
    }
    (firing, since)
}

fn lag(raised: &Raised, wording: &Wording) -> (Labels, Alert) {
    let Raised { namespace, name, tier, since, seconds, threshold } = raised;
    let (alertname, severity, how) = match tier {
        Tier::One => ("FeaturemillLagTier1", "critical", "is far behind its topic, or nothing of it is read"),
        Tier::Two => ("FeaturemillLagTier2", "warning", "is behind its topic"),
        Tier::Three => ("FeaturemillLagTier3", "info", "is a little behind its topic"),
    };
    let behind = seconds.map_or_else(|| "how far is not known".to_owned(), |s| format!("{} behind", span(s)));
    let (number, bound) = (tier.number(), span(*threshold));
    let own = [("tier", number.to_string()), ("namespace", namespace.clone()), ("feature_view", name.clone())];
    let alert = Alert {
        since: *since,
        annotations: annotations(
            alertname,
            format!("FeatureView {namespace}/{name} {how}"),
            format!("{behind}; tier {number} begins at {bound}; kubectl -n {namespace} get fv {name} says more"),
            wording,
        ),
        shown: wording
            .console
            .as_ref()
            .map(|console| format!("{}/#/{namespace}/{name}", console.trim_end_matches('/'))),
    };
    (labels(alertname, severity, own, wording), alert)
}

fn operator(
    alertname: &str,
    severity: &str,
    since: i64,
    summary: &str,
    description: &str,
    wording: &Wording,
) -> (Labels, Alert) {
    let annotations = annotations(alertname, summary.to_owned(), description.to_owned(), wording);
    (labels(alertname, severity, [], wording), Alert { since, annotations, shown: wording.console.clone() })
}

fn labels<const N: usize>(alertname: &str, severity: &str, own: [(&str, String); N], wording: &Wording) -> Labels {
    let common = [("alertname", alertname.to_owned()), ("severity", severity.to_owned())];
    let own = common.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value));
    wording.labels.clone().into_iter().chain(own).collect()
}

fn annotations(
    alertname: &str,
    summary: String,
    description: String,
    wording: &Wording,
) -> BTreeMap<&'static str, String> {
    let runbook = format!("{}/{alertname}.md", wording.runbooks.trim_end_matches('/'));
    [("summary", summary), ("description", description), ("runbook_url", runbook)].into()
}

/// Seconds as Prometheus' `humanizeDuration` has them.
fn span(seconds: i64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, ..) => format!("{hours}h {minutes}m {rest}s"),
        _ => format!("{days}d {hours}h {minutes}m {rest}s"),
    }
}
