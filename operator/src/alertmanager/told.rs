//! What one Alertmanager was told, and what it is to hear next. Pure.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::alert::{Alert, Firing, Labels};

/// An alert ends by itself after so many times the time between two posts, as with Prometheus.
const OUTLIVES: i64 = 4;

/// What it took last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    firing: Firing,
    at: i64,
}

/// An alert as `POST /api/v2/alerts` wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Posted {
    /// What tells it from others.
    pub labels: Labels,
    /// What people read.
    pub annotations: BTreeMap<&'static str, String>,
    /// Since when.
    pub starts_at: String,
    /// When it ends, or ended.
    pub ends_at: String,
    /// Where it shows.
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    pub generator_url: Option<String>,
}

/// What is posted in one request, and what the Alertmanager knows once it took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// All alerts that go on, and those that ended.
    pub alerts: Vec<Posted>,
    /// What then was told.
    pub then: Told,
}

impl Told {
    /// What is to be posted at `now`: everything, if an alert began or ended since it was last told, or if it was told so long ago
    /// that it is time to say that they go on. Words that change are no news.
    #[must_use]
    pub fn next(&self, firing: &Firing, now: i64, resend_ms: i64) -> Option<Post> {
        let ended: Vec<_> = self.firing.iter().filter(|(labels, _)| !firing.contains_key(*labels)).collect();
        let began = firing.keys().any(|labels| !self.firing.contains_key(labels));
        let due = !firing.is_empty() && now - self.at >= resend_ms;
        if ended.is_empty() && !began && !due {
            return None;
        }
        let go_on = firing.iter().map(|(labels, alert)| posted(labels, alert, now + OUTLIVES * resend_ms));
        let end = ended.into_iter().map(|(labels, alert)| posted(labels, alert, now));
        Some(Post { alerts: go_on.chain(end).collect(), then: Self { firing: firing.clone(), at: now } })
    }
}

fn posted(labels: &Labels, alert: &Alert, ends: i64) -> Posted {
    let time = |ms| Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    Posted {
        labels: labels.clone(),
        annotations: alert.annotations.clone(),
        // Alertmanager takes none that ends before it begins.
        starts_at: time(alert.since.min(ends)),
        ends_at: time(ends),
        generator_url: alert.shown.clone(),
    }
}
